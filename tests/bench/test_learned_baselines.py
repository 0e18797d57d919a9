"""Baselines that are fitted: on rows for which the right answer is known."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
from curves import CHECKS
from studies import load
from walks import from_probs, same_replay

from ttamer import Traces, baselines

pytestmark = pytest.mark.slow

pytest.importorskip("sklearn", reason="needs the fit extra")
stats = pytest.importorskip("scipy.stats", reason="needs the fit extra")

guarantee, isotonic, routing, schedule, temperature = (
    load(f"baselines.{name}") for name in ("guarantee", "isotonic", "routing", "schedule", "temperature")
)
score_thresholds = load("baselines.scores").score_thresholds
EVERY = [
    (temperature.temperature_curve, score_thresholds),
    (isotonic.isotonic_curve, score_thresholds),
    (schedule.schedule_curve, score_thresholds),
    (routing.routing_curve, score_thresholds),
    (guarantee.certified_curve, baselines.threshold),
]


def calibrated(rows, factors, seed=0, classes=4):
    """Traces whose nodes state softmax(factor * z) where softmax(z) is the truth; one z a row for all nodes."""
    rng = np.random.default_rng(seed)
    z = rng.normal(0, 2, (rows, classes))
    truth = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    labels = (rng.random((rows, 1)) > np.cumsum(truth, axis=1)).sum(axis=1).clip(max=classes - 1)
    stated = np.exp(z[:, None, :] * np.array(factors)[:, None])
    return Traces.from_probs(stated / stated.sum(-1, keepdims=True), labels, np.ones(len(factors)), unit="ms")


class TestEveryCurve:
    @pytest.mark.parametrize("check", CHECKS)
    @pytest.mark.parametrize(("curve", "walk"), EVERY)
    def test_what_holds_of_all(self, check, curve, walk):
        check(curve, walk)

    @pytest.mark.parametrize(
        ("curve", "package"),
        [
            (temperature.temperature_curve, "scipy"),
            (guarantee.certified_curve, "scipy"),
            (isotonic.isotonic_curve, "scikit-learn"),
            (schedule.schedule_curve, "scikit-learn"),
            (routing.routing_curve, "scikit-learn"),
        ],
    )
    def test_a_missing_extra_is_named(self, curve, package, monkeypatch):
        def missing(name, *rest):
            raise ImportError(name)

        monkeypatch.setattr(importlib, "import_module", missing)
        name = curve.__name__
        with pytest.raises(ImportError, match=rf'^{name} needs {package}: pip install "ttamer\[fit\]"$'):
            curve(from_probs())

    @pytest.mark.parametrize("curve", [schedule.schedule_curve, routing.routing_curve, guarantee.certified_curve])
    def test_losses_have_to_be_errors(self, curve):
        losses = np.full((4, 2), 0.0, np.float32)
        losses[2, 1] = 0.5
        traces = Traces(np.zeros((4, 2), np.float32), losses, [1, 1], signal="max_prob")
        with pytest.raises(ValueError, match=rf"^losses: {curve.__name__} needs 0/1 errors, got 0.5 at row 2, node 1$"):
            curve(traces)

    @pytest.mark.parametrize("curve", [schedule.schedule_curve, routing.routing_curve, temperature.temperature_curve])
    def test_evidence_is_needed(self, curve):
        traces = Traces(np.zeros((4, 2), np.float32), np.zeros((4, 2), np.float32), [1, 1], labels=[0, 1, 0, 1])
        with pytest.raises(ValueError, match=rf"^traces: {curve.__name__} needs evidence, and these traces have none"):
            curve(traces)


class TestScoreThresholds:
    def test_values(self):
        traces = from_probs()
        scores = temperature.temperature_curve(traces)[0].parameters["scores"]
        same_replay(score_thresholds(traces, scores, 0.7), score_thresholds(traces, scores, [0.7] * 3))
        with pytest.raises(ValueError, match=r"^values: expected one number or \(3,\), got \(2,\) float64$"):
            score_thresholds(traces, scores, [0.1, 0.2])

    def test_scores_of_the_same_traces_are_computed_once(self, monkeypatch):
        traces = from_probs()
        scores = temperature.temperature_curve(traces)[0].parameters["scores"]
        monkeypatch.setattr(type(scores), "compute", None)
        assert scores(traces).shape == (200, 4)


class TestTemperature:
    def test_temperatures_are_found(self):
        found = temperature.fit_temperatures(calibrated(20_000, [1.0, 2.0, 0.5]))
        np.testing.assert_allclose(found, [1.0, 2.0, 0.5], rtol=0.05)

    def test_classes_that_were_not_recorded(self):
        all_classes = calibrated(5000, [1.0, 3.0], classes=6)
        evidence = all_classes.evidence
        fewer = temperature.temperature_curve(all_classes)[0].parameters["scores"]
        cut = type(evidence)(evidence.log_probs[:, :, :4].copy(), evidence.classes[:, :, :4], 6)
        traces = Traces(all_classes.signals, all_classes.losses, [1.0, 1.0], labels=all_classes.labels, evidence=cut)
        found = temperature.temperature_curve(traces)[0].parameters["scores"]
        np.testing.assert_allclose(found.temperatures, fewer.temperatures, rtol=0.1)

    def test_one_threshold_for_nodes_that_overstate(self):
        # Node 0 says what node 1 says with more emphasis, at the same cost: after scaling they are alike.
        traces = calibrated(4000, [2.0, 1.0, 1.0])
        scores = temperature.temperature_curve(traces)[0].parameters["scores"](traces)
        assert np.abs(traces.signals[:, 0] - traces.signals[:, 1]).mean() > 0.05
        np.testing.assert_allclose(scores[:, 0], scores[:, 1], rtol=0.15, atol=0.05)

    def test_log_odds_of_sure_nodes_stay_apart(self):
        probs = np.array([[[1 - 2e-6, 2e-6]] * 2, [[1 - 1e-6, 1e-6]] * 2])
        traces = Traces.from_probs(probs, [0, 0], [1, 1])
        scores = temperature.temperature_curve(traces)[0].parameters["scores"]
        same = scores(traces)[:, 0] * scores.temperatures[0]
        np.testing.assert_allclose(same, np.log([(1 - 2e-6) / 2e-6, (1 - 1e-6) / 1e-6]), rtol=1e-5)

    def test_labels_are_needed(self):
        traces = from_probs()
        traces = Traces(traces.signals, traces.losses, traces.costs, evidence=traces.evidence)
        with pytest.raises(ValueError, match=r"^traces: temperature_curve needs labels, and these traces have none$"):
            temperature.temperature_curve(traces)


class TestCertified:
    @pytest.mark.parametrize("signal", ["margin", "entropy", "logit_margin"])
    def test_every_level_is_rejected_by_its_binomial_probability(self, signal):
        traces = from_probs(rows=2000)
        curve = guarantee.certified_curve(traces, signal, confidence=0.95)
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
        curve = guarantee.certified_curve(traces)
        for setting in curve:
            errors = setting.replay(traces).error
            assert setting.parameters["value"] > signals[599] or errors > 0.0
            level = float(setting.name.rpartition("<= ")[2])
            if level < 0.19:
                assert setting.parameters["value"] > signals[400]

    def test_too_few_rows_certify_nothing_below_the_last_node(self):
        losses = np.array([[1, 1], [1, 0], [1, 1], [0, 1]], np.float32)
        traces = Traces(np.zeros((4, 2), np.float32), losses, [1, 1], signal="max_prob")
        (setting,) = guarantee.certified_curve(traces, confidence=0.999)
        assert setting.name == "threshold inf, no level certified"
        same_replay(setting.replay(traces), baselines.last_node(traces))

    def test_bad_input(self):
        with pytest.raises(
            ValueError, match=r"^signal: certified_curve needs one of max_prob, margin, entropy, logit_margin, got ''$"
        ):
            guarantee.certified_curve(Traces(np.zeros((4, 2), np.float32), np.zeros((4, 2), np.float32), [1, 1]))
        with pytest.raises(ValueError, match=r"^confidence: expected a number in \(0, 1\), got 1.0$"):
            guarantee.certified_curve(from_probs(), confidence=1.0)


class TestIsotonic:
    signals = np.tile(np.array([[0.0, 5.0], [1.0, 9.0]], np.float32), (10, 1))
    losses = np.zeros((20, 2), np.float32)
    losses[:8:2, 0] = 1  # 4 of 10 where the signal is 0
    losses[1, 0] = 1  # 1 of 10 where it is 1

    @pytest.mark.parametrize(("rule", "weight"), [("error", 1.0), ("cost", 4.0)])
    def test_scores_by_hand(self, rule, weight):
        traces = Traces(self.signals, self.losses, [1.0, 4.0])
        curve = isotonic.isotonic_curve(traces, rule=rule)
        found = curve[0].parameters["scores"](traces)[:2, 0]
        np.testing.assert_allclose(found, np.array([-0.4, -0.1]) / weight)
        assert [setting.replay(traces).mean_cost for setting in curve] == [5.0, 3.0, 1.0]

    def test_the_scale_of_signals_does_not_matter(self):
        traces = from_probs(rows=400)
        stretched = traces.signals.copy()
        stretched[:, 1] = 7 * stretched[:, 1] - 3
        other = Traces(stretched, traces.losses, traces.costs)
        for one, two in zip(isotonic.isotonic_curve(traces), isotonic.isotonic_curve(other), strict=True):
            same_replay(one.replay(traces), two.replay(other))

    def test_a_free_next_node_is_consulted(self):
        traces = Traces(np.tile(self.signals, (1, 2))[:, :3], np.tile(self.losses, (1, 2))[:, :3], [1.0, 0.0, 4.0])
        curve = isotonic.isotonic_curve(traces, rule="cost")
        assert all(0 not in setting.replay(traces).last_node for setting in curve[:-2])

    def test_bad_rule(self):
        with pytest.raises(ValueError, match=r"^rule: expected 'error' or 'cost', got 'best'$"):
            isotonic.isotonic_curve(from_probs(), rule="best")


class TestSchedule:
    def test_shares_by_hand(self):
        np.testing.assert_allclose(schedule._geometric(np.array([1.0, 2.0, 3.0]), 2.0), np.full(3, 1 / 3), atol=1e-9)
        ratio = schedule._geometric(np.array([1.0, 2.0, 3.0]), 11 / 7)
        np.testing.assert_allclose(ratio, np.array([4, 2, 1]) / 7, atol=1e-9)

    def test_budgets_are_met(self):
        traces = from_probs(rows=3000)
        for setting in schedule.schedule_curve(traces, points=12):
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
        within = [s for s in schedule.schedule_curve(doubled) if float(s.name.rpartition(" ")[2]) <= 2.0]
        assert len(within) > 20
        assert all(setting.replay(doubled).last_node.max() == 1 for setting in within[1:])

    def test_free_nodes(self):
        traces = from_probs()
        free = Traces(traces.signals, traces.losses, np.zeros(4), evidence=traces.evidence)
        (setting,) = schedule.schedule_curve(free)
        assert setting.replay(free).mean_cost == 0.0
