"""Backward induction on lines, skips and dags."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ttamer.reference.graph import ROOT, STOP, Topology, broadcast_rows, last_first, successors
from ttamer.reference.levels import snap_tolerance

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Induction:
    """Result of backward induction: ``best[i]`` is (K_i, m) continuation values, ``choice[i]`` the node they go to."""

    columns: Floats
    value: float
    first_node: int
    best: list[Floats]
    choice: list[Integers]


def induction(
    topology: Topology,
    losses: Sequence[Floats],
    transitions: Sequence[Floats],
    costs: Sequence[Floats],
    recall: bool,
) -> Induction:
    """Backward induction over the losses that can be attained; any walk (line, skip, dag).

    ``Phi(X, s, i) = min(X, min over successors j of c_ij + E[Phi(min(X, R_j), ., j) | s])``. X, the best loss so far,
    only takes values of losses, or infinity before the first node that can answer, so the columns are these. Without
    recall nothing is carried from node to node, and infinity is the only column.

    A probe, a node that cannot answer, has loss inf in every state. So it leaves X as it is, and stopping is worth inf
    while X is, and without recall at every probe.

    Parameters are those of `surrogates`, for any walk. Equal continuations (to `SNAP`) go to the lowest node.
    """
    levels = np.unique(np.concatenate(losses))
    columns = np.unique(np.append(levels, np.inf)) if recall else np.array([np.inf])
    tolerance = snap_tolerance(levels)
    ahead: list[Floats] = [np.empty((0, 0))] * topology.nodes
    best: list[Floats] = [np.empty((0, 0))] * topology.nodes
    choice: list[Integers] = [np.empty((0, 0), np.int64)] * topology.nodes

    def continuations(i: int, rows: int) -> tuple[Floats, Integers]:
        """Value of the best successor of i, (rows, m), and which one; infinity and STOP where there is none."""
        value = np.full((rows, len(columns)), np.inf)
        node = np.full((rows, len(columns)), STOP)
        for j, e in successors(topology, i):
            consult = broadcast_rows(np.reshape(costs[e], (-1, 1)) + _expected(transitions[e], ahead[j]), rows)
            node = np.where(consult < value - tolerance, j, node)
            value = np.minimum(consult, value)
        return value, node

    for i in last_first(topology):
        best[i], choice[i] = continuations(i, len(losses[i]))
        own = np.searchsorted(columns, losses[i])[:, None] if recall else np.zeros((len(losses[i]), 1), np.int64)
        carried = np.minimum(np.arange(len(columns)), own)
        stop = columns[carried] if recall else losses[i][:, None]
        ahead[i] = np.minimum(stop, np.take_along_axis(best[i], carried, axis=1))
    value, node = continuations(ROOT, 1)
    return Induction(columns, float(value[0, -1]), int(node[0, -1]), best, choice)


def _expected(transition: Floats, values: Floats) -> Floats:
    """P times values. A column without a way to an answer is inf in every state, and then in every row."""
    hopeless = np.isinf(values).any(axis=0)
    return np.where(hopeless, np.inf, transition @ np.where(hopeless, 0.0, values))
