"""Costs of paths through a topology, and the order in which nodes follow each other."""

from __future__ import annotations

import numpy as np

from ttamer._base.types import ROOT, Floats
from ttamer._core import Topology


def cheapest_paths(topology: Topology, costs: Floats) -> tuple[Floats, list[int]]:
    """Cost of the cheapest path from the root to each node, and each node's predecessor on it; linear in edges.

    Parameters
    ----------
    topology : Topology
    costs : (E,) float64
        In the topology's edge order, not negative.

    Returns
    -------
    costs : (n,) float64
        The edge into the node included.
    predecessors : list of int
        Of each node; -1 is the root.
    """
    successors = _successors(topology, costs)
    cheapest = np.full(topology.nodes + 1, np.inf)  # the root, -1, is the last
    cheapest[ROOT] = 0.0
    predecessors = [ROOT] * topology.nodes
    for i in [ROOT, *reversed(last_first(topology))]:
        for j, cost in successors[i]:
            if cheapest[i] + cost < cheapest[j]:
                cheapest[j], predecessors[j] = cheapest[i] + cost, i
    return cheapest[:-1], predecessors


def cheapest_costs(topology: Topology, costs: Floats) -> Floats:
    """Cost of the cheapest path from the root to each node, (N, n), for costs (N, E) of each request."""
    cheapest = np.full((len(costs), topology.nodes + 1), np.inf)  # the root, -1, is the last
    cheapest[:, ROOT] = 0.0
    leaving: list[list[tuple[int, int]]] = [[] for _ in range(topology.nodes + 1)]
    for e, (i, j) in enumerate(topology.edges.tolist()):
        leaving[i].append((e, j))
    for i in [ROOT, *reversed(last_first(topology))]:
        for e, j in leaving[i]:
            cheapest[:, j] = np.minimum(cheapest[:, j], cheapest[:, i] + costs[:, e])
    return cheapest[:, :-1]


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
    successors = _successors(topology, costs)
    ahead = [0.0] * topology.nodes
    for node in last_first(topology):
        ahead[node] = max((cost + ahead[j] for j, cost in successors[node]), default=0.0)
    longest = max(cost + ahead[j] for j, cost in successors[ROOT])
    return longest if longest > 0 else 1.0


def _successors(topology: Topology, costs: Floats) -> list[list[tuple[int, float]]]:
    """Successors of each node, the root's in the last place, with the cost of the edge to them."""
    successors: list[list[tuple[int, float]]] = [[] for _ in range(topology.nodes + 1)]
    for (i, j), cost in zip(topology.edges.tolist(), costs.tolist(), strict=True):
        successors[i].append((j, cost))
    return successors
