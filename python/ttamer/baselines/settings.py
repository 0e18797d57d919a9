"""Walks with stated parameters, and what all of them share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from ttamer._base import checks
from ttamer.policy import Replay
from ttamer.policy.replay import answered
from ttamer.traces import Traces, complete_traces
from ttamer.traces.paths import costliest_path


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


def setting_of(name: str, walk: Callable[..., Replay], **parameters: Any) -> Setting:
    """The setting of a walk with these parameters."""
    return Setting(name, parameters, partial(walk, **parameters))


def last_node(traces: Traces) -> Replay:
    """Consult every node of a line and answer with the last: the full model.

    Raises
    ------
    ValueError
        If the topology is not a line.
    """
    check_line(traces, "last_node")
    return fixed_node(traces, traces.topology.nodes - 1)


def fixed_node(traces: Traces, node: int) -> Replay:
    """Walk the cheapest way to one node, the same for every request, and answer with it.

    Raises
    ------
    TypeError
        If `node` is not an int.
    IndexError
        If it is out of range.
    ValueError
        If it cannot answer, or the traces are not complete.
    """
    nodes = complete_traces(traces).topology.nodes
    if isinstance(node, bool) or not isinstance(node, (int, np.integer)):
        raise TypeError(f"node: expected an int, got {type(node).__name__}")
    if not 0 <= node < nodes:
        raise IndexError(f"node: {checks.brief(node)} is out of range for {nodes} nodes")
    if node in traces.probes:
        raise ValueError(f"node: expected one that can answer, {node} cannot")
    return answered(traces, np.full(len(traces), node))


def threshold(traces: Traces, value: float, signal: str | None = None) -> Replay:
    """Walk a line and stop at the first node whose signal is at least `value`; the last node always stops.

    Parameters
    ----------
    traces : Traces
        On a line.
    value : float
        Compared in float32, as signals are recorded. Infinity never stops early.
    signal : str, optional
        One of `ttamer.traces.signals.SIGNALS`, from the evidence if the traces' own signals are others. Default: the
        traces' own.

    Raises
    ------
    TypeError
        If `value` is not a number.
    ValueError
        If it is NaN, the signal is unknown or needs evidence that is not there, or the topology is not a
        line.
    """
    check_line(traces, "threshold")
    limit = to_float32(np.float64(checks.real("value", value)))
    return stopped(traces, signals_of(traces, signal) >= limit)


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
    check_line(traces, "node_thresholds")
    expected = f"({traces.topology.nodes - 1},) numbers, one a node but the last"
    limits = checks.as_array("values", values, expected)
    checks.check_shape("values", limits, (traces.topology.nodes - 1,), expected)
    unknown = np.isnan(limits)
    if unknown.any():
        raise ValueError(f"values: expected numbers, got nan{checks.at(unknown, ('node',))}")
    stops = np.ones(traces.signals.shape, np.bool_)
    stops[:, :-1] = traces.signals[:, :-1] >= to_float32(limits)
    return stopped(traces, stops)


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
    check_line(traces, "patience")
    limit = checks.whole("k", k, 1)
    if traces.predictions is None:
        raise ValueError("traces: patience needs predictions, and these traces have none")
    answers = traces.predictions
    agrees = (answers[:, 1:] == answers[:, :-1]) & (answers[:, 1:] >= 0)  # -1 is no answer
    stops = np.zeros(traces.signals.shape, np.bool_)
    count = np.zeros(len(traces), np.int64)
    for node in range(1, traces.topology.nodes):
        count = np.where(agrees[:, node - 1], count + 1, 0)
        stops[:, node] = count >= limit
    return stopped(traces, stops)


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
    complete_traces(traces)
    weight = checks.real("tradeoff", tradeoff)
    if not 0.0 < weight <= 1.0:
        raise ValueError(f"tradeoff: expected a number in (0, 1], got {weight}")
    scale = costliest_path(traces.topology, traces.costs)
    value = weight * traces.losses.astype(np.float64) + (1.0 - weight) * (traces.request_reach_costs / scale)
    return answered(traces, value.argmin(axis=1))


def check_line(traces: Traces, walk: str) -> None:
    """Raise unless they are traces (TypeError), complete, on a line whose nodes can all answer (ValueError)."""
    kind = complete_traces(traces).topology.kind
    if kind != "line":
        raise ValueError(f"traces: {walk} needs a line, got a {kind}; Traces.path makes a line of some nodes")
    for node in traces.categories:
        raise ValueError(
            f"traces: {walk} needs signals that are numbers, those of node {traces._node_text(node)} are categories"
        )
    if traces.probes:
        raise ValueError(
            f"traces: {walk} needs nodes that can answer, {traces._node_text(traces.probes[0])} cannot; "
            "Traces.path makes a line without it"
        )


def signals_of(traces: Traces, signal: str | None) -> npt.NDArray[np.float32]:
    """The signals of a kind, (N, n); the traces' own if None."""
    return traces.signals if signal is None else traces.with_signal(signal).signals


def to_float32(values: npt.ArrayLike) -> npt.NDArray[np.float32]:
    """As signals are recorded; what is out of range is infinite."""
    # What is beyond float32 becomes infinite, which no signal reaches or every signal does: just what was meant.
    with np.errstate(over="ignore"):
        return np.asarray(values, np.float64).astype(np.float32)


def stopped(traces: Traces, stops: npt.NDArray[np.bool_]) -> Replay:
    """Walk a line to the first node that stops, or to the last."""
    first = stops.argmax(axis=1)
    return answered(traces, np.where(stops.any(axis=1), first, traces.topology.nodes - 1))
