"""The Triton kernels decide what the core decides, bit for bit, given the same signals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers import random_model
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_cases import SHAPES, Floats32, Requests, around, hard_policies

import ttamer

torch = pytest.importorskip("torch", reason="needs the torch extra")
from ttamer.torch import Decider, Flight  # noqa: E402

RECALL = ("observed", "none")
TOPOLOGIES = {
    "line": ttamer.Topology.line(3),
    "skip": ttamer.Topology.skip(4),
    "dag": ttamer.Topology.dag(5, [(-1, 1), (-1, 4), (1, 0), (4, 0), (1, 2), (0, 2), (2, 3), (0, 3)]),
    "forest": ttamer.Topology.forest([-1, 0, 0, -1, 3]),
}
CASES = [(shape, recall) for shape in SHAPES for recall in RECALL if (shape, recall) != ("forest", "none")]


def flights(policy: ttamer.Policy, device: str, capacity: int, nan: str = "error") -> tuple[Any, Flight, ttamer.Batch]:
    decider = Decider(policy, policy.signal or "max_prob").to(device)
    return decider, decider.start(capacity, nan, kernels=True), policy.start(capacity, nan)


def assert_same_rows(flight: Flight, batch: ttamer.Batch) -> None:
    np.testing.assert_array_equal(flight.answer_node.cpu().numpy(), batch.answer_node)
    np.testing.assert_array_equal(flight.answer_loss.cpu().numpy(), batch.answer_loss)


def assert_same_call(
    decider: Any, flight: Flight, batch: ttamer.Batch, node: int, signals: Floats32, rows: Any
) -> np.ndarray[Any, Any]:
    """One call for both, which must agree in everything; what they say comes next."""
    device = flight.device
    places = None if rows is None else torch.from_numpy(rows).to(device)
    decision = decider(flight, node, signals=torch.from_numpy(signals).to(device), rows=places)
    expected = batch.decide(node, signals, rows).copy()
    np.testing.assert_array_equal(decision.next_node.cpu().numpy(), expected)
    assert flight.survivors(decision).tolist() == np.flatnonzero(expected >= 0).tolist()
    assert_same_rows(flight, batch)
    return expected


@pytest.mark.parametrize("shape", SHAPES)
@settings(max_examples=20)
@given(st.data())
def test_any_policy_any_signals_any_order(shape: str, device: str, data: st.DataObject) -> None:
    policy = data.draw(hard_policies(shape))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**16)))
    decider, flight, batch = flights(policy, device, 7, "worst")
    requests = Requests(policy, 7, rng)
    while (call := requests.call()) is not None:
        node, rows = call
        pool = np.append(around(policy.bin_edges(node)), np.float32(np.nan))
        signals = rng.choice(pool, len(rows)).astype(np.float32)
        if rng.random() < 0.5:
            rows = rows.astype(np.int32)
        requests.took(node, rows, assert_same_call(decider, flight, batch, node, signals, rows))
    torch_rows = torch.tensor([5, 2], device=device)
    flight.reset(torch_rows)
    batch.reset(np.array([5, 2]))
    assert_same_rows(flight, batch)
    node, signals = policy.first_node, np.zeros(2, np.float32)
    assert_same_call(decider, flight, batch, node, signals, np.array([2, 5]))
    flight.reset()
    assert (flight.answer_node.cpu() == -1).all()


@pytest.mark.parametrize(("shape", "recall"), CASES)
@pytest.mark.parametrize("states", [1, 2, 40])
def test_many_rows_many_states(shape: str, recall: str, states: int, device: str) -> None:
    """Few levels, so that losses tie; more states than are compared at once where rows share a program."""
    policy = ttamer.solve(random_model(TOPOLOGIES[shape], states, seed=3, levels=5), 0.9, recall)
    rng = np.random.default_rng(1)
    decider, flight, batch = flights(policy, device, 90)
    requests = Requests(policy, 90, rng)
    while (call := requests.call()) is not None:
        node, rows = call
        signals = rng.integers(-1, states + 1, len(rows)).astype(np.float32)
        requests.took(node, rows, assert_same_call(decider, flight, batch, node, signals, rows))


@pytest.mark.parametrize("states", [100, 3000])
def test_binary_search_of_edges(states: int, device: str) -> None:
    policy = ttamer.solve(random_model(ttamer.Topology.line(1), states, seed=3), 0.9, "observed")
    signals = np.arange(-1, 2 * states, 7, dtype=np.float32)[:200] / 2
    decider, flight, batch = flights(policy, device, len(signals))
    assert_same_call(decider, flight, batch, 0, signals, None)


def test_a_wide_forest(device: str) -> None:
    count = 1000
    topology = ttamer.Topology.forest([-1] * (count - 1) + [3])
    losses, costs = np.array([0.9, 0.1]), 0.45 - np.arange(count) % 700 / 2000
    model = ttamer.CascadeModel(topology, [losses] * count, [np.array([[0.5, 0.5]])] * count, costs, cost_scale=1.0)
    decider, flight, batch = flights(ttamer.solve(model, 0.5), device, 5)
    first = flight.policy.first_node
    assert first == 699
    ahead = assert_same_call(decider, flight, batch, first, np.float32([0, 1, 0, 0, 1]), None)
    assert ahead.tolist() == [698, -1, 698, 698, -1]
    assert_same_call(decider, flight, batch, 3, np.float32([0, 0]), np.array([2, 3]))
    assert_same_call(decider, flight, batch, count - 1, np.float32([0]), np.array([2]))


def test_what_a_failed_node_might_have_shown_stops_no_request(device: str) -> None:
    """Not even its worst loss does, where that is less than the best so far: on a forest another node may be open."""
    losses, costs = [[0.9], [0.1], [0.0]], [0.0, 0.0, 0.3]
    topology = ttamer.Topology.forest([-1, -1, -1])
    model = ttamer.CascadeModel(topology, losses, [[[1.0]]] * 3, costs, cost_scale=1.0, observed=False)
    decider, flight, batch = flights(ttamer.solve(model, 0.5), device, 1, "worst")
    assert assert_same_call(decider, flight, batch, 0, np.float32([0]), None).tolist() == [1]
    assert assert_same_call(decider, flight, batch, 1, np.float32([np.nan]), None).tolist() == [2]
    assert flight.answer_node.tolist() == [0]


@pytest.mark.parametrize("size", [1, 2, 127, 128, 129, 2048, 2049, 5000])
def test_positions_are_in_order(size: int, device: str) -> None:
    policy = ttamer.solve(random_model(ttamer.Topology.line(2), 6, seed=0), 0.95, "observed")
    decider, flight, batch = flights(policy, device, 5000)
    rng = np.random.default_rng(size)
    signals = rng.integers(0, 6, size).astype(np.float32)
    rows = rng.permutation(5000)[:size]
    ahead = assert_same_call(decider, flight, batch, policy.first_node, signals, rows)
    assert size < 100 or 0.1 < (ahead >= 0).mean() < 0.9
    nothing = decider(flight, 0, signals=torch.zeros(0, device=device))
    assert (nothing.next_node.shape, nothing.kept.shape, nothing.count.tolist()) == ((0,), (0,), [0])


def test_padding(device: str) -> None:
    """Rows of -1 are not looked at, on the core as on the kernels."""
    policy = ttamer.solve(random_model(ttamer.Topology.line(3), 4, seed=1), 0.95, "observed")
    decider = Decider(policy, "max_prob").to(device)
    plain = Decider(policy, "max_prob")
    for one, started in ((decider, decider.start(9, kernels=True)), (plain, plain.start(9))):
        rows = torch.tensor([4, 0, 7, -1, -1], device=started.device)
        signals = torch.tensor([0, 1, 2, torch.nan, torch.nan], device=started.device)
        decision = one(started, 0, signals=signals, rows=rows)
        batch = policy.start(9)
        expected = batch.decide(0, np.float32([0, 1, 2]), np.array([4, 0, 7]))
        assert decision.next_node.tolist() == [*expected.tolist(), -1, -1]
        assert started.survivors(decision).tolist() == np.flatnonzero(expected >= 0).tolist()
        assert_same_rows(started, batch)
        padding = one(started, 0, signals=signals[3:], rows=rows[3:])
        assert (padding.next_node.tolist(), padding.count.tolist()) == ([-1, -1], [0])
