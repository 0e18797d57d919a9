"""Lines through the nodes of any topology, for ways to exit that can only follow a line."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from ttamer._base.hull import lower_hull
from ttamer._base.types import ROOT, Floats
from ttamer.baselines.sweep import sweep
from ttamer.fitting.chains import orders
from ttamer.fitting.sets import promising
from ttamer.traces import Traces
from ttamer.traces.paths import cheapest_paths, last_first

Line = tuple[list[int], list[int]]
"""Nodes, and the edges that lead to them."""
MOST_LINES = 8
"""Independent models have many orders; those on which one threshold does best are tried with everything."""


def lines_through(traces: Traces) -> Iterator[Line]:
    """Lines through the nodes that requests may follow, and their edges; on each a node can answer."""
    topology, costs = traces.topology, traces.costs
    edges = {(i, j): e for e, (i, j) in enumerate(topology.edges.tolist())}
    if traces.independent:
        into = {j: e for (_, j), e in edges.items()}  # what a model costs does not depend on what was asked before it
        cheapest_first = tuple(sorted(traces._answering, key=lambda j: traces.reach_costs[j]))
        for models in dict.fromkeys([cheapest_first, *orders(promising(traces))]):
            yield list(models), [into[model] for model in models]
        return
    if topology.kind == "forest":
        # One edge into each node, in the order of the nodes; branches stay open, so that any order of theirs will do.
        parents = topology.edges[:, 0].tolist()
        worth = sorted({node for answer in traces._answering for node in _ancestors(parents, answer)})
        inner = {parents[node] for node in worth}
        leaves = [_ancestors(parents, leaf) for leaf in worth if leaf not in inner]
        everything = _cheapest_first(worth, parents, costs)
        for nodes in leaves if everything in leaves else [*leaves, everything]:
            yield nodes, nodes
        return
    order = last_first(topology)[::-1]
    answering = [node for node in order if node not in traces.probes]
    whole = [
        nodes
        for nodes in ([order, answering] if traces.probes else [order])
        if all(edge in edges for edge in pairwise([ROOT, *nodes]))
    ]
    for nodes in whole:
        yield nodes, [edges[edge] for edge in pairwise([ROOT, *nodes])]
    if topology.kind == "dag":
        predecessors = cheapest_paths(topology, costs)[1].tolist()
        for end in range(topology.nodes):
            nodes = _ancestors(predecessors, end)
            # The others' paths are the beginning of a longer one; probes alone answer nothing.
            if end not in predecessors and nodes not in whole and not set(nodes) <= set(traces.probes):
                yield nodes, [edges[edge] for edge in pairwise([ROOT, *nodes])]


def line_of(traces: Traces, nodes: list[int], edges: list[int]) -> Traces:
    """The traces along a line; nodes on the way that cannot answer are paid for and left out."""
    if traces.topology.kind == "line" and not traces.probes:
        return traces
    answering = [k for k, node in enumerate(nodes) if node not in traces.probes]
    starts = [0, *(k + 1 for k in answering[:-1])]
    costs = np.add.reduceat(traces.paid_costs[..., edges[: answering[-1] + 1]], starts, axis=-1)
    return traces.path([nodes[k] for k in answering], costs)


def best_lines(traces: Traces, budgets: Floats) -> list[Line]:
    """The lines to try on these rows: all, or of independent models those on which one threshold does best."""
    lines = list(lines_through(traces))
    if not traces.independent or len(lines) <= MOST_LINES:
        return lines
    alone = traces.request_reach_costs.mean(axis=0), traces.losses.mean(axis=0, dtype=np.float64)
    errors = []
    for nodes, edges in lines:
        line = line_of(traces, nodes, edges)
        outcomes = sweep(line.signals, line.losses, line.request_reach_costs)
        cost = np.append(outcomes.cost, alone[0][traces._answering])
        error = np.append(outcomes.loss, alone[1][traces._answering])
        hull = lower_hull(cost, error)
        errors.append(np.interp(budgets, cost[hull], error[hull]).mean())
    return [lines[k] for k in np.argsort(errors, kind="stable")[:MOST_LINES]]


def _ancestors(parents: list[int], node: int) -> list[int]:
    path = [node]
    while parents[path[0]] >= 0:
        path.insert(0, parents[path[0]])
    return path


def _cheapest_first(nodes: list[int], parents: list[int], costs: Floats) -> list[int]:
    """These nodes of a forest, always the cheapest one whose parent was consulted."""
    order: list[int] = []
    while len(order) < len(nodes):
        open_nodes = [j for j in nodes if j not in order and (parents[j] < 0 or parents[j] in order)]
        order.append(min(open_nodes, key=lambda j: costs[j]))
    return order
