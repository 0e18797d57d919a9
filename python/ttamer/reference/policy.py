"""The tables of a policy, from a solved cascade."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ttamer.reference.graph import ROOT, STOP, Topology, successors
from ttamer.reference.index import surrogates
from ttamer.reference.levels import snap, snap_tolerance
from ttamer.reference.walk import Induction, induction

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Tables:
    """A policy.

    On walks ``intervals[i][s]`` is a list of (upper, next): with the best loss so far at rank X, the first entry with
    ``X <= upper`` names the node to consult next, or STOP. On forests ``index_ranks[v]`` is the rank of the dynamic
    index of node v for each state of its parent.
    """

    topology: Topology
    recall: bool
    value: float
    first_node: int
    levels: Floats
    ranks: list[Integers]
    intervals: list[list[list[tuple[int, int]]]]
    index: list[Floats] | None
    index_ranks: list[Integers] | None


def solve(
    topology: Topology,
    losses: Sequence[Floats],
    transitions: Sequence[Floats],
    costs: Sequence[Floats],
    tradeoff: float,
    recall: bool,
    cost_scale: float,
) -> Tables:
    """Optimal policy. On a forest with recall only.

    Parameters
    ----------
    topology : Topology
    losses, transitions : as `surrogates`
        A probe's states have losses of inf; the last level is then inf, and a rank as any other.
    costs : E numbers, or arrays (K_i,) with one for each state of the node that the edge leaves
        In the user's unit.
    tradeoff : float
        In (0, 1].
    recall : bool
        Whether the answer is the best node consulted so far (True) or the last one (False).
    cost_scale : float
        What costs are divided by.
    """
    weighted = [np.asarray(cost) * ((1 - tradeoff) / tradeoff / cost_scale) for cost in costs]
    levels = np.unique(np.concatenate(losses))
    if topology.kind == "forest":
        return _forest(topology, losses, levels, surrogates(topology, losses, transitions, weighted), tradeoff)
    solved = induction(topology, losses, transitions, weighted, recall)
    ranks = [np.searchsorted(levels, row) for row in losses]
    intervals = [
        [_envelope(solved, levels, i, s, int(ranks[i][s]), recall) for s in range(len(losses[i]))]
        for i in range(topology.nodes)
    ]
    index = surrogates(topology, losses, transitions, weighted)[0] if recall and topology.kind == "line" else None
    return Tables(topology, recall, tradeoff * solved.value, solved.first_node, levels, ranks, intervals, index, None)


def _forest(
    topology: Topology, losses: Sequence[Floats], levels: Floats, solved: tuple[list[Floats], float], tradeoff: float
) -> Tables:
    """Losses and indices are compared with each other when deciding, so both get ranks among all of them."""
    index = snap(levels, solved[0])
    every = np.unique(np.concatenate([levels, *index]))
    roots = [j for j, _ in successors(topology, ROOT)]
    first = min(roots, key=lambda j: (index[j][0], j))
    ranks = [np.searchsorted(every, row) for row in losses]
    index_ranks = [np.searchsorted(every, row) for row in index]
    return Tables(topology, True, tradeoff * solved[1], first, every, ranks, [], solved[0], index_ranks)


def _envelope(solved: Induction, levels: Floats, i: int, s: int, own: int, recall: bool) -> list[tuple[int, int]]:
    """Best action by rank of X, from 0 to the state's own rank, equal neighbours merged."""
    tolerance = snap_tolerance(levels)
    merged: list[tuple[int, int]] = []
    for rank in range(own + 1) if recall else [own]:
        column = rank if recall else 0
        stay = levels[rank] <= solved.best[i][s, column] + tolerance
        action = STOP if stay else int(solved.choice[i][s, column])
        if merged and merged[-1][1] == action:
            merged.pop()
        merged.append((rank, action))
    return merged
