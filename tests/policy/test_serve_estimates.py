"""Serving with estimates: the core against the reference, and a loop over logits against a replay."""

from __future__ import annotations

import numpy as np
import pytest
from evidence_cases import independent
from paths import DATA

import ttamer
from ttamer import Topology, reference

SHAPES = {
    "line": (Topology.line(3), None),
    "order": (Topology.forest([-1, -1, 0]), (1, 0, 2)),
    "skip": (Topology.skip(3), None),
}


@pytest.mark.parametrize("top", [1, 3, 5])
def test_the_core_estimates_what_the_reference_does(top: int) -> None:
    topology, order = SHAPES["order"]
    traces = independent(150, 3, 5, top=top, topology=topology)
    estimator = ttamer.fit(traces, 6, "posterior", order=order).estimator
    evidence = independent(300, 3, 5, seed=1, top=top).evidence
    found = estimator.estimate(evidence)
    signals, answers = reference.estimate(evidence.log_probs, evidence.classes, 5, kind="posterior", **estimator.tables)
    np.testing.assert_allclose(found.signals, signals, rtol=1e-5, atol=1e-5)
    assert np.mean(found.answers == answers) > 0.999


@pytest.mark.parametrize("shape", SHAPES)
def test_a_loop_over_logits_is_the_replay(shape: str) -> None:
    topology, order = SHAPES[shape]
    policy = ttamer.solve(ttamer.fit(independent(200, topology=topology), 6, "posterior", order=order), 0.93)
    held = independent(100, seed=1, topology=topology)
    assert_served_as_replayed(policy, held)


PAIRS = ((0,), (1,), (2,), (0, 1), (0, 1), (0, 2), (0, 2), (1, 2), (1, 2), (0, 1, 2), (0, 1, 2), (0, 1, 2))
FITTED_NO_MORE = {
    "history": ("history", ((2,), (2, 0)), 346.0, 108),
    "signal": ("signal", ((1,), (1, 2)), 371.0, 157),
    "any": ("posterior", PAIRS, 324.0, 65),
}
"""Estimate and walk of policies on file, and the sums of costs and of answering nodes of a hundred requests."""


@pytest.mark.parametrize("kind", FITTED_NO_MORE)
def test_kinds_that_are_fitted_no_more(kind: str) -> None:
    """What earlier versions saved of 120 of these models: of the last node's answers, and of every order."""
    estimate, walk, cost, answers = FITTED_NO_MORE[kind]
    model = ttamer.CascadeModel.load(DATA / f"model-{kind}-v4.safetensors")
    policy = ttamer.Policy.load(DATA / f"policy-{kind}-v4.safetensors")
    assert (policy.estimate, policy.walk) == (estimate, walk)
    assert ttamer.solve(model, 0.9).value == pytest.approx(policy.value, rel=0, abs=1e-12)
    held = independent(100, seed=1, forest=True)
    result = policy.replay(held)
    assert (result.cost.sum(), result.answer_node.sum()) == (cost, answers)
    assert_served_as_replayed(policy, held)


def assert_served_as_replayed(policy: ttamer.Policy, held: ttamer.Traces) -> None:
    logits = np.zeros((len(held), 3, 3), np.float32)
    np.put_along_axis(logits, held.evidence.classes.astype(np.int64), held.evidence.log_probs, axis=2)
    batch = policy.start(len(held))
    rows, node = np.arange(len(held)), np.full(len(held), policy.first_node, np.int32)
    last = np.full(len(held), -1)
    while len(rows):
        last[rows] = node
        node = batch.decide_logits(node, np.ascontiguousarray(logits[rows, node]), rows).copy()
        rows, node = rows[node != ttamer.STOP], node[node != ttamer.STOP]
    result = policy.replay(held)
    # A signal that lies on the edge of a bin may fall on either side.
    assert np.mean(last == result.last_node) > 0.97
    same = last == result.last_node
    assert np.mean(batch.answer_node[same] == result.answer_node[same]) > 0.97
