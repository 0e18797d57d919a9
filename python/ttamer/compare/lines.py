"""Lines through the nodes of any topology, for ways to exit that can only follow a line."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from ttamer._base.types import ROOT, Floats
from ttamer.traces import Traces
from ttamer.traces.paths import cheapest_paths


def lines_through(traces: Traces) -> Iterator[tuple[list[int] | None, list[int]]]:
    """Lines through the nodes that requests may follow, and their edges; None stands for the traces' own."""
    topology, costs = traces.topology, traces.costs
    edges = {(i, j): e for e, (i, j) in enumerate(topology.edges.tolist())}
    if topology.kind == "line":
        yield None, list(range(topology.nodes))
    elif topology.kind == "skip":
        nodes = list(range(topology.nodes))
        yield nodes, [edges[j - 1, j] for j in nodes]
    elif topology.kind == "forest":
        # One edge into each node, in the order of the nodes; branches stay open, so that any order of theirs will do.
        parents = topology.edges[:, 0].tolist()
        leaves = [_ancestors(parents, leaf) for leaf in range(topology.nodes) if leaf not in parents]
        everything = _cheapest_first(parents, costs)
        for nodes in leaves if everything in leaves else [*leaves, everything]:
            yield nodes, nodes
    else:
        predecessors = cheapest_paths(topology, costs)[1].tolist()
        for end in range(topology.nodes):
            if end not in predecessors:  # the others' paths are the beginning of a longer one
                nodes = _ancestors(predecessors, end)
                yield nodes, [edges[edge] for edge in pairwise([ROOT, *nodes])]


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
