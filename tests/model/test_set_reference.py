"""Set estimators: the specification against values worked out by hand, and the core against the specification."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from set_tables import SetCase, set_case, set_cases

from ttamer import reference
from ttamer._core import SetEstimator

Array = npt.NDArray[Any]


def tables() -> dict[str, Array]:
    """Two models of one score each. Step 0 has seen model 0; steps 1 and 2 have seen both, in either order.

    Model 0 has bins below 0.5 and from 0.5 on, and a column for class 7; the column of model 1 is 1 where it has a
    score. Answers are compared.
    """
    numbers = {
        "last": [0, 1, 0],
        "cells": [0, 1, 1],
        "input_offsets": [0, 1, 2],
        "knot_offsets": [0, 1, 1],
        "columns": [1, 1],
        "class_offsets": [0, 1, 1],
        "classes": [7],
        "agreeing": [1, 1],
        "cell_offsets": [0, 1, 3],
        "cell_nodes": [0, 0, 1],
        "target_offsets": [0, 2, 4],
        "targets": [0, 1, 0, 1],
        "answering": [1, 2],
        "tree_offsets": [0, 5, 8],
        "tree_variables": [1, -1, 2, -1, -1, 0, -1, -1],
        "tree_left": [1, 2, 3, 0, 1, 1, 0, 1],
        "tree_right": [2, 0, 4, 0, 0, 2, 0, 0],
    }
    return {name: np.array(values, np.int32) for name, values in numbers.items()} | {
        "knots": np.array([0.5], np.float32),
        # Model 0: below, from 0.5 on, missing. Model 1: any score, missing.
        "values": np.array([1.0, -1.0, 3.0, 1.0, 0.0]),
        "coefficients": np.array(
            [
                *(0.0, 1.0, 0.0, 10.0),  # model 0 by itself: its column, its class, both multiplied
                *(0.5, 0.0, 1.0, 0.0),  # model 1: 0.5, and 1.5 where model 0 says 7
                *(0.0, 1.0, 0.0, 0.0, 0.0, -5.0),  # both seen: model 0's column, less 5 where they agree
                *(-2.0, 0.0, 0.0, 0.0, 1.0, 0.0),  # model 1: -1, and -2 without a score
            ]
        ),
        "tree_thresholds": np.array([1.0, 0.0, -1.0, 0.0, 0.0, -3.0, 0.0, 0.0]),
    }


class TestByHand:
    @pytest.mark.parametrize(
        ("scores", "answers", "signals", "nodes"),
        [
            # z of step 0: -1 and 0.5, variables -1, 0.5, -1: left of 1. Both: -1 and -1, the first of equals.
            ([0.5, 0.0], [3, 4], [2, 1, 1], [0, 0, 0]),
            # z of step 0: 1 and 0.5. Both agree: -4 and -1.
            ([0.4, 0.0], [3, 3], [2, 0, 0], [0, 0, 0]),
            # Class 7: -1 - 10 and 1.5; to the right of 1, and min(z) is left of -1. No score of model 1: -1 and -2.
            ([0.5, np.nan], [7, 3], [0, 1, 1], [0, 1, 1]),
            # Missing: 3 + 30 and 1.5: right, and right. Both: 3 and -1. Answers of -1 do not agree.
            ([-np.inf, 9.0], [7, -1], [1, 1, 1], [0, 1, 1]),
            ([np.finfo(np.float32).min, 9.0], [-1, -1], [2, 1, 1], [0, 1, 1]),
        ],
    )
    def test_states_and_answers(self, scores: Any, answers: Any, signals: Any, nodes: Any) -> None:
        found = reference.estimate_sets(tables(), np.array([scores], np.float32), np.array([answers], np.int32))
        assert [part.tolist() for part in found] == [[signals], [nodes]]

    def test_a_probe_answers_nothing_and_all_estimates_are_variables(self) -> None:
        probe = tables() | {"answering": np.array([0, 2], np.int32)}
        probe["tree_variables"] = np.array([1, -1, 0, -1, -1, 0, -1, -1], np.int32)
        scores, answers = np.array([[0.5, 0.0], [-np.inf, 0.0]], np.float32), np.array([[7, 0], [7, 0]], np.int32)
        signals, nodes = reference.estimate_sets(probe, scores, answers)
        assert signals[:, 0].tolist() == [0, 1]
        assert nodes[:, 0].tolist() == [-1, -1]


def check(case: SetCase) -> None:
    expected = reference.estimate_sets(case.tables, case.scores, case.answers)
    results = SetEstimator(case.nodes, case.tables).estimate(case.scores, case.answers)
    for here, there in zip(results, expected, strict=True):
        np.testing.assert_array_equal(here, there, strict=True)


class TestCore:
    @given(set_cases())
    def test_bit_for_bit(self, case: SetCase) -> None:
        check(case)

    def test_many_nodes_and_rows(self) -> None:
        check(set_case(np.random.default_rng(0), nodes=7, cells=40, steps=100, leaves=30, rows=200))

    def test_estimates_that_overflow(self) -> None:
        case = set_case(np.random.default_rng(1), nodes=4, cells=10, steps=20, leaves=8, rows=100)
        large = {name: 1e200 * case.tables[name] for name in ("values", "coefficients")}
        check(SetCase(case.nodes, case.tables | large, case.scores, case.answers))


def test_cases_reach_states_and_answers_of_all_kinds() -> None:
    case = set_case(np.random.default_rng(1), nodes=4, cells=10, steps=20, leaves=8, rows=300)
    signals, answers = reference.estimate_sets(case.tables, case.scores, case.answers)
    assert {len(np.unique(column)) for column in signals.T} >= {1, 2, 3, 4}
    assert set(np.unique(answers)) == {-1, 0, 1, 2, 3}
