"""Thresholds on what nodes say of themselves, and patience, each with its curve."""

from __future__ import annotations

from ttamer._base import checks
from ttamer.baselines.climb import climb, thinned
from ttamer.baselines.settings import Setting, check_line, node_thresholds, patience, setting_of, signals_of, threshold
from ttamer.baselines.sweep import sweep
from ttamer.traces import Traces


def threshold_curve(traces: Traces, signal: str | None = None, points: int = 120) -> list[Setting]:
    """Settings of one `threshold`.

    All thresholds that make a difference on the calibration rows are tried, so that the curve is as dense as the rows
    are, near the largest signal too. Kept are the vertices of the lower hull of cost and error, others evenly spread
    along the curve, and its ends: never stopping early, and always stopping at the first node.

    Parameters
    ----------
    traces : Traces
        Calibration rows, on a line.
    signal : str, optional
        As in `threshold`.
    points : int
        How many settings at most, at least 2.

    Returns
    -------
    list of Setting
        By descending threshold.
    """
    check_line(traces, "threshold_curve")
    most = checks.whole("points", points, 2)
    kind = signal or traces.signal or "signal"
    outcomes = sweep(signals_of(traces, signal), traces.losses, traces.request_reach_costs)
    return [
        setting_of(f"threshold {kind} >= {value:.6g}", threshold, value=value, signal=signal)
        for value in outcomes.chosen(most)
    ]


def tune_thresholds(traces: Traces, points: int = 120) -> list[Setting]:
    """Settings of `node_thresholds`, tuned greedily on the traces' own signals, as Apparate tunes its ramps.

    Parameters
    ----------
    traces : Traces
        Calibration rows, on a line.
    points : int
        How many settings at most, at least 2; the climb's path is thinned to these.

    Returns
    -------
    list of Setting
        By descending cost, from never stopping early on.

    References
    ----------
    Dai et al., *Apparate: Rethinking Early Exits to Tame Latency-Throughput Tensions in ML Serving*,
    arXiv 2312.05385.
    """
    check_line(traces, "tune_thresholds")
    most = checks.whole("points", points, 2)
    path = thinned(climb(traces.signals, traces.losses, traces.request_reach_costs), most)
    settings = []
    for position in path:
        values = tuple(position.thresholds.tolist())
        name = f"tuned thresholds {', '.join(f'{value:.4g}' for value in values)}"
        settings.append(setting_of(name, node_thresholds, values=values))
    return settings


def patience_curve(traces: Traces, most: int = 4) -> list[Setting]:
    """Settings of `patience`: k = 1 to `most`, without those that a line this short cannot use.

    Parameters
    ----------
    traces : Traces
        On a line.
    most : int
        At least 1.
    """
    check_line(traces, "patience_curve")
    largest = min(checks.whole("most", most, 1), max(traces.topology.nodes - 1, 1))
    return [setting_of(f"patience {k}", patience, k=k) for k in range(1, largest + 1)]
