"""The pictures of `ttamer.plots.index`; matplotlib is imported only when one is drawn."""

from __future__ import annotations

import os
import textwrap
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np

from ttamer._base import checks
from ttamer._base.numbers import number
from ttamer._base.topologies import node_text
from ttamer._base.types import ROOT, STOP
from ttamer.plots import drawing
from ttamer.plots.drawing import MOST_STEPS, Facts, share_text
from ttamer.plots.figure import caption, few_enough, figure_class, node_label, saved, short, titled
from ttamer.policy import Policy

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLUMNS = 4
_STOPS = "0.84"
_INFINITE = "0.6"
_CHARACTER = 0.075
"""Width of a character of the legend, in inches."""
_MOST_EDGES = 4
"""Edges of bins that have room for their numbers under a panel."""
_PROBE = 1.1
"""Height of a bar of a node that cannot answer, next to the largest loss."""


def index(policy: Policy, path: str | os.PathLike[str] | None = None, *, title: str | None = None) -> Figure:
    """What a policy does in each state.

    States lie side by side from the smallest signal to the largest, all equally wide: as many requests or so were in
    each, however close together their signals lie. The numbers are signals, the edges of bins.

    With recall on a line or forest: the dynamic index as a heat map, a row a node, a column a state of the node before.
    A request whose best loss so far is at most the index does not consult the node. Where that holds for the loss of
    the state alone no request ever does: hatched. A line and its number mark the signals at which that changes. Where
    the index is infinite, as that of a branch of nodes that cannot answer is, the cell is grey.

    On other walks: a panel a node, or a step of a policy that estimates, and a bar a state, as high as the state's
    expected loss, coloured by what comes next; bars of a node that cannot answer reach above all others. Dashed lines
    are thresholds: signals at which what comes next changes. With recall that depends on the best loss so far, so that
    a bar may have several colours. Of the many steps of a policy that estimates the 12 that most requests reach are
    drawn, coloured by the node that comes next, and the picture says how many others there are.

    Parameters
    ----------
    policy : Policy
    path, title
        As for `front`.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ImportError
        If matplotlib is missing.
    TypeError
        If `policy` is not a `Policy`.
    ValueError
        If there are more than 40 nodes to draw, or matplotlib does not know the format.
    """
    return saved(_picture(figure_class(), policy, caption(title)), path)


def _picture(new_figure: type[Figure], policy: Policy, title: str) -> Figure:
    """The heat map of an index, or what a walk does by state; see `ttamer.plots.index`."""
    checks.instance("policy", policy, Policy)
    facts = Facts.of(policy)
    steps = facts.few(MOST_STEPS)
    few_enough("policy", len(steps))
    has_index = policy.recall == "observed" and policy.steps.kind in ("line", "forest")
    figure = _draw_index(new_figure, policy) if has_index else _draw_actions(new_figure, policy, facts, steps)
    return titled(figure, title)


# ---------------------------------------------------------------- the index, where it is defined


def _draw_index(new_figure: type[Figure], policy: Policy) -> Figure:
    from matplotlib import colormaps
    from matplotlib.colors import PowerNorm

    nodes = policy.steps.nodes
    parents = policy.steps.edges[:, 0].tolist()
    rows = [policy.index(node) for node in range(nodes)]
    columns = max(len(policy.losses(parent)) if parent != ROOT else 1 for parent in parents)
    most = max(float(row[np.isfinite(row)].max(initial=0)) for row in rows)
    figure = new_figure(figsize=(8, 0.4 * nodes + 1.5), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    # Most states have small losses; the square root gives them more of the colours.
    norm = PowerNorm(0.5, 0.0, most or 1.0)
    colours = colormaps["viridis"].with_extremes(bad=_INFINITE)
    image: Any = None
    for node, (parent, row) in enumerate(zip(parents, rows, strict=True)):
        # A root, or a node whose index does not depend on the state before, has one value for all of them.
        states = columns if parent == ROOT else len(policy.losses(parent))
        ends = np.linspace(0, states, len(row) + 1)
        image = axes.pcolormesh(ends, [node - 0.44, node + 0.44], row[None, :], norm=norm, cmap=colours)
        losses = np.full(states, np.inf) if parent == ROOT else policy.losses(parent)
        stops = losses <= np.broadcast_to(row, states)
        _hatch(axes, node, stops)
        edges = None if parent == ROOT else drawing.signal_edges(policy, parent)
        if edges is not None:
            for k in np.flatnonzero(np.diff(stops)).tolist():
                _mark(axes, node, k + 1, _signal_text(edges[k]))
    axes.set_yticks(range(nodes), [_place(policy, node, parent) for node, parent in enumerate(parents)], fontsize=8)
    axes.set_ylim(nodes - 0.5, -0.5)
    axes.set_xlim(0, columns)
    axes.set_xlabel(
        "state of the node before, from the smallest signal to the largest\n"
        f"hatched: never consulted; numbers: {_signal_name(policy)} at which that changes",
        fontsize=9,
    )
    axes.tick_params(axis="y", length=0)
    axes.spines[:].set_visible(False)
    bar = figure.colorbar(image, ax=axes, pad=0.02)
    bar.set_label("dynamic index (loss)", fontsize=9)
    bar.outline.set_visible(False)
    return figure


def _place(policy: Policy, node: int, parent: int) -> str:
    name = f"node {node_label(node, policy.nodes)}"
    return name if parent == ROOT else f"{name} after {parent}"


def _hatch(axes: Axes, node: int, stops: Any) -> None:
    """Cover the states in which the parent's own loss is not above the index: no request goes on to the node."""
    from matplotlib.patches import Rectangle

    begin = 0
    for stop, run in groupby(stops.tolist()):
        length = len(list(run))
        if stop:
            axes.add_patch(
                Rectangle((begin, node - 0.44), length, 0.88, fill=False, hatch="////", edgecolor="white", linewidth=0)
            )
        begin += length


def _mark(axes: Axes, node: int, place: float, text: str) -> None:
    """A line at a threshold, and the signal there."""
    from matplotlib.patheffects import withStroke

    axes.plot([place, place], [node - 0.44, node + 0.44], color="black", linewidth=1.6, solid_capstyle="butt")
    outline = [withStroke(linewidth=2.5, foreground="white")]
    axes.annotate(
        text, (place, node), (3, 0), textcoords="offset points", va="center", fontsize=7.5, path_effects=outline
    )


# ---------------------------------------------------------------- what a walk does


def _draw_actions(new_figure: type[Figure], policy: Policy, facts: Facts, drawn: list[int]) -> Figure:
    """Panels of the nodes or steps that are drawn."""
    from matplotlib.patches import Patch

    columns = min(len(drawn), _COLUMNS)
    rows = -(-len(drawn) // columns)
    figure = new_figure(figsize=(2.1 * columns + 0.6, 1.7 * rows + 0.8), dpi=150, layout="constrained")
    colours = _colours(policy)
    losses = np.concatenate([policy.losses(node) for node in drawn])
    most = float(losses[np.isfinite(losses)].max(initial=0)) or 1.0
    targets: set[int] = set()
    first: Axes | None = None
    for k, node in enumerate(drawn):
        axes = figure.add_subplot(rows, columns, k + 1, sharey=first)
        first = first or axes
        targets |= _draw_node(axes, policy, node, facts, colours, most, bool(np.isinf(losses).any()))
        if k % columns == 0:
            axes.set_ylabel("best loss so far" if policy.recall == "observed" else "expected loss", fontsize=8)
        else:
            axes.tick_params(labelleft=False)
    patches = [Patch(color=colours[to], label=_says(to, policy, facts)) for to in sorted(targets)]
    # One entry of a line stands for all nodes that come next, and one of a node for all steps that consult it.
    labels = {patch.get_label(): patch for patch in patches}
    longest = max(len(str(label)) for label in labels) * _CHARACTER + 0.3
    width = figure.get_figwidth()
    notes = facts.left_out(drawn), drawing.names_of_steps(policy, facts.part(drawn)[0])
    figure.legend(
        handles=list(labels.values()),
        title=textwrap.fill(" ".join(filter(None, notes)), int(width / _CHARACTER)) or None,
        title_fontsize=8,
        alignment="left",
        loc="outside lower left",
        ncols=max(1, min(len(labels), int(width / longest))),
        frameon=False,
        fontsize=8,
        handlelength=1,
    )
    return figure


def _draw_node(
    axes: Axes, policy: Policy, node: int, facts: Facts, colours: dict[int, Any], most: float, has_probes: bool
) -> set[int]:
    """One bar a state, as high as its loss: what is done for each best loss up to that."""
    losses = policy.losses(node)
    # What a state without loss does must be seen too, and what one does that cannot answer, whatever the best loss.
    heights = np.clip(losses, 0.02 * most, _PROBE * most)
    bars: dict[int, list[tuple[int, float, float]]] = {}
    actions = drawing.actions(policy, node)
    for state, steps in enumerate(actions):
        bottom = 0.0
        for k, (upper, to) in enumerate(steps):
            top = float(heights[state]) if k == len(steps) - 1 else min(upper, float(heights[state]))
            if top > bottom:
                bars.setdefault(to, []).append((state, bottom, top - bottom))
            bottom = max(bottom, top)
    for to, pieces in bars.items():
        states, bottoms, lengths = zip(*pieces, strict=True)
        axes.bar(states, lengths, 1.0, bottom=bottoms, color=colours[to], linewidth=0)
    visits = policy.expected_visits[node].sum()
    name = f"node {facts.names[node]}, "
    if facts.models is not None:
        name = f"node {node_text(facts.names[node], short(facts.models[node]))}\n"
    title = name + (f"{share_text(visits)} of requests" if visits > 0 else "never consulted")
    axes.set_title(f"{title}\ncannot answer" if np.isinf(losses).any() else title, fontsize=9)
    axes.set_xlim(-0.5, len(losses) - 0.5)
    _set_signals(axes, policy, node, [[to for _, to in steps] for steps in actions])
    axes.set_ylim(0, (_PROBE if has_probes else 1.03) * most)
    axes.tick_params(labelsize=7)
    axes.spines[["top", "right"]].set_visible(False)
    return set(bars)


def _set_signals(axes: Axes, policy: Policy, node: int, targets: list[list[int]]) -> None:
    """Signals under a panel: where what comes next changes, and as many other edges of bins as there is room for."""
    edges = drawing.signal_edges(policy, node)
    if edges is None:
        axes.locator_params("x", integer=True)
        axes.set_xlabel("state", fontsize=8)
        return
    changes = [k for k in range(len(edges)) if targets[k] != targets[k + 1]]
    for k in changes:
        axes.axvline(k + 0.5, color="0.3", linewidth=0.8, linestyle="--")
    shown = _spread(changes, range(len(edges)))
    axes.set_xticks([k + 0.5 for k in shown], [_signal_text(edges[k]) for k in shown])
    axes.set_xlabel(_signal_name(policy), fontsize=8)


def _spread(changes: list[int], places: range) -> list[int]:
    """Some of the places, far enough from each other for their numbers: those of changes first."""
    apart = len(places) / _MOST_EDGES
    shown: list[int] = []
    for k in [*changes, *places[:: max(1, round(apart))]]:
        if all(abs(k - other) >= apart for other in shown):
            shown.append(k)
    return sorted(shown)


def _signal_name(policy: Policy) -> str:
    """What states are bins of."""
    if policy.estimator is not None:
        return "estimate"
    return {"max_prob": "largest probability"}.get(policy.signal, policy.signal.replace("_", " ") or "signal")


def _signal_text(signal: float) -> str:
    """Few digits, but for what is close to 1, as probabilities are."""
    if 0.99995 <= signal < 1:
        return ">0.9999"
    return number(signal, 4 if 0.99 <= signal < 1 else 2 if abs(signal) < 1 else 3)


def _colours(policy: Policy) -> dict[int, Any]:
    """Grey stops; nodes by depth of colour, steps as the node they consult; on a line there is one way to go on."""
    from matplotlib import colormaps

    nodes = policy.steps.nodes
    if policy.steps.kind == "line":
        return {STOP: _STOPS, **dict.fromkeys(range(nodes), "#0072B2")}
    asks = range(nodes) if policy.estimator is None else policy.estimator.walk.last.tolist()
    last = max(*asks, 1)
    return {STOP: _STOPS, **{step: colormaps["viridis"](1 - node / last) for step, node in enumerate(asks)}}


def _says(to: int, policy: Policy, facts: Facts) -> str:
    if to == STOP:
        return "stop"
    if policy.steps.kind == "line":
        return "consult the next node"
    node = to if policy.estimator is None else int(policy.estimator.walk.last[to])
    return f"consult {node if facts.models is None else short(facts.models[to])}"
