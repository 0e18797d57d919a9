"""Pictures of topologies: what is drawn where, in which size and colour, and that nothing lies on anything else."""

from __future__ import annotations

import struct
import sys
from itertools import combinations
from pathlib import Path

import matplotlib
import numpy as np
import numpy.typing as npt
import pytest
from helpers import random_model
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch
from strategies import Cascade, cascades

import ttamer
from ttamer import plots
from ttamer.plots.layout import ACROSS, CAPTION, CLEAR, DOWN, LABEL, lay_out

T = ttamer.Topology
SHAPES = {
    "line": T.line(12),
    "skip": T.skip(12),
    "forest": T.forest([-1, 0, 0, -1, 3, 3, 4, 4, 5, 2, 2, -1]),
    "dag": T.dag(6, [(-1, 0), (-1, 2), (0, 1), (0, 2), (1, 3), (2, 3), (1, 5), (3, 4), (4, 5), (0, 4)]),
}
INK, PALE = "0.2", "0.72"


def policy_of(shape: str) -> ttamer.Policy:
    return ttamer.solve(random_model(SHAPES[shape], 4, seed=3, unit="ms"), 0.95, "observed")


def drawn(shape: ttamer.Policy | ttamer.Topology) -> Axes:
    return plots.topology(shape).axes[0]


def texts(axes: Axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def arrows(axes: Axes) -> list[FancyArrowPatch]:
    return [patch for patch in axes.patches if isinstance(patch, FancyArrowPatch)]


def is_colour(arrow: FancyArrowPatch, name: str) -> bool:
    return bool(matplotlib.colors.same_color(arrow.get_edgecolor(), name))


@pytest.mark.parametrize("shape", SHAPES)
def test_nodes_edges_and_costs(shape: str) -> None:
    policy = policy_of(shape)
    axes = drawn(policy)
    found = texts(axes)
    assert found.count("root") == 1
    assert all(found.count(str(node)) >= 1 for node in range(policy.topology.nodes))
    assert len(arrows(axes)) == len(policy.costs)
    labels = [text for text in axes.texts if text.get_bbox_patch() is not None]
    assert [label.get_text() for label in labels] == [f"{cost:.3g}" for cost in policy.costs]
    # An inch of the layout is an inch of the picture.
    box = axes.get_window_extent()
    scale = np.array([box.width / np.ptp(axes.get_xlim()), box.height / np.ptp(axes.get_ylim())])
    assert scale == pytest.approx(axes.figure.dpi)


@pytest.mark.parametrize("shape", SHAPES)
def test_area_colour_and_shares(shape: str) -> None:
    policy = policy_of(shape)
    figure = plots.topology(policy)
    axes, bar = figure.axes
    visits = np.array([row.sum() for row in policy.expected_visits])
    stops = np.array([row.sum() for row in policy.expected_stops])
    _, nodes = axes.collections
    # Below 5% a node would be a dot that no one sees.
    large = visits > 0.06
    assert large.sum() >= 2
    areas = nodes.get_sizes()
    assert areas[large] / areas[large][0] == pytest.approx(visits[large] / visits[large][0])
    assert np.all(areas[~large] < areas[large].min())
    colours = matplotlib.colormaps["cividis_r"](stops / stops.max())
    colours[visits == 0] = 1.0
    assert nodes.get_facecolors() == pytest.approx(colours)
    assert bar.get_xlabel() == "requests that stop at the node"
    assert bar.get_xlim() == pytest.approx((0, stops.max()))
    for visit, stop in zip(visits, stops, strict=True):
        if visit > 0.005 and stop > 0.005:
            assert f"{visit:.0%}\nstop {stop:.0%}" in texts(axes)
    assert any("cost (ms)" in text.get_text() for text in figure.texts)


def test_edges_that_are_never_taken_are_pale() -> None:
    """Of two ways to a perfect node the cheap one is taken."""
    topology = T.dag(4, [(-1, 0), (0, 1), (0, 2), (1, 3), (2, 3)])
    model = ttamer.CascadeModel(
        topology, [[1.0], [1.0], [1.0], [0.0]], [[[1.0]]] * 5, [0.1, 0.1, 0.2, 0.1, 0.1], observed=False
    )
    pale = [is_colour(arrow, PALE) for arrow in arrows(drawn(ttamer.solve(model, 0.9)))]
    assert pale == [False, False, True, False, True]
    line = ttamer.CascadeModel(T.line(2), [[0.0], [0.0]], [[[1.0]]] * 2, [0.1, 0.1])
    axes = drawn(ttamer.solve(line, 0.5))
    assert [is_colour(arrow, PALE) for arrow in arrows(axes)] == [False, True]
    assert "0%" in texts(axes)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_bare_topology_has_no_figures(shape: str) -> None:
    figure = plots.topology(SHAPES[shape])
    (axes,) = figure.axes
    assert sorted(texts(axes)) == sorted(["root", *map(str, range(SHAPES[shape].nodes))])
    assert all(is_colour(arrow, INK) for arrow in arrows(axes))
    assert figure.texts == []


class TestLayout:
    def test_layers(self) -> None:
        assert (lay_out(SHAPES["dag"]).nodes[:, 0] / ACROSS).tolist() == [1, 2, 2, 3, 4, 5, 0]

    def test_a_tree_spreads_around_its_parents(self) -> None:
        heights = lay_out(T.forest([-1, 0, 0, -1, 3])).nodes[:, 1] / DOWN
        assert heights == pytest.approx([1.5, 2, 1, 0, 0, 0.75])

    def test_ways_that_meet_again_meet_in_the_middle(self) -> None:
        heights = lay_out(T.dag(4, [(-1, 0), (0, 1), (0, 2), (1, 3), (2, 3)])).nodes[:, 1]
        assert heights[[0, 3]] == pytest.approx(heights[[1, 2]].mean())

    def test_chains_are_straight(self) -> None:
        for topology in (T.line(5), T.skip(5)):
            layout = lay_out(topology)
            assert np.all(layout.nodes[:, 1] == 0)
            neighbours = np.diff(topology.edges, axis=1).ravel() == 1
            assert np.all((layout.bends == 0) == neighbours)

    @pytest.mark.parametrize("shape", SHAPES)
    def test_nothing_lies_on_anything_else(self, shape: str) -> None:
        layout = lay_out(SHAPES[shape])
        edges = SHAPES[shape].edges.tolist()
        for a, b in combinations(layout.nodes, 2):
            assert np.linalg.norm(a - b) > 2 * CLEAR
        for a, b in combinations(layout.labels, 2):
            assert np.any(np.abs(a - b) >= np.array(LABEL) - 1e-9)
        captions = layout.nodes - (0, 0.2 + CAPTION[1] / 2)
        for label in layout.labels:
            assert np.all(np.any(np.abs(label - captions) >= np.add(LABEL, CAPTION) / 2 - 1e-9, axis=1))
        for (i, j), bend in zip(edges, layout.bends, strict=True):
            others = [layout.nodes[k] for k in range(-1, SHAPES[shape].nodes) if k not in (i, j)]
            for point in curve(layout.nodes[i], layout.nodes[j], bend):
                assert all(np.linalg.norm(point - other) > CLEAR - 0.01 for other in others)

    @pytest.mark.parametrize("kind", ["line", "skip", "forest", "dag"])
    @given(data=st.data())
    def test_any_shape_lies_in_its_box_from_left_to_right(self, kind: str, data: st.DataObject) -> None:
        cascade: Cascade = data.draw(cascades(kind, 8, 1))
        layout = lay_out(cascade.topology)
        assert len(np.unique(layout.nodes, axis=0)) == cascade.topology.nodes + 1
        low, high = layout.box
        for (i, j), bend in zip(cascade.topology.edges.tolist(), layout.bends, strict=True):
            points = curve(layout.nodes[i], layout.nodes[j], bend)
            assert layout.nodes[i][0] < layout.nodes[j][0]
            assert np.all((points >= low - 0.02) & (points <= high + 0.02))


def curve(start: npt.NDArray[np.float64], end: npt.NDArray[np.float64], bend: float) -> npt.NDArray[np.float64]:
    """Points of the curve that the arrow follows, as matplotlib draws it."""
    style = matplotlib.patches.ConnectionStyle.Arc3(rad=bend)
    a, control, b = style.connect(start, end).vertices
    t = np.linspace(0, 1, 57)[:, None]
    return (1 - t) ** 2 * a + 2 * t * (1 - t) * control + t**2 * b


def test_files_and_title(tmp_path: Path) -> None:
    figure = plots.topology(policy_of("dag"), tmp_path / "dag.png", title="a dag")
    assert "a dag" in [text.get_text() for text in figure.texts]
    header = (tmp_path / "dag.png").read_bytes()[:24]
    assert header[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", header[16:24]) == tuple(np.floor(figure.get_size_inches() * 150))
    plots.topology(SHAPES["skip"], str(tmp_path / "skip.svg"))
    assert "<svg" in (tmp_path / "skip.svg").read_text()
    with pytest.raises(ValueError, match=r"dag\.xyz: Format 'xyz' is not supported"):
        plots.topology(SHAPES["dag"], tmp_path / "dag.xyz")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dag.png", "skip.svg"]


def test_bad_arguments() -> None:
    with pytest.raises(TypeError, match="^shape: expected a Policy or a Topology, got int$"):
        plots.topology(3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="^shape: expected at most 40 nodes to draw, got 41$"):
        plots.topology(T.line(41))
    plots.topology(T.line(40))


def test_missing_matplotlib_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r'^plots need matplotlib: pip install "ttamer\[cli\]"$'):
        plots.topology(T.line(2))


def test_pyplot_is_left_alone() -> None:
    before = "matplotlib.pyplot" in sys.modules
    plots.topology(policy_of("line"))
    assert ("matplotlib.pyplot" in sys.modules) == before
