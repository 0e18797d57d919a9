"""Text drawings: every node, edge and cost of every shape, and where requests go."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import random_model
from hypothesis import given
from hypothesis import strategies as st
from strategies import Cascade, cascades

import ttamer
from ttamer.plots import drawing

T = ttamer.Topology


def certain(topology: ttamer.Topology, losses: list[float], costs: list[float], unit: str = "ms") -> ttamer.Policy:
    """A policy for nodes of one state, without recall where it may be: what happens is certain."""
    model = ttamer.CascadeModel(
        topology, [[loss] for loss in losses], [[[1.0]]] * len(costs), costs, cost_scale=1.0, observed=False, unit=unit
    )
    return ttamer.solve(model, 0.5)


def lines(text: str) -> list[str]:
    """The lines after the empty first one, without the indentation of the test."""
    return [line[8:] for line in text.splitlines()[1:-1]]


class TestPolicies:
    def test_line(self) -> None:
        policy = certain(T.line(3), [0.9, 0.5, 0.45], [0.125, 0.0625, 1000])
        expected = """
        node  cost, ms  visits   stops
        root
        ↓ 0      0.125  100.0%    0.0%
        ↓ 1     0.0625  100.0%  100.0%
        ↓ 2       1000    0.0%    0.0%
        """
        assert drawing.draw(policy).splitlines() == lines(expected)

    def test_forest(self) -> None:
        policy = certain(T.forest([-1, 0, 1, 0, -1, 4]), [0.9, 0.75, 0.1, 0.9, 1, 1], [0.1, 0.1, 0.1, 2, 3, 0.25], "")
        expected = """
        node        cost  visits   stops
        root
        ├─ 0         0.1  100.0%    0.0%
        │  ├─ 1      0.1  100.0%    0.0%
        │  │  └─ 2   0.1  100.0%  100.0%
        │  └─ 3        2    0.0%    0.0%
        └─ 4           3    0.0%    0.0%
           └─ 5     0.25    0.0%    0.0%
        """
        assert drawing.draw(policy).splitlines() == lines(expected)

    def test_dag(self) -> None:
        topology = T.dag(4, [(1, 3), (0, 2), (-1, 0), (0, 1), (2, 3)])
        policy = certain(topology, [1, 0.9, 0.9, 0.1], [0.1, 0.5, 0.2, 0.125, 0.1])
        expected = """
        node  visits   stops  successors (cost, ms)
        root                  0 (0.2)
        0     100.0%    0.0%  1 (0.125), 2 (0.5)
        1     100.0%    0.0%  3 (0.1)
        2       0.0%    0.0%  3 (0.1)
        3     100.0%  100.0%  none
        """
        assert drawing.draw(policy).splitlines() == lines(expected)

    def test_shares_are_those_of_the_policy(self) -> None:
        policy = ttamer.solve(random_model(T.skip(5), 4, seed=3), 0.9, "observed")
        for node, row in enumerate(drawing.draw(policy).splitlines()[2:]):
            shares = [f"{part[node].sum():.1%}" for part in (policy.expected_visits, policy.expected_stops)]
            assert row.split()[:3] == [str(node), *shares]


class TestTopologies:
    """Of a bare topology there are no figures."""

    def test_line(self) -> None:
        assert drawing.draw(T.line(2)) == "node\nroot\n↓ 0\n↓ 1"

    def test_forest(self) -> None:
        assert drawing.draw(T.forest([-1, -1, 0])).splitlines() == ["node", "root", "├─ 0", "│  └─ 2", "└─ 1"]

    def test_skip(self) -> None:
        expected = """
        node  successors
        root  0, 1, 2
        0     1, 2
        1     2
        2     none
        """
        assert drawing.draw(T.skip(3)).splitlines() == lines(expected)

    def test_ascii(self) -> None:
        for topology in (T.line(3), T.forest([-1, 0, 0, -1, 3]), T.skip(3)):
            drawn = drawing.draw(topology, ascii=True)
            assert drawn.isascii()
            assert [len(line) for line in drawn.splitlines()] == [
                len(line) for line in drawing.draw(topology).splitlines()
            ]
        expected = ["node", "root", "|- 0", "|  |- 1", "|  `- 2", "`- 3", "   `- 4"]
        assert drawing.draw(T.forest([-1, 0, 0, -1, 3]), ascii=True).splitlines() == expected

    def test_no_node_is_too_deep(self) -> None:
        drawn = drawing.draw(T.forest([*range(-1, 1023)])).splitlines()
        assert len(drawn) == 1026
        assert drawn[-1] == "   " * 1023 + "└─ 1023"


class TestLongLists:
    def test_wrapped(self) -> None:
        policy = ttamer.solve(random_model(T.skip(12), 2, seed=1, unit="ms"), 0.8)
        for width in (60, 80, 120):
            drawn = drawing.draw(policy, width=width).splitlines()
            assert max(map(len, drawn)) <= width
            assert len(drawn) > 14
            # A node stands on one line with its cost, and all stand in their order.
            listed = " ".join(line[drawn[0].index("successors") :] for line in drawn)
            costs = policy.costs.tolist()
            edges = [f"{j} ({cost:.4g})" for (_, j), cost in zip(T.skip(12).edges.tolist(), costs, strict=True)]
            places = []
            for edge in edges:
                places.append(listed.index(edge, places[-1] if places else 0))
            assert places == sorted(places)

    def test_a_narrow_width_still_shows_everything(self) -> None:
        drawn = drawing.draw(T.skip(9), width=1)
        assert drawn.splitlines()[1:3] == ["root  0, 1, 2, 3, 4, 5, 6,", "      7, 8"]

    def test_cut_unless_every_one_is_asked_for(self) -> None:
        drawn = drawing.draw(T.skip(14), every=False).splitlines()
        assert drawn[1] == "root  0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, and 2 more"
        assert drawn[2] == "0     1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, and 1 more"
        assert drawn[3] == "1     2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13"
        assert "more" not in drawing.draw(T.skip(14))


@pytest.mark.parametrize("kind", ["line", "skip", "forest", "dag"])
@given(data=st.data())
def test_any_shape(kind: str, data: st.DataObject) -> None:
    """Every edge can be read back, and every node has a row; no line ends in spaces."""
    cascade: Cascade = data.draw(cascades(kind, 6, 2))
    drawn = drawing.draw(cascade.topology).splitlines()
    assert drawn == [line.rstrip() for line in drawn]
    read = []
    above: list[int] = []
    for line in drawn[2:] if kind in ("line", "forest") else drawn[1:]:
        if kind in ("skip", "dag"):
            name, _, after = line.partition(" ")
            after = after.strip()
            node = -1 if name == "root" else int(name)
            read += [(node, int(j)) for j in after.split(", ")] if after != "none" else []
        else:
            node = int(line.split()[-1])
            depth = len(above) if kind == "line" else (len(line) - len(str(node))) // 3 - 1
            del above[depth:]
            read.append((above[-1] if above else -1, node))
            above.append(node)
    assert sorted(read) == sorted(map(tuple, cascade.topology.edges.tolist()))


def test_bad_arguments() -> None:
    with pytest.raises(TypeError, match=r"^shape: expected a Policy or a Topology, got ndarray$"):
        drawing.draw(np.zeros(3))  # type: ignore[arg-type]
