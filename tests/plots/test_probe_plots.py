"""Pictures of policies with nodes that cannot answer."""

from __future__ import annotations

import io

import numpy as np
import pytest
from matplotlib.collections import QuadMesh
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, Rectangle
from probed import CASCADES, probed_traces

import ttamer
from ttamer import compare, plots


def policy(name: str, recall: str = "auto") -> ttamer.Policy:
    return ttamer.solve(ttamer.fit(probed_traces(name), 8), 0.8, recall)


def drawn(figure: Figure) -> None:
    """Everything is where it can be drawn."""
    figure.savefig(io.BytesIO(), format="png", dpi=40)
    for axes in figure.axes:
        assert np.isfinite([*axes.get_xlim(), *axes.get_ylim()]).all()


@pytest.mark.parametrize("name", CASCADES)
@pytest.mark.parametrize("recall", ["auto", "observed"])
def test_pictures_of_policies(name: str, recall: str) -> None:
    solved = policy(name, recall)
    traces = probed_traces(name, seed=1)
    drawn(plots.index(solved))
    drawn(plots.topology(solved))
    drawn(plots.exits({"evaluate": ttamer.evaluate(solved, traces), "replay": solved.replay(traces)}))


@pytest.mark.parametrize("name", CASCADES)
def test_pictures_of_traces(name: str) -> None:
    calibration, test = (probed_traces(name, seed=seed) for seed in (0, 1))
    front = ttamer.frontier(calibration, bins=8)
    drawn(plots.front(front))
    drawn(plots.front([compare.curve_of_front(front, calibration, test)], coverage=0.9))
    figure = plots.reliability(calibration)
    drawn(figure)
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert [title for title in titles if title] == [f"node {j}" for j in range(4) if j != CASCADES[name][1]]


def test_an_infinite_index_is_grey_and_hatched() -> None:
    solved = policy("leaf")
    axes = plots.index(solved).axes[0]
    meshes = [each for each in axes.collections if isinstance(each, QuadMesh)]
    for node, mesh in enumerate(meshes):
        mesh.update_scalarmappable()
        colours = np.asarray(mesh.get_facecolor())
        assert (colours == to_rgba("0.6")).all() == (node == 1)
        assert mesh.norm.vmax == max(solved.index(j).max() for j in (0, 2, 3))
    hatched = [each for each in axes.patches if isinstance(each, Rectangle) and round(each.get_y()) == 1]
    assert sum(each.get_width() for each in hatched) == 8


def test_bars_of_a_probe_are_as_high_as_the_picture() -> None:
    figure = plots.index(policy("dag"))
    heights = [[bar.get_y() + bar.get_height() for bar in axes.patches] for axes in figure.axes]
    assert all(height == pytest.approx(figure.axes[0].get_ylim()[1]) for height in heights[0])
    assert max(heights[1]) < min(heights[0])
    assert figure.axes[0].get_title() == "node 0, 100% of requests\ncannot answer"
    assert "cannot answer" not in figure.axes[1].get_title()


@pytest.mark.parametrize("name", ["dag", "skip"])
def test_what_follows_a_probe_in_front_is_what_requests_do(name: str) -> None:
    """Limits of best losses that no request has after the probe alone are not drawn, in bars or arrows."""
    observed, none = (policy(name, recall) for recall in ("observed", "none"))
    colours = [{bar.get_facecolor() for bar in plots.index(each).axes[0].patches} for each in (observed, none)]
    assert to_rgba("0.84") not in colours[0]  # it never stops
    taken = {to for steps in observed.actions(0) for to in [steps[-1][1]]}
    arrows = [each for each in plots.topology(observed).axes[0].patches if isinstance(each, FancyArrowPatch)]
    bold = [arrow.get_linewidth() > 1 for arrow in arrows]
    for (i, j), is_bold in zip(observed.topology.edges.tolist(), bold, strict=True):
        if i == 0:
            assert is_bold == (j in taken)
