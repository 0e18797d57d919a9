"""Costs of paths through a topology, and the order in which nodes follow each other."""

from __future__ import annotations

from collections.abc import Mapping

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


def costs_along(
    topology: Topology, costs: Floats, nodes: npt.NDArray[np.intp], units: Mapping[str, Floats]
) -> dict[str, Floats]:
    """What the path to each request's node of `nodes` (N,) costs in each unit: the path that is cheapest in `costs`."""
    if not units:
        return {}
    edges = np.full((topology.nodes + 1, topology.nodes), -1)
    for e, (i, j) in enumerate(topology.edges.tolist()):
        edges[i, j] = e
    rows = np.arange(len(nodes))
    predecessors = np.broadcast_to(cheapest_paths(topology, costs)[1], (len(nodes), topology.nodes))
    tables = {unit: np.broadcast_to(values, (len(nodes), len(topology.edges))) for unit, values in units.items()}
    paid = {unit: np.zeros(len(nodes)) for unit in units}
    here = nodes.copy()
    while (here != ROOT).any():
        before = predecessors[rows, here]
        passed = edges[before, here]
        for unit, values in tables.items():
            paid[unit] += np.where(here == ROOT, 0.0, values[rows, passed])
        here = np.where(here == ROOT, ROOT, before)
    return paid


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
    """Cost of the costliest path from the root: the default of the scale that costs are divided by; 1 if it is 0."""
    longest = float(costliest_paths(topology, costs))
    return longest if longest > 0 else 1.0


def costliest_paths(topology: Topology, costs: Floats) -> Floats:
    """Cost of the costliest path from the root, of (E,) costs or of each row of (N, E); linear in edges."""
    successors: list[list[tuple[int, int]]] = [[] for _ in range(topology.nodes + 1)]  # the root, -1, is the last
    for e, (i, j) in enumerate(topology.edges.tolist()):
        successors[i].append((j, e))
    ahead: list[Floats] = [np.zeros(costs.shape[:-1])] * topology.nodes
    for node in [*last_first(topology), ROOT]:
        with np.errstate(over="ignore"):  # what is infinite is refused where it is used
            paths = [costs[..., e] + ahead[j] for j, e in successors[node]]
        longest = np.max(paths, axis=0) if paths else np.zeros(costs.shape[:-1])
        if node == ROOT:
            return longest
        ahead[node] = longest
    raise AssertionError("the root is the last")
