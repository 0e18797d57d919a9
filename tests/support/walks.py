"""Traces of lines with many ties, and the oracle that walks them one request after the other."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from hypothesis import strategies as st

from ttamer import Replay, Traces


def line(rows: int, nodes: int, seed: int, classes: int = 3, by_request: bool = False) -> Traces:
    """Traces with many equal signals, predictions and costs, which are recorded `by_request` or one an edge."""
    rng = np.random.default_rng(seed)
    return Traces(
        (rng.integers(0, 6, (rows, nodes)) / 5).astype(np.float32),
        (rng.integers(0, 3, (rows, nodes)) / 2).astype(np.float32),
        rng.integers(0, 4, (rows, nodes) if by_request else nodes),
        predictions=rng.integers(0, classes, (rows, nodes)),
        unit="ms",
    )


def from_probs(rows: int = 200, nodes: int = 4, seed: int = 3, top: int = 5) -> Traces:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 5, rows)
    logits = rng.standard_normal((rows, nodes, 5))
    logits[np.arange(rows), :, labels] += 0.8 * np.arange(1, nodes + 1)
    probs = np.exp(logits)
    return Traces.from_probs(probs / probs.sum(-1, keepdims=True), labels, np.ones(nodes), top=top)


def walked(traces: Traces, stops: Callable[[int, int], bool]) -> Replay:
    """A line walked one request after the other: the oracle."""
    last = []
    for row in range(len(traces)):
        node = 0
        while node < traces.topology.nodes - 1 and not stops(row, node):
            node += 1
        last.append(node)
    losses, pairs = traces.losses, list(enumerate(last))
    return Replay(
        last_node=np.array(last, np.int32),
        answer_node=np.array(last, np.int32),
        cost=np.array([np.broadcast_to(traces.paid_costs, losses.shape)[row, : node + 1].sum() for row, node in pairs]),
        loss=np.array([losses[row, node] for row, node in pairs], np.float64),
    )


def same_replay(a: Replay, b: Replay) -> None:
    for name in ("last_node", "answer_node", "cost", "loss"):
        x, y = getattr(a, name), getattr(b, name)
        assert x.dtype == y.dtype
        np.testing.assert_allclose(x, y, rtol=1e-15)


lines = st.builds(line, st.integers(1, 12), st.integers(1, 5), st.integers(0, 10**6), by_request=st.booleans())
