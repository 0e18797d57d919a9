"""The picture of `ttamer.plots.nodes`; matplotlib is imported only when it is drawn."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np

from ttamer._base import checks
from ttamer._base.numbers import are_rates
from ttamer._base.topologies import node_text
from ttamer._base.types import Floats
from ttamer.plots.figure import caption, few_enough, figure_class, literal, plain_ticks, saved, short, titled
from ttamer.traces import Traces

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_BLUE = "#0072B2"
_SIZE = 6.4, 4.4
_CHARACTER, _LINE = 0.014, 0.055
"""Width of a character and height of a line of labels, as shares of what the dots span."""


def nodes(traces: Traces, path: str | os.PathLike[str] | None = None, *, title: str | None = None) -> Figure:
    """What each node costs and loses alone: a panel a unit of cost, a dot a node that can answer.

    A cost is the mean of what requests pay that go straight to the node, a loss the mean over the requests of which it
    was recorded, as `Traces.summary` has them. A node without a recorded loss, or whose cost is not known, is left out.

    Parameters
    ----------
    traces : Traces
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
        If `traces` are not `Traces`.
    ValueError
        If no node has a loss and a cost, there are more than 40 nodes, or matplotlib does not know the format.
    """
    return saved(_picture(figure_class(), traces, caption(title)), path)


def _picture(new_figure: type[Figure], traces: Traces, title: str) -> Figure:
    summary = checks.instance("traces", traces, Traces).summary()
    few_enough("traces", traces.topology.nodes)
    rates = are_rates(traces.losses)
    losses = summary.loss * (100 if rates else 1)
    known = {unit: np.isfinite(losses) & np.isfinite(costs.mean) for unit, costs in summary.costs.items()}
    if not all(there.any() for there in known.values()):
        raise ValueError("traces: expected a node with a loss and a cost, got none")
    names = [None if name == str(node) else short(name) for node, name in enumerate(summary.names)]
    labels = [node_text(node, name) for node, name in enumerate(names)]
    figure = new_figure(figsize=(_SIZE[0] * len(known), _SIZE[1]), dpi=150, layout="constrained")
    first: Axes | None = None
    for k, (unit, there) in enumerate(known.items()):
        axes = figure.add_subplot(1, len(known), k + 1, sharey=first)
        first = first or axes
        _draw(axes, summary.costs[unit].mean[there], losses[there], [labels[node] for node in np.flatnonzero(there)])
        axes.set_xlabel("mean cost of going straight to the node" + (f" ({literal(unit)})" if unit else ""))
        if k == 0:
            axes.set_ylabel("error rate of its answers (%)" if rates else "mean loss of its answers")
    return titled(figure, title)


def _draw(axes: Axes, costs: Floats, losses: Floats, labels: list[str]) -> None:
    axes.plot(costs, losses, "o", color=_BLUE, markersize=6)
    if (costs > 0).all() and costs.max() > 10 * costs.min():
        axes.set_xscale("log")
        plain_ticks(axes, costs)
    axes.margins(x=0.16, y=0.12)
    across, up = _shares(np.log(costs) if axes.get_xscale() == "log" else costs), _shares(losses)
    written: list[tuple[float, float, float]] = []
    # From the bottom up, each label above those it would lie on.
    for node in np.lexsort((across, up)).tolist():
        left, right, height = across[node], across[node] + _CHARACTER * (len(labels[node]) + 2), up[node]
        for other_left, other_right, other in written:
            if left < other_right and other_left < right and abs(height - other) < _LINE:
                height = other + _LINE
        written.append((left, right, height))
        shift = (height - up[node]) * _SIZE[1] * 72 * 0.65
        place = costs[node], losses[node]
        axes.annotate(labels[node], place, (7, shift), textcoords="offset points", va="center", fontsize=8)
    axes.grid(color="0.9", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _shares(values: Floats) -> Floats:
    """Where values lie between the least, 0, and the largest, 1."""
    shares: Floats = (values - values.min()) / (float(np.ptp(values)) or 1.0)
    return shares
