"""Deciding, one request at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from ttamer.reference.fitting import states
from ttamer.reference.graph import ROOT, STOP, Traces, successors
from ttamer.reference.policy import Tables


@dataclass
class Request:
    """Running state of one request: rank, node and signal of the best answer, and the node consulted last."""

    rank: int = np.iinfo(np.int32).max
    answer: int = -1
    signal: float = np.inf
    last: int = ROOT
    open: dict[int, int] = field(default_factory=dict)
    """On forests: the rank of the index of each open node."""


def decide(tables: Tables, request: Request, node: int, state: int, signal: float, observed: bool) -> int:
    """Consult `node`, found in `state`; update the request and return the next node or STOP.

    With recall a smaller loss replaces the answer; equal losses keep the node consulted first or, with observed
    losses, the smaller signal (there the signal is the loss itself). NaN, whose state is `worst_state`, counts as an
    infinite signal: of equal losses it answers last. Without recall the last node answers.
    """
    signal = np.inf if np.isnan(signal) else signal
    rank = int(tables.ranks[node][state])
    better = rank < request.rank or (rank == request.rank and observed and signal < request.signal)
    if not tables.recall or better:
        request.rank, request.answer, request.signal = rank, node, signal
    request.last = node
    if tables.index_ranks is not None:
        return _next_open(tables, request, node, state)
    return next(action for upper, action in tables.intervals[node][state] if request.rank <= upper)


def start(tables: Tables) -> Request:
    """A fresh request; on a forest the roots are open."""
    request = Request()
    if tables.index_ranks is not None:
        request.open = {j: int(tables.index_ranks[j][0]) for j, _ in successors(tables.topology, ROOT)}
    return request


def _next_open(tables: Tables, request: Request, node: int, state: int) -> int:
    """Close the node, open its children, and take the smallest index (the lowest node among equals) or stop."""
    assert tables.index_ranks is not None
    del request.open[node]
    for child, _ in successors(tables.topology, node):
        row = tables.index_ranks[child]
        request.open[child] = int(row[state if len(row) > 1 else 0])
    if not request.open:
        return STOP
    lowest = min(request.open, key=lambda j: (request.open[j], j))
    return STOP if request.rank <= request.open[lowest] else lowest


def replay(
    tables: Tables, bin_edges: Sequence[npt.NDArray[np.float32]], traces: Traces, observed: bool
) -> dict[str, npt.NDArray[Any]]:
    """Run a policy over recorded traces, one request after the other.

    Returns
    -------
    dict
        (N,) arrays ``last_node``, ``answer_node``, ``cost`` (the traces' unit) and ``loss`` (the answer's recorded
        loss).
    """
    edge_of = {(int(i), int(j)): e for e, (i, j) in enumerate(tables.topology.edges)}
    parents = {int(j): int(i) for i, j in tables.topology.edges}
    out: dict[str, npt.NDArray[Any]] = {
        "last_node": np.empty(len(traces), np.int32),
        "answer_node": np.empty(len(traces), np.int32),
        "cost": np.zeros(len(traces)),
        "loss": np.empty(len(traces)),
    }
    for row in range(len(traces)):
        request, node = start(tables), tables.first_node
        while node != STOP:
            # On a forest a node is reached from its parent, which need not be the node consulted last.
            before = parents[node] if tables.index_ranks is not None else request.last
            out["cost"][row] += traces.costs[edge_of[before, node]]
            signal = traces.signals[row, node]
            state = int(states(np.array([signal]), bin_edges[node])[0])
            node = decide(tables, request, node, state, float(signal), observed)
        out["last_node"][row], out["answer_node"][row] = request.last, request.answer
        out["loss"][row] = traces.losses[row, request.answer]
    return out
