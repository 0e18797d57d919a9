"""The picture of `ttamer.plots.exits`; matplotlib is imported only when it is drawn."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ttamer._base import checks
from ttamer._base.numbers import number
from ttamer._base.types import Floats
from ttamer.evaluation import Evaluation
from ttamer.plots.figure import caption, figure_class, literal, node_label, saved, titled
from ttamer.policy import Replay

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LEAST_SHOWN = 0.045
"""Shares below this have no room for their number."""


@dataclass(frozen=True)
class _Bars:
    """Shares of requests that stop at each node and that each node answers, and what stands beside them."""

    label: str
    stops: Floats
    answers: Floats

    @property
    def recalls(self) -> bool:
        return not np.array_equal(self.stops, self.answers)


def exits(
    outcome: Evaluation | Replay | Mapping[str, Evaluation | Replay],
    path: str | os.PathLike[str] | None = None,
    *,
    title: str | None = None,
) -> Figure:
    """Where requests stop and which node answers, as stacked bars, with the mean cost and loss beside them.

    Parameters
    ----------
    outcome : Evaluation, Replay or mapping of str to either
        What `ttamer.evaluate`, `Policy.replay` or a baseline found; of a mapping one group of bars a name. Where every
        request is answered by the node it stops at, one bar says both.
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
        If something in `outcome` is neither an `Evaluation` nor a `Replay`.
    ValueError
        If there is nothing to draw, or matplotlib does not know the format.
    """
    return saved(_picture(figure_class(), outcome, caption(title)), path)


def _picture(
    new_figure: type[Figure], outcome: Evaluation | Replay | Mapping[str, Evaluation | Replay], title: str
) -> Figure:
    from matplotlib import colormaps
    from matplotlib.patches import Patch
    from matplotlib.ticker import PercentFormatter

    outcomes = outcome if isinstance(outcome, Mapping) else {"": outcome}
    if not outcomes:
        raise ValueError("outcome: expected at least one, got none")
    bars = [_bars(checks.text("outcome", name), each) for name, each in outcomes.items()]
    nodes = max(len(each.stops) for each in bars)
    recalls = any(each.recalls for each in bars)
    lanes = (2 if recalls else 1) * len(bars)
    # Names that all evaluations share; a replay has none of its own.
    of_nodes = {each.nodes for each in outcomes.values() if isinstance(each, Evaluation)}
    names = of_nodes.pop() if len(of_nodes) == 1 else None
    names = names if names is not None and len(names) == nodes else None
    columns = min(nodes, 12 if names is None else 4)
    legend = 0.17 * (-(-nodes // columns) - 1)
    height = 0.34 * lanes + 0.22 * len(bars) + 1.3 + legend
    figure = new_figure(figsize=(8, height), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    # From yellow to dark blue by depth, as in the other pictures.
    colours = [colormaps["cividis_r"](node / max(nodes - 1, 1)) for node in range(nodes)]
    places, labels, y = [], [], 0.0
    for each in bars:
        middle = y + (0.5 if recalls else 0.0)
        places.append(middle)
        labels.append(each.label)
        if recalls:
            _draw_bar(axes, y, each.stops, colours, "stop at")
            _draw_bar(axes, y + 1, each.answers, colours, "answered by")
        else:
            _draw_bar(axes, y, each.stops, colours, "")
        y += 2.6 if recalls else 1.6
    axes.set_yticks(places, labels, fontsize=8.5)
    axes.set_ylim(y - (1.2 if recalls else 1.0), -0.6)
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.set_xlabel("share of requests" if recalls else "share of requests that stop at each node, which answers")
    axes.tick_params(axis="y", length=0, pad=64 if recalls else 6)
    axes.spines[["top", "right", "left"]].set_visible(False)
    texts = [node_label(node, names) for node in range(nodes)]
    handles = [Patch(color=colour, label=text) for text, colour in zip(texts, colours, strict=True)]
    figure.legend(
        handles=handles,
        title="node",
        loc="outside upper right",
        ncols=columns,
        frameon=False,
        fontsize=8,
        title_fontsize=8,
        handlelength=1,
        columnspacing=1,
    )
    return titled(figure, title)


def _bars(name: str, outcome: Evaluation | Replay) -> _Bars:
    if isinstance(outcome, Evaluation):
        stops, answers, unit = outcome.stops, outcome.answers, f" {literal(outcome.unit)}" if outcome.unit else ""
    elif isinstance(outcome, Replay):
        nodes = 1 + int(max(outcome.last_node.max(), outcome.answer_node.max()))
        stops, answers = (
            np.bincount(at, minlength=nodes) / len(outcome) for at in (outcome.last_node, outcome.answer_node)
        )
        unit = ""
    else:
        raise TypeError(f"outcome: expected an Evaluation or a Replay, got {type(outcome).__name__}")
    facts = f"cost {number(outcome.mean_cost, 3)}{unit}\nloss {number(outcome.error, 3)}"
    return _Bars(f"{literal(name)}\n{facts}" if name else facts, stops, answers)


def _draw_bar(
    axes: Axes, y: float, shares: Floats, colours: list[tuple[float, float, float, float]], name: str
) -> None:
    left = 0.0
    for node, share in enumerate(shares.tolist()):
        if share <= 0:
            continue
        axes.barh(y, share, 0.86, left=left, color=colours[node], edgecolor="white", linewidth=0.6)
        if share >= _LEAST_SHOWN:
            light = float(np.dot(colours[node][:3], (0.299, 0.587, 0.114))) > 0.5
            ink = "black" if light else "white"
            axes.text(left + share / 2, y, f"{share:.0%}", ha="center", va="center", fontsize=7.5, color=ink)
        left += share
    if name:
        axes.annotate(name, (0, y), (-6, 0), textcoords="offset points", ha="right", va="center", fontsize=8)
