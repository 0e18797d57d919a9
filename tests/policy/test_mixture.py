"""Mixtures of two policies: the budget is met exactly, in expectation, on the rows of the front."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from helpers import random_traces

import ttamer
from ttamer._base.hull import lower_hull


@pytest.fixture(scope="module")
def traces():
    return random_traces(ttamer.Topology.line(4), 2000, 3)


@pytest.fixture(scope="module")
def front(traces):
    return ttamer.frontier(traces)


class TestMix:
    def test_the_expected_cost_is_the_budget(self, front, traces):
        for budget in np.linspace(front[0].cost, front[-1].cost, 13)[:-1].tolist():
            mixture = front.mix(budget)
            replays = [policy.replay(traces) for policy in mixture.policies]
            weights = [1 - mixture.probability, mixture.probability]
            assert np.dot(weights, [each.mean_cost for each in replays]) == pytest.approx(budget, rel=1e-12)
            assert np.dot(weights, [each.error for each in replays]) == pytest.approx(mixture.error, rel=1e-12)
            assert mixture.cost == budget
            assert replays[0].mean_cost <= budget <= replays[1].mean_cost

    def test_the_two_are_neighbours_on_the_hull(self, front):
        cost, error = (np.array([getattr(point, name) for point in front]) for name in ("cost", "error"))
        hull = lower_hull(cost, error).tolist()
        assert 2 < len(hull) < len(front)
        for k, m in itertools.pairwise(hull):
            mixture = front.mix((cost[k] + cost[m]) / 2)
            assert mixture.policies == (front[k].policy, front[m].policy)
            assert mixture.probability == pytest.approx(0.5)

    def test_it_is_never_worse_than_the_best_point(self, front):
        for budget in np.linspace(front[0].cost, front[-1].cost, 29).tolist():
            assert front.mix(budget).error <= front.best(budget).error + 1e-12

    def test_a_budget_that_is_a_point_or_above_all(self, front):
        for budget, point in ((front[0].cost, front[0]), (front[-1].cost, front[-1]), (99.0, front[-1])):
            mixture = front.mix(budget)
            assert mixture.policies[0] == point.policy
            assert (mixture.probability, mixture.cost, mixture.error) == (0.0, point.cost, point.error)

    def test_too_small_a_budget(self, front):
        with pytest.raises(ValueError, match=r"^max_cost: no point costs at most 0.01, the cheapest costs 0\.\d+$"):
            front.mix(0.01)
        with pytest.raises(TypeError, match=r"^max_cost: expected a number, got str$"):
            front.mix("much")


@pytest.fixture(scope="module")
def mixture(front):
    return front.mix((front[0].cost + front[-1].cost) / 2)


class TestMixture:
    def test_choose(self, mixture):
        chosen = mixture.choose(20_000, np.random.default_rng(0))
        assert (chosen.shape, chosen.dtype) == ((20_000,), np.int8)
        assert set(chosen.tolist()) == {0, 1}
        share = mixture.probability
        assert abs(chosen.mean() - share) < 4 * np.sqrt(share * (1 - share) / 20_000)
        assert mixture.choose(0, np.random.default_rng(0)).shape == (0,)

    def test_replay_takes_each_row_from_the_policy_drawn_for_it(self, mixture, traces):
        mixed = mixture.replay(traces, seed=4)
        chosen = mixture.choose(len(traces), np.random.default_rng(4))
        both = [policy.replay(traces) for policy in mixture.policies]
        for name in ("last_node", "answer_node", "cost", "loss"):
            expected = np.stack([getattr(each, name) for each in both])[chosen, np.arange(len(traces))]
            np.testing.assert_array_equal(getattr(mixed, name), expected, strict=True)
        assert mixture.replay(traces, seed=5).mean_cost != mixed.mean_cost

    def test_repr(self, mixture):
        assert repr(mixture).startswith("Mixture(tradeoff 0.")
        assert f"with probability {mixture.probability:.4g}" in repr(mixture)
        assert f"cost {mixture.cost:.4g} ms, error {mixture.error:.4f})" in repr(mixture)

    def test_bad_input(self, mixture):
        with pytest.raises(TypeError, match=r"^rng: expected a numpy.random.Generator, got int$"):
            mixture.choose(3, 0)
        with pytest.raises(ValueError, match=r"^count: expected at least 0, got -1$"):
            mixture.choose(-1, np.random.default_rng(0))
        with pytest.raises(TypeError, match=r"^traces: expected Traces, got list$"):
            mixture.replay([])
