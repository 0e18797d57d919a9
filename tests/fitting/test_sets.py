"""Policies that decide on everything seen: what they reach, and which traces they can be fitted on."""

from __future__ import annotations

import gc
import itertools
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from set_traces import recorded, same_as_replay, sets_of

import ttamer
from ttamer import Topology, Traces
from ttamer._base.hull import lower_hull, mixing_shares
from ttamer.fitting import choosing
from ttamer.fitting.budgets import default_budgets
from ttamer.fitting.choosing import Choice
from ttamer.fitting.leaves import FEWEST_ROWS

Floats = npt.NDArray[np.float64]
NAN = np.nan


def losses_at(front: ttamer.Front, traces: Traces, budgets: Floats) -> Floats:
    """Mean losses of mixtures of a front's points at these budgets."""
    cost, loss = np.array([(point.cost, point.error) for point in front]).T
    hull = lower_hull(cost, loss)
    return mixing_shares(cost[hull], budgets).T @ loss[hull]


def fixed_losses_at(traces: Traces, budgets: Floats) -> Floats:
    """The same of always asking one model."""
    models = traces._answering
    cost = traces.request_reach_costs[:, models].mean(axis=0)
    loss = traces.losses[:, models].mean(axis=0, dtype=np.float64)
    hull = lower_hull(cost, loss)
    return mixing_shares(cost[hull], budgets).T @ loss[hull]


def independently(policy: ttamer.Policy, traces: Traces) -> ttamer.Replay:
    """A replay of the same requests as if they were others."""
    return policy.replay(traces[:])


class TestStates:
    def test_rows_that_show_the_same_are_served_in_the_states_they_were_fitted_in(self) -> None:
        """Two scores a model, three classes: a tree could tell their rows apart by the folds of fitting alone."""
        rng = np.random.default_rng(0)
        hard, labels = rng.random(3000), rng.integers(0, 3, 3000)
        right = rng.random((3000, 2)) > hard[:, None] * [1.0, 0.4]
        answers = np.where(right, labels[:, None], (labels[:, None] + 1) % 3)
        sure = (hard[:, None] + rng.normal(0, 0.2, (3000, 2)) < 0.5).astype(np.float64)
        traces = Traces.from_models(~right, [1.0, 10.0], scores=sure, answers=answers)
        model = ttamer.fit(traces, estimate="sets")
        fitted, served = traces._kept_estimates.get(model.estimator), sets_of(model).estimate_traces(traces)
        _, groups, rows = np.unique(
            np.concatenate([sure, answers], axis=1), axis=0, return_inverse=True, return_counts=True
        )
        many = rows[groups.ravel()] >= FEWEST_ROWS
        assert 0.9 < many.mean() < 1
        np.testing.assert_array_equal(fitted.signals[many], served.signals[many])
        np.testing.assert_array_equal(fitted.answers[many], served.answers[many])


class TestSteps:
    @pytest.mark.parametrize(("models", "depth"), [(1, 1), (2, 2), (3, 3), (4, 4), (5, 3), (6, 3), (7, 2)])
    def test_every_order_of_as_many_models_as_are_worth_it(self, models: int, depth: int) -> None:
        for context in (False, True):
            traces = recorded(models, 80, context=context, scores=models < 5)
            model = ttamer.fit(traces, estimate="sets")
            walk = sets_of(model).walk
            asked = range(1, models + 1) if context else range(models)
            front = (0,) if context else ()
            expected = {
                ((*front, *nodes), last)
                for size in range(1, depth + 1)
                for nodes in itertools.combinations(asked, size)
                for last in nodes
            } | ({((0,), 0)} if context else set())
            assert set(zip(walk.sets, walk.last.tolist(), strict=True)) == expected
            steps = {pair: step for step, pair in enumerate(zip(walk.sets, walk.last.tolist(), strict=True))}
            edges = {(-1, steps[pair]) for pair in expected if len(pair[0]) == 1}
            edges |= {
                (steps[nodes, last], steps[tuple(sorted((*nodes, node))), node])
                for nodes, last in expected
                for node in asked
                if node not in nodes and len(nodes) - len(front) < depth
            }
            assert set(map(tuple, walk.edges.tolist())) == edges
            policy = ttamer.solve(model, 0.9)
            assert policy.first_node in (front or asked)
            result = policy.replay(traces)
            assert (result.loss == traces.losses[np.arange(80), result.answer_node]).all()

    def test_a_verifier_is_asked_and_answers_nothing(self) -> None:
        """It says which of the small model's answers are wrong; without it that cannot be known."""
        rng = np.random.default_rng(0)
        wrong = rng.random(600) < 0.4
        losses = np.stack([wrong, np.full(600, np.inf), np.zeros(600)], axis=1)
        for context in (None, rng.random(600)):
            scores = np.stack([np.full(600, NAN), np.where(wrong, 0.1, 0.9), np.full(600, NAN)], axis=1)
            traces = Traces.from_models(losses, [1, 1, 20], scores=scores, context=context)
            front = ttamer.frontier(traces, estimate="sets")
            policy = front[-1].policy
            result = independently(policy, traces)
            assert result.error == 0
            assert result.mean_cost == pytest.approx(1 + (~wrong).mean() + 20 * wrong.mean())
            same_as_replay(policy, traces[:100])
            assert ttamer.frontier(traces)[-1].error == 0

    def test_verifiers_alone_lead_nowhere(self) -> None:
        losses = np.concatenate([np.full((60, 4), np.inf), np.zeros((60, 3))], axis=1)
        traces = Traces.from_models(losses, [1] * 7, scores=np.random.default_rng(0).random((60, 7)))
        model = ttamer.fit(traces, estimate="sets")
        sets = set(sets_of(model).walk.sets)
        assert {(0,), (0, 4), (4, 5)} <= sets
        assert not any(len(nodes) == 2 and max(nodes) < 4 for nodes in sets)
        assert ttamer.solve(model, 0.9).replay(traces).mean_cost == 1

    def test_of_many_the_promising_ones_are_asked(self) -> None:
        rng = np.random.default_rng(0)
        wrong = rng.random((60, 22)) < np.linspace(0.9, 0.1, 22)
        wrong[:, [4, 9]] = True
        traces = Traces.from_models(wrong, np.linspace(1, 2, 22))
        nodes = [k for k in range(22) if k not in (4, 9)]
        with pytest.warns(
            UserWarning, match=r"^fit: policies ask 20 of the 22 models, nodes \[0, 1, 2, 3, 5, "
        ) as told:
            model = ttamer.fit(traces, estimate="sets")
        assert len(told) == 1
        assert told[0].filename == __file__
        assert str(told[0].message).endswith(
            "; the others are not worth it alone, and asking all pairs would take too many steps"
        )
        assert sorted(set(sets_of(model).walk.last.tolist())) == nodes
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            ttamer.fit(traces.path(range(20), np.ones(20))._with(independent=False))


class TestNeverWorse:
    @pytest.mark.parametrize(
        "options",
        [
            {},
            {"scores": False},
            {"answers": False, "context": False},
            {"scores": False, "answers": False},
            {"scores": False, "answers": False, "context": False},
            {"models": 6, "scores": False},
        ],
        ids=str,
    )
    @pytest.mark.parametrize("estimate", ["auto", "sets"])
    def test_than_always_one_model(self, options: dict[str, Any], estimate: str) -> None:
        traces, held = recorded(rows=400, **options), recorded(rows=400, seed=1, **options)
        budgets = default_budgets(traces)
        front = ttamer.frontier(traces, estimate=estimate)
        assert (losses_at(front, traces, budgets) <= fixed_losses_at(traces, budgets) + 0.01).all()
        served = ttamer.Front(
            [
                ttamer.FrontPoint(result.mean_cost, result.error, point.policy)
                for point in front
                for result in [point.policy.replay(held)]
            ]
        )
        assert losses_at(served, held, budgets).mean() < fixed_losses_at(held, budgets).mean() + 0.01

    def test_where_nothing_is_shown_policies_are_of_one_model(self) -> None:
        traces = recorded(scores=False, answers=False, context=False)
        front = ttamer.frontier(traces)
        for point in front:
            assert len(set(point.policy.replay(traces).last_node.tolist())) == 1
        budgets = default_budgets(traces)
        np.testing.assert_allclose(losses_at(front, traces, budgets), fixed_losses_at(traces, budgets), rtol=1e-9)

    @pytest.mark.parametrize("value", [0.0, 1.0, 3.5])
    def test_losses_that_are_all_alike(self, value: float) -> None:
        traces = recorded(rows=60)
        losses = np.full((60, 3), value)
        alike = Traces.from_models(losses, [1, 2, 4], scores=traces.signals[:, 1:], answers=traces.predictions[:, 1:])
        for estimate in ("auto", "sets", "chains"):
            (point,) = ttamer.frontier(alike, estimate=estimate)
            assert (point.cost, point.error) == (1, pytest.approx(value))
            assert point.policy.expected_loss == pytest.approx(value, abs=1e-9)

    def test_models_that_are_the_same_are_asked_once(self) -> None:
        one = recorded(1, 200, context=False)
        same = Traces.from_models(
            np.repeat(one.losses, 3, axis=1),
            [1, 1, 1],
            scores=np.repeat(one.signals, 3, axis=1),
            answers=np.repeat(one.predictions, 3, axis=1),
        )
        for estimate in ("auto", "sets", "chains"):
            (point,) = ttamer.frontier(same, estimate=estimate)
            assert (point.cost, point.error) == (1, one.losses.mean(dtype=np.float64))

    def test_models_that_cost_nothing(self) -> None:
        traces = recorded(costs=[0, 0, 0])
        front = ttamer.frontier(traces)
        assert front[-1].cost == 0
        assert front[-1].error <= traces.losses[:, 1:].mean(axis=0).min()

    @pytest.mark.parametrize("estimate", ["sets", "chains"])
    def test_minus_infinity_is_a_missing_score_in_service(self, estimate: str) -> None:
        traces = recorded(missing=0.3, context=False)
        policy = ttamer.solve(ttamer.fit(traces, estimate=estimate), 0.98)
        node = policy.first_node
        said = traces.predictions[:, node].copy()
        scores = traces.signals[:, node].copy()
        missing = scores == np.finfo(np.float32).min
        assert missing.any()
        expected = policy.start(400).decide_answers(node, scores, said).copy()
        scores[missing] = -np.inf
        np.testing.assert_array_equal(policy.start(400).decide_answers(node, scores, said), expected)


class TestRouters:
    """Two specialists of constant confidence, each right where the other is wrong, and something that tells them."""

    def specialists(self, rows: int = 400) -> npt.NDArray[np.bool_]:
        return np.random.default_rng(0).random(rows) < 0.4

    @pytest.mark.parametrize("estimate", ["auto", "sets", "signal"])
    @pytest.mark.parametrize("shown", ["category", "number"])
    def test_a_context(self, estimate: str, shown: str) -> None:
        first = self.specialists()
        context = np.where(first, "law", "maths") if shown == "category" else first * 1.0
        scores = np.full((400, 2), [0.7, 0.9])
        traces = Traces.from_models(np.stack([~first, first], axis=1), [1, 2], scores=scores, context=context)
        point = ttamer.frontier(traces, estimate=estimate)[-1]
        assert point.error == 0
        result = independently(point.policy, traces)
        assert result.error == 0
        assert result.mean_cost == pytest.approx(1 + (~first).mean())
        assert (result.last_node == np.where(first, 1, 2)).all()

    @pytest.mark.parametrize("shown", ["answer", "score"])
    @pytest.mark.parametrize("estimate", ["auto", "sets"])
    def test_a_first_model(self, estimate: str, shown: str) -> None:
        first = self.specialists()
        losses = np.stack([np.ones(400), ~first, first], axis=1)
        route = np.where(first, 1, 0)
        scores = np.stack([route if shown == "score" else np.full(400, 0.5), np.full(400, 0.5), np.full(400, 0.5)], 1)
        answers = np.stack([route, np.full(400, 7), np.full(400, 8)], axis=1) if shown == "answer" else None
        traces = Traces.from_models(losses, [0.1, 1, 1], scores=scores, answers=answers)
        point = ttamer.frontier(traces, estimate=estimate)[-1]
        result = independently(point.policy, traces)
        assert (point.error, result.error) == (0, 0)
        assert result.mean_cost == pytest.approx(1.1)
        assert (result.answer_node == np.where(first, 1, 2)).all()

    def test_a_first_model_s_score_in_plain_states(self) -> None:
        """A node whose signal says nothing keeps the state of the one that every way to it passes."""
        first = self.specialists()
        losses = np.stack([np.ones(400), ~first, first], axis=1).astype(np.float32)
        signals = np.stack([first, np.full(400, 0.5), np.full(400, 0.7)], axis=1).astype(np.float32)
        topology = ttamer.Topology.dag(3, [(-1, 0), (0, 1), (0, 2), (1, 2)])
        traces = Traces(signals, losses, [0.1, 1, 1, 1], topology)
        assert ttamer.frontier(traces, estimate="signal")[-1].error == 0

    @pytest.mark.parametrize("estimate", ["auto", "sets", "chains", "signal"])
    @pytest.mark.parametrize("last", [NAN, 1.0])
    def test_a_last_model_without_a_score_or_a_person(self, estimate: str, last: float) -> None:
        """It is asked where the others are unsure, and is kept."""
        rng = np.random.default_rng(1)
        sure = rng.random((600, 2))
        losses = np.stack([rng.random(600) > sure[:, 0], rng.random(600) > sure[:, 1], np.zeros(600)], axis=1)
        traces = Traces.from_models(losses, [1, 2, 20], scores=np.column_stack([sure, np.full(600, last)]))
        front = ttamer.frontier(traces, estimate=estimate)
        assert front[-1].error == 0
        (node,) = {int(node) for node in front[-1].policy.replay(traces).answer_node} - {0, 1}
        assert node == 2
        budgets = np.array([8.0])
        assert losses_at(front, traces, budgets) < 0.8 * fixed_losses_at(traces, budgets)


TABLES: dict[str, tuple[list[float], list[list[float]]]] = {
    "a cheap model that knows when it is wrong": (
        [1, 10],
        [[6, 0, 0, 1, 0], [1, 1, 0, 1, 0], [2, 1, 0, 0, 0], [1, 0, 0, 0, 0], [1, 1, 1, 0, 0]],
    ),
    "two that are wrong in turn": (
        [1, 2],
        [[4, 0, 1, 1, 0], [4, 1, 0, 0, 1], [1, 0, 0, 1, 1], [1, 1, 1, 0, 0]],
    ),
    "a first that says which of two is right": (
        [0.5, 1, 1],
        [[5, 1, 0, 1, 0, 0, 0], [5, 1, 1, 0, 1, 0, 0], [1, 0, 1, 1, 1, 0, 0]],
    ),
    "three steps of rising cost": (
        [1, 3, 9],
        [
            [8, 0, 0, 0, 1, 1, 0],
            [2, 1, 0, 0, 0, 1, 0],
            [2, 1, 1, 0, 0, 0, 0],
            [1, 1, 0, 0, 1, 1, 0],
            [1, 0, 1, 0, 1, 0, 0],
        ],
    ),
    "graded": (
        [1, 4],
        [[5, 0.1, 0.0, 1, 0], [3, 2.0, 0.5, 0, 0], [2, 0.5, 0.5, 0.5, 0]],
    ),
}
"""Costs, and rows: how many, the losses, the scores."""


def optimum(losses: Floats, scores: Floats, costs: Floats, weights: Floats) -> float:
    """Least mean loss + cost of all that may be done at each set of scores seen."""

    def least(asked: tuple[int, ...], rows: npt.NDArray[np.intp]) -> float:
        mass = weights[rows]
        best = min((float(mass @ losses[rows, node]) for node in asked), default=np.inf)
        for node in set(range(len(costs))) - {*asked}:
            parts = [rows[scores[rows, node] == value] for value in np.unique(scores[rows, node])]
            best = min(best, costs[node] * float(mass.sum()) + sum(least((*asked, node), part) for part in parts))
        return best

    return least((), np.arange(len(losses)))


class TestOptimal:
    """Small tables of requests, repeated so often that every state is told, against the best of all policies."""

    @pytest.mark.parametrize("case", TABLES)
    def test_the_best_policy_is_found(self, case: str) -> None:
        costs, rows = TABLES[case]
        table = np.array(rows)
        models = len(costs)
        share, losses, scores = table[:, 0] / table[:, 0].sum(), table[:, 1 : 1 + models], table[:, 1 + models :]
        place = np.repeat(np.arange(len(table)), (table[:, 0] * 1000).astype(int))
        traces = Traces.from_models(losses[place], costs, scores=scores[place])
        model = ttamer.fit(traces, estimate="sets")
        others = traces[:]
        for weight in (0.3, 0.6, 0.8, 0.9, 0.95, 0.99):
            cost_scale = (1 - weight) / 10
            policy = ttamer.solve(model, weight / (weight + cost_scale * model.cost_scale))
            result = policy.replay(others)
            found = weight * result.error + cost_scale * result.mean_cost
            expected = optimum(weight * losses, scores, cost_scale * np.array(costs), share)
            assert found == pytest.approx(expected, abs=1e-6)


class TestTheSame:
    @given(st.sampled_from([lambda x: x**3, np.exp, np.arctan, lambda x: 5 * x - 3]), st.integers(0, 2))
    @settings(max_examples=6)
    def test_any_rising_change_of_a_score_changes_no_decision(self, change: Any, node: int) -> None:
        traces, held = recorded(rows=200), recorded(rows=100, seed=1)
        policy = ttamer.solve(ttamer.fit(traces, estimate="sets"), 0.98)
        moved = []
        for part in (traces, held):
            scores = part.signals[:, 1:].astype(np.float64)
            scores[:, node] = change(scores[:, node])
            moved.append(
                Traces.from_models(
                    part.losses[:, 1:],
                    [1, 2, 4],
                    scores=scores,
                    answers=part.predictions[:, 1:],
                    context=dict(part.context),
                )
            )
        other = ttamer.solve(ttamer.fit(moved[0], estimate="sets"), 0.98)
        for mine, others in zip((traces, held), moved, strict=True):
            found, expected = other.replay(others), policy.replay(mine)
            np.testing.assert_array_equal(found.last_node, expected.last_node)
            np.testing.assert_array_equal(found.answer_node, expected.answer_node)

    def test_models_in_another_order_are_as_good(self) -> None:
        traces = recorded(4, 800, context=False)
        budgets = default_budgets(traces)
        losses = losses_at(ttamer.frontier(traces, estimate="sets"), traces, budgets)
        order = [2, 0, 3, 1]
        other = Traces.from_models(
            traces.losses[:, order],
            np.array([1, 2, 4, 8])[order],
            scores=traces.signals[:, order],
            answers=traces.predictions[:, order],
        )
        found = losses_at(ttamer.frontier(other, estimate="sets"), other, budgets)
        assert abs(found - losses).mean() < 0.01

    def test_seeds(self) -> None:
        first, again, other = (ttamer.fit(recorded(), estimate="sets", seed=seed) for seed in (0, 0, 1))
        assert first._to_bytes() == again._to_bytes() != other._to_bytes()

    def test_units_of_losses_do_not_matter(self) -> None:
        traces = recorded(graded=True, context=False)
        scaled = Traces.from_models(traces.losses * 512, [1, 2, 4], scores=traces.signals, answers=traces.predictions)
        found, expected = (ttamer.frontier(each, estimate="sets") for each in (scaled, traces))
        np.testing.assert_allclose(
            [(point.cost, point.error / 512) for point in found], [(point.cost, point.error) for point in expected]
        )

    def test_names_of_answers_do_not_matter(self) -> None:
        traces = recorded(context=False)
        codes = np.array([7, 1000, 3, 2**31 - 1, -1], np.int32)[traces.predictions]
        renamed = Traces.from_models(traces.losses, [1, 2, 4], scores=traces.signals, answers=codes)
        found, expected = (
            ttamer.solve(ttamer.fit(each, estimate="sets"), 0.98).replay(each) for each in (renamed, traces)
        )
        assert np.mean(found.last_node == expected.last_node) > 0.97  # sums are rounded in another order


class TestRequests:
    def test_fifty_are_enough(self) -> None:
        for rows in (50, 51, 62):
            traces = recorded(rows=rows)
            assert ttamer.frontier(traces).estimate in ("sets", "chains")
            ttamer.solve(ttamer.fit(traces, estimate="sets"), 0.9).replay(traces)
        with pytest.warns(UserWarning, match="alone, not of everything seen: expected at least 50 requests, got 49"):
            assert ttamer.frontier(recorded(rows=49)).estimate == "signal"

    def test_a_score_that_one_request_alone_has(self) -> None:
        """Four folds may not know that there are scores."""
        scores = np.full((60, 2), 0.5)
        scores[7, 0] = 0.9
        traces = Traces.from_models(recorded(2, 60).losses[:, 1:], [1, 2], scores=scores)
        assert [str(choice) for choice in choosing.candidates(traces)] == ["chains", "sets"]
        assert ttamer.frontier(traces).estimate in ("sets", "chains")

    @pytest.mark.parametrize("estimate", ["sets", "chains"])
    def test_what_they_cannot_be_fitted_on(self, estimate: str) -> None:
        traces = recorded(rows=60)
        losses = traces.losses.copy()
        losses[3, 2] = NAN
        for other, message in (
            (traces[:49], "expected at least 50 requests, got 49; use 'signal'"),
            (traces.weighted(2), "expected traces without weights, got weights; use 'signal'"),
            (traces._with(observed=True), "expected losses that have to be estimated, got observed ones; use 'signal'"),
        ):
            with pytest.raises(ValueError, match=f"^estimate: {message}$"):
                ttamer.fit(other, estimate=estimate)
        with pytest.raises(
            ValueError, match="^traces: expected complete rows, 1 of 60 lack a signal, a loss or a cost"
        ):
            ttamer.fit(traces._with(losses=losses), estimate=estimate)
        with pytest.warns(UserWarning, match="seen: traces: expected complete rows, 1 of 60 lack [a-z, ]*$"):
            assert ttamer.fit(traces._with(losses=losses), estimate="auto").estimator is None
        if estimate == "chains":
            with pytest.raises(ValueError, match="^estimate: expected traces of independent models"):
                ttamer.fit(traces.path([1, 2], [1, 1]), estimate=estimate)

    def test_categories_that_no_context_shows(self) -> None:
        """Codes are no numbers, and other traces may code them otherwise."""
        traces = recorded(rows=60)._with(context={})
        assert list(traces.categories) == [0]
        with pytest.raises(ValueError, match="^estimate: expected scores that are numbers, got categories; use 'sig"):
            ttamer.fit(traces, estimate="sets")
        with pytest.warns(UserWarning, match="seen: expected scores that are numbers, got categories$"):
            assert ttamer.fit(traces, estimate="auto").estimator is None

    @pytest.mark.parametrize("estimate", ["sets", "chains"])
    def test_the_marginal_weighs_what_it_is_told_to(self, estimate: str) -> None:
        traces = recorded(rows=200)
        default, stated, other = (
            ttamer.fit(traces, estimate=estimate, transition_strength=strength).transitions
            for strength in (None, 8, 1000)
        )
        for mine, others in zip(default, stated, strict=True):
            np.testing.assert_array_equal(mine, others)
        assert any((mine != others).any() for mine, others in zip(default, other, strict=True))

    @pytest.mark.parametrize("estimate", ["sets", "chains"])
    def test_options_that_they_do_not_take(self, estimate: str) -> None:
        traces = recorded(rows=60)
        for options, message in (
            ({"order": [1]}, f"order: expected None with estimate='{estimate}'; 'posterior' on a forest takes one"),
            ({"order": "best"}, f"order: expected None with estimate='{estimate}'; 'posterior' on a forest takes one"),
            ({"like": ttamer.fit(traces)}, "like: expected estimate='signal', models with an estimator do not add"),
            ({"smoothing": "platt"}, "smoothing, loss_strength: expected none with estimates, which are expected loss"),
            ({"loss_strength": 1.0}, "smoothing, loss_strength: expected none with estimates, which are expected loss"),
            ({"seed": -1}, "seed: expected at least 0, got -1"),
            ({"bins": 32}, f"bins: expected none with estimate='{estimate}', which makes states of its own, got 32$"),
            ({"bins": 64}, f"bins: expected none with estimate='{estimate}', which makes states of its own, got 64$"),
            ({"bins": 0}, "bins: expected at least 1, got 0$"),
        ):
            with pytest.raises(ValueError, match=f"^{message}"):
                ttamer.fit(traces, estimate=estimate, **options)
        with pytest.raises(ValueError, match=f"^bins: expected none with estimate='{estimate}'"):
            ttamer.frontier(traces, estimate=estimate, bins=8)
        with pytest.raises(ValueError, match=f"^order: expected None with estimate='{estimate}'"):
            ttamer.frontier(traces, estimate=estimate, order="any")
        same = [ttamer.fit(traces, bins, estimate)._to_bytes() for bins in (None, "auto")]  # "auto" is what they do
        assert same[0] == same[1]
        with pytest.raises(ValueError, match="^like: expected a model of plain signals"):
            ttamer.fit(traces, like=ttamer.fit(traces, estimate=estimate))

    def test_costs_in_several_units(self) -> None:
        costs = {"usd": [1, 2, 4], "ms": np.random.default_rng(0).random((200, 3))}
        traces = recorded(rows=200, costs=costs)
        assert choosing.candidates(traces) == [Choice("sets")]
        model = ttamer.fit(traces, estimate="auto")
        assert sets_of(model).kind == "sets"
        assert model.choice == ()
        prices = {"usd": 1.0, "ms": 2.0}
        priced = ttamer.fit(traces.priced(prices), estimate="sets")
        found, expected = ttamer.solve(model, 0.97, prices=prices), ttamer.solve(priced, 0.97)
        np.testing.assert_array_equal(found.replay(traces).last_node, expected.replay(traces.priced(prices)).last_node)
        assert ttamer.frontier(traces, prices=prices).unit == "usd + 2.0 ms"
        with pytest.raises(
            ValueError, match="^traces: expected costs in one unit, got usd, ms; say what each is worth"
        ):
            ttamer.fit(traces, estimate="chains")

    def test_costs_of_each_request(self) -> None:
        """What is known says what the next model will cost."""
        rng = np.random.default_rng(0)
        long = rng.random(600) < 0.5
        wrong = rng.random(600) < 0.3
        losses = np.stack([wrong, np.zeros(600)], axis=1)
        costs = np.stack([np.ones(600), np.where(long, 50.0, 2.0)], axis=1)
        traces = Traces.from_models(losses, costs, context=np.where(long, "long", "short"))
        front = ttamer.frontier(traces, estimate="sets")
        assert any(
            set(point.policy.replay(traces).last_node[long]) == {1}
            and set(point.policy.replay(traces).last_node[~long]) == {2}
            for point in front
        )

    def test_expectations_are_about_what_happens(self) -> None:
        traces, held = recorded(rows=4000), recorded(rows=4000, seed=1)
        model = ttamer.fit(traces, estimate="sets")
        for tradeoff in (0.9, 0.97, 0.995):
            policy = ttamer.solve(model, tradeoff)
            result = policy.replay(held)
            assert policy.expected_loss == pytest.approx(result.error, abs=0.03)
            assert policy.expected_cost == pytest.approx(result.mean_cost, rel=0.1)


@pytest.mark.parametrize(
    ("topology", "offered"),
    [
        (Topology.line(45), ["signal", "sets"]),
        (Topology.line(46), ["signal"]),
        (Topology.skip(8), ["signal", "sets"]),
        (Topology.skip(9), ["signal"]),
        (Topology.forest([-1] * 6), ["signal", "sets"]),
    ],
)
def test_long_lines_without_evidence_are_not_compared(topology: Topology, offered: list[str]) -> None:
    rows = np.random.default_rng(0).random((50, topology.nodes), np.float32)
    traces = Traces(rows, (rows < 0.3).astype(np.float32), np.ones(len(topology.edges)), topology)
    assert [str(choice) for choice in choosing.candidates(traces)] == offered


def test_auto_takes_the_better_of_the_two() -> None:
    traces = recorded()
    choice, rows = choosing.choose(traces)
    assert {row.name for row in rows} == {"sets", "chains"}
    assert rows[0].name == str(choice)
    assert rows[0].loss == min(row.loss for row in rows)
    model = ttamer.fit(traces, estimate="auto")
    assert (model.choice, sets_of(model).kind) == (rows, choice.estimate)
    assert ttamer.frontier(traces).choice == rows


@pytest.mark.parametrize("first_goes", [True, False])
def test_rows_stay_out_of_fold_after_an_equal_model_is_gone(first_goes: bool) -> None:
    """As where a model is fitted again under the same name."""
    traces = recorded()
    models = [ttamer.fit(traces, estimate="sets") for _ in range(2)]
    expected = ttamer.solve(models[0], 0.97).replay(traces)
    assert (expected.last_node != ttamer.solve(models[0], 0.97).replay(traces[:]).last_node).any()
    assert len(traces._kept_estimates) == 2
    del models[0 if first_goes else 1]
    gc.collect()
    assert len(traces._kept_estimates) == 1
    np.testing.assert_array_equal(ttamer.solve(models[0], 0.97).replay(traces).last_node, expected.last_node)
    models.clear()
    gc.collect()
    assert len(traces._kept_estimates) == 0


def test_rows_are_out_of_fold_where_an_equal_model_came_from_a_file(tmp_path: Path) -> None:
    traces = recorded()
    model = ttamer.fit(traces, estimate="sets")
    expected = ttamer.solve(model, 0.97).replay(traces)
    model.save(tmp_path / "m.model")
    del model
    gc.collect()
    loaded = ttamer.CascadeModel.load(tmp_path / "m.model")
    assert (ttamer.solve(loaded, 0.97).replay(traces).last_node != expected.last_node).any()
    again = ttamer.solve(ttamer.fit(traces, estimate="sets"), 0.97).replay(traces)
    np.testing.assert_array_equal(again.last_node, expected.last_node)
