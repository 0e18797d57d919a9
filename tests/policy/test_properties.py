"""Core, reference and exhaustive search agree on random cascades, ties included."""

from __future__ import annotations

import numpy as np
import pytest
from exhaustive import enumerate_policy, optimum
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import Cascade, cascades, tradeoffs

import ttamer
from ttamer import reference

RECALL = ("observed", "none")


def solve_both(
    cascade: Cascade, tradeoff: float, recall: str, cost_scale: float = 1.0
) -> tuple[ttamer.CascadeModel, ttamer.Policy, reference.Tables]:
    model = cascade.model(cost_scale=cost_scale)
    policy = ttamer.solve(model, tradeoff, recall)
    kept = recall == "observed"
    tables = reference.solve(
        cascade.topology, model.losses, model.transitions, cascade.costs, tradeoff, kept, cost_scale
    )
    return model, policy, tables


def assert_same_policy(policy: ttamer.Policy, tables: reference.Tables) -> None:
    """Equal values to 1e-12, and equal decisions: nothing is left to rounding."""
    assert policy.value == pytest.approx(tables.value, rel=0, abs=1e-12)
    assert policy.first_node == tables.first_node
    for node, intervals in enumerate(tables.intervals):
        expected = [[(tables.levels[upper], follows) for upper, follows in row] for row in intervals]
        found = policy.actions(node)
        assert [[follows for _, follows in row] for row in found] == [
            [follows for _, follows in row] for row in expected
        ]
        for got, wanted in zip(found, expected, strict=True):
            np.testing.assert_allclose([x for x, _ in got], [x for x, _ in wanted], rtol=0, atol=1e-9)
        np.testing.assert_array_equal(policy.losses(node), tables.levels[tables.ranks[node]])


def assert_optimal(model: ttamer.CascadeModel, policy: ttamer.Policy, cascade: Cascade) -> None:
    """Both what the policy promises and what it does, step by step through a batch."""
    weight = (1 - policy.tradeoff) / policy.tradeoff / model.cost_scale
    recall = policy.recall == "observed"
    best = optimum(cascade.topology, cascade.losses, cascade.transitions, cascade.costs * weight, recall=recall)
    assert policy.value == pytest.approx(policy.tradeoff * best, rel=0, abs=1e-12)
    outcome = enumerate_policy(policy, model)
    assert outcome.objective(policy.tradeoff, model.cost_scale) == pytest.approx(policy.value, rel=0, abs=1e-12)


@settings(max_examples=150)
@given(cascades("line", nodes=6, states=8, probes=True), tradeoffs, st.sampled_from(RECALL))
def test_lines_as_the_reference(cascade: Cascade, tradeoff: float, recall: str) -> None:
    _, policy, tables = solve_both(cascade, tradeoff, recall)
    assert_same_policy(policy, tables)
    if recall == "observed":
        for node in range(cascade.topology.nodes):
            np.testing.assert_allclose(policy.index(node), tables.index[node], rtol=0, atol=1e-9)


@settings(max_examples=150)
@given(cascades("line", nodes=4, states=3, probes=True), tradeoffs, st.sampled_from(RECALL))
def test_lines_as_exhaustive_search(cascade: Cascade, tradeoff: float, recall: str) -> None:
    model, policy, tables = solve_both(cascade, tradeoff, recall)
    assert_same_policy(policy, tables)
    assert_optimal(model, policy, cascade)


@settings(max_examples=100)
@given(cascades("line", nodes=6, states=8, probes=True), tradeoffs)
def test_index_and_induction_agree_on_lines(cascade: Cascade, tradeoff: float) -> None:
    weighted = cascade.costs * ((1 - tradeoff) / tradeoff)
    _, by_index = reference.surrogates(cascade.topology, cascade.losses, cascade.transitions, weighted)
    by_steps = reference.induction(cascade.topology, cascade.losses, cascade.transitions, weighted, recall=True)
    assert tradeoff * by_index == pytest.approx(tradeoff * by_steps.value, rel=0, abs=1e-12)


@settings(max_examples=100)
@given(
    st.sampled_from(["skip", "dag"]).flatmap(lambda kind: cascades(kind, nodes=4, states=3, probes=True)),
    tradeoffs,
    st.sampled_from(RECALL),
)
def test_walks_as_exhaustive_search(cascade: Cascade, tradeoff: float, recall: str) -> None:
    model, policy, tables = solve_both(cascade, tradeoff, recall)
    assert_same_policy(policy, tables)
    assert_optimal(model, policy, cascade)


@settings(max_examples=60)
@given(
    st.sampled_from(["skip", "dag"]).flatmap(lambda kind: cascades(kind, nodes=6, states=6, probes=True)),
    tradeoffs,
    st.sampled_from(RECALL),
)
def test_larger_walks_as_the_reference(cascade: Cascade, tradeoff: float, recall: str) -> None:
    _, policy, tables = solve_both(cascade, tradeoff, recall)
    assert_same_policy(policy, tables)


@settings(max_examples=80)
@given(cascades("line", nodes=5, states=5), tradeoffs.filter(lambda t: t < 1), st.sampled_from(RECALL))
def test_one_line_in_three_shapes(cascade: Cascade, tradeoff: float, recall: str) -> None:
    n = cascade.topology.nodes
    straight = {(j - 1, j): j for j in range(n)}
    skip = ttamer.Topology.skip(n)
    states = [len(row) for row in cascade.losses]
    transitions, costs = [], []
    for i, j in skip.edges.tolist():
        edge = straight.get((i, j))
        # A jump is dearer than anything it could save.
        transitions.append(np.full((1, states[j]), 1 / states[j]) if edge is None else cascade.transitions[edge])
        costs.append(1e6 if edge is None else cascade.costs[edge])
    dag = ttamer.Topology.dag(n, cascade.topology.edges.tolist())
    shapes = [
        cascade,
        Cascade(skip, cascade.losses, transitions, costs),
        Cascade(dag, cascade.losses, cascade.transitions, cascade.costs),
    ]
    policies = [ttamer.solve(shape.model(cost_scale=1), tradeoff, recall) for shape in shapes]
    for policy in policies[1:]:
        assert policy.value == pytest.approx(policies[0].value, rel=0, abs=1e-12)
        for node in range(n):
            # Rounding apart, all three stop in the same states whenever the node's own loss is the best so far.
            stops = [[row[-1][1] for row in one.actions(node)] for one in (policies[0], policy)]
            assert stops[0] == stops[1]


@settings(max_examples=100)
@given(
    cascades("forest", nodes=4, states=3, probes=True),
    st.sampled_from([np.inf, 0.0, 0.125, 0.5, 1.0, 3.0]),
)
def test_forests_as_exhaustive_search(cascade: Cascade, outside: float) -> None:
    tables = (cascade.topology, cascade.losses, cascade.transitions, cascade.costs)
    _, value = reference.surrogates(*tables, outside)
    assert value == pytest.approx(optimum(*tables, outside=outside), rel=0, abs=1e-12)


@settings(max_examples=60)
@given(cascades("line", nodes=4, states=4, probes=True))
def test_a_line_is_a_forest_of_one_branch(cascade: Cascade) -> None:
    forest = ttamer.Topology.forest(range(-1, cascade.topology.nodes - 1))
    index, value = reference.surrogates(forest, cascade.losses, cascade.transitions, cascade.costs)
    policy = ttamer.solve(cascade.model(cost_scale=1), 0.5, "observed")
    assert 2 * policy.value == pytest.approx(value, rel=0, abs=1e-12)
    for node, row in enumerate(index):
        np.testing.assert_allclose(policy.index(node), row, rtol=0, atol=1e-9)


shapes = st.sampled_from(["line", "skip", "dag"]).flatmap(lambda kind: cascades(kind, nodes=4, states=4, probes=True))


@settings(max_examples=80)
@given(shapes, tradeoffs, st.sampled_from(RECALL), st.data())
def test_dearer_edges_never_help(cascade: Cascade, tradeoff: float, recall: str, data: st.DataObject) -> None:
    edge = data.draw(st.integers(0, len(cascade.costs) - 1))
    dearer = cascade.costs.copy()
    dearer[edge] += 0.25
    before = ttamer.solve(cascade.model(cost_scale=1), tradeoff, recall)
    after = ttamer.solve(
        Cascade(cascade.topology, cascade.losses, cascade.transitions, dearer).model(cost_scale=1), tradeoff, recall
    )
    assert after.value >= before.value - 1e-12


@settings(max_examples=80)
@given(shapes, tradeoffs)
def test_recall_never_hurts(cascade: Cascade, tradeoff: float) -> None:
    model = cascade.model()
    kept, forgotten = (ttamer.solve(model, tradeoff, recall).value for recall in RECALL)
    assert kept <= forgotten + 1e-12


@settings(max_examples=80)
@given(shapes, tradeoffs, st.sampled_from(RECALL))
def test_the_forward_pass_counts_what_happens(cascade: Cascade, tradeoff: float, recall: str) -> None:
    model = cascade.model()
    policy = ttamer.solve(model, tradeoff, recall)
    outcome = enumerate_policy(policy, model)
    for node in range(cascade.topology.nodes):
        np.testing.assert_allclose(policy.expected_visits[node], outcome.visits[node], rtol=0, atol=1e-12)
        np.testing.assert_allclose(policy.expected_stops[node], outcome.stops[node], rtol=0, atol=1e-12)
    assert policy.expected_cost == pytest.approx(outcome.cost, rel=0, abs=1e-12)
    assert sum(float(row.sum()) for row in policy.expected_stops) == pytest.approx(1, rel=0, abs=1e-12)
