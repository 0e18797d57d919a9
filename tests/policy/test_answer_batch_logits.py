"""Batches that decide on scores and answers, from logits: the score that these give, and the most probable class."""

from __future__ import annotations

from copy import copy
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import ttamer
from ttamer._core import logit_signals
from ttamer.traces.signals import SIGNALS

NODES, CLASSES, ROWS = 3, 6, 400
Logits = npt.NDArray[np.float32]


def logits_of(seed: int) -> tuple[Logits, npt.NDArray[np.int64]]:
    """(NODES, ROWS, CLASSES) of models that get better, with ties of the largest, and what is right."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, CLASSES, ROWS)
    logits = rng.normal(0, 1.5, (NODES, ROWS, CLASSES))
    logits[:, np.arange(ROWS), labels] += np.array([[1], [2], [4]])
    logits[0, ::5, [1, 4]] = 9
    return logits.astype(np.float32), labels


def traces_of(seed: int) -> ttamer.Traces:
    logits, labels = logits_of(seed)
    probs = np.exp(logits.astype(np.float64))
    probs /= probs.sum(axis=-1, keepdims=True)
    return ttamer.Traces.from_probs(probs.transpose(1, 0, 2), labels, np.array([0.05, 0.1, 0.4]))


@pytest.fixture(scope="module", params=SIGNALS)
def policy(request: pytest.FixtureRequest) -> ttamer.Policy:
    """Of each kind of score, where some requests go on and some do not."""
    pytest.importorskip("sklearn")
    return ttamer.solve(ttamer.fit(traces_of(0).with_signal(request.param), estimate="sets"), 0.7)


def shown_by(logits: Logits, kind: str) -> tuple[Logits, npt.NDArray[np.int32]]:
    return logit_signals(logits, kind), logits.argmax(axis=1).astype(np.int32)


def test_logits_decide_as_their_scores_and_answers(policy: ttamer.Policy) -> None:
    """Row by row, all together, and with a node for each."""
    logits, _ = logits_of(1)
    batches = [policy.start(ROWS) for _ in range(4)]
    rows, lengths = np.arange(ROWS), []
    node = policy.first_node
    while len(rows):
        lengths.append(len(rows))
        scores, answers = shown_by(logits[node, rows], policy.signal)
        expected = batches[0].decide_answers(node, scores, answers, rows).copy()
        np.testing.assert_array_equal(batches[1].decide_logits(node, logits[node, rows], rows), expected)
        nodes = np.full(len(rows), node, np.int32)
        np.testing.assert_array_equal(batches[2].decide_logits(nodes, logits[node, rows], rows), expected)
        single = [batches[3].decide_logits(node, logits[node, [row]], rows[k : k + 1]) for k, row in enumerate(rows)]
        assert len(single) == len(rows)
        for batch in batches[1:]:
            np.testing.assert_array_equal(batch.answer_node, batches[0].answer_node)
            np.testing.assert_array_equal(batch.answer_loss, batches[0].answer_loss)
        rows, node = rows[expected >= 0], int(expected.max())
    assert len(lengths) == NODES
    assert lengths[-1] < ROWS


def test_logits_decide_as_traces_of_their_probabilities(policy: ttamer.Policy) -> None:
    logits, _ = logits_of(1)
    replay = policy.replay(traces_of(1).with_signal(policy.signal))
    batch = policy.start(ROWS)
    rows, node, last = np.arange(ROWS), policy.first_node, np.full(ROWS, -1)
    while len(rows):
        last[rows] = node
        following = batch.decide_logits(node, logits[node, rows], rows)
        rows, node = rows[following >= 0], int(following.max())
    np.testing.assert_array_equal(last, replay.last_node)
    np.testing.assert_array_equal(batch.answer_node, replay.answer_node)
    assert len(np.unique(last)) > 1


@pytest.mark.parametrize("kind", ["float16", "bfloat16"])
def test_halves(kind: str, policy: ttamer.Policy) -> None:
    """Equal to the same numbers as float32; of many classes those of several blocks."""
    policy = copy(policy)
    policy._classes = None  # it was made for fewer
    logits = np.tile(logits_of(2)[0][0] / 4, (1, 50)) + np.linspace(0, 1, 50 * CLASSES)
    halves: npt.NDArray[Any] = logits.astype(np.float16)
    same = halves.astype(np.float32)
    if kind == "bfloat16":
        halves = (logits.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)
        same = (halves.astype(np.uint32) << 16).view(np.float32)
    batches = [policy.start(ROWS) for _ in range(3)]
    expected = batches[0].decide_answers(policy.first_node, *shown_by(same, policy.signal))
    np.testing.assert_array_equal(batches[1].decide_logits(policy.first_node, same), expected)
    np.testing.assert_array_equal(batches[2].decide_logits(policy.first_node, halves), expected)
    for batch in batches[1:]:
        np.testing.assert_array_equal(batch.answer_loss, batches[0].answer_loss)


def test_rows_without_a_softmax_are_nodes_that_failed(policy: ttamer.Policy) -> None:
    logits = logits_of(3)[0][0, :4].copy()
    logits[1, 2] = np.nan
    with pytest.raises(ValueError, match=r"^logits: NaN, \+inf or only -inf at position 1 \(row 1\); start the batch "):
        policy.start(4).decide_logits(0, logits)
    for nan in ("worst", "failed"):
        expected, batch = policy.start(4, nan), policy.start(4, nan)
        scores, answers = shown_by(np.nan_to_num(logits), policy.signal)
        scores[1] = np.nan
        following = expected.decide_answers(0, scores, answers)
        np.testing.assert_array_equal(batch.decide_logits(0, logits), following)
        np.testing.assert_array_equal(batch.answer_node, expected.answer_node)
        assert batch.answer_node[1] == (0 if nan == "worst" else -1)
