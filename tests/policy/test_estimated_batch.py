"""Estimates in the core: any tables as the reference has them, and what a batch of such a policy refuses."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ttamer
from ttamer import _core, reference

NODES, ROWS = 4, 300
KINDS = ("signal", "history", "posterior")


def logits_of(classes: int, seed: int, rows: int = ROWS) -> np.ndarray:
    """Nodes that get better, each with an opinion of its own; (rows, NODES, classes)."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, rows)
    logits = rng.normal(0, 1, (rows, NODES, classes))
    logits[np.arange(rows), :, labels] += np.linspace(1, 3, NODES) * rng.random((rows, 1)) * 1.5
    return logits.astype(np.float32), labels


def traces_of(logits: np.ndarray, labels: np.ndarray, topology: ttamer.Topology | None = None) -> ttamer.Traces:
    shifted = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    probs = shifted / shifted.sum(axis=-1, keepdims=True)
    costs = np.linspace(1, 2, NODES)
    return ttamer.Traces.from_probs(probs, labels, costs, topology)


@st.composite
def tables(draw: st.DrawFn) -> dict[str, object]:
    """Any estimator of any steps, with few classes or many."""
    kind = draw(st.sampled_from(KINDS))
    steps = draw(st.lists(st.permutations(range(NODES)), min_size=1, max_size=4))
    sets = [order[: draw(st.integers(1, NODES))] for order in steps]
    last = [draw(st.sampled_from(nodes)) for nodes in sets]
    positions = [
        draw(st.lists(st.integers(0, len(nodes) - 1), min_size=1, max_size=len(nodes), unique=True)) for nodes in sets
    ]
    width = [1 if kind == "signal" else len(nodes) + (5 if len(nodes) > 1 else 2) for nodes in sets]
    count = sum(len(own) * (1 + wide) for own, wide in zip(positions, width, strict=True))
    seed = draw(st.integers(0, 2**31))
    return {
        "kind": kind,
        "last": np.array(last, np.int32),
        "set_offsets": np.cumsum([0, *map(len, sets)], dtype=np.int32),
        "sets": np.concatenate(sets).astype(np.int32),
        "candidate_offsets": np.cumsum([0, *map(len, positions)], dtype=np.int32),
        "candidates": np.concatenate(positions).astype(np.int32),
        "coefficients": np.random.default_rng(seed).normal(0, 1, count),
    }


@given(tables(), st.sampled_from([(2, 1), (2, 2), (5, 5), (12, 8), (300, 3)]), st.integers(0, 100))
def test_the_core_estimates_as_the_reference(held: dict[str, object], form: tuple[int, int], seed: int) -> None:
    classes, top = form
    logits, labels = logits_of(classes, seed, rows=40)
    shifted = np.exp(logits.astype(np.float64))
    traces = ttamer.Traces.from_probs(shifted / shifted.sum(-1, keepdims=True), labels, np.ones(NODES), top=top)
    assert traces.evidence is not None
    seen = (traces.evidence.log_probs, traces.evidence.classes)
    signals, answers = _core.Estimator(NODES, classes, top, **held).estimate(*seen)
    expected, answering = reference.estimate(*seen, classes, **held)
    np.testing.assert_allclose(signals, expected, rtol=1e-5, atol=1e-5)
    assert np.mean(answers == answering) > 0.99  # equal but for rounding may be told apart differently


@pytest.mark.parametrize("top", [1, 2, 8])
def test_ties_of_many_classes_are_estimated_as_their_evidence(top: int) -> None:
    """The classes that share the largest probability are far apart; signals are what the evidence on file gives."""
    classes = 3000
    logits = np.zeros((60, 2, classes), np.float32)
    labels = np.arange(60) % 2 * 1500
    for k in range(60):
        logits[k, :, [0, 1500, 2999][: k % 3 + 1]] = 8 + k % 7
    shifted = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    probs = shifted / shifted.sum(axis=-1, keepdims=True)
    traces = ttamer.Traces.from_probs(probs, labels, [1.0, 1.0], top=top)
    policy = ttamer.solve(ttamer.fit(traces, bins=8, estimate="posterior"), 0.95)
    expected = policy.estimator.estimate(traces.evidence).signals[:, 0]
    assert len(np.unique(expected.round(4))) > 5
    signals = policy.start(60)._estimated_signals(policy.first_node, np.ascontiguousarray(logits[:, 0]))
    np.testing.assert_allclose(signals, expected, rtol=1e-5, atol=1e-5)


def posterior_batch(nan: str = "error") -> tuple[ttamer.Batch, np.ndarray]:
    logits, labels = logits_of(10, 1)
    policy = ttamer.solve(ttamer.fit(traces_of(logits, labels), bins=8, estimate="posterior"), 0.95)
    return policy.start(8, nan), logits[:8].transpose(1, 0, 2).copy()


def test_refused_calls_change_nothing() -> None:
    batch, logits = posterior_batch()
    batch.decide_logits(0, logits[0, :4])
    before = batch.answer_node, batch.answer_loss
    bad = logits[1, :4].copy()
    bad[2, 3] = np.nan
    for call, error, message in [
        (lambda: batch.decide(1, np.zeros(4, np.float32)), ValueError, r"^decide: .*call decide_logits$"),
        (
            lambda: batch.decide_logits(1, logits[1, :4, :7].copy()),
            ValueError,
            r"^logits: expected \(B, 10\), .*C = 7$",
        ),
        (lambda: batch.decide_logits(0, logits[0, :4]), ValueError, r"^(node: 0 is not open|rows: row 0 has stopped)"),
        (lambda: batch.decide_logits(9, logits[0, :4]), IndexError, r"^node: expected 0 to 3, got 9$"),
        (lambda: batch.decide_logits(0, logits[0, :2], np.array([4, 9])), IndexError, r"^rows: expected 0 to 7, got 9"),
        (lambda: batch.decide_logits(0, logits[0, :2], np.array([5, 5])), ValueError, r"^rows: row 5 is repeated"),
    ]:
        with pytest.raises(error, match=message):
            call()
    np.testing.assert_array_equal(batch.answer_node, before[0])
    np.testing.assert_array_equal(batch.answer_loss, before[1])


def test_nan_is_the_worst_state_where_asked_for() -> None:
    batch, logits = posterior_batch("worst")
    bad = logits[0, :2].copy()
    bad[1] = np.nan
    following = batch.decide_logits(0, bad)
    assert following[1] == 1  # nothing is known of it
    assert batch.answer_node[:2].tolist() == [0, 0]
    strict, _ = posterior_batch()
    with pytest.raises(ValueError, match=r"position 1 \(row 1\)"):
        strict.decide_logits(0, bad)
    assert strict.answer_node.tolist() == [-1] * 8
    batch.reset(np.array([1]))
    assert batch.answer_node[1] == -1
