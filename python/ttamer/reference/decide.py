"""Deciding, one request at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ttamer.reference.fitting import states
from ttamer.reference.graph import ROOT, STOP
from ttamer.reference.policy import Tables

if TYPE_CHECKING:
    from ttamer import Traces


@dataclass
class Request:
    """Running state of one request: rank, node and signal of the best answer, and the node consulted last."""

    rank: int = np.iinfo(np.int32).max
    answer: int = -1
    signal: float = np.inf
    last: int = ROOT


def decide(tables: Tables, request: Request, node: int, state: int, signal: float, observed: bool) -> int:
    """Consult `node`, found in `state`; update the request and return the next node or STOP.

    With recall a smaller loss replaces the answer; equal losses keep the node consulted first or, with observed
    losses, the smaller signal (there the signal is the loss itself). Without recall the last node answers.
    """
    rank = int(tables.ranks[node][state])
    better = rank < request.rank or (rank == request.rank and observed and signal < request.signal)
    if not tables.recall or better:
        request.rank, request.answer, request.signal = rank, node, signal
    request.last = node
    return next(action for upper, action in tables.intervals[node][state] if request.rank <= upper)


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
    out: dict[str, npt.NDArray[Any]] = {
        "last_node": np.empty(len(traces), np.int32),
        "answer_node": np.empty(len(traces), np.int32),
        "cost": np.zeros(len(traces)),
        "loss": np.empty(len(traces)),
    }
    for row in range(len(traces)):
        request, node = Request(), tables.first_node
        while node != STOP:
            out["cost"][row] += traces.costs[edge_of[request.last, node]]
            signal = traces.signals[row, node]
            state = int(states(np.array([signal]), bin_edges[node])[0])
            node = decide(tables, request, node, state, float(signal), observed)
        out["last_node"][row], out["answer_node"][row] = request.last, request.answer
        out["loss"][row] = traces.losses[row, request.answer]
    return out
