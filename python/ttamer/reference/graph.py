"""Cascades as the reference sees them, and walking a topology."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

STOP = -1
ROOT = -1


class Topology(Protocol):
    """What the reference reads of a `ttamer.Topology`."""

    @property
    def kind(self) -> str:
        """line, skip, forest or dag."""

    @property
    def nodes(self) -> int:
        """Their number."""

    @property
    def edges(self) -> npt.NDArray[np.int32]:
        """(E, 2), -1 is the root."""


class Traces(Protocol):
    """What the reference reads of `ttamer.Traces`."""

    signals: npt.NDArray[np.float32]
    losses: npt.NDArray[np.float32]
    costs: npt.NDArray[Any]
    request_costs: npt.NDArray[Any] | None

    def __len__(self) -> int: ...


def successors(topology: Topology, i: int) -> list[tuple[int, int]]:
    """(node, edge) pairs that may follow i, lowest node first."""
    return sorted((int(j), e) for e, (k, j) in enumerate(topology.edges) if k == i)


def last_first(topology: Topology) -> list[int]:
    """All nodes, each after its successors."""
    after: list[set[int]] = [set() for _ in range(topology.nodes)]
    for i, j in topology.edges.tolist():
        if i != ROOT:
            after[i].add(j)
    done: dict[int, None] = {}
    while len(done) < topology.nodes:
        done.update({i: None for i in range(topology.nodes) if i not in done and after[i] <= done.keys()})
    return list(done)


def costliest_path(topology: Topology, costs: Floats) -> float:
    """Cost of the costliest walk from the root: what costs are divided by, unless told otherwise; 1 if that is 0."""
    ahead = [0.0] * topology.nodes
    for i in last_first(topology):
        ahead[i] = max((float(costs[e]) + ahead[j] for j, e in successors(topology, i)), default=0.0)
    longest = max(float(costs[e]) + ahead[j] for j, e in successors(topology, ROOT))
    return longest if longest > 0 else 1.0


def broadcast_rows(values: Floats, rows: int) -> Floats:
    """A child whose transitions do not depend on the state has one row; give it one a state."""
    return np.broadcast_to(values, (rows, values.shape[1]))
