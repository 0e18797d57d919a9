"""Rows that have stopped and go on: as if they had never stopped."""

from __future__ import annotations

import numpy as np
import pytest
from evidence_cases import independent, posterior
from helpers import f32, random_model
from hypothesis import given
from hypothesis import strategies as st
from set_traces import recorded

import ttamer
from ttamer import STOP, Topology


@given(st.integers(0, 2**16), st.sampled_from(["observed", "none"]), st.sampled_from([0.3, 0.8]))
def test_what_was_seen_before_the_stop_counts(seed: int, recall: str, tradeoff: float) -> None:
    """A line told to its end, however often it stops, has the answer of the reference's recall."""
    model = random_model(Topology.line(4), 5, seed, levels=20, observed=False)
    policy = ttamer.solve(model, tradeoff, recall)
    states = np.random.default_rng(seed).integers(0, 5, (30, 4))
    batch = policy.start(30)
    for node in range(4):
        following = batch.decide(node, states[:, node].astype(np.float32)).copy()
        stopped = np.flatnonzero(following == STOP)
        if node < 3:
            batch.resume(node, stopped)
    losses = np.stack([model.losses[j][states[:, j]] for j in range(4)], axis=1)
    best = losses.argmin(axis=1) if recall == "observed" else np.full(30, 3)
    np.testing.assert_array_equal(batch.answer_node, best)
    np.testing.assert_array_equal(batch.answer_loss, losses[np.arange(30), best])


def test_forests_open_the_branches_that_were_open() -> None:
    policy = ttamer.solve(random_model(Topology.forest([-1, -1, 0]), 3, 0), 0.001)
    batch = policy.start(1)
    first = policy.first_node
    assert batch.decide(first, f32(0)).tolist() == [STOP]
    batch.resume(first)
    assert batch.decide(1 - first, f32(0)).tolist() == [STOP]
    with pytest.raises(
        ValueError, match=r"^rows: row 0 has stopped; reset it before it takes a new request, or resume"
    ):
        batch.decide(2, f32(0))


def test_estimates_go_on_from_their_step() -> None:
    traces = independent(60)
    policy = ttamer.solve(posterior(traces), 0.05)
    logits = np.log(np.random.default_rng(0).dirichlet(np.ones(3), (8, 3))).astype(np.float32)
    told, batch = policy.start(8), policy.start(8)
    assert (batch.decide_logits(0, np.ascontiguousarray(logits[:, 0])) == STOP).all()
    batch.resume(0)
    batch.decide_logits(1, np.ascontiguousarray(logits[:, 1]))
    eager = ttamer.solve(posterior(traces), 1.0).start(8)
    eager.decide_logits(0, np.ascontiguousarray(logits[:, 0]))
    eager.decide_logits(1, np.ascontiguousarray(logits[:, 1]))
    np.testing.assert_array_equal(batch.answer_node, eager.answer_node)
    assert (told.answer_node == -1).all()


def test_sets_go_on_from_their_step() -> None:
    """What two policies over the same estimates answer is the same, whether they stopped on the way or not."""
    traces = recorded(rows=120)
    model = ttamer.fit(traces, estimate="sets")
    hasty, eager = (ttamer.solve(model, tradeoff).start(1) for tradeoff in (1e-6, 1.0))
    policy = ttamer.solve(model, 1e-6)
    score, none = f32(0.5), np.array([2], np.int32)
    context = policy.context_scores({name: column[:1] for name, column in traces.context.items()})
    first = int(hasty.decide_answers(0, context)[0])
    assert hasty.decide_answers(first, score, none).tolist() == [STOP]
    with pytest.raises(
        ValueError, match=rf"^node: expected the one consulted last, {first} for row 0, got {first - 1}$"
    ):
        hasty.resume(first - 1)
    hasty.resume(first)
    eager.decide_answers(0, context)
    eager.decide_answers(first, score, none)
    second = next(node for node in (1, 2, 3) if node != first)
    for batch in (hasty, eager):
        batch.decide_answers(second, score + 1, none + 1)
    assert hasty.answer_node[0] == eager.answer_node[0] >= 1


def test_refusals() -> None:
    policy = ttamer.solve(random_model(Topology.line(3), 3, 0), 1.0, "none")
    batch = policy.start(3)
    with pytest.raises(ValueError, match=r"^rows: row 0 has not stopped$"):
        batch.resume(0)
    batch.decide(0, f32(0, 0, 0))
    with pytest.raises(IndexError, match=r"^node: expected 0 to 2, got 3$"):
        batch.resume(3)
    with pytest.raises(IndexError, match=r"^rows: expected 0 to 2, got 7 at position 0$"):
        batch.resume(0, np.array([7]))
    with pytest.raises(TypeError, match=r"^node: expected an int or \(B,\) int32, got str"):
        batch.resume("a")
    estimating = ttamer.solve(posterior(independent(60)), 0.01).start(2)
    estimating.decide_logits(0, np.zeros((1, 3), np.float32))
    estimating.resume(0, np.array([0, 0]))  # a row may be named twice
    estimating = ttamer.solve(posterior(independent(60)), 0.9).start(2)
    with pytest.raises(ValueError, match=r"^rows: row 0 has not stopped$"):
        estimating.resume(0)
    with pytest.raises(IndexError, match=r"^node: expected 0 to 2, got 5$"):
        estimating.resume(5)
