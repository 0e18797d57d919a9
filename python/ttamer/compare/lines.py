"""Lines through the nodes of any topology, for ways to exit that can only follow a line."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from ttamer._base.types import ROOT, Floats
from ttamer.traces import Traces
from ttamer.traces.paths import cheapest_paths, last_first


def lines_through(traces: Traces) -> Iterator[tuple[list[int], list[int]]]:
    """Lines through the nodes that requests may follow, and their edges."""
    topology, costs = traces.topology, traces.costs
    edges = {(i, j): e for e, (i, j) in enumerate(topology.edges.tolist())}
    if topology.kind == "forest":
        # One edge into each node, in the order of the nodes; branches stay open, so that any order of theirs will do.
        parents = topology.edges[:, 0].tolist()
        leaves = [_ancestors(parents, leaf) for leaf in range(topology.nodes) if leaf not in parents]
        everything = _cheapest_first(parents, costs)
        for nodes in leaves if everything in leaves else [*leaves, everything]:
            yield nodes, nodes
        return
    order = last_first(topology)[::-1]
    through_all = all(edge in edges for edge in pairwise([ROOT, *order]))
    if through_all:
        yield order, [edges[edge] for edge in pairwise([ROOT, *order])]
    if topology.kind == "dag":
        predecessors = cheapest_paths(topology, costs)[1].tolist()
        for end in range(topology.nodes):
            nodes = _ancestors(predecessors, end)
            # The others' paths are the beginning of a longer one.
            if end not in predecessors and not (through_all and nodes == order):
                yield nodes, [edges[edge] for edge in pairwise([ROOT, *nodes])]


def line_of(traces: Traces, nodes: list[int], edges: list[int]) -> Traces:
    """The traces along a line; nodes on the way that cannot answer are paid for and left out."""
    if traces.topology.kind == "line" and not traces.probes:
        return traces
    answering = [k for k, node in enumerate(nodes) if node not in traces.probes]
    starts = [0, *(k + 1 for k in answering[:-1])]
    costs = np.add.reduceat(traces.paid_costs[..., edges[: answering[-1] + 1]], starts, axis=-1)
    return traces.path([nodes[k] for k in answering], costs)


def _ancestors(parents: list[int], node: int) -> list[int]:
    path = [node]
    while parents[path[0]] >= 0:
        path.insert(0, parents[path[0]])
    return path


def _cheapest_first(parents: list[int], costs: Floats) -> list[int]:
    """All nodes of a forest, always the cheapest one whose parent was consulted."""
    order: list[int] = []
    while len(order) < len(parents):
        open_nodes = [j for j, i in enumerate(parents) if j not in order and (i < 0 or i in order)]
        order.append(min(open_nodes, key=lambda j: costs[j]))
    return order
