"""The picture of `ttamer.plots.topology`; matplotlib is imported only when it is drawn."""

from __future__ import annotations

import os
import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ttamer._base.numbers import number
from ttamer._base.types import ROOT, Floats
from ttamer._core import Topology
from ttamer.plots import drawing
from ttamer.plots.drawing import MOST_STEPS, Facts, share_text
from ttamer.plots.figure import caption, few_enough, figure_class, literal, saved, short
from ttamer.plots.layout import Layout, lay_out
from ttamer.policy import Policy

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure


# Sizes, in inches.
_RADIUS = 0.23
_SMALLEST = 0.05
_ROOM = 0.11
_SIDE, _ABOVE, _BELOW = 0.5, 0.35, 0.65
_TITLE, _LEGEND = 0.3, 0.75
_NARROWEST = 6.0
_POINTS = 72

_LINE = 56
"""Characters beside the scale of colours."""
_READING = "on the edges: cost{}; pale: never taken\nbelow a node, and as its area: requests that consult it"

_COLOURS = "cividis_r"
"""From yellow to dark blue: the same order of lightness and hue with any colour vision, and in grey."""
_INK, _PALE = "0.2", "0.72"


@dataclass(frozen=True)
class _Look:
    """What each node and edge of a picture looks like: radii in inches, colours, widths of lines."""

    radii: Floats
    fills: list[Any]
    numbers: list[str]
    taken: npt.NDArray[np.bool_]


def topology(
    shape: Policy | Topology, path: str | os.PathLike[str] | None = None, *, title: str | None = None
) -> Figure:
    """Nodes and edges from the root on the left; of a policy also where requests go and stop.

    Parameters
    ----------
    shape : Policy or Topology
        Of a policy, a node's area is the share of requests expected to consult it, its colour the share expected to
        stop there, and edges that the policy never takes are pale. Edges carry their costs. Of a bare topology only
        nodes and edges are drawn. Meant for about 12 nodes: of the many steps of a policy that estimates the 12 that
        most requests reach are drawn, and the picture says how many others there are.
    path : path, optional
        Write the picture there, whole or not at all; the suffix says the format (png, svg, pdf).
    title : str, optional

    Returns
    -------
    matplotlib.figure.Figure
        As large as the shape needs, 150 pixels an inch as png.

    Raises
    ------
    ImportError
        If matplotlib is missing.
    TypeError
        If `shape` is neither a policy nor a topology.
    ValueError
        If there are more than 40 nodes to draw, or matplotlib does not know the format.
    """
    return saved(_picture(figure_class(), shape, caption(title)), path)


def _picture(new_figure: type[Figure], shape: Policy | Topology, title: str) -> Figure:
    """The picture, one inch an inch: the layout is made in inches, and the axes are as large as it."""
    whole = Facts.of(shape)
    steps = whole.few(MOST_STEPS)
    few_enough("shape", len(steps))
    facts, edges = whole.part(steps)
    taken = np.ones(len(edges), np.bool_)
    if whole.visits is not None and not isinstance(shape, Topology):
        taken = _taken(shape, whole.visits)[edges]
    notes = [_READING.format(f" ({literal(facts.unit)})" if facts.unit else "")]
    reading = drawing.names_of_steps(shape, facts) if isinstance(shape, Policy) else ""
    notes += [textwrap.fill(note, _LINE) for note in (reading, whole.left_out(steps)) if note]
    legend = _LEGEND + 0.14 * ("\n".join(notes).count("\n") - 1)
    layout = lay_out(facts.topology)
    low, high = layout.box
    side = max(_SIDE, (_NARROWEST - (high[0] - low[0])) / 2)
    low, high = low - np.array([side, _BELOW]), high + np.array([side, _ABOVE])
    width, height = high - low
    top, bottom = _TITLE if title else 0.0, 0.0 if facts.visits is None else legend
    total = height + top + bottom
    figure = new_figure(figsize=(width, total), dpi=150)
    axes = figure.add_axes((0, bottom / total, 1, height / total))
    axes.set_axis_off()
    axes.set_xlim(low[0], high[0])
    axes.set_ylim(low[1], high[1])
    look = _look(facts, taken)
    _draw_edges(axes, facts, layout, look)
    _draw_nodes(axes, facts, layout, look)
    if facts.visits is not None:
        _draw_legend(figure, facts, (width, total), legend, "\n".join(notes))
    if title:
        figure.text(0.15 / width, 1 - 0.1 / total, title, fontsize=11, va="top")
    return figure


def _look(facts: Facts, taken: npt.NDArray[np.bool_]) -> _Look:
    nodes = facts.topology.nodes
    if facts.visits is None or facts.stops is None:
        return _Look(np.full(nodes, _RADIUS * 0.8), ["white"] * nodes, ["black"] * nodes, taken)
    colours, most = _colours(), _most(facts.stops)
    shares = zip(facts.visits.tolist(), facts.stops.tolist(), strict=True)
    fills = [colours(stop / most) if visit > 0 else (1.0, 1.0, 1.0, 1.0) for visit, stop in shares]
    # Lightness as the eye weighs red, green and blue.
    light = [float(np.dot(fill[:3], (0.299, 0.587, 0.114))) > 0.5 for fill in fills]
    return _Look(
        np.maximum(_RADIUS * np.sqrt(facts.visits), _SMALLEST),
        fills,
        ["black" if is_light else "white" for is_light in light],
        taken,
    )


def _taken(policy: Policy, visits: Floats) -> npt.NDArray[np.bool_]:
    """Edges that the policy takes in some state that requests are found in.

    A line or forest has one edge into each node; on other walks the actions say where to go.
    """
    edges = policy.steps.edges.tolist()
    if policy.steps.kind in ("line", "forest"):
        return np.array([visits[j] > 0 for _, j in edges])
    pairs = {(ROOT, policy._core.first_node)}
    for node in range(policy.steps.nodes):
        found, actions = policy.expected_visits[node] > 0, drawing.actions(policy, node)
        pairs |= {(node, to) for s in np.flatnonzero(found).tolist() for _, to in actions[s]}
    return np.array([(i, j) in pairs and visits[j] > 0 for i, j in edges])


def _draw_edges(axes: Axes, facts: Facts, layout: Layout, look: _Look) -> None:
    from matplotlib.patches import FancyArrowPatch

    for e, (i, j) in enumerate(facts.topology.edges.tolist()):
        taken = bool(look.taken[e])
        start_radius = 0.08 if i == ROOT else look.radii[i]
        arrow = FancyArrowPatch(
            tuple(layout.nodes[i]),
            tuple(layout.nodes[j]),
            connectionstyle=f"arc3,rad={layout.bends[e]}",
            arrowstyle="-|>,head_length=4,head_width=2",
            shrinkA=start_radius * _POINTS + 1,
            shrinkB=look.radii[j] * _POINTS + 1,
            color=_INK if taken else _PALE,
            linewidth=1.3 if taken else 0.8,
            zorder=2 if taken else 1,
        )
        axes.add_patch(arrow)
        if facts.costs is not None:
            x, y = layout.labels[e].tolist()
            axes.text(
                x,
                y,
                number(facts.costs[e], 3),
                fontsize=7.5,
                color="black" if taken else "0.5",
                ha="center",
                va="center",
                bbox={"boxstyle": "square,pad=0.12", "facecolor": "white", "edgecolor": "none"},
                # A pale label must not hide a part of an edge that is taken.
                zorder=3 if taken else 1.5,
            )


def _draw_nodes(axes: Axes, facts: Facts, layout: Layout, look: _Look) -> None:
    x, y = layout.nodes[ROOT].tolist()
    axes.scatter(x, y, s=(0.1 * _POINTS) ** 2, color="black", marker="s", zorder=4)
    _write_below(axes, layout.nodes[ROOT], 0.08, "root")
    positions = layout.nodes[:ROOT]
    # The size of a marker is the square of its diameter in points: it grows like the area.
    axes.scatter(
        positions[:, 0],
        positions[:, 1],
        s=(2 * look.radii * _POINTS) ** 2,
        c=look.fills,
        edgecolors="black",
        linewidths=0.9,
        zorder=4,
    )
    for node, (position, radius) in enumerate(zip(positions, look.radii.tolist(), strict=True)):
        inside = radius >= _ROOM * max(1.0, len(facts.names[node]) / 2)
        if inside:
            x, y = position.tolist()
            bold: dict[str, Any] = {"fontsize": 9, "fontweight": "bold", "color": look.numbers[node]}
            axes.text(x, y, facts.names[node], ha="center", va="center", zorder=5, **bold)
        else:
            _write_below(axes, position, radius, facts.names[node], fontsize=9, fontweight="bold")
        lines = [] if facts.models is None else [short(facts.models[node])]
        if facts.visits is not None and facts.stops is not None:
            visit, stop = facts.visits[node], facts.stops[node]
            lines += [share_text(visit), *([f"stop {share_text(stop)}"] if visit > 0 else [])]
        if lines:
            _write_below(axes, position, radius + (0 if inside else 0.14), "\n".join(lines))


def _write_below(axes: Axes, position: Floats, distance: float, text: str, fontsize: float = 7, **font: Any) -> None:
    """Text under a node, legible where an edge passes behind it."""
    from matplotlib.patheffects import withStroke

    axes.annotate(
        text,
        tuple(position),
        (0, -distance * _POINTS - 2),
        textcoords="offset points",
        ha="center",
        va="top",
        fontsize=fontsize,
        path_effects=[withStroke(linewidth=2, foreground="white")],
        zorder=5,
        **font,
    )


def _draw_legend(figure: Figure, facts: Facts, size: tuple[float, float], room: float, notes: str) -> None:
    """The scale of colours, and what else there is to read, in so much room."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.ticker import PercentFormatter

    assert facts.stops is not None
    width, height = size
    scale = figure.add_axes(((width - 2.4) / width, (room - 0.25) / height, 2.2 / width, 0.12 / height))
    values = ScalarMappable(Normalize(0, _most(facts.stops)), _COLOURS)
    bar = figure.colorbar(values, cax=scale, orientation="horizontal", format=PercentFormatter(1, decimals=0))
    bar.set_label("requests that stop at the node", fontsize=7.5, labelpad=1)
    bar.ax.tick_params(labelsize=7, length=2, pad=1)
    figure.text(0.15 / width, (room - 0.13) / height, notes, fontsize=7.5, va="top", linespacing=1.4)


def _colours() -> Colormap:
    import matplotlib

    return matplotlib.colormaps[_COLOURS]


def _most(stops: Floats) -> float:
    """The end of the scale of colours."""
    return max(float(stops.max()), 1e-9)
