"""Information sets: where a policy that estimates may be, and what leads from one to another.

A step of such a policy is an information set: the nodes consulted so far and the last of them. It alone says which
nodes were seen, so its estimate can be made of all of them, and deciding over steps needs no other memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from ttamer._base import checks
from ttamer._base.types import ROOT
from ttamer._core import Topology

Order: TypeAlias = tuple[int, ...]

MOST_STEPS = 256


@dataclass(frozen=True, eq=False)
class SetGraph:
    """Steps and the edges between them, numbered so that every edge leads to a later step.

    Attributes
    ----------
    last : (V,) int32
        Node consulted last at each step.
    sets : tuple of V tuples of int
        Nodes consulted at each step, the last one included: on an order in that order, else ascending.
    edges : (E', 2) int32
        Between steps; -1 is the root.
    outer : (E',) int32
        For each of these, the edge of the traces' topology whose cost is paid.
    order : tuple of int, or None
        The order in which the nodes of a forest are consulted; None if there is more than one way to go, or the
        topology says it.
    """

    last: npt.NDArray[np.int32]
    sets: tuple[tuple[int, ...], ...]
    edges: npt.NDArray[np.int32]
    outer: npt.NDArray[np.int32]
    order: Order | None

    @property
    def names(self) -> tuple[str, ...]:
        """What steps are called: by the last node, ``2``, and with others open by all of them, ``0,3>2``."""
        alone = self.topology.kind == "line"
        names = []
        for nodes, last in zip(self.sets, self.last.tolist(), strict=True):
            before = "" if alone else ",".join(str(node) for node in nodes if node != last)
            names.append(f"{before}>{last}" if before else str(last))
        return tuple(names)

    @property
    def topology(self) -> Topology:
        """Topology : of the steps, a line or a dag."""
        steps = len(self.last)
        if self.edges[:, 0].tolist() == list(range(-1, steps - 1)):
            return Topology.line(steps)
        return Topology.dag(steps, self.edges.tolist())


def set_graph(topology: Topology, order: Sequence[int] | None = None) -> SetGraph:
    """The graph that estimates on a topology are made for.

    Parameters
    ----------
    topology : Topology
    order : sequence of int, optional
        Of a forest: nodes to consult, each at most once and after its parent; a request may stop anywhere. By default
        every order of every subset is open, as on skips and dags.

    Raises
    ------
    ValueError
        If the order is not one of the topology, or there are more than 256 pairs of a consulted set and a last node.
    IndexError
        If a node of the order is out of range.
    """
    if order is not None:
        return _along(topology, check_order(topology, order))
    if topology.kind == "line":
        return _along(topology, tuple(range(topology.nodes)))
    return _pairs(topology)


def graph_of_steps(
    topology: Topology,
    sets: Sequence[Order],
    last: npt.NDArray[np.int32],
    edges: npt.NDArray[np.int32],
    independent: bool,
) -> SetGraph:
    """The graph of stated steps.

    Parameters
    ----------
    topology : Topology
        Of the traces.
    sets : V sequences of int
    last : (V,) int32
    edges : (E', 2) int32
        Between steps.
    independent : bool
        Whether nodes cost the same wherever they are consulted from, in any order. Else every edge between steps is one
        of the topology.

    Raises
    ------
    ValueError
        If it is not.
    """
    pairs = {(i, j): e for e, (i, j) in enumerate(topology.edges.tolist())}
    into = {j: e for (_, j), e in reversed(pairs.items())}  # the first edge into each node
    anywhere = independent or topology.kind == "forest"
    outer = []
    for before, after in edges.tolist():
        node = int(last[after])
        edge = into[node] if anywhere else pairs.get((ROOT if before < 0 else int(last[before]), node))
        if edge is None:
            raise ValueError(f"edges: expected steps along the topology's edges, got one from step {before} to {after}")
        outer.append(edge)
    return SetGraph(
        last=np.asarray(last, np.int32),
        sets=tuple(tuple(nodes) for nodes in sets),
        edges=np.ascontiguousarray(edges, np.int32),
        outer=np.array(outer, dtype=np.int32),
        order=None,
    )


def check_order(topology: Topology, order: Sequence[int]) -> Order:
    """Nodes of a forest, each once and after its parent.

    Raises
    ------
    TypeError, ValueError, IndexError
        If they are not; the first that does not fit is named.
    """
    if topology.kind != "forest":
        raise ValueError(f"order: expected None on a {topology.kind}, where the edges say it, got {order!r}")
    if np.ndim(order) != 1 or len(order) == 0:
        raise ValueError(f"order: expected at least one node, got {order!r}")
    nodes = checks.integers("order", order, "a sequence of nodes")
    parents, earlier = topology.edges[:, 0].tolist(), {ROOT}
    for node in nodes.tolist():
        if not 0 <= node < topology.nodes:
            raise IndexError(f"order: {node} is out of range for {topology.nodes} nodes")
        if node in earlier:
            raise ValueError(f"order: expected each node at most once, got {nodes.tolist()}")
        if parents[node] not in earlier:
            raise ValueError(f"order: expected node {parents[node]} before {node}, got {nodes.tolist()}")
        earlier.add(node)
    return tuple(nodes.tolist())


def orders(topology: Topology) -> list[Order]:
    """All orders of all subsets of a forest's nodes that consult parents first, short ones first."""
    parents = topology.edges[:, 0].tolist()
    nodes = range(topology.nodes)
    return [
        order
        for length in range(1, topology.nodes + 1)
        for order in permutations(nodes, length)
        if all(parents[node] in (ROOT, *order[:k]) for k, node in enumerate(order))
    ]


def _along(topology: Topology, order: Order) -> SetGraph:
    steps = np.arange(len(order), dtype=np.int32)
    last = np.array(order, dtype=np.int32)
    return SetGraph(
        last=last,
        sets=tuple(order[: k + 1] for k in range(len(order))),
        edges=np.stack([steps - 1, steps], axis=1),
        # On lines and forests the edge into a node has the node's number.
        outer=last,
        order=None if topology.kind == "line" else order,
    )


def _pairs(topology: Topology) -> SetGraph:
    """Every (consulted set, last node) that can be reached, small sets first."""
    successors = _Successors(topology)
    layer: list[tuple[Order, int]] = [((j,), j) for j, _ in successors(ROOT, ())]
    pairs: list[tuple[Order, int]] = []
    while layer:
        if len(pairs) + len(layer) > MOST_STEPS:
            raise ValueError(
                f"estimate: this topology has more than {MOST_STEPS} pairs of consulted nodes and a last one, "
                "which is the most that can be solved; use estimate='signal'"
            )
        pairs += layer
        layer = sorted({(tuple(sorted((*nodes, j))), j) for nodes, last in layer for j, _ in successors(last, nodes)})
    number = {pair: k for k, pair in enumerate(pairs)}
    edges = [(ROOT, number[(j,), j], e) for j, e in successors(ROOT, ())]
    for nodes, last in pairs:
        step = number[nodes, last]
        edges += [(step, number[tuple(sorted((*nodes, j))), j], e) for j, e in successors(last, nodes)]
    table = np.array(edges, dtype=np.int32)
    return SetGraph(
        last=np.array([last for _, last in pairs], dtype=np.int32),
        sets=tuple(nodes for nodes, _ in pairs),
        edges=np.ascontiguousarray(table[:, :2]),
        outer=np.ascontiguousarray(table[:, 2]),
        order=None,
    )


class _Successors:
    """(node, edge) pairs that may come after a last node and what was consulted before it, lowest node first."""

    def __init__(self, topology: Topology) -> None:
        self._forest = topology.kind == "forest"
        self._after: dict[int, list[tuple[int, int]]] = {node: [] for node in range(ROOT, topology.nodes)}
        for e, (i, j) in enumerate(topology.edges.tolist()):
            self._after[i].append((j, e))

    def __call__(self, last: int, consulted: Order) -> list[tuple[int, int]]:
        if not self._forest:
            return sorted(self._after[last])
        # Branches stay open: the parent may have been consulted long ago.
        pairs = [pair for node in (ROOT, *consulted) for pair in self._after[node]]
        return sorted((j, e) for j, e in pairs if j not in consulted)
