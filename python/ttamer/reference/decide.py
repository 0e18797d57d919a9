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

NO_RANK = int(np.iinfo(np.int32).max)


@dataclass
class Request:
    """Running state of one request: rank, node and signal of the best answer, and the node consulted last.

    An answer without a rank is provisional: it is given only because no node has shown anything.
    """

    rank: int = NO_RANK
    answer: int = -1
    signal: float = np.inf
    last: int = ROOT
    open: dict[int, int] = field(default_factory=dict)
    """On forests: the rank of the index of each open node."""


def decide(
    tables: Tables, request: Request, node: int, state: int, signal: float, observed: bool, nan: str = "worst"
) -> int:
    """Consult `node`, found in `state`; update the request and return the next node or STOP.

    With recall a smaller loss replaces the answer; equal losses keep the node consulted first or, with observed
    losses, the smaller signal (there the signal is the loss itself). Without recall the last node that can answer does.

    A probe never answers, and while no other node has shown anything it goes on as if the best loss were inf. A node
    whose signal is NaN does not answer where another node has, nor ever under ``nan="failed"``.
    """
    if np.isnan(signal):
        return _miss(tables, request, node, state, nan)
    rank = int(tables.ranks[node][state])
    better = rank < request.rank or (rank == request.rank and observed and signal < request.signal)
    if _can_answer(tables, node) and (better or not tables.recall):
        request.rank, request.answer, request.signal = rank, node, signal
    request.last = node
    if tables.index_ranks is not None:
        return _next_open(tables, request, node, state, rank=request.rank)
    return _following(tables, node, state, request.rank)


def _can_answer(tables: Tables, node: int) -> bool:
    return bool(np.isfinite(tables.levels[tables.ranks[node][0]]))


def _following(tables: Tables, node: int, state: int, rank: int) -> int:
    """What a state says is next; its last interval reaches up to every rank."""
    intervals = tables.intervals[node][state]
    return next((action for upper, action in intervals if rank <= upper), intervals[-1][1])


def _miss(tables: Tables, request: Request, node: int, state: int, nan: str) -> int:
    """Consult a node that shows nothing: the answer stays, and its worst `state` says what is next.

    Without an answer the node's own is provisional under ``nan="worst"``. Otherwise the request does not stop where a
    node may follow: it goes where the worst of the node's states that go on does, or else to the lowest successor. A
    probe could not have answered: there nothing changes without an answer.
    """
    request.last = node
    own = tables.ranks[node]
    rank = request.rank
    if rank == NO_RANK and nan == "worst" and _can_answer(tables, node):
        request.answer, rank = node, int(own[state])
    if tables.index_ranks is not None:
        return _next_open(tables, request, node, state, rank)
    if rank != NO_RANK or not _can_answer(tables, node):
        return _following(tables, node, state, rank if tables.recall else int(own[state]))
    worst_first = sorted(range(len(own)), key=lambda s: -own[s])
    actions = [_following(tables, node, s, int(own[s])) for s in worst_first]
    lowest = min((j for j, _ in successors(tables.topology, node)), default=STOP)
    return next((action for action in actions if action != STOP), lowest)


def start(tables: Tables) -> Request:
    """A fresh request; on a forest the roots are open."""
    request = Request()
    if tables.index_ranks is not None:
        request.open = {j: int(tables.index_ranks[j][0]) for j, _ in successors(tables.topology, ROOT)}
    return request


def _next_open(tables: Tables, request: Request, node: int, state: int, rank: int) -> int:
    """Close the node, open its children, and take the smallest index (the lowest node among equals) or stop."""
    assert tables.index_ranks is not None
    del request.open[node]
    for child, _ in successors(tables.topology, node):
        row = tables.index_ranks[child]
        request.open[child] = int(row[state if len(row) > 1 else 0])
    if not request.open:
        return STOP
    lowest = min(request.open, key=lambda j: (request.open[j], j))
    return STOP if rank <= request.open[lowest] else lowest


def replay(
    tables: Tables,
    bin_edges: Sequence[npt.NDArray[np.float32]],
    traces: Traces,
    observed: bool,
    signal_nodes: Sequence[int] | None = None,
) -> dict[str, npt.NDArray[Any]]:
    """Run a policy over recorded traces, one request after the other.

    `signal_nodes` names the node whose signal tells each node's state, by default its own.

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
            costs = traces.costs if traces.request_costs is None else traces.request_costs[row]
            out["cost"][row] += costs[edge_of[before, node]]
            signal = traces.signals[row, node if signal_nodes is None else signal_nodes[node]]
            state = int(states(np.array([signal]), bin_edges[node])[0])
            node = decide(tables, request, node, state, float(signal), observed)
        out["last_node"][row], out["answer_node"][row] = request.last, request.answer
        out["loss"][row] = traces.losses[row, request.answer]
    return out
