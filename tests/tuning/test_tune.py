"""Policies for service levels: what is certified, on which rows, and how often it is wrong."""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys

import numpy as np
import pytest
from tuned import COSTS, QUICK, make, parts

import ttamer
from ttamer import tuning
from ttamer.tuning import pvalues

stats = pytest.importorskip("scipy.stats", reason="tune needs the fit extra")


@pytest.fixture(scope="module")
def traces():
    return make(3000)


class TestCertified:
    def test_limit_on_the_error(self, traces):
        found = tuning.certify(traces, max_error=0.2, **QUICK)
        fit_rows, test_rows = parts(3000)
        front = ttamer.frontier(traces[fit_rows], **QUICK)
        assert found.policy in [point.policy for point in front]
        assert (found.fitted_rows, found.tested_rows, found.candidates) == (1500, 1500, len(front))

        # From the most accurate on, each cheaper than the one before, up to the first that fails.
        assert [step.policy for step in found.steps] == [point.policy for point in front][::-1][: len(found.steps)]
        for step in found.steps:
            replay = step.policy.replay(traces[test_rows])
            assert (step.outcome.error, step.outcome.cost) == (replay.error, replay.mean_cost)
            assert step.p_values == (pytest.approx(stats.binom.cdf(replay.loss.sum(), 1500, 0.2), rel=1e-9),)
        assert [step.p_value <= 0.05 for step in found.steps] == [True] * (len(found.steps) - 1) + [False]
        assert len(found.steps) > 3
        assert found.best is found.steps[-2]
        assert ttamer.tune(traces, max_error=0.2, **QUICK) == found.policy

    def test_limit_on_the_mean_cost(self, traces):
        found = tuning.certify(traces, max_cost=4.0, **QUICK)
        costs = [step.outcome.cost for step in found.steps]
        assert costs == sorted(costs)
        scaled = (found.best.outcome.cost - 1.0) / 6.0
        assert found.best.p_value == pytest.approx(pvalues.hoeffding_bentkus(scaled, 1500, 0.5), rel=1e-6)
        assert found.best.p_value <= 0.05 < found.steps[-1].p_value

    def test_limit_on_a_quantile_of_the_cost(self, traces):
        found = tuning.certify(traces, max_cost_quantile=(0.7, 3.0), **QUICK)
        _, test_rows = parts(3000)
        dear = int((found.policy.replay(traces[test_rows]).cost > 3.0).sum())
        assert found.best.p_values == (pytest.approx(stats.binom.cdf(dear, 1500, 0.3), rel=1e-9),)
        assert found.limits[0].observed(found.best.outcome) == 1 - dear / 1500

    def test_several_limits_count_by_their_largest_p_value(self, traces):
        asked = {"max_error": 0.2, "max_cost": 4.5, "max_cost_quantile": (0.5, 3.5)}
        found = tuning.certify(traces, **asked, **QUICK)
        assert [limit.name for limit in found.limits] == list(asked)
        assert found.best.p_value == max(found.best.p_values) <= 0.05
        assert len(found.best.p_values) == 3

    def test_more_confidence_costs_more(self, traces):
        _, test_rows = parts(3000)
        costs = [
            ttamer.tune(traces, max_error=0.2, confidence=confidence, **QUICK).replay(traces[test_rows]).mean_cost
            for confidence in (0.5, 0.95, 0.9999)
        ]
        assert costs == sorted(costs)
        assert costs[0] < costs[2]

    def test_the_seed_is_of_the_split(self, traces):
        by_seed = [tuning.certify(traces, max_error=0.2, seed=seed, **QUICK) for seed in (0, 0, 1)]
        assert by_seed[0].as_dict() == by_seed[1].as_dict() != by_seed[2].as_dict()

    def test_share_that_is_held_back(self, traces):
        found = tuning.certify(traces[:1001], max_error=0.3, held_back=0.3, **QUICK)
        assert (found.fitted_rows, found.tested_rows) == (700, 301)

    def test_account(self, traces):
        found = tuning.certify(traces, max_error=0.2, max_cost_quantile=(0.5, 3.5), **QUICK)
        plain = found.as_dict()
        assert plain["limits"][0] == {
            "name": "max_error",
            "bound": 0.2,
            "quantile": None,
            "unit": "",
            "held_back": found.best.outcome.error,
            "p_value": found.best.p_values[0],
        }
        assert (plain["limits"][1]["quantile"], plain["limits"][1]["bound"]) == (0.5, 3.5)
        assert len(plain["steps"]) == len(found.steps)
        assert plain["tradeoff"] == found.policy.tradeoff
        assert re.fullmatch(
            r"an error of at most 0.2 and a cost of at most 3.5 ms in 50% of requests, with confidence 0.95 "
            r"\(p-value .+\); on 1500 held-back rows an error of 0.1\d+ and a mean cost of \d.\d+ ms; the next, "
            rf"cheaper one failed its test with p-value {found.steps[-1].p_value:.2g}, which ends the tests",
            str(found),
        )

    def test_why_no_better_one_was_chosen(self, traces):
        found = tuning.certify(traces, max_cost=4.0, **QUICK)
        assert found.failed is found.steps[-1] is not found.best
        assert found.failed.p_value > 0.05
        assert f"the next, more accurate one failed its test with p-value {found.failed.p_value:.2g}" in str(found)
        passing = tuning.certify(traces, max_cost=6.99, **QUICK)
        assert (passing.failed, passing.end_of_tests()) == (None, "")
        assert str(passing).endswith(" ms")


class TestLosses:
    def test_relative_to_the_last_node(self, traces):
        found = tuning.certify(traces, max_error=0.05, relative_to="last", **QUICK)
        _, test_rows = parts(3000)
        answers = found.policy.replay(traces[test_rows]).answer_node
        predictions = traces.predictions[test_rows]
        differ = predictions[np.arange(1500), answers] != predictions[:, -1]
        assert found.best.outcome.error == differ.mean()
        assert found.best.p_value == pytest.approx(stats.binom.cdf(differ.sum(), 1500, 0.05), rel=1e-9)

    def test_traces_relative_to_the_last_node(self, traces):
        judged = tuning.relative_to_last(traces)
        assert (judged.losses[:, -1] == 0).all()
        np.testing.assert_array_equal(judged.losses, traces.predictions != traces.predictions[:, -1:])
        np.testing.assert_array_equal(judged.labels, traces.predictions[:, -1])

    def test_the_scale_of_losses_changes_nothing(self, traces):
        scaled = make(3000, scale=3.0)
        found = [
            tuning.certify(traces, max_error=0.2, bins=8),
            tuning.certify(scaled, max_error=0.6, max_loss=3.0, bins=8),
        ]
        assert all(each.limits[0].exact for each in found)
        expected = [
            stats.binom.cdf(round(each.best.outcome.error * 1500 / s), 1500, 0.2)
            for each, s in zip(found, (1, 3), strict=True)
        ]
        assert [each.best.p_value for each in found] == pytest.approx(expected, rel=1e-9)

    def test_losses_between_their_ends_are_bounded(self, traces):
        softer = ttamer.Traces(traces.signals, 0.1 + 0.8 * traces.losses, COSTS)
        found = tuning.certify(softer, max_error=0.3, **QUICK)
        assert not found.limits[0].exact
        expected = pvalues.hoeffding_bentkus(found.best.outcome.error, 1500, 0.3)
        assert found.best.p_value == pytest.approx(expected, rel=1e-9)

    def test_a_loss_of_0_or_1_in_a_larger_range_is_bounded(self, traces):
        assert not tuning.certify(traces, max_error=0.3, max_loss=2.0, **QUICK).limits[0].exact


BAD = {
    "no limit": (
        {},
        ValueError,
        "limits: expected at least one of max_error, max_cost and max_cost_quantile, got none",
    ),
    "error 0": ({"max_error": 0.0}, ValueError, "max_error: expected a number in (0, 1), got 0"),
    "error 1": ({"max_error": 1}, ValueError, "max_error: expected a number in (0, 1), got 1"),
    "error nan": ({"max_error": float("nan")}, ValueError, "max_error: expected a number, got nan"),
    "error text": ({"max_error": "0.1"}, TypeError, "max_error: expected a number, got str"),
    "error above the largest loss": (
        {"max_error": 5.0, "max_loss": 4.0},
        ValueError,
        "max_error: expected a number in (0, 4), got 5",
    ),
    "loss above its bound": (
        {"max_error": 0.1, "max_loss": 0.5},
        ValueError,
        "max_loss: expected a bound on every loss, got 0.5 and a loss of 1 at row 0, node 0",
    ),
    "largest loss": (
        {"max_error": 0.1, "max_loss": 0},
        ValueError,
        "max_loss: expected a finite number above 0, got 0",
    ),
    "cost": ({"max_cost": -1.0}, ValueError, "max_cost: expected a finite cost >= 0, got -1"),
    "cost without end": ({"max_cost": np.inf}, ValueError, "max_cost: expected a finite cost >= 0, got inf"),
    "no pair": (
        {"max_cost_quantile": 0.95},
        TypeError,
        "max_cost_quantile: expected a pair (quantile, cost), got 0.95",
    ),
    "quantile": (
        {"max_cost_quantile": (95, 1.0)},
        ValueError,
        "max_cost_quantile: expected a quantile in (0, 1), got 95",
    ),
    "cost of a quantile": (
        {"max_cost_quantile": (0.95, -2.0)},
        ValueError,
        "max_cost_quantile: expected a finite cost >= 0, got -2",
    ),
    "relative to what": (
        {"max_error": 0.1, "relative_to": "first"},
        ValueError,
        "relative_to: expected 'labels' or 'last', got 'first'",
    ),
    "confidence": ({"max_error": 0.1, "confidence": 1.0}, ValueError, "confidence: expected a number in (0, 1), got 1"),
    "percent": ({"max_error": 0.1, "confidence": 95}, ValueError, "confidence: expected a number in (0, 1), got 95"),
    "share": ({"max_error": 0.1, "held_back": 0.0}, ValueError, "held_back: expected a number in (0, 1), got 0"),
    "seed": ({"max_error": 0.1, "seed": -1}, ValueError, "seed: expected at least 0, got -1"),
    "estimate": ({"max_error": 0.3, "estimate": "best"}, ValueError, "estimate: expected"),
}


class TestBadInput:
    @pytest.mark.parametrize("case", BAD)
    def test_one_line_says_what_is_wrong(self, case):
        arguments, kind, message = BAD[case]
        given = make(100)
        if case == "loss above its bound":
            given = ttamer.Traces(given.signals, np.ones_like(given.losses), COSTS)
        with pytest.raises(kind) as caught:
            ttamer.tune(given, **arguments)
        assert str(caught.value).startswith(message)
        assert type(caught.value) is kind

    def test_no_predictions(self):
        plain = make(100)
        bare = ttamer.Traces(plain.signals, plain.losses, COSTS)
        with pytest.raises(ValueError, match=r"^relative_to: 'last' needs predictions, and these traces have none$"):
            ttamer.tune(bare, max_error=0.1, relative_to="last")

    def test_no_traces(self):
        with pytest.raises(TypeError, match=r"^traces: expected Traces, got ndarray$"):
            ttamer.tune(np.zeros((3, 3)), max_error=0.1)

    def test_one_row(self):
        with pytest.raises(ValueError, match=r"^traces: expected at least 2 rows, to fit on and to test on, got 1$"):
            ttamer.tune(make(1), max_error=0.1)

    def test_without_scipy_one_line_names_the_extra(self, traces, monkeypatch):
        monkeypatch.setitem(sys.modules, "scipy.special", None)
        monkeypatch.setattr("ttamer.tuning.certificate.frontier", lambda *_, **__: pytest.fail("fitted without SciPy"))
        with pytest.raises(ImportError, match=r'^tune needs SciPy: pip install "ttamer\[fit\]"$'):
            ttamer.tune(traces, max_error=0.1)

    def test_importing_the_package_leaves_scipy_out(self):
        program = "import sys, ttamer; print('scipy' in sys.modules)"
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        assert done.stdout == "False\n"


class TestValidity:
    def test_a_limit_that_all_policies_just_break(self):
        """The worst case: whichever policy is certified is a mistake, and each of some twenty could be."""
        certified = 0
        for seed in range(200):
            rng = np.random.default_rng(seed)
            signals, losses = rng.random((300, 3), np.float32), rng.random((300, 3)) < 0.2
            given = ttamer.Traces(signals, losses.astype(np.float32), COSTS)
            with contextlib.suppress(ttamer.InfeasibleError):
                ttamer.tune(given, max_error=0.2, confidence=0.8, seed=seed, **QUICK)
                certified += 1
        # The exact tail of 150 rows errs in 18.0% of cases at most.
        assert 12 < certified <= stats.binom.ppf(0.999, 200, 0.2)

    def test_limits_are_broken_more_often_without_held_back_rows(self):
        pool = make(5000, seed=7)
        broken = {"tuned": 0, "naive": 0}
        for seed in range(60):
            # With replacement: what is true of the pool is true of the rows to come.
            drawn = pool[np.random.default_rng(seed).integers(0, len(pool), 400)]
            naive = ttamer.frontier(drawn, QUICK["tradeoffs"], "signal", bins=8).cheapest(0.2).policy
            broken["naive"] += naive.replay(pool).error > 0.2
            with contextlib.suppress(ttamer.InfeasibleError):
                tuned = ttamer.tune(drawn, max_error=0.2, confidence=0.8, seed=seed, **QUICK)
                broken["tuned"] += tuned.replay(pool).error > 0.2
        assert broken["tuned"] <= stats.binom.ppf(0.999, 60, 0.2)
        assert broken["naive"] > 12


def test_an_answer_that_is_none_is_not_that_of_the_last_node() -> None:
    rng = np.random.default_rng(0)
    predictions = np.array([[1, 1, 1], [-1, 1, 1], [2, -1, 1], [-1, -1, -1]])
    signals = rng.random((4, 3)).astype(np.float32)
    traces = ttamer.Traces(signals, np.zeros((4, 3), np.float32), [1, 1, 2], predictions=predictions)
    judged = tuning.relative_to_last(traces)
    assert judged.losses.tolist() == [[0, 0, 0], [1, 0, 0], [1, 1, 0], [1, 1, 0]]
    assert ttamer.baselines.patience(traces, 1).answer_node.tolist() == [1, 2, 2, 2]
