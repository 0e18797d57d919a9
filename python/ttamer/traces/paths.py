"""Costs of paths through a topology, and the order in which nodes follow each other."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ttamer._base.types import ROOT, Floats
from ttamer._core import Topology


def cheapest_paths(topology: Topology, costs: Floats) -> tuple[Floats, npt.NDArray[np.intp]]:
    """Cost of the cheapest path from the root to each node, and each node's predecessor on it; linear in edges.

    Parameters
    ----------
    topology : Topology
    costs : (E,) or (N, E) float64
        In the topology's edge order, not negative: of all requests, or of each.

    Returns
    -------
    costs : (n,) or (N, n) float64
        The edge into the node included.
    predecessors : (n,) or (N, n) intp
        -1 is the root.
    """
    sources, targets = topology.edges.T
    by_source = np.argsort(sources, kind="stable")
    ends = np.searchsorted(sources[by_source], np.arange(ROOT, topology.nodes + 1))
    cheapest = np.full((*costs.shape[:-1], topology.nodes + 1), np.inf)  # the root, -1, is the last
    predecessors = np.full(cheapest.shape, ROOT, dtype=np.intp)
    cheapest[..., ROOT] = 0.0
    for i in [ROOT, *reversed(last_first(topology))]:
        edges = by_source[ends[i + 1] : ends[i + 2]]
        after = targets[edges]
        through = cheapest[..., i, None] + costs[..., edges]
        predecessors[..., after] = np.where(through < cheapest[..., after], i, predecessors[..., after])
        cheapest[..., after] = np.minimum(through, cheapest[..., after])
    return cheapest[..., :-1], predecessors[..., :-1]


def last_first(topology: Topology) -> list[int]:
    """All nodes, each after its successors; linear in edges."""
    before: list[list[int]] = [[] for _ in range(topology.nodes)]
    successors_left = [0] * topology.nodes
    for i, j in topology.edges.tolist():
        if i != ROOT:
            before[j].append(i)
            successors_left[i] += 1
    order = [node for node in range(topology.nodes) if successors_left[node] == 0]
    for node in order:  # grows as nodes come free
        for i in before[node]:
            successors_left[i] -= 1
            if successors_left[i] == 0:
                order.append(i)
    return order


def always_before(topology: Topology) -> list[int]:
    """The last node that every path from the root to each node passes, -1 where there is none: its dominator."""
    predecessors: list[list[int]] = [[] for _ in range(topology.nodes)]
    for i, j in topology.edges.tolist():
        predecessors[j].append(i)
    before, depth = [ROOT] * (topology.nodes + 1), [0] * (topology.nodes + 1)  # the root, -1, is the last
    for node in reversed(last_first(topology)):
        common, *others = predecessors[node]
        for other in others:
            while common != other:
                if depth[common] >= depth[other]:
                    common = before[common]
                else:
                    other = before[other]
        before[node], depth[node] = common, depth[common] + 1
    return before[:-1]


def costliest_path(topology: Topology, costs: Floats) -> float:
    """Cost of the costliest path from the root: the default of the scale that costs are divided by; 1 if it is 0.

    Linear in edges.
    """
    successors: list[list[tuple[int, float]]] = [[] for _ in range(topology.nodes + 1)]  # the root, -1, is the last
    for (i, j), cost in zip(topology.edges.tolist(), costs.tolist(), strict=True):
        successors[i].append((j, cost))
    ahead = [0.0] * topology.nodes
    for node in last_first(topology):
        ahead[node] = max((cost + ahead[j] for j, cost in successors[node]), default=0.0)
    longest = max(cost + ahead[j] for j, cost in successors[ROOT])
    return longest if longest > 0 else 1.0
