"""Comparisons of several models on the same requests, any of which may be asked first."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

import ttamer
from ttamer import baselines, compare
from ttamer.compare.lines import MOST_LINES, best_lines, line_of, lines_through
from ttamer.fitting.budgets import default_budgets

pytest.importorskip("sklearn", reason="needs the fit extra")


def recorded(rows: int, seed: int, *, context: bool = False, scored: bool = True) -> ttamer.Traces:
    """A model that is right where its score is high, one that is of little use, and a dear one that is mostly right."""
    rng = np.random.default_rng(seed)
    sure = rng.random((rows, 3))
    losses = np.stack([sure[:, 0] < 0.4, rng.random(rows) < 0.5, rng.random(rows) < 0.08], axis=1)
    return ttamer.Traces.from_models(
        losses,
        [1.0, 2.0, 10.0],
        scores=sure if scored else None,
        answers=np.where(losses, rng.integers(1, 3, (rows, 3)), 0),
        context={"length": rng.random(rows)} if context else None,
        unit="usd",
    )


@pytest.fixture(scope="module")
def parts() -> tuple[ttamer.Traces, ttamer.Traces]:
    return recorded(800, 0), recorded(600, 1)


@pytest.fixture(scope="module")
def result(parts: tuple[ttamer.Traces, ttamer.Traces]) -> compare.Comparison:
    return compare.run(*parts)


def test_methods_and_their_orders(result: compare.Comparison) -> None:
    names = ["best model", "fixed mixing", "one threshold", "patience", "tuned thresholds", "ttamer"]
    assert [curve.name for curve in result.curves] == names
    assert result.curves[0].settings == ("node 2",)
    assert result.paths["one threshold"] == [0, 2]
    assert [result.paths["tuned thresholds"][k] for k in (0, -1)] == [0, 2]
    assert result.left_out == ()


def test_thresholds_are_worth_their_cost_and_fixed_mixing_is_not(result: compare.Comparison) -> None:
    level = result.levels[1]
    costs = level.costs
    assert costs["one threshold"] < 0.8 * costs["best model"]
    assert costs["fixed mixing"] > 0.9 * costs["best model"]
    means = {mean.name: mean for mean in result.means}
    assert means["fixed mixing"].winner == "ttamer"
    assert means["one threshold"].error < means["fixed mixing"].error


def test_budgets_are_those_that_fronts_are_chosen_at(
    result: compare.Comparison, parts: tuple[ttamer.Traces, ttamer.Traces]
) -> None:
    np.testing.assert_array_equal(result.budgets, default_budgets(parts[0]))
    assert (result.budgets[0], result.budgets[-1]) == (pytest.approx(1.5), pytest.approx(15.0))


def test_every_method_may_ask_one_model_alone(result: compare.Comparison) -> None:
    for curve in result.curves[1:]:
        assert {"always node 0", "always node 2"} <= set(curve.settings)


def test_ttamer_is_its_default_front(result: compare.Comparison, parts: tuple[ttamer.Traces, ttamer.Traces]) -> None:
    front = ttamer.frontier(parts[0])
    expected = compare.curve_of_front(front, *parts).test_loss
    np.testing.assert_array_equal(result.curves[-1].test_loss[: len(expected)], expected)
    assert front.estimate in {"sets", "chains"}


def test_without_scores_there_are_no_thresholds() -> None:
    result = compare.run(recorded(300, 0, scored=False), recorded(200, 1, scored=False))
    reason = "needs scores that differ, which these traces do not have"
    assert result.left_out == (f"one threshold: {reason}", f"tuned thresholds: {reason}")
    assert [curve.name for curve in result.curves] == ["best model", "fixed mixing", "patience", "ttamer"]


@pytest.mark.parametrize("context", [False, True])
def test_lines_are_all_orders_of_models(context: bool) -> None:
    traces = recorded(200, 0, context=context)
    models = [1, 2, 3] if context else [0, 1, 2]
    lines = list(lines_through(traces))
    assert lines[0][0] == models
    expected = {order for length in (1, 2, 3) for order in permutations(models, length)}
    assert {tuple(nodes) for nodes, _ in lines} == expected
    assert len(lines) == len(expected)
    for nodes, edges in lines:
        line = line_of(traces, nodes, edges)
        assert line.costs.tolist() == [[1.0, 2.0, 10.0][node - models[0]] for node in nodes]
        np.testing.assert_array_equal(line.losses, traces.losses[:, nodes])


def test_the_lines_that_are_tried_have_the_best_threshold(parts: tuple[ttamer.Traces, ttamer.Traces]) -> None:
    calibration, test = parts
    budgets = default_budgets(calibration)
    lines = best_lines(calibration, budgets)
    assert len(lines) == MOST_LINES
    fixed = compare.curve_of_settings("fixed", baselines.fixed_curve(calibration), calibration, test)

    def error(line: tuple[list[int], list[int]]) -> float:
        here, there = (line_of(part, *line) for part in parts)
        curve = compare.curve_of_settings("one", baselines.threshold_curve(here), here, there).beside(fixed)
        cost, errors = curve.calibration_points
        return float(np.interp(budgets, cost, errors).mean())

    others = [line for line in lines_through(calibration) if line not in lines]
    assert others
    assert max(map(error, lines)) <= min(map(error, others)) + 1e-3


def test_settings_of_two_curves(parts: tuple[ttamer.Traces, ttamer.Traces]) -> None:
    one, other = (
        compare.curve_of_replays(name, name, *(baselines.fixed_node(part, node) for part in parts), "usd")
        for node, name in enumerate(("first", "second"))
    )
    both = one.beside(other)
    assert (both.name, both.settings, both.unit) == ("first", ("first", "second"), "usd")
    for table in ("calibration_cost", "calibration_loss", "test_cost", "test_loss"):
        np.testing.assert_array_equal(
            getattr(both, table), np.concatenate([getattr(one, table), getattr(other, table)])
        )
