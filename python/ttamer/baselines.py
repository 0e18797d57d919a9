"""What people use today, and the bound no policy beats: walks over the same traces as a policy's replay.

Every walk takes `Traces` and returns a `Replay`, as `Policy.replay` does. What has a parameter to choose also
has a curve: a list of `Setting`, made from calibration rows, that can be replayed on any traces of the same
topology.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from ttamer import _checks, reference
from ttamer._climb import climb, thinned
from ttamer.evaluate import Replay
from ttamer.traces import Traces

__all__ = [
    "Setting",
    "fixed_node",
    "last_node",
    "node_thresholds",
    "patience",
    "patience_curve",
    "prophet",
    "threshold",
    "threshold_curve",
    "tune_thresholds",
]


@dataclass(frozen=True, eq=False)
class Setting:
    """A walk with its parameters chosen.

    Attributes
    ----------
    name : str
        E.g. ``"threshold max_prob >= 0.9"``.
    parameters : mapping
        The keyword arguments of the walk, besides the traces.
    replay : callable
        Takes `Traces`, returns `Replay`.
    """

    name: str
    parameters: Mapping[str, Any]
    replay: Callable[[Traces], Replay]


def last_node(traces: Traces) -> Replay:
    """Consult every node of a line and answer with the last: the full model.

    Raises
    ------
    ValueError
        If the topology is not a line.
    """
    _check_line(traces, "last_node")
    return fixed_node(traces, traces.topology.nodes - 1)


def fixed_node(traces: Traces, node: int) -> Replay:
    """Walk the cheapest way to one node, the same for every request, and answer with it.

    Raises
    ------
    TypeError
        If `node` is not an int.
    IndexError
        If it is out of range.
    """
    known = traces.topology.nodes
    if isinstance(node, bool) or not isinstance(node, (int, np.integer)):
        raise TypeError(f"node: expected an int, got {type(node).__name__}")
    if not 0 <= node < known:
        raise IndexError(f"node: {node} is out of range for {known} nodes")
    return _answered(traces, np.full(len(traces), node))


def threshold(traces: Traces, value: float, signal: str | None = None) -> Replay:
    """Walk a line and stop at the first node whose signal is at least `value`; the last node always stops.

    Parameters
    ----------
    traces : Traces
        On a line.
    value : float
        Compared in float32, as signals are recorded. Infinity never stops early.
    signal : str, optional
        ``"max_prob"``, ``"margin"`` or ``"entropy"`` (its negative), from the evidence if the traces' own
        signals are others. Default: the traces' own.

    Raises
    ------
    TypeError
        If `value` is not a number.
    ValueError
        If it is NaN, the signal is unknown or needs evidence that is not there, or the topology is not a
        line.
    """
    _check_line(traces, "threshold")
    limit = _to_float32(np.float64(_checks.real("value", value)))
    return _stopped(traces, _signals(traces, signal) >= limit)


def node_thresholds(traces: Traces, values: npt.ArrayLike) -> Replay:
    """Walk a line and stop at the first node whose signal is at least its own threshold.

    Parameters
    ----------
    traces : Traces
        On a line.
    values : (n - 1,) real numbers
        One for every node but the last, which always stops. Compared in float32; infinity never stops.

    Raises
    ------
    TypeError
        If `values` are not numbers.
    ValueError
        If there are not n - 1 of them, one is NaN, or the topology is not a line.
    """
    _check_line(traces, "node_thresholds")
    expected = f"({traces.topology.nodes - 1},) numbers, one a node but the last"
    limits = _checks.as_array("values", values, expected)
    _checks.check_shape("values", limits, (traces.topology.nodes - 1,), expected)
    unknown = np.isnan(limits)
    if unknown.any():
        raise ValueError(f"values: expected numbers, got nan{_checks.at(unknown, ('node',))}")
    stops = np.ones(traces.signals.shape, np.bool_)
    stops[:, :-1] = traces.signals[:, :-1] >= _to_float32(limits)
    return _stopped(traces, stops)


def patience(traces: Traces, k: int) -> Replay:
    """Walk a line and stop when `k` nodes in a row have each predicted the same as the node before (PABEE).

    A counter starts at 0 at the first node. At every further node it grows by one if the prediction is that
    of the node before, and falls back to 0 if not; the walk stops where it reaches `k`, or at the last node.
    So the first node at which it can stop is node `k`, after `k` + 1 equal predictions, and from `k` = n - 1
    on it saves nothing.

    Parameters
    ----------
    traces : Traces
        On a line, with predictions.
    k : int
        At least 1.

    Raises
    ------
    TypeError
        If `k` is not an int.
    ValueError
        If it is below 1, there are no predictions or the topology is not a line.

    References
    ----------
    Zhou et al., *BERT Loses Patience: Fast and Robust Inference with Early Exit*, arXiv 2006.04152.
    """
    _check_line(traces, "patience")
    wanted = _checks.whole("k", k, 1)
    if traces.predictions is None:
        raise ValueError("traces: patience needs predictions, and these traces have none")
    agrees = traces.predictions[:, 1:] == traces.predictions[:, :-1]
    stops = np.zeros(traces.signals.shape, np.bool_)
    count = np.zeros(len(traces), np.int64)
    for node in range(1, traces.topology.nodes):
        count = np.where(agrees[:, node - 1], count + 1, 0)
        stops[:, node] = count >= wanted
    return _stopped(traces, stops)


def prophet(traces: Traces, tradeoff: float) -> Replay:
    """The offline optimum: every request goes straight to the node that is best for it, all losses known.

    Minimises ``tradeoff * loss + (1 - tradeoff) * cost / cost_scale`` over nodes for each request; the cost
    is that of the cheapest walk to the node, the scale that of the costliest walk from the root (1 if that is
    0). Of equal nodes the lowest. No policy has a smaller mean of this (arXiv 2509.22992).

    Parameters
    ----------
    traces : Traces
        On any topology.
    tradeoff : float
        In (0, 1].

    Raises
    ------
    TypeError
        If `tradeoff` is not a number.
    ValueError
        If it is out of range.
    """
    weight = _checks.real("tradeoff", tradeoff)
    if not 0.0 < weight <= 1.0:
        raise ValueError(f"tradeoff: expected a number in (0, 1], got {weight}")
    scale = reference.costliest_path(traces.topology, traces.costs)
    value = weight * traces.losses.astype(np.float64) + (1.0 - weight) * (traces.reach_costs / scale)
    return _answered(traces, value.argmin(axis=1))


def threshold_curve(traces: Traces, signal: str | None = None, points: int = 120) -> list[Setting]:
    """Settings of one `threshold`, dense where confident nodes are.

    A third of the values are quantiles of all nodes' signals, a third are quantiles whose distance from the
    top falls geometrically, a third lie geometrically close to the largest signal, where a network that is
    sure of itself has most of its rows. The ends are kept: never stopping early, and always stopping at the
    first node.

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
    _check_line(traces, "threshold_curve")
    most = _checks.whole("points", points, 2)
    kind = signal or traces.signal or "signal"
    ordered = np.sort(_signals(traces, signal)[:, :-1], axis=None)
    if len(ordered) == 0:
        return [_threshold_setting(np.inf, signal, kind)]
    low, high = float(ordered[0]), float(ordered[-1])
    third = max(1, most // 3)
    ranks = np.append(
        np.linspace(0, len(ordered) - 1, most - 2 * third),
        len(ordered) - np.geomspace(1, len(ordered), third),
    )
    near = high - (high - low) * np.geomspace(1e-8, 1, third)
    values = np.append(ordered[np.rint(ranks).astype(np.intp)], near.astype(np.float32))
    # Each end takes a place, whatever lies between.
    between = np.unique(values[values > low])[::-1][: most - 2]
    return [_threshold_setting(value, signal, kind) for value in [np.inf, *between.tolist(), low]]


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
    _check_line(traces, "tune_thresholds")
    most = _checks.whole("points", points, 2)
    path = thinned(climb(traces.signals, traces.losses, traces.reach_costs), most)
    settings = []
    for step in path:
        values = tuple(step.thresholds.tolist())
        name = f"tuned thresholds {', '.join(f'{value:.4g}' for value in values)}"
        settings.append(Setting(name, {"values": values}, partial(node_thresholds, values=values)))
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
    _check_line(traces, "patience_curve")
    largest = min(_checks.whole("most", most, 1), max(traces.topology.nodes - 1, 1))
    return [Setting(f"patience {k}", {"k": k}, partial(patience, k=k)) for k in range(1, largest + 1)]


def _threshold_setting(value: float, signal: str | None, kind: str) -> Setting:
    parameters = {"value": value, "signal": signal}
    return Setting(f"threshold {kind} >= {value:.6g}", parameters, partial(threshold, value=value, signal=signal))


def _check_line(traces: Traces, walk: str) -> None:
    kind = traces.topology.kind
    if kind != "line":
        raise ValueError(f"traces: {walk} needs a line, got a {kind}; Traces.path makes a line of some nodes")


def _signals(traces: Traces, signal: str | None) -> npt.NDArray[np.float32]:
    return traces.signals if signal is None else traces.with_signal(signal).signals


def _to_float32(values: npt.ArrayLike) -> npt.NDArray[np.float32]:
    # What is beyond float32 becomes infinite, which no signal reaches or every signal does: just what was
    # meant.
    with np.errstate(over="ignore"):
        return np.asarray(values, np.float64).astype(np.float32)


def _stopped(traces: Traces, stops: npt.NDArray[np.bool_]) -> Replay:
    """Walk a line to the first node that stops, or to the last."""
    first = stops.argmax(axis=1)
    return _answered(traces, np.where(stops.any(axis=1), first, traces.topology.nodes - 1))


def _answered(traces: Traces, nodes: npt.NDArray[np.intp]) -> Replay:
    """Every request has walked the cheapest way to its node, and answers with it."""
    return Replay(
        last_node=nodes.astype(np.int32),
        answer_node=nodes.astype(np.int32),
        cost=traces.reach_costs[nodes],
        loss=traces.losses[np.arange(len(traces)), nodes].astype(np.float64),
    )
