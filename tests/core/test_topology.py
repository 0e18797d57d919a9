"""Shapes of cascades."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

from ttamer import Topology

ALL = [
    Topology.line(3),
    Topology.skip(3),
    Topology.forest([-1, 0, 0]),
    Topology.dag(3, [(-1, 2), (2, 0), (-1, 1), (1, 0)]),
]


def test_edges() -> None:
    assert Topology.line(3).edges.tolist() == [[-1, 0], [0, 1], [1, 2]]
    assert Topology.skip(3).edges.tolist() == [[-1, 0], [-1, 1], [-1, 2], [0, 1], [0, 2], [1, 2]]
    assert Topology.forest([2, -1, -1]).edges.tolist() == [[2, 0], [-1, 1], [-1, 2]]
    edges = [[-1, 2], [2, 0], [-1, 1], [1, 0]]
    assert Topology.dag(3, edges).edges.tolist() == edges
    for topology in ALL:
        assert topology.edges.dtype == np.int32
        assert topology.nodes == 3
    assert [topology.kind for topology in ALL] == ["line", "skip", "forest", "dag"]


def test_edges_are_a_copy() -> None:
    ALL[0].edges[:] = 7
    assert ALL[0].edges.tolist() == [[-1, 0], [0, 1], [1, 2]]


def test_equality_and_hash() -> None:
    again = [pickle.loads(pickle.dumps(topology)) for topology in ALL]
    assert again == ALL
    assert [hash(topology) for topology in again] == [hash(topology) for topology in ALL]
    assert len({*ALL, *again}) == 4
    # The same edges are not the same shape: on a forest, branches stay open.
    same_edges = Topology.dag(3, Topology.line(3).edges.tolist())
    assert same_edges != Topology.line(3)
    assert Topology.dag(2, [(-1, 0), (-1, 1)]) != Topology.dag(2, [(-1, 1), (-1, 0)])
    assert Topology.line(3) != 3
    assert Topology.line(3) != Topology.line(4)


def test_repr_can_be_evaluated() -> None:
    for topology in ALL:
        assert eval(repr(topology), {"Topology": Topology}) == topology


def test_integers_of_numpy() -> None:
    assert Topology.line(np.int64(3)) == ALL[0]
    assert Topology.forest(np.array([-1, 0, 0])) == ALL[2]
    assert Topology.dag(3, ALL[3].edges) == ALL[3]


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Topology.line(0), ValueError, "^nodes: expected 1 to 1024, got 0$"),
        (lambda: Topology.line(1025), ValueError, "^nodes: expected 1 to 1024, got 1025$"),
        (lambda: Topology.skip(-1), ValueError, "^nodes: expected 1 to 1024, got -1$"),
        (lambda: Topology.forest([]), ValueError, "^nodes: expected 1 to 1024, got 0$"),
        (lambda: Topology.forest([-1, 2]), IndexError, "^parents: node 1 has parent 2, expected -1 to 1$"),
        (lambda: Topology.forest([-1, 2**40]), IndexError, "^parents: node 1 has parent"),
        (lambda: Topology.forest([0]), ValueError, r"self-loop"),
        (lambda: Topology.forest(np.array([-1, 0.9])), TypeError, r"^parents\[0\]: expected an int, got float64$"),
        (lambda: Topology.forest([-1, 0.0]), TypeError, r"^parents\[1\]: expected an int, got float$"),
        (lambda: Topology.dag(2, np.array([[-1, 0], [0, 1.5]])), TypeError, r"^edges\[0\]: expected a pair of int"),
        (lambda: Topology.forest([-1, 2, 1]), ValueError, "node 1 lies on or behind a cycle"),
        (lambda: Topology.dag(2, [(-1, 0), (0, 2)]), IndexError, r"^edges: edge 1 \(0 -> 2\)"),
        (lambda: Topology.dag(2, [(-1, 2**32), (0, 1)]), IndexError, r"^edges: edge 0 \(-1 -> 4294967296\)"),
        (lambda: Topology.dag(2, [(-2, 0), (0, 1)]), IndexError, r"^edges: edge 0 \(-2 -> 0\)"),
        (lambda: Topology.dag(2, [(-1, 0), (1, 1)]), ValueError, r"^edges: edge 1 \(1 -> 1\) is a self-loop$"),
        (lambda: Topology.dag(2, [(-1, 0), (-1, 0)]), ValueError, r"^edges: edge 1 \(-1 -> 0\) is a duplicate$"),
        (lambda: Topology.dag(2, [(-1, 0)]), ValueError, r"^edges: node 1 cannot be reached from the root \(-1\)$"),
        (lambda: Topology.dag(3, [(-1, 0), (1, 2), (2, 1)]), ValueError, "lies on or behind a cycle"),
        (lambda: Topology.from_parts("ring", 1, [(-1, 0)]), ValueError, "^kind: expected line, skip, forest or dag"),
        (
            lambda: Topology.from_parts("skip", 2, [(-1, 0), (0, 1)]),
            ValueError,
            "^edges: not those of a skip of 2 nodes$",
        ),
    ],
)
def test_what_is_no_shape(make: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize("nodes", [2.5, "3", None])
def test_what_is_no_number(nodes: Any) -> None:
    for make in (Topology.line, Topology.skip, lambda n: Topology.dag(n, [(-1, 0)])):
        with pytest.raises(TypeError):
            make(nodes)
