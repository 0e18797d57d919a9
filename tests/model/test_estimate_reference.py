"""Features and estimates: against values worked out by hand, and against plain loops."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from evidence_cases import independent, posterior

from ttamer import reference
from ttamer.traces.evidence import LOG_FLOOR

Array = npt.NDArray[Any]


def evidence(*nodes: list[tuple[float, int]]) -> tuple[Array, Array]:
    """One row: (probability, class) pairs of each node."""
    logs = np.log(np.array([[p for p, _ in node] for node in nodes]))
    return logs.astype(np.float32)[None], np.array([[label for _, label in node] for node in nodes], np.int32)[None]


# Two nodes that keep the two largest of five classes: the rest of each is 0.2 and 0.3, and shared by three classes.
LOGS, CLASSES = evidence([(0.5, 2), (0.3, 0)], [(0.4, 1), (0.3, 4)])
BOTH = np.array([0, 1], np.int32)


def features(nodes: Array, last: int, kind: str, candidate: int, count: int = 5) -> list[float]:
    return reference.features(LOGS, CLASSES, count, nodes, last, kind, candidate)[0].tolist()


class TestFeatures:
    def test_signal_is_the_odds_of_the_last_nodes_own_answer(self) -> None:
        assert features(BOTH, 1, "signal", 1) == pytest.approx([math.log(0.4 / 0.3)], rel=1e-6)

    def test_of_one_node(self) -> None:
        entropy = -(0.5 * math.log(0.5) + 0.3 * math.log(0.3) + 0.2 * math.log(0.2 / 3))
        expected = [math.log(0.5 / 0.3), entropy, math.log(0.5)]
        assert features(BOTH[:1], 0, "history", 0) == pytest.approx(expected, rel=1e-6)
        assert features(BOTH[:1], 0, "posterior", 0) == pytest.approx(expected, rel=1e-6)

    def test_of_an_answer_the_other_node_does_not_list(self) -> None:
        # Node 0 gave class 2; node 1 leaves 0.3 to three classes, 0.1 each.
        own, other = math.log(0.5 / 0.3), math.log(0.1 / 0.4)
        entropy = -(0.4 * math.log(0.4) + 0.3 * math.log(0.3) + 0.3 * math.log(0.1))
        expected = [own, other, other, own, 0.5, entropy, math.log(0.6)]
        assert features(BOTH, 1, "posterior", 0) == pytest.approx(expected, rel=1e-6)

    def test_of_an_answer_that_is_listed_second(self) -> None:
        logs, classes = evidence([(0.5, 2), (0.3, 0)], [(0.6, 0), (0.4, 2)])
        found = reference.features(logs, classes, 5, BOTH, 0, "posterior", 0)[0]
        assert found[:5].tolist() == pytest.approx(
            [math.log(0.5 / 0.3), math.log(0.4 / 0.6), math.log(0.4 / 0.6), math.log(0.5 / 0.3), 0.5], rel=1e-6
        )

    def test_the_order_of_the_set_is_that_of_the_odds(self) -> None:
        there, back = features(BOTH, 1, "posterior", 0), features(BOTH[::-1].copy(), 0, "posterior", 1)
        assert back == [there[1], there[0], *there[2:]]

    def test_others_are_at_most_as_likely_as_the_least_recorded(self) -> None:
        logs, classes = evidence([(0.3, 1)], [(0.9, 0)])
        # Two classes share 0.7 of node 0, yet each is at most as likely as the one recorded.
        found = reference.features(logs, classes, 3, BOTH, 1, "posterior", 1)[0]
        assert found[0] == 0.0
        assert found[1] == pytest.approx(math.log(0.9 / 0.05), rel=1e-5)

    def test_all_classes_recorded_or_no_mass_left(self) -> None:
        logs, classes = evidence([(1.0, 0), (1e-7, 1)])
        node = BOTH[:1]
        every = reference.features(logs, classes, 2, node, 0, "history", 0)[0]
        assert every.tolist() == pytest.approx([-float(LOG_FLOOR), 1.6118e-6, math.log(1e-6)], rel=1e-4)
        more = reference.features(logs[..., :1], classes[..., :1], 4, node, 0, "history", 0)[0]
        assert more.tolist() == pytest.approx([-float(LOG_FLOOR), 0.0, math.log(1e-6)], abs=1e-9)


def test_estimate_takes_the_smallest_log_odds_and_the_first_of_equals() -> None:
    last, sets = np.array([0, 1], np.int32), np.array([0, 0, 1], np.int32)
    candidates = np.array([0, 0, 1], np.int32)
    coefficients = np.zeros(4 + 2 * 8)
    coefficients[[0, 4, 12]] = 0.5, -1.0, -1.0
    offsets = np.array([0, 1, 3], np.int32)
    form = (LOGS, CLASSES, 5, "posterior", last, offsets, sets, offsets, candidates)
    signals, answers = reference.estimate(*form, coefficients)
    assert (signals.tolist(), answers.tolist()) == ([[-0.5, 1.0]], [[0, 0]])
    assert (signals.dtype, answers.dtype) == (np.float32, np.int32)
    coefficients[12] = -2.0
    signals, answers = reference.estimate(*form, coefficients)
    assert (signals.tolist(), answers.tolist()) == ([[-0.5, 2.0]], [[0, 1]])


@pytest.mark.parametrize("top", [1, 2, 5])
def test_estimates_are_the_features_times_the_weights(top: int) -> None:
    traces = independent(40, 3, 5, top=top)
    estimator = posterior(traces).estimator
    assert estimator is not None
    assert traces.evidence is not None
    found = estimator.estimate(traces.evidence)
    logs, classes = traces.evidence.log_probs, traces.evidence.classes
    begin = 0
    for step, nodes in enumerate(estimator.walk.sets):
        held = np.array(nodes, np.int32)
        wrong = []
        for k in range(len(nodes)):
            made = reference.features(logs, classes, 5, held, len(nodes) - 1, "posterior", k)
            weights = estimator.coefficients[begin : begin + 1 + made.shape[1]]
            wrong.append(weights[0] + made @ weights[1:])
            begin += len(weights)
        np.testing.assert_allclose(found.signals[:, step], -np.min(wrong, axis=0), rtol=1e-5)
        np.testing.assert_array_equal(found.answers[:, step], held[np.argmin(wrong, axis=0)])
    assert begin == len(estimator.coefficients)
