"""`ttamer.torch.Decider` decides what the core's batch decides."""

from __future__ import annotations

import numpy as np
import pytest

import ttamer
from ttamer.signals import SIGNALS

torch = pytest.importorskip("torch")
from ttamer.torch import Decider  # noqa: E402


def policy_for(kind: str, recall: str = "observed") -> ttamer.Policy:
    rng = np.random.default_rng(7)
    logits = rng.normal(0, 3, (400, 3, 4))
    probs = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    traces = ttamer.Traces.from_probs(probs, logits.sum(axis=1).argmax(axis=-1), np.full(3, 0.1), signal=kind)
    return ttamer.solve(ttamer.fit(traces, bins=12), 0.9, recall)


@pytest.mark.parametrize("kind", SIGNALS)
@pytest.mark.parametrize("recall", ["observed", "none"])
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_a_loop_on_the_cpu(kind: str, recall: str, dtype: str) -> None:
    policy = policy_for(kind, recall)
    decider = Decider(policy)
    flight, batch = decider.start(50), policy.start(50)
    torch.manual_seed(0)
    rows, node, seen = torch.arange(50), policy.first_node, 0
    while len(rows):
        logits = (4 * torch.randn(len(rows), 4)).to(getattr(torch, dtype))
        decision = decider(flight, node, logits, rows)
        expected = batch.decide_logits(node, logits.float().numpy(), rows.numpy())
        np.testing.assert_array_equal(decision.next_node.numpy(), expected)
        kept = flight.survivors(decision)
        assert kept.tolist() == np.flatnonzero(expected >= 0).tolist()
        assert decision.count.tolist() == [len(kept)]
        np.testing.assert_array_equal(flight.answer_node.numpy(), batch.answer_node)
        np.testing.assert_array_equal(flight.answer_loss.numpy(), batch.answer_loss)
        seen += len(rows)
        rows, node = rows[kept], node + 1
    assert 50 < seen < 150
