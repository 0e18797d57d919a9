"""A few good chains of models, cut at one threshold."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from set_traces import recorded, sets_of

import ttamer
from ttamer import Traces
from ttamer._base.hull import lower_hull
from ttamer.fitting.chains import THRESHOLDS, best_chains
from ttamer.traces.signals import NOTHING

NAN = np.nan


def played(traces: Traces, order: tuple[int, ...], threshold: float) -> tuple[float, float]:
    """Mean cost and loss of a chain, one request after the other."""
    into = {j: e for e, (_, j) in enumerate(traces.topology.edges.tolist())}
    paid = np.broadcast_to(traces.paid_costs, (len(traces), len(traces.topology.edges)))
    cost = loss = 0.0
    for row in range(len(traces)):
        for node in order:
            cost += paid[row, into[node]]
            if traces.signals[row, node] >= threshold or node == order[-1]:
                loss += traces.losses[row, node]
                break
    return cost / len(traces), loss / len(traces)


class TestBest:
    @pytest.mark.parametrize("by_request", [False, True])
    def test_the_hull_of_all_that_are_tried(self, by_request: bool) -> None:
        costs = np.random.default_rng(0).random((80, 3)) * [1, 2, 4] if by_request else None
        traces = recorded(rows=80, context=False, costs=costs, missing=0.1)
        chains, points = [], []
        for length in (1, 2, 3):
            for order in itertools.permutations(range(3), length):
                scores = traces.signals[:, order[:-1]]
                known = scores[np.isfinite(scores) & (scores > -1e30)].astype(np.float64)
                tried = np.unique(np.quantile(known, np.linspace(0, 1, THRESHOLDS))) if known.size else [np.inf]
                for threshold in tried:
                    chains.append((order, threshold))
                    points.append(played(traces, order, threshold))
        cost, loss = np.array(points).T
        expected = [points[k] for k in lower_hull(cost, loss)]
        found = [played(traces, *chain) for chain in best_chains(traces, (0, 1, 2))]
        np.testing.assert_allclose(found, expected, rtol=1e-9)


class TestFit:
    def test_each_good_chain_is_open_and_no_other(self) -> None:
        traces = recorded()
        model = ttamer.fit(traces, estimate="chains")
        walk = sets_of(model).walk
        prefixes = {
            order[:length] for order, _ in best_chains(traces, (1, 2, 3)) for length in range(1, len(order) + 1)
        }
        assert set(walk.sets) == {(0,), *((0, *prefix) for prefix in prefixes)}
        assert all(nodes[-1] == last for nodes, last in zip(walk.sets, walk.last.tolist(), strict=True))

    def test_policies_are_at_least_as_good_as_the_chains(self) -> None:
        """Each chain and threshold is one of the policies that are open."""
        traces = recorded(rows=600, context=False)
        front = ttamer.frontier(traces, estimate="chains")
        model = front.model
        for order, threshold in best_chains(traces, (0, 1, 2)):
            cost, loss = played(traces, order, threshold)
            for tradeoff in (0.8, 0.95, 0.99):
                policy = ttamer.solve(model, tradeoff)
                result = policy.replay(traces)
                found = tradeoff * result.error + (1 - tradeoff) * result.mean_cost / policy.cost_scale
                assert found <= tradeoff * loss + (1 - tradeoff) * cost / policy.cost_scale + 0.01

    def test_states_are_what_thresholds_tell_apart(self) -> None:
        """Each has requests: a score that lies between those recorded belongs to the ones below it."""
        rng = np.random.default_rng(0)
        coarse = rng.choice([0.1, 0.9], 500)
        fine = rng.random(500)
        losses = np.stack([rng.random(500) > coarse, rng.random(500) > fine, np.zeros(500)], axis=1)
        scores = np.stack([coarse, fine, np.full(500, NAN)], axis=1)
        traces = Traces.from_models(losses, [1, 2, 30], scores=scores)
        model = ttamer.fit(traces, estimate="chains")
        estimator = sets_of(model)
        kept = traces._kept_estimates.get(estimator).signals
        for step, leaves in enumerate(estimator.core.leaves.tolist()):
            assert len(np.unique(kept[:, step])) == leaves
        inputs = estimator.scores(traces[:1])
        own = int(estimator.tables["input_offsets"][0])
        states = []
        for value in (0.1, 0.3, 0.5, 0.7, 0.89, 0.9, 1.0, np.nan):
            inputs[0, own] = value
            states.append(estimator.core.estimate(inputs, np.full((1, 3), -1, np.int32))[0][0])
        steps = [step for step, nodes in enumerate(estimator.walk.sets) if nodes[-1] == 0]
        assert steps
        for step in steps:
            assert len({state[step] for state in (*states[:5], states[7])}) == 1
            assert len({state[step] for state in states[5:7]}) == 1

    def test_a_missing_score_is_below_all_thresholds(self) -> None:
        traces = recorded(rows=600, missing=0.4, context=False)
        model = ttamer.fit(traces, estimate="chains")
        estimator = sets_of(model)
        inputs = np.full((1, int(estimator.tables["input_offsets"][-1])), np.nan, np.float32)
        lowest = np.full_like(inputs, -1e30)
        none = np.full((1, 3), -1, np.int32)
        np.testing.assert_array_equal(
            estimator.core.estimate(inputs, none)[0], estimator.core.estimate(lowest, none)[0]
        )

    def test_one_rising_change_of_all_scores_changes_no_decision(self) -> None:
        traces, held = recorded(rows=300, context=False), recorded(rows=100, seed=1, context=False)
        policy = ttamer.solve(ttamer.fit(traces, estimate="chains"), 0.97)
        for change in (lambda x: x**3, np.exp, lambda x: 8 * x - 3):
            moved = [
                Traces.from_models(
                    part.losses, [1, 2, 4], scores=change(part.signals.astype(np.float64)), answers=part.predictions
                )
                for part in (traces, held)
            ]
            other = ttamer.solve(ttamer.fit(moved[0], estimate="chains"), 0.97)
            for mine, others in zip((traces, held), moved, strict=True):
                np.testing.assert_array_equal(other.replay(others).last_node, policy.replay(mine).last_node)

    def test_it_needs_scores(self) -> None:
        for options in ({"scores": False}, {"scores": False, "context": False}):
            with pytest.raises(ValueError, match="^estimate: expected scores, which chains are cut at, got none$"):
                ttamer.fit(recorded(rows=60, **options), estimate="chains")

    def test_huge_scores_some_of_which_are_missing(self) -> None:
        traces = recorded(rows=100, context=False)
        scores = traces.signals * np.float32(1e38)
        scores[::3, 1] = NOTHING
        assert np.isfinite(scores).all()
        with np.errstate(all="raise"):
            ttamer.fit(traces._with(signals=scores), estimate="chains")

    @pytest.mark.parametrize("models", [1, 2, 4, 6])
    def test_models(self, models: int) -> None:
        traces = recorded(models, 200)
        front = ttamer.frontier(traces, estimate="chains")
        assert front[-1].error <= traces.losses[:, 1:].mean(axis=0, dtype=np.float64).min() + 1e-9
        assert max(map(len, front[-1].policy.walk)) <= 1 + min(models, 3 if models <= 5 else 2)
