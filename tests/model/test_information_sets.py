"""Information sets against an enumeration of everything that can be consulted."""

from __future__ import annotations

import pytest

from ttamer import Topology
from ttamer.model import information_sets

ROOT = -1
TOPOLOGIES = [
    Topology.line(4),
    Topology.skip(4),
    Topology.forest([-1, -1, -1]),
    Topology.forest([-1, 0, 0, 1]),
    Topology.dag(4, [(-1, 1), (-1, 0), (0, 2), (1, 2), (2, 3), (0, 3)]),
]


def sequences(topology: Topology) -> list[tuple[int, ...]]:
    """Every sequence of nodes that a request may consult, by trying all edges."""
    found: list[tuple[int, ...]] = [()]
    for sequence in found:
        for i, j in topology.edges.tolist():
            ready = i in (ROOT, *sequence) if topology.kind == "forest" else i == (sequence[-1] if sequence else ROOT)
            if ready and j not in sequence:
                found.append((*sequence, j))
    return found[1:]


@pytest.mark.parametrize("topology", TOPOLOGIES, ids=repr)
def test_every_set_and_last_node_is_a_step(topology: Topology) -> None:
    graph = information_sets.set_graph(topology)
    steps = [(nodes, int(last)) for nodes, last in zip(graph.sets, graph.last, strict=True)]
    assert len(set(steps)) == len(steps)
    assert set(steps) == {(tuple(sorted(s)), s[-1]) for s in sequences(topology)}


@pytest.mark.parametrize("topology", TOPOLOGIES, ids=repr)
def test_paths_through_the_steps_are_the_sequences_and_pay_the_same_edges(topology: Topology) -> None:
    graph = information_sets.set_graph(topology)
    after = [((), ROOT)]
    found = []
    for path, step in after:
        for (i, j), e in zip(graph.edges.tolist(), graph.outer.tolist(), strict=True):
            if i == step:
                node = int(graph.last[j])
                assert topology.edges[e, 1] == node
                assert topology.edges[e, 0] in ((ROOT, *path) if topology.kind == "forest" else (path or (ROOT,))[-1:])
                after.append(((*path, node), j))
                found.append((*path, node))
    assert sorted(found) == sorted(sequences(topology))
    assert graph.topology.edges.tolist() == graph.edges.tolist()
    assert all(i < j for i, j in graph.edges.tolist())


def test_an_order_is_a_line() -> None:
    graph = information_sets.set_graph(Topology.forest([-1, -1, 1]), (1, 2, 0))
    assert graph.topology == Topology.line(3)
    assert graph.sets == ((1,), (1, 2), (1, 2, 0))
    assert graph.last.tolist() == graph.outer.tolist() == [1, 2, 0]
    assert graph.order == (1, 2, 0)
    assert information_sets.set_graph(Topology.line(2)).order is None


def test_orders_put_parents_first() -> None:
    assert information_sets.orders(Topology.forest([-1, 0, -1])) == [
        (0,), (2,), (0, 1), (0, 2), (2, 0), (0, 1, 2), (0, 2, 1), (2, 0, 1),
    ]  # fmt: skip
    assert len(information_sets.orders(Topology.forest([-1] * 5))) == 325


@pytest.mark.parametrize(
    ("topology", "order", "error", "message"),
    [
        (Topology.line(3), (0, 1), ValueError, r"order: expected None on a line, where the edges say it, got \(0, 1\)"),
        (Topology.forest([-1, -1]), (), ValueError, r"order: expected at least one node, got \(\)"),
        (Topology.forest([-1, -1]), (0, 0), ValueError, r"order: expected each node at most once, got \[0, 0\]"),
        (Topology.forest([-1, -1]), (0, 2), IndexError, r"order: 2 is out of range for 2 nodes"),
        (Topology.forest([-1, -1]), (0.5,), TypeError, r"order: expected a sequence of nodes, got \(1,\) float64"),
        (Topology.forest([-1, 0]), (1, 0), ValueError, r"order: expected node 0 before 1, got \[1, 0\]"),
    ],
)
def test_bad_orders(topology: Topology, order: tuple[int, ...], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=f"^{message}$"):
        information_sets.set_graph(topology, order)


def test_too_many_steps() -> None:
    assert len(information_sets.set_graph(Topology.skip(8)).last) == 255
    with pytest.raises(ValueError, match=r"^estimate: this topology has more than 256 pairs .*use estimate='signal'$"):
        information_sets.set_graph(Topology.skip(9))
    with pytest.raises(ValueError, match=r"use estimate='signal'$"):
        information_sets.set_graph(Topology.forest([-1] * 7))
