"""Topologies in messages and reprs: short, however many edges there are."""

from __future__ import annotations

import re

import pytest
from helpers import random_model, random_traces
from set_traces import recorded

import ttamer
from ttamer._base.topologies import MOST_TEXT, check_same_topology, topology_text

T = ttamer.Topology
LARGE = T.dag(30, T.skip(30).edges.tolist())


@pytest.mark.parametrize("topology", [T.line(3), T.skip(500), T.forest([-1, 0, 0]), T.dag(2, [(-1, 0), (0, 1)])])
def test_few_edges_are_written_out(topology: ttamer.Topology) -> None:
    assert topology_text(topology) == repr(topology)


def test_many_edges_are_counted() -> None:
    assert topology_text(LARGE) == "Topology.dag(30 nodes, 465 edges)"
    assert topology_text(T.forest([*range(-1, 299)])) == "Topology.forest(300 nodes, 300 edges)"


def test_what_differs_is_said_where_counts_do_not() -> None:
    edges = LARGE.edges.tolist()
    other = T.dag(30, [*edges[:3], edges[4], edges[3], *edges[5:]])
    check_same_topology("traces", LARGE, LARGE)
    with pytest.raises(ValueError, match="^traces: expected Topology.dag\\(30 nodes, 465 edges\\), got ") as caught:
        check_same_topology("traces", other, LARGE)
    assert str(caught.value).endswith(f" with other edges: {tuple(edges[4])} in place of {tuple(edges[3])} at edge 3")
    with pytest.raises(
        ValueError, match=r"^like: expected a model of Topology.line\(2\), got one of Topology.line\(3\)$"
    ):
        check_same_topology("like", T.line(3), T.line(2), "a model")


def test_reprs_and_messages_are_short() -> None:
    policy = ttamer.solve(random_model(LARGE, 2, seed=0), 0.9, "none")
    short = "Topology.dag(30 nodes, 465 edges)"
    assert repr(policy).startswith(f"Policy({short}, tradeoff=0.9, ")
    assert repr(random_model(LARGE, 2, seed=0)) == f"CascadeModel({short}, states=[2 a node], stated)"
    assert repr(random_traces(LARGE, 4, 0)).startswith(f"Traces(4 rows, {short}")
    with pytest.raises(
        ValueError, match=r"^traces: expected Topology.dag\(30 nodes, 465 edges\), got Topology.line\(3\)$"
    ):
        policy.replay(random_traces(T.line(3), 4, 0))


def test_estimators_are_short() -> None:
    pytest.importorskip("sklearn", reason="needs the fit extra")
    model = ttamer.fit(recorded(models=5), estimate="sets")
    assert re.search(r"states=\[\d+ to \d+ a node\]", repr(model))
    assert len(repr(model)) < 2 * MOST_TEXT
    assert repr(model.estimator) == "SetEstimator('sets', Topology.dag(6 nodes, 16 edges), context topic, length)"
