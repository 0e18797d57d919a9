"""Serving with estimates: the core against the reference, and a loop over logits against a replay."""

from __future__ import annotations

import numpy as np
import pytest
from evidence_cases import independent

import ttamer
from ttamer import Topology, reference

SHAPES = {
    "line": (Topology.line(3), None),
    "order": (Topology.forest([-1, -1, 0]), (1, 0, 2)),
    "any": (Topology.forest([-1, -1, -1]), "any"),
    "skip": (Topology.skip(3), None),
}


@pytest.mark.parametrize("kind", ["signal", "history", "posterior"])
@pytest.mark.parametrize("shape", ["order", "any"])
@pytest.mark.parametrize("top", [1, 3, 5])
def test_the_core_estimates_what_the_reference_does(shape: str, kind: str, top: int) -> None:
    topology, order = SHAPES[shape]
    traces = independent(150, 3, 5, top=top, topology=topology)
    estimator = ttamer.fit(traces, 6, kind, order=order).estimator
    evidence = independent(300, 3, 5, seed=1, top=top).evidence
    found = estimator.estimate(evidence)
    tables = estimator.tables
    signals, answers = reference.estimate(evidence.log_probs, evidence.classes, 5, kind=kind, **tables)
    np.testing.assert_allclose(found.signals, signals, rtol=1e-5, atol=1e-5)
    assert np.mean(found.answers == answers) > 0.999


@pytest.mark.parametrize("kind", ["history", "posterior"])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_loop_over_logits_is_the_replay(shape: str, kind: str) -> None:
    topology, order = SHAPES[shape]
    policy = ttamer.solve(ttamer.fit(independent(200, topology=topology), 6, kind, order=order), 0.93)
    held = independent(100, seed=1, topology=topology)
    logits = np.zeros((100, 3, 3), np.float32)
    np.put_along_axis(logits, held.evidence.classes.astype(np.int64), held.evidence.log_probs, axis=2)
    batch = policy.start(100)
    rows, node = np.arange(100), np.full(100, policy.first_node, np.int32)
    last = np.full(100, -1)
    while len(rows):
        last[rows] = node
        node = batch.decide_logits(node, np.ascontiguousarray(logits[rows, node]), rows).copy()
        rows, node = rows[node != ttamer.STOP], node[node != ttamer.STOP]
    result = policy.replay(held)
    # A signal that lies on the edge of a bin may fall on either side.
    assert np.mean(last == result.last_node) > 0.97
    same = last == result.last_node
    assert np.mean(batch.answer_node[same] == result.answer_node[same]) > 0.97
