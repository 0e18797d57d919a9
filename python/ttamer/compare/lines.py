"""Lines through the nodes of any topology, for walks that can only follow a line."""

from __future__ import annotations

from collections.abc import Iterator

from ttamer._base.types import ROOT, Floats
from ttamer.traces import Traces


def lines_through(traces: Traces) -> Iterator[tuple[list[int] | None, Floats]]:
    """Lines through the nodes that a walk may follow, with what each step costs; None stands for the traces' own."""
    topology, costs = traces.topology, traces.costs
    edges = {(i, j): e for e, (i, j) in enumerate(topology.edges.tolist())}
    if topology.kind == "line":
        yield None, costs
    elif topology.kind == "skip":
        nodes = list(range(topology.nodes))
        yield nodes, costs[[edges[j - 1, j] for j in nodes]]
    elif topology.kind == "forest":
        # One edge into each node, in the order of the nodes; branches stay open, so that any order of theirs will do.
        parents = topology.edges[:, 0].tolist()
        leaves = [_ancestors(parents, leaf) for leaf in range(topology.nodes) if leaf not in parents]
        everything = _cheapest_first(parents, costs)
        for nodes in leaves if everything in leaves else [*leaves, everything]:
            yield nodes, costs[nodes]
    else:
        for nodes in _cheapest_walks(topology.nodes, edges, costs):
            yield nodes, costs[[edges[step] for step in zip([ROOT, *nodes[:-1]], nodes, strict=True)]]


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


def _cheapest_walks(count: int, edges: dict[tuple[int, int], int], costs: Floats) -> list[list[int]]:
    """The cheapest walk to each node of a dag that is not a part of another one."""
    best: dict[int, tuple[float, list[int]]] = {ROOT: (0.0, [])}
    for _ in range(count):
        for (i, j), edge in edges.items():
            if i in best:
                cost = best[i][0] + float(costs[edge])
                if j not in best or cost < best[j][0]:
                    best[j] = cost, [*best[i][1], j]
    walks = [nodes for node, (_, nodes) in sorted(best.items()) if node >= 0]
    return [walk for walk in walks if not any(walk == other[: len(walk)] for other in walks if other is not walk)]
