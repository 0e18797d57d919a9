"""Soft state aggregation, and the expectations that judge it."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from helpers import random_model, random_traces
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import Cascade, cascades, tradeoffs

import ttamer
from ttamer import reference

SHAPES = [ttamer.Topology.line(4), ttamer.Topology.skip(3), ttamer.Topology.forest([-1, 0, 0, -1])]
RECALL = ["observed", "none"]


def solve_reference(model: ttamer.CascadeModel, tradeoff: float, recall: str, states: int) -> reference.Tables:
    ahead = reference.losses_ahead(model.topology, model.losses, model.transitions)
    mixed = [
        np.matmul(*reference.aggregate(matrix, ahead[j], states))
        for matrix, (_, j) in zip(model.transitions, model.topology.edges.tolist(), strict=True)
    ]
    return reference.solve(
        model.topology, model.losses, mixed, model.costs, tradeoff, recall == "observed", model.cost_scale
    )


@pytest.mark.parametrize("probes", [(), (0, 1)])
@pytest.mark.parametrize("states", [1, 2, 5, 39, 40, 1000])
@pytest.mark.parametrize("topology", SHAPES, ids=lambda topology: topology.kind)
def test_as_the_reference(topology: ttamer.Topology, states: int, probes: tuple[int, ...]) -> None:
    for recall in RECALL if topology.kind != "forest" else RECALL[:1]:
        model = random_model(topology, 40, seed=11, probes=probes)
        policy = ttamer.solve(model, 0.9, recall, aggregate=states)
        assert policy.value == pytest.approx(solve_reference(model, 0.9, recall, states).value, rel=0, abs=1e-12)


@pytest.mark.parametrize("recall", RECALL)
def test_counted_models_as_the_reference(recall: str) -> None:
    model = ttamer.fit(random_traces(ttamer.Topology.line(3), 400, seed=12), bins=60)
    policy = ttamer.solve(model, 0.9, recall, aggregate=7)
    assert policy.value == pytest.approx(solve_reference(model, 0.9, recall, 7).value, rel=0, abs=1e-12)


@pytest.mark.parametrize("recall", RECALL)
def test_enough_states_are_exact(recall: str) -> None:
    model = random_model(ttamer.Topology.line(4), 25, seed=13)
    exact, same = ttamer.solve(model, 0.9, recall), ttamer.solve(model, 0.9, recall, aggregate=25)
    assert same.value == exact.value
    assert exact.aggregation is None
    assert same.aggregation is not None
    assert same.aggregation.states == 25
    assert same.aggregation.value_error == 0
    assert same.aggregation.regret == pytest.approx(0, abs=1e-12)


def test_it_is_near_and_says_how_near() -> None:
    model = random_model(ttamer.Topology.line(5), 200, seed=14)
    exact = ttamer.solve(model, 0.9, "observed")
    coarse = ttamer.solve(model, 0.9, "observed", aggregate=20)
    known = coarse.aggregation
    assert known is not None
    assert known.value_error == pytest.approx(coarse.value - exact.value, rel=0, abs=1e-15)
    worth = 0.9 * coarse.expected_loss + 0.1 * coarse.expected_cost / model.cost_scale
    assert known.regret == pytest.approx(worth - exact.value, rel=0, abs=1e-12)
    assert -1e-12 <= known.regret < 0.02
    assert abs(known.value_error) < 0.02


def test_files_keep_what_is_known() -> None:
    policy = ttamer.solve(random_model(ttamer.Topology.line(3), 30, seed=15), 0.8, "observed", aggregate=4)
    read = pickle.loads(pickle.dumps(policy))
    assert (read.aggregation, read.expected_loss) == (policy.aggregation, policy.expected_loss)


@pytest.mark.parametrize(
    ("states", "error", "message"),
    [
        (0, ValueError, "^aggregate: expected at least 1, got 0"),
        (-3, ValueError, "^aggregate: expected at least 1, got -3"),
        (2.5, TypeError, "^aggregate: expected an int, got float"),
        (True, TypeError, "^aggregate: expected an int, got bool"),
    ],
)
def test_refused(states: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        ttamer.solve(random_model(ttamer.Topology.line(2), 3, seed=0), 0.5, aggregate=states)


@settings(max_examples=80)
@given(
    st.sampled_from(["line", "skip", "dag"]).flatmap(lambda kind: cascades(kind, nodes=5, states=4, probes=True)),
    tradeoffs,
    st.sampled_from(RECALL),
)
def test_a_value_is_what_its_policy_attains(cascade: Cascade, tradeoff: float, recall: str) -> None:
    policy = ttamer.solve(cascade.model(cost_scale=1.0), tradeoff, recall)
    worth = tradeoff * policy.expected_loss + (1 - tradeoff) * policy.expected_cost
    assert worth == pytest.approx(policy.value, rel=0, abs=1e-11)


class TestMembership:
    def test_rows_are_distributions_and_lead_to_the_same_loss(self) -> None:
        rng = np.random.default_rng(16)
        matrix, losses = rng.dirichlet(np.ones(50), 50), rng.random(50)
        membership, meta = reference.aggregate(matrix, losses, 8)
        assert membership.shape == (50, 8)
        np.testing.assert_allclose(membership.sum(axis=1), 1, rtol=0, atol=1e-12)
        np.testing.assert_allclose(meta.sum(axis=1), 1, rtol=0, atol=1e-12)
        ahead, through = matrix @ losses, membership @ meta @ losses
        inside = (ahead >= (meta @ losses).min()) & (ahead <= (meta @ losses).max())
        assert inside.sum() > 30
        np.testing.assert_allclose(through[inside], ahead[inside], rtol=0, atol=1e-12)


class TestSkipCosts:
    def test_the_trunk_is_always_run(self) -> None:
        costs = ttamer.Topology.skip_costs([1, 2, 4], [0.5, 0.25, 0.125])
        edges = ttamer.Topology.skip(3).edges.tolist()
        expected = {(-1, 0): 1.5, (-1, 1): 3.25, (-1, 2): 7.125, (0, 1): 2.25, (0, 2): 6.125, (1, 2): 4.125}
        assert {tuple(edge): cost for edge, cost in zip(edges, costs.tolist(), strict=True)} == expected

    @pytest.mark.parametrize(
        ("segment", "ramp", "message"),
        [
            ([1, 2], [1], "^ramp: expected 2 costs, one a segment, got 1"),
            ([1, np.nan], [1, 1], "^segment: expected finite values >= 0"),
            ([1, 2], [1, -1], "^ramp: expected finite values >= 0"),
            ([], [], "^nodes: expected 1 to 1024, got 0"),
        ],
    )
    def test_refused(self, segment: list[float], ramp: list[float], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            ttamer.Topology.skip_costs(segment, ramp)
