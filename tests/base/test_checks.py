"""Arguments that are not what they should be, for everything public that takes objects of the package."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from helpers import random_model, random_traces

import ttamer
from ttamer import baselines, compare, tuning
from ttamer._base import checks
from ttamer._core import logit_signals
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
        (lambda: signals_from_probs("a", "margin"), r"^probs: expected \(..., C\) floats, C >= 2, got \(\) text$"),
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
        (lambda: compare.resampled_costs(CURVE, [0.5], "a"), r"^weights: expected \(B, 20\) float64, got \(\) text$"),
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


def masked(array: Any) -> Any:
    """The array with its last value masked."""
    values = np.ma.masked_array(array)
    values[(-1,) * values.ndim] = np.ma.masked
    return values


LINE = ttamer.Topology.line(3)
PROBS = np.full((20, 3, 2), 0.5)
STATED = {"losses": [[0.1, 0.2]], "transitions": [[[0.5, 0.5]]], "costs": [1.0]}
EVIDENCE = ttamer.Traces.from_probs(PROBS, np.zeros(20, int), [1, 1, 1]).evidence


def stated(**changes: Any) -> ttamer.CascadeModel:
    return ttamer.CascadeModel(ttamer.Topology.line(1), **{**STATED, **changes})


def traces(**changes: Any) -> ttamer.Traces:
    arguments = {"signals": TRACES.signals, "losses": TRACES.losses, "costs": [1, 1, 1], **changes}
    return ttamer.Traces(**arguments)


TAKES: dict[str, list[Any]] = {
    "signals": [
        lambda change: traces(signals=change(TRACES.signals)),
        lambda change: traces(signals=[*TRACES.signals[:-1], change(TRACES.signals[-1])]),
        lambda change: POLICY.start(20).decide(0, change(TRACES.signals[:, 0].copy())),
    ],
    "losses": [lambda change: traces(losses=change(TRACES.losses))],
    "costs": [
        lambda change: traces(costs=change(np.ones(3))),
        lambda change: TRACES.path([0, 1], change(np.ones(2))),
        lambda change: stated(costs=change(np.ones(1))),
    ],
    "predictions": [lambda change: traces(predictions=change(np.zeros((20, 3), int)))],
    "labels": [
        lambda change: traces(labels=change(np.zeros(20, int))),
        lambda change: ttamer.Traces.from_probs(PROBS, change(np.zeros(20, int)), [1, 1, 1]),
    ],
    "probs": [
        lambda change: ttamer.Traces.from_probs(change(PROBS), np.zeros(20, int), [1, 1, 1]),
        lambda change: signals_from_probs(change(PROBS), "margin"),
    ],
    "log_probs": [lambda change: ttamer.Evidence(change(EVIDENCE.log_probs), EVIDENCE.classes, 2)],
    "classes": [lambda change: ttamer.Evidence(EVIDENCE.log_probs, change(EVIDENCE.classes), 2)],
    "nodes": [lambda change: TRACES.path(change(np.arange(3)), np.ones(3))],
    "rows": [
        lambda change: TRACES[change(np.arange(3))],
        lambda change: TRACES[change(np.ones(20, bool))],
        lambda change: POLICY.start(20).decide(0, TRACES.signals[:3, 0].copy(), change(np.arange(3))),
        lambda change: POLICY.start(20).reset(change(np.arange(3, dtype=np.int32))),
    ],
    "node": [lambda change: POLICY.start(20).decide(change(np.zeros(3, np.int32)), TRACES.signals[:3, 0].copy())],
    "logits": [
        lambda change: POLICY.start(20).decide_logits(0, change(np.zeros((3, 2), np.float32))),
        lambda change: logit_signals(change(np.zeros((3, 2), np.float16)), "margin"),
    ],
    "losses[0]": [
        lambda change: stated(losses=[change(np.ones(2))]),
        lambda change: stated(losses=change(np.ones((1, 2)))),
    ],
    "transitions[0]": [lambda change: stated(transitions=[change(np.full((1, 2), 0.5))])],
    "bin_edges[0]": [lambda change: stated(bin_edges=[change(np.ones(1))])],
    "tradeoffs": [lambda change: ttamer.frontier(TRACES, change(np.array([0.5, 0.6])), "signal")],
    "values": [lambda change: baselines.node_thresholds(TRACES, change(np.ones(2)))],
    "weights": [lambda change: compare.resampled_costs(CURVE, [0.5], change(WEIGHTS))],
    "levels": [lambda change: compare.resampled_costs(CURVE, change(np.array([0.5])), WEIGHTS)],
    "budgets": [lambda change: compare.resampled_errors(CURVE, change(np.array([0.5])), WEIGHTS)],
    "our_resamples": [lambda change: compare.difference(1.0, 2.0, change(np.ones(3)), np.ones(3))],
    "calibration_cost": [lambda change: compare.Curve("a", ("b",), change(np.ones((1, 4))), *[np.ones((1, 4))] * 3)],
}  # fmt: skip
CALLS = [pytest.param(name, call, id=f"{name} {k}") for name, calls in TAKES.items() for k, call in enumerate(calls)]


@pytest.mark.parametrize(("name", "call"), CALLS)
def test_masks_are_not_lost(name: str, call: Any) -> None:
    """What is masked has no value, and what NumPy makes of it is one that nobody meant."""
    message = f"^{re.escape(name)}: expected values everywhere, got a masked array with 1 masked$"
    with pytest.raises(ValueError, match=message):
        call(masked)


def test_a_masked_array_without_a_mask_is_an_array() -> None:
    assert np.array_equal(traces(signals=np.ma.masked_array(TRACES.signals)).signals, TRACES.signals)
    signals = TRACES.signals[:3, 1].copy()
    expected = POLICY.start(3).decide(0, signals).tolist()
    assert POLICY.start(3).decide(0, np.ma.masked_array(signals)).tolist() == expected


def test_tensors_with_gradients_are_named() -> None:
    torch = pytest.importorskip("torch", reason="needs the torch extra")
    numbers = torch.rand(20, 3, requires_grad=True)
    message = "^signals: expected values, got a tensor that requires gradients; pass .detach\\(\\) of it$"
    for signals in (numbers, list(numbers)):
        with pytest.raises(TypeError, match=message):
            traces(signals=signals)
    assert np.array_equal(traces(signals=numbers.detach()).signals, numbers.detach().numpy())
    with pytest.raises(TypeError, match="^probs: .* pass .detach"):
        ttamer.Traces.from_probs(torch.rand(2, 3, 4, requires_grad=True).softmax(-1), [0, 1], [1, 1, 1])
    with pytest.raises(TypeError, match=r"^losses\[0\]: .* pass .detach"):
        stated(losses=[torch.ones(2, requires_grad=True)])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: ttamer.Traces.from_probs(PROBS.swapaxes(0, 1), np.zeros(20, int), [1, 1, 1]),
            r"^costs: expected \(20,\) numbers, one an edge of the line, got \(3,\) int64; in signals and probs "
            "requests come first, then nodes$",
        ),
        (
            lambda: traces(signals=TRACES.signals.T, losses=TRACES.losses.T),
            r"got \(3,\) .*; in signals and probs requests",
        ),
        (
            lambda: traces(signals=TRACES.signals.T, losses=TRACES.losses.T, topology=LINE),
            r"^topology: expected 20 nodes like signals, got Topology.line\(3\); in signals and probs requests",
        ),
        (lambda: traces(costs=np.ones(2)), r"^costs: expected \(3,\) numbers, .* got \(2,\) float64$"),
        (lambda: ttamer.Front([]), "^points: expected at least one, got none$"),
    ],
)
def test_what_else_is_said_of_values(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_a_level_that_asks_for_more_rows_than_there_are() -> None:
    assert rows_needed(5e-324, 0.9) == 2**53
    assert rows_needed(0.05, 0.95) == 59


@pytest.mark.parametrize("kind", ["U672", "S3"])
def test_texts_are_called_so_whatever_their_length(kind: str) -> None:
    word = "text" if kind[0] == "U" else "bytes"
    assert checks.describe(np.zeros((2, 3), kind)) == f"(2, 3) {word}"
    with pytest.raises(TypeError, match=rf"^losses: expected \(N, n\) numbers, .*, got \(2, 3\) {word}$"):
        ttamer.Traces.from_models(np.zeros((2, 3), kind), [1, 2, 3])
