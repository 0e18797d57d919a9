"""Arguments that are not what they should be, for everything public that takes objects of the package."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers import random_model, random_traces

import ttamer
from ttamer import baselines, compare, tuning
from ttamer.traces.signals import signals_from_evidence, signals_from_probs
from ttamer.tuning.pvalues import rows_needed

TRACES = random_traces(ttamer.Topology.line(3), 20, seed=1)
POLICY = ttamer.solve(random_model(TRACES.topology, 3, seed=2), 0.5)
CURVE = compare.curve_of_replays("a", "b", POLICY.replay(TRACES), POLICY.replay(TRACES))
WEIGHTS = compare.resample(20, 3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: baselines.fixed_node(3, 1), "^traces: expected Traces, got int$"),
        (lambda: baselines.last_node(POLICY), "^traces: expected Traces, got Policy$"),
        (lambda: baselines.prophet(None, 0.5), "^traces: expected Traces, got NoneType$"),
        (lambda: baselines.threshold("a", 0.5), "^traces: expected Traces, got str$"),
        (lambda: tuning.relative_to_last([]), "^traces: expected Traces, got list$"),
        (lambda: ttamer.evaluate(TRACES, TRACES), "^policy: expected a Policy, got Traces$"),
        (lambda: signals_from_evidence(3, "margin"), "^evidence: expected Evidence, got int$"),
        (lambda: signals_from_probs("a", "margin"), r"^probs: expected \(..., C\) floats, C >= 2, got \(\) str"),
        (lambda: TRACES.with_signal(np.ones(2)), "^signal: expected a str, got ndarray$"),
        (lambda: ttamer.Front([3]), r"^points\[0\]: expected a FrontPoint, got int$"),
        (lambda: ttamer.Front(3), "^points: expected a sequence of FrontPoint, got int$"),
        (lambda: tuning.Trial([], TRACES, TRACES), "^front: expected a Front, got list$"),
        (lambda: tuning.testing_order([3], []), r"^outcomes\[0\]: expected an Outcome, got int$"),
        (lambda: compare.cost_at_error(3, 0.5), "^curve: expected a Curve, got int$"),
        (lambda: compare.cost_at_error(CURVE, "a"), "^level: expected a number, got str$"),
        (lambda: compare.error_at_cost(CURVE, None), "^budget: expected a number, got NoneType$"),
        (lambda: compare.curve_of_front([], TRACES, TRACES), "^front: expected a Front, got list$"),
        (lambda: compare.curve_of_settings("a", [3], TRACES, TRACES), r"^settings\[0\]: expected a Setting, got int$"),
        (lambda: compare.curve_of_settings("a", [], TRACES, 3), "^test: expected Traces, got int$"),
        (lambda: compare.curve_of_replays("a", "b", 3, 3), "^calibration: expected a Replay, got int$"),
        (lambda: compare.matched_levels((3,)), r"^curves\[0\]: expected a Curve, got int$"),
        (lambda: compare.mean_errors(3, np.ones(1)), "^curves: expected a sequence of Curve, got int$"),
        (lambda: compare.resample([3]), "^rows: expected an int, got list$"),
        (lambda: compare.resampled_costs(CURVE, [0.5], "a"), r"^weights: expected \(B, 20\) float64, got \(\) str"),
        (lambda: compare.difference(1.0, 2.0, "a", np.ones(1)), r"^our_resamples: expected \(B,\) float64, got"),
    ],
)
def test_types_are_named(call: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        call()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: compare.resample(2**40), "^resamples: expected at most 2147483648 draws of rows in all, got 10995"),
        (lambda: compare.resampled_errors(CURVE, [1.0], WEIGHTS * -1), "^weights: expected values >= 0, got -"),
        (lambda: compare.resampled_errors(CURVE, [1.0], WEIGHTS * 0), "^weights: expected a row in every resample"),
        (lambda: compare.matched_levels((CURVE,)), "^curves, margins: expected 'ttamer', other curves and"),
        (lambda: compare.mean_errors([CURVE], np.ones((1, 1))), "^curves, budgets: expected at least one of each"),
        (lambda: tuning.testing_order([], []), "^limits: expected at least one, got none$"),
        (lambda: signals_from_probs(np.full((2, 3), 1e308), "entropy"), r"^probs: expected values <= 1, got 1e\+308$"),
        (lambda: compare.resample(3, 3, seed=-1), "^seed: expected at least 0, got -1$"),
        (lambda: compare.resample(3, 10**5000), "^resamples: expected at most .*, got an int of 16612 bits$"),
    ],
)
def test_values_are_bounded(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_a_level_that_asks_for_more_rows_than_there_are() -> None:
    assert rows_needed(5e-324, 0.9) == 2**53
    assert rows_needed(0.05, 0.95) == 59
