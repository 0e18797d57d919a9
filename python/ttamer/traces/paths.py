"""Costs of paths through a topology, and the order in which nodes follow each other."""

from __future__ import annotations

import numpy as np

from ttamer._base.types import ROOT, Floats
from ttamer._core import Topology


def reach_costs(topology: Topology, costs: Floats) -> Floats:
    """Cost of the cheapest walk from the root to each node, the edge into the node included.

    Parameters
    ----------
    topology : Topology
    costs : (E,) float64
        In the topology's edge order, not negative.

    Returns
    -------
    (n,) float64
    """
    sources, targets = topology.edges[:, 0], topology.edges[:, 1]
    # The root, -1, is the last element.
    cheapest = np.full(topology.nodes + 1, np.inf)
    cheapest[-1] = 0.0
    # Bellman's relaxation settles after as many rounds as the longest of the cheapest walks has edges.
    while True:
        further = cheapest.copy()
        np.minimum.at(further, targets, cheapest[sources] + costs)
        if np.array_equal(further, cheapest):
            return cheapest[:-1]
        cheapest = further


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
