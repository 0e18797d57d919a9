"""The picture of `ttamer.plots.reliability`; matplotlib is imported only when it is drawn."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ttamer._base import checks
from ttamer._base.numbers import are_rates
from ttamer._base.types import Floats
from ttamer.plots.figure import caption, few_enough, figure_class, node_label, saved
from ttamer.traces import Traces
from ttamer.traces.signals import NOTHING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_BINS = 1000
_COLUMNS = 4
_BLUE, _ORANGE = "#0072B2", "#D55E00"
_NARROWEST = 4.6
"""Width, in inches, that the legend needs."""
_NORMAL = 1.6449
"""Quantile of the standard normal distribution for an interval of 90%."""


@dataclass(frozen=True)
class Reliability:
    """How often a node is right when it says how sure it is.

    Attributes
    ----------
    counts : (bins,) intp
        Requests whose confidence falls into each bin of equal width; 1 belongs to the last.
    confidence, accuracy : (bins,) float64
        Their mean confidence and mean 1 - loss; NaN where there are none.
    low, high : (bins,) float64
        90% interval of the accuracy (Wilson); NaN where there are none.
    error : float
        Expected calibration error: the mean over requests of the distance of accuracy and confidence in their bin.
    """

    counts: npt.NDArray[np.intp]
    confidence: Floats
    accuracy: Floats
    low: Floats
    high: Floats
    error: float

    @classmethod
    def of(cls, confidence: npt.NDArray[np.float32], loss: npt.NDArray[np.float32], bins: int) -> Reliability:
        """From the confidences (N,) in [0, 1] and losses (N,) in [0, 1] of one node."""
        places = np.minimum((confidence.astype(np.float64) * bins).astype(np.intp), bins - 1)
        counts = np.bincount(places, minlength=bins)
        some = np.where(counts > 0, counts, np.nan)
        mean = np.bincount(places, confidence, bins) / some
        right = np.bincount(places, 1.0 - loss.astype(np.float64), bins) / some
        wide = _NORMAL**2 / some
        centre = (right + wide / 2) / (1 + wide)
        half = _NORMAL / (1 + wide) * np.sqrt(right * (1 - right) / some + wide / (4 * some))
        gap = np.nansum(counts * np.abs(right - mean)) / len(confidence)
        return cls(counts, mean, right, centre - half, centre + half, float(gap))


def reliability(
    traces: Traces,
    path: str | os.PathLike[str] | None = None,
    *,
    bins: int = 10,
    title: str | None = None,
) -> Figure:
    """Is a node as often right as it is confident? A reliability diagram and a histogram for each.

    Requests are put into bins of equal width by their confidence. A dot is the accuracy of a bin at its mean
    confidence with a 90% interval (Wilson), the thick line its distance from the diagonal; ECE, the expected
    calibration error, is the mean of these distances over requests. Requests of which a node gave no score, or of which
    its score or loss was not recorded, are left out of its panel, which says how many they are.

    Parameters
    ----------
    traces : Traces
        Their signals are the confidences if they are the largest probability, or the user's own and in [0, 1]. Of other
        signals the largest probability is taken from the evidence. Losses lie in [0, 1]: accuracy is 1 - loss. Of
        graded losses the interval is wider than need be, as they vary less than errors of the same mean.
    path, title
        As for `front`.
    bins : int
        At least 1.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ImportError
        If matplotlib is missing.
    TypeError
        If `traces` are not `Traces` or `bins` is not an int.
    ValueError
        If the traces have no confidences or their losses are observed or above 1, there are more than 40 nodes, `bins`
        is less than 1 or more than 1000, or matplotlib does not know the format.
    """
    return saved(_picture(figure_class(), traces, bins, caption(title)), path)


def _picture(new_figure: type[Figure], traces: Traces, bins: int, title: str) -> Figure:
    confident = _confident(traces)
    whole = checks.whole("bins", bins, 1)
    if whole > MOST_BINS:
        raise ValueError(f"bins: expected at most {MOST_BINS}, got {checks.brief(whole)}")
    nodes = traces.topology.nodes
    few_enough("traces", nodes)
    answering = [j for j in range(nodes) if j not in confident.probes]
    judged = _judged(confident)
    panels = {
        j: Reliability.of(confident.signals[judged[:, j], j], confident.losses[judged[:, j], j], whole)
        for j in answering
        if judged[:, j].any()
    }
    columns = min(len(answering), _COLUMNS)
    rows = -(-len(answering) // columns)
    # Below all stands the legend, which needs more room than one panel has.
    width, height = max(1.95 * columns + 0.65, _NARROWEST), 2.35 * rows + (1.0 if title else 0.75)
    figure = new_figure(figsize=(width, height), dpi=150)
    grid = figure.add_gridspec(
        rows,
        columns,
        left=0.6 / width,
        right=1 - 0.1 / width,
        bottom=0.75 / height,
        top=1 - (0.55 if title else 0.25) / height,
        wspace=0.13,
        hspace=0.26,
    )
    # All panels show the same part of the square, to be compared: of two classes half of it would be empty.
    left = _tenth(min(float(confident.signals[judged[:, j], j].min()) for j in panels))
    bottom = min(left, *(_tenth(float(np.nanmin(each.accuracy))) for each in panels.values()))
    for k, node in enumerate(answering):
        row, column = divmod(k, columns)
        inner = grid[row, column].subgridspec(2, 1, height_ratios=(4, 1), hspace=0.1)
        diagram = figure.add_subplot(inner[0])
        histogram = figure.add_subplot(inner[1], sharex=diagram)
        diagram.set_title(f"node {node_label(node, confident.nodes)}", fontsize=9, loc="left")
        _draw_diagram(diagram, panels.get(node))
        if not judged[:, node].all():
            has_loss = not np.isnan(confident.losses[:, node]).any()
            _write_gaps(diagram, int(np.sum(~judged[:, node])), len(confident), has_loss)
        _draw_histogram(histogram, panels.get(node))
        diagram.set_xlim(left, 1)
        diagram.set_ylim(bottom, 1.02)
        if column:
            diagram.tick_params(labelleft=False)
            histogram.tick_params(labelleft=False)
        else:
            diagram.set_ylabel("accuracy" if are_rates(confident.losses) else "1 - loss", fontsize=8)
            histogram.set_ylabel("share", fontsize=8)
        if k + columns >= len(answering):
            histogram.set_xlabel("confidence", fontsize=8)
    _draw_legend(figure, "accuracy" if are_rates(confident.losses) else "1 - loss")
    if title:
        figure.text(0.1 / width, 1 - 0.1 / height, title, fontsize=11, va="top")
    return figure


def _confident(traces: Traces) -> Traces:
    """The traces with signals that say how likely a node is right."""
    checks.instance("traces", traces, Traces)
    if traces.observed:
        raise ValueError("traces: their losses are observed; reliability compares a confidence with the accuracy")
    if not traces.categories.keys() <= set(traces.probes):
        raise ValueError("traces: expected confidences as signals of nodes that answer, got categories")
    if traces.signal != "max_prob" and traces.evidence is not None:
        traces = traces.with_signal("max_prob")
    judged = _judged(traces)
    signals = traces.signals[judged]
    if not signals.size:
        raise ValueError("traces: expected confidences as signals, got none")
    if traces.signal not in ("", "max_prob") or signals.min() < 0 or signals.max() > 1:
        kind = traces.signal or f"{signals.min():g} to {signals.max():g}"
        raise ValueError(f"traces: expected confidences in [0, 1] as signals, got {kind} and no evidence")
    largest = float(traces.losses[judged].max())
    if largest > 1:
        raise ValueError(f"traces: expected losses in [0, 1], the largest is {largest:g}")
    return traces


def _judged(traces: Traces) -> npt.NDArray[np.bool_]:
    """Of which requests (N, n) a node that answers has a score and a loss."""
    judged: npt.NDArray[np.bool_] = ~np.isnan(traces.signals) & (traces.signals != NOTHING) & ~np.isnan(traces.losses)
    judged[:, list(traces.probes)] = False
    return judged


def _tenth(value: float) -> float:
    """The tenth below, and 0.9 for 1."""
    return float(np.floor(10 * min(value, 0.9))) / 10


def _draw_diagram(axes: Axes, panel: Reliability | None) -> None:
    axes.plot([0, 1], [0, 1], color="0.6", linewidth=1, linestyle="--")
    if panel is not None:
        _draw_bins(axes, panel)
    axes.tick_params(labelsize=7, labelbottom=False)
    axes.grid(color="0.9", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _draw_bins(axes: Axes, panel: Reliability) -> None:
    there = panel.counts > 0
    x, y = panel.confidence[there], panel.accuracy[there]
    axes.vlines(x, x, y, color=_ORANGE, linewidth=4, alpha=0.45)
    axes.vlines(x, panel.low[there], panel.high[there], color=_BLUE, linewidth=1)
    axes.plot(x, y, "o-", color=_BLUE, markersize=3.5, linewidth=1.4)
    axes.text(
        0.97, 0.05, f"ECE {panel.error:.3f}", transform=axes.transAxes, ha="right", fontsize=8.5, fontweight="bold"
    )


def _write_gaps(axes: Axes, count: int, rows: int, has_loss: bool) -> None:
    """Say how many requests are left out of a panel."""
    text = f"{count} of {rows} requests\nleft out: no score{'' if has_loss else ' or loss'}"
    axes.text(0.03, 0.97, text, transform=axes.transAxes, va="top", fontsize=7)


def _draw_legend(figure: Figure, measure: str) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=_BLUE, marker="o", markersize=3.5, linewidth=1.4, label=f"{measure}, 90% interval"),
        Line2D([], [], color=_ORANGE, linewidth=4, alpha=0.45, label="calibration error"),
        Line2D([], [], color="0.6", linewidth=1, linestyle="--", label=f"{measure} = confidence"),
    ]
    figure.legend(handles=handles, loc="lower center", ncols=3, frameon=False, fontsize=8)


def _draw_histogram(axes: Axes, panel: Reliability | None) -> None:
    from matplotlib.ticker import PercentFormatter

    if panel is not None:
        width = 1 / len(panel.counts)
        shares = panel.counts / panel.counts.sum()
        axes.bar((np.arange(len(panel.counts)) + 0.5) * width, shares, 0.9 * width, color="0.6")
    axes.set_ylim(0, 1)
    axes.set_yticks([0, 0.5])
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.tick_params(labelsize=7)
    axes.spines[["top", "right"]].set_visible(False)
