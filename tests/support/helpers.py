"""Small models and batches that several tests use."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

import ttamer

T = TypeVar("T")
Floats32 = npt.NDArray[np.float32]


def f32(*values: float) -> Floats32:
    return np.array(values, dtype=np.float32)


def i32(*values: int) -> npt.NDArray[np.int32]:
    return np.array(values, dtype=np.int32)


def random_model(
    topology: ttamer.Topology, states: int, seed: int, *, levels: int = 1000, probes: Iterable[int] = (), **options: Any
) -> ttamer.CascadeModel:
    """A model of random tables; with few `levels`, many losses are equal. The `probes` cannot answer."""
    rng = np.random.default_rng(seed)
    losses = [rng.integers(0, levels + 1, states) / levels for _ in range(topology.nodes)]
    for node in probes:
        losses[node] = np.full(states, np.inf)
    transitions = [rng.dirichlet(np.ones(states), 1 if i < 0 else states) for i, _ in topology.edges.tolist()]
    costs = rng.uniform(0.0, 0.2, len(topology.edges))
    return ttamer.CascadeModel(topology, losses, transitions, costs, **options)


def random_traces(topology: ttamer.Topology, rows: int, seed: int, *, observed: bool = False) -> ttamer.Traces:
    """Traces of random signals; with observed losses the signals are the losses, with many ties."""
    rng = np.random.default_rng(seed)
    signals = rng.random((rows, topology.nodes)).astype(np.float32)
    if observed:
        signals = np.round(signals * 8).astype(np.float32) / 8
    losses = signals if observed else (rng.random(signals.shape) > signals).astype(np.float32)
    costs = rng.uniform(0.1, 0.5, len(topology.edges))
    return ttamer.Traces(signals, losses, costs, topology, observed=observed, unit="ms")


def graded_traces(topology: ttamer.Topology, rows: int, seed: int, scale: float = 1.0) -> ttamer.Traces:
    """Losses of any size up to about `scale`, the smaller the larger the signal."""
    traces = random_traces(topology, rows, seed)
    noise = np.random.default_rng(seed).random(traces.losses.shape)
    losses = (scale * (1 - traces.signals) * noise).astype(np.float32)
    return ttamer.Traces(traces.signals, losses, traces.costs, topology, unit=traces.unit)


def assert_same_policy(found: ttamer.Policy, expected: ttamer.Policy) -> None:
    """Bit for bit, everything a user or a batch can see."""
    assert found.topology == expected.topology
    for name in ("value", "tradeoff", "recall", "first_node", "cost_scale", "unit", "expected_cost"):
        assert getattr(found, name) == getattr(expected, name)
    for name, table in expected._core.arrays().items():
        np.testing.assert_array_equal(found._core.arrays()[name], table, strict=True)
    for name in ("expected_visits", "expected_stops"):
        for a, b in zip(getattr(found, name), getattr(expected, name), strict=True):
            np.testing.assert_array_equal(a, b)


def attempt(call: Callable[[], T]) -> T | ValueError:
    """What a call returns, or the ValueError it raises."""
    try:
        return call()
    except ValueError as error:
        return error


def serve(policy: ttamer.Policy, signals: Floats32, signal: str | None = None) -> dict[str, npt.NDArray[Any]]:
    """Run all requests through one batch, each call for one node, and return what a replay would.

    `signals` are of the kind `signal`, or logits (N, n, C).
    """
    edges = {(i, j): e for e, (i, j) in enumerate(policy.topology.edges.tolist())}
    count = len(signals)
    batch = policy.start(count, signal=signal)
    decide = batch.decide if signals.ndim == 2 else batch.decide_logits
    ahead = np.full(count, policy.first_node, np.int32)
    last = np.full(count, -1, np.int32)
    cost = np.zeros(count)
    while (ahead != ttamer.STOP).any():
        for node in np.unique(ahead[ahead != ttamer.STOP]).tolist():
            rows = np.flatnonzero(ahead == node)
            came = last[rows]
            cost[rows] += policy.costs[[edges[i, node] for i in came.tolist()]]
            last[rows] = node
            ahead[rows] = decide(node, signals[rows, node], rows)
    return {
        "last_node": last,
        "answer_node": batch.answer_node.copy(),
        "cost": cost,
        "answer_loss": batch.answer_loss,
    }
