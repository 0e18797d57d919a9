"""Baselines that are fitted: on rows for which the right answer is known."""

from __future__ import annotations

import importlib
import itertools
import pickle

import numpy as np
import pytest
from walks import from_probs, line, same_replay

from ttamer import Topology, Traces, baselines
from ttamer.baselines import exhaustive, schedule
from ttamer.baselines.temperature import fit_temperatures

pytest.importorskip("sklearn", reason="needs the fit extra")
stats = pytest.importorskip("scipy.stats", reason="needs the fit extra")

CURVES = {
    "score_thresholds": (
        baselines.temperature_curve,
        baselines.isotonic_curve,
        baselines.schedule_curve,
        baselines.routing_curve,
    ),
    "threshold": (baselines.certified_curve,),
    "node_thresholds": (baselines.search_thresholds,),
}
EVERY = [(walk, curve) for walk, curves in CURVES.items() for curve in curves]


def calibrated(rows, factors, seed=0, classes=4):
    """Traces whose nodes state softmax(factor * z) where softmax(z) is the truth; one z a row for all nodes."""
    rng = np.random.default_rng(seed)
    z = rng.normal(0, 2, (rows, classes))
    truth = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    labels = (rng.random((rows, 1)) > np.cumsum(truth, axis=1)).sum(axis=1).clip(max=classes - 1)
    stated = np.exp(z[:, None, :] * np.array(factors)[:, None])
    return Traces.from_probs(stated / stated.sum(-1, keepdims=True), labels, np.ones(len(factors)), unit="ms")


def hull_error(curve, traces, budget):
    results = [setting.replay(traces) for setting in curve]
    return min(result.error for result in results if result.mean_cost <= budget)


class TestEveryCurve:
    @pytest.mark.parametrize(("walk", "curve"), EVERY)
    def test_settings_say_what_they_replay(self, walk, curve):
        traces = from_probs(rows=300)
        calibration, test = traces[:200], traces[200:]
        made = curve(calibration)
        assert 3 <= len(made) <= 120
        for setting in made[:: max(1, len(made) // 10)]:
            again = getattr(baselines, walk)(test, **setting.parameters)
            same_replay(setting.replay(test), again)
            same_replay(pickle.loads(pickle.dumps(setting)).replay(test), again)

    @pytest.mark.parametrize(("walk", "curve"), EVERY)
    @pytest.mark.parametrize("points", [2, 9])
    def test_points(self, walk, curve, points):
        assert 1 <= len(curve(from_probs(), points=points)) <= points
        with pytest.raises(ValueError, match=r"^points: expected at least 2, got 1$"):
            curve(from_probs(), points=1)

    @pytest.mark.parametrize(("walk", "curve"), EVERY)
    def test_one_node(self, walk, curve):
        traces = from_probs(nodes=1)
        for setting in curve(traces):
            same_replay(setting.replay(traces), baselines.last_node(traces))

    @pytest.mark.parametrize(("walk", "curve"), EVERY)
    def test_other_topologies(self, walk, curve):
        skip = from_probs(nodes=3)
        skip = Traces(skip.signals, skip.losses, np.ones(6), Topology.skip(3), evidence=skip.evidence)
        with pytest.raises(ValueError, match=r"^traces: .*(a line, got a skip|every node is a root, got)"):
            curve(skip)

    @pytest.mark.parametrize(
        ("curve", "package"),
        [
            (baselines.temperature_curve, "scipy"),
            (baselines.certified_curve, "scipy"),
            (baselines.isotonic_curve, "scikit-learn"),
            (baselines.schedule_curve, "scikit-learn"),
            (baselines.routing_curve, "scikit-learn"),
        ],
    )
    def test_a_missing_extra_is_named(self, curve, package, monkeypatch):
        def missing(name, *rest):
            raise ImportError(name)

        monkeypatch.setattr(importlib, "import_module", missing)
        name = curve.__name__
        with pytest.raises(ImportError, match=rf"^{name} needs {package}: pip install ttamer\[fit\]$"):
            curve(from_probs())

    @pytest.mark.parametrize("curve", [baselines.schedule_curve, baselines.routing_curve, baselines.certified_curve])
    def test_losses_have_to_be_errors(self, curve):
        losses = np.full((4, 2), 0.0, np.float32)
        losses[2, 1] = 0.5
        traces = Traces(np.zeros((4, 2), np.float32), losses, [1, 1], signal="max_prob")
        with pytest.raises(ValueError, match=rf"^losses: {curve.__name__} needs 0/1 errors, got 0.5 at row 2, node 1$"):
            curve(traces)

    @pytest.mark.parametrize("curve", [baselines.schedule_curve, baselines.routing_curve, baselines.temperature_curve])
    def test_evidence_is_needed(self, curve):
        traces = Traces(np.zeros((4, 2), np.float32), np.zeros((4, 2), np.float32), [1, 1], labels=[0, 1, 0, 1])
        with pytest.raises(ValueError, match=rf"^traces: {curve.__name__} needs evidence, and these traces have none"):
            curve(traces)

    @pytest.mark.parametrize(("walk", "curve"), EVERY)
    def test_constant_signals_and_nodes_that_are_always_right(self, walk, curve):
        probs = np.full((50, 3, 2), 0.5)
        probs[..., 0] = 0.75
        probs[..., 1] = 0.25
        traces = Traces.from_probs(probs, np.zeros(50, int), np.ones(3))
        results = [setting.replay(traces) for setting in curve(traces)]
        assert {result.error for result in results} == {0.0}
        assert all(set(result.last_node.tolist()) <= {0, 1, 2} for result in results)


class TestScoreThresholds:
    def test_values(self):
        traces = from_probs()
        scores = baselines.temperature_curve(traces)[0].parameters["scores"]
        same_replay(
            baselines.score_thresholds(traces, scores, 0.7), baselines.score_thresholds(traces, scores, [0.7] * 3)
        )
        with pytest.raises(ValueError, match=r"^values: expected one number or \(3,\), got \(2,\) float64$"):
            baselines.score_thresholds(traces, scores, [0.1, 0.2])

    def test_scores_of_the_same_traces_are_computed_once(self, monkeypatch):
        traces = from_probs()
        scores = baselines.temperature_curve(traces)[0].parameters["scores"]
        monkeypatch.setattr(type(scores), "compute", None)
        assert scores(traces).shape == (200, 4)


class TestTemperature:
    def test_temperatures_are_found(self):
        found = fit_temperatures(calibrated(20_000, [1.0, 2.0, 0.5]))
        np.testing.assert_allclose(found, [1.0, 2.0, 0.5], rtol=0.05)

    def test_classes_that_were_not_recorded(self):
        all_classes = calibrated(5000, [1.0, 3.0], classes=6)
        evidence = all_classes.evidence
        fewer = baselines.temperature_curve(all_classes)[0].parameters["scores"]
        cut = type(evidence)(evidence.log_probs[:, :, :4].copy(), evidence.classes[:, :, :4], 6)
        traces = Traces(all_classes.signals, all_classes.losses, [1.0, 1.0], labels=all_classes.labels, evidence=cut)
        found = baselines.temperature_curve(traces)[0].parameters["scores"]
        np.testing.assert_allclose(found.temperatures, fewer.temperatures, rtol=0.1)

    def test_one_threshold_for_nodes_that_overstate(self):
        # Node 0 says what node 1 says with more emphasis, at the same cost: after scaling they are alike.
        traces = calibrated(4000, [2.0, 1.0, 1.0])
        scores = baselines.temperature_curve(traces)[0].parameters["scores"](traces)
        assert np.abs(traces.signals[:, 0] - traces.signals[:, 1]).mean() > 0.05
        np.testing.assert_allclose(scores[:, 0], scores[:, 1], rtol=0.15, atol=0.05)

    def test_log_odds_of_sure_nodes_stay_apart(self):
        probs = np.array([[[1 - 2e-6, 2e-6]] * 2, [[1 - 1e-6, 1e-6]] * 2])
        traces = Traces.from_probs(probs, [0, 0], [1, 1])
        scores = baselines.temperature_curve(traces)[0].parameters["scores"]
        same = scores(traces)[:, 0] * scores.temperatures[0]
        np.testing.assert_allclose(same, np.log([(1 - 2e-6) / 2e-6, (1 - 1e-6) / 1e-6]), rtol=1e-5)

    def test_labels_are_needed(self):
        traces = from_probs()
        traces = Traces(traces.signals, traces.losses, traces.costs, evidence=traces.evidence)
        with pytest.raises(ValueError, match=r"^traces: temperature_curve needs labels, and these traces have none$"):
            baselines.temperature_curve(traces)


class TestSearch:
    @pytest.mark.parametrize(("nodes", "levels"), [(1, 2), (2, 9), (3, 5), (4, 3)])
    @pytest.mark.parametrize("seed", range(3))
    def test_outcomes_are_those_of_walking_every_combination(self, nodes, levels, seed):
        traces = line(40, nodes, seed)
        grid = exhaustive._grid(traces, levels)
        cost, loss = exhaustive._outcomes(traces, grid)
        assert cost.shape == tuple(len(values) for values in grid)
        for place in itertools.product(*(range(len(values)) for values in grid)):
            values = [values[k] for values, k in zip(grid, place, strict=True)]
            result = baselines.node_thresholds(traces, np.array(values, np.float32))
            assert cost[place] == pytest.approx(result.mean_cost)
            assert loss[place] == pytest.approx(result.error)

    def test_the_best_combinations_are_kept(self):
        traces = from_probs(rows=150, nodes=3)
        grid = exhaustive._grid(traces, 8)
        kept = baselines.search_thresholds(traces, levels=8)
        for budget in (1.2, 1.6, 2.0, 2.6):
            by_hand = [
                result.error
                for values in itertools.product(*grid)
                if (result := baselines.node_thresholds(traces, np.array(values))).mean_cost <= budget
            ]
            assert hull_error(kept, traces, budget) == pytest.approx(min(by_hand))

    def test_levels(self):
        assert [exhaustive._levels(count, None) for count in (1, 2, 3, 7, 10)] == [512, 512, 101, 7, 4]
        with pytest.raises(ValueError, match=r"^traces: search_thresholds tries all .* line of 12 nodes; tune_thr"):
            baselines.search_thresholds(line(20, 12, 0))
        with pytest.raises(ValueError, match=r"^levels: expected at least 2, got 1$"):
            baselines.search_thresholds(line(20, 3, 0), levels=1)
        with pytest.raises(ValueError, match=r"^levels: expected at most 1048576 combinations, got 2000\^2$"):
            baselines.search_thresholds(line(20, 3, 0), levels=2000)


class TestCertified:
    @pytest.mark.parametrize("signal", ["margin", "entropy", "logit_margin"])
    def test_every_level_is_rejected_by_its_binomial_probability(self, signal):
        traces = from_probs(rows=2000)
        curve = baselines.certified_curve(traces, signal, confidence=0.95)
        assert len(curve) > 10
        for setting in curve:
            level = float(setting.name.rpartition("<= ")[2])
            errors = int(setting.replay(traces).loss.sum())
            # The level in the name is rounded.
            assert stats.binom.cdf(errors, 2000, level + 5e-5) <= 0.05
            assert errors / 2000 < level

    def test_a_level_takes_the_smallest_threshold_in_an_unbroken_sequence(self):
        # Errors are common in the middle of the signals and rare below: the low thresholds may not be reached.
        signals = np.linspace(0.01, 0.99, 1000, dtype=np.float32)
        losses = np.zeros((1000, 2), np.float32)
        losses[400:600, 0] = 1
        traces = Traces(np.stack([signals, signals], axis=1), losses, [1, 1], signal="max_prob")
        curve = baselines.certified_curve(traces)
        for setting in curve:
            errors = setting.replay(traces).error
            assert setting.parameters["value"] > signals[599] or errors > 0.0
            level = float(setting.name.rpartition("<= ")[2])
            if level < 0.19:
                assert setting.parameters["value"] > signals[400]

    def test_too_few_rows_certify_nothing_below_the_last_node(self):
        losses = np.array([[1, 1], [1, 0], [1, 1], [0, 1]], np.float32)
        traces = Traces(np.zeros((4, 2), np.float32), losses, [1, 1], signal="max_prob")
        (setting,) = baselines.certified_curve(traces, confidence=0.999)
        assert setting.name == "threshold inf, no level certified"
        same_replay(setting.replay(traces), baselines.last_node(traces))

    def test_bad_input(self):
        with pytest.raises(
            ValueError, match=r"^signal: certified_curve needs one of max_prob, margin, entropy, logit_margin, got ''$"
        ):
            baselines.certified_curve(Traces(np.zeros((4, 2), np.float32), np.zeros((4, 2), np.float32), [1, 1]))
        with pytest.raises(ValueError, match=r"^confidence: expected a number in \(0, 1\), got 1.0$"):
            baselines.certified_curve(from_probs(), confidence=1.0)


class TestIsotonic:
    signals = np.tile(np.array([[0.0, 5.0], [1.0, 9.0]], np.float32), (10, 1))
    losses = np.zeros((20, 2), np.float32)
    losses[:8:2, 0] = 1  # 4 of 10 where the signal is 0
    losses[1, 0] = 1  # 1 of 10 where it is 1

    @pytest.mark.parametrize(("rule", "weight"), [("error", 1.0), ("cost", 4.0)])
    def test_scores_by_hand(self, rule, weight):
        traces = Traces(self.signals, self.losses, [1.0, 4.0])
        curve = baselines.isotonic_curve(traces, rule=rule)
        found = curve[0].parameters["scores"](traces)[:2, 0]
        np.testing.assert_allclose(found, np.array([-0.4, -0.1]) / weight)
        assert [setting.replay(traces).mean_cost for setting in curve] == [5.0, 3.0, 1.0]

    def test_the_scale_of_signals_does_not_matter(self):
        traces = from_probs(rows=400)
        stretched = traces.signals.copy()
        stretched[:, 1] = 7 * stretched[:, 1] - 3
        other = Traces(stretched, traces.losses, traces.costs)
        for one, two in zip(baselines.isotonic_curve(traces), baselines.isotonic_curve(other), strict=True):
            same_replay(one.replay(traces), two.replay(other))

    def test_a_free_next_node_is_consulted(self):
        traces = Traces(np.tile(self.signals, (1, 2))[:, :3], np.tile(self.losses, (1, 2))[:, :3], [1.0, 0.0, 4.0])
        curve = baselines.isotonic_curve(traces, rule="cost")
        assert all(0 not in setting.replay(traces).last_node for setting in curve[:-2])

    def test_bad_rule(self):
        with pytest.raises(ValueError, match=r"^rule: expected 'error' or 'cost', got 'best'$"):
            baselines.isotonic_curve(from_probs(), rule="best")


class TestSchedule:
    def test_shares_by_hand(self):
        np.testing.assert_allclose(schedule._geometric(np.array([1.0, 2.0, 3.0]), 2.0), np.full(3, 1 / 3), atol=1e-9)
        ratio = schedule._geometric(np.array([1.0, 2.0, 3.0]), 11 / 7)
        np.testing.assert_allclose(ratio, np.array([4, 2, 1]) / 7, atol=1e-9)

    def test_budgets_are_met(self):
        traces = from_probs(rows=3000)
        for setting in baselines.schedule_curve(traces, points=12):
            budget = float(setting.name.rpartition(" ")[2])
            # Rounding to rows, and rows of equal scores that leave together.
            assert setting.replay(traces).mean_cost == pytest.approx(budget, abs=0.02)

    def test_a_last_node_that_is_no_better_is_left_out(self):
        probs = np.exp(from_probs(rows=3000, nodes=2).evidence.log_probs)
        traces = from_probs(rows=3000, nodes=2)
        nodes = np.array([0, 1, 1])
        evidence = type(traces.evidence)(
            traces.evidence.log_probs[:, nodes], traces.evidence.classes[:, nodes], traces.evidence.class_count
        )
        doubled = Traces(probs[:, nodes, 0], traces.losses[:, nodes], [1, 1, 5], evidence=evidence)
        within = [s for s in baselines.schedule_curve(doubled) if float(s.name.rpartition(" ")[2]) <= 2.0]
        assert len(within) > 20
        assert all(setting.replay(doubled).last_node.max() == 1 for setting in within[1:])

    def test_free_nodes(self):
        traces = from_probs()
        free = Traces(traces.signals, traces.losses, np.zeros(4), evidence=traces.evidence)
        (setting,) = baselines.schedule_curve(free)
        assert setting.replay(free).mean_cost == 0.0
