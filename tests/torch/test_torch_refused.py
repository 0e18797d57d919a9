"""Calls that the kernels refuse: nothing changes, the count says so, and whoever looks is told the rows."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from helpers import random_model
from kernel_cases import policy_for

import ttamer

torch = pytest.importorskip("torch", reason="needs the torch extra")
from ttamer.torch import Decider  # noqa: E402

SHAPES = {
    "line": ttamer.Topology.line(3),
    "skip": ttamer.Topology.skip(3),
    "forest": ttamer.Topology.forest([-1, 0, 1]),
}


def started(shape: str, device: str, nan: str = "error") -> tuple[Any, Any]:
    """Twelve rows, of which 0 to 3 have consulted the first node and 4 has stopped at the last."""
    losses = [[0.9 - 0.2 * j, 0.8 - 0.2 * j] for j in range(3)]
    topology = SHAPES[shape]
    transitions = [np.full((1, 2), 0.5) for _ in topology.edges]
    model = ttamer.CascadeModel(topology, losses, transitions, np.zeros(len(topology.edges)), observed=True)
    decider = Decider(ttamer.solve(model, 0.5), "max_prob").to(device)
    flight = decider.start(12, nan, kernels=True)
    nodes = decider.policy.topology.nodes
    if shape == "skip":
        decider(flight, nodes - 1, signals=torch.zeros(1, device=device), rows=torch.tensor([4], device=device))
        decider(flight, 0, signals=torch.zeros(4, device=device))
        return decider, flight
    for node in range(nodes):
        decider(flight, node, signals=torch.zeros(1, device=device), rows=torch.tensor([4], device=device))
    decider(flight, 0, signals=torch.zeros(4, device=device))
    return decider, flight


def memory(flight: Any) -> list[Any]:
    return [flight._state.cpu().clone(), flight._open_ranks.cpu().clone()]


@pytest.mark.parametrize("shape", SHAPES)
def test_nothing_changes(shape: str, device: str) -> None:
    decider, flight = started(shape, device)
    before = memory(flight)
    nan = float("nan")
    is_nan = r"signals: NaN at node 1 \(rows 1, 3\); start the flight with nan=\"worst\""
    closed = "node: 2 is not open to row 9" if shape != "skip" else "rows: row 4 stopped before node 2"
    cases: list[tuple[type[Exception], str, int, list[float], list[int]]] = [
        (ValueError, is_nan, 1, [0, nan, nan], [2, 3, 1]),
        (ValueError, "rows: row 4 stopped before node 1; reset what takes", 1, [0, 0, 1], [0, 4, 1]),
        (ValueError, closed, 2, [0, nan], [9, -1] if shape != "skip" else [4, -1]),
        (IndexError, "rows: expected 0 to 11, or -1 for padding, got others", 1, [0, 0], [1, 12]),
        (ValueError, r"rows: row 4 stopped .*; signals: NaN at node 1 \(row 1\)", 1, [nan, 0], [1, 4]),
    ]  # fmt: skip
    for kind, message, node, signals, rows in cases:
        decision = decider(
            flight,
            node,
            signals=torch.tensor(signals, dtype=torch.float32, device=device),
            rows=torch.tensor(rows, device=device),
        )
        first = next(k for k in range(len(rows)) if decision.next_node[k] < -1)
        assert decision.count.tolist() == [-1 - first]
        for now, then in zip(memory(flight), before, strict=True):
            assert torch.equal(now, then)
        with pytest.raises(kind, match=message):
            flight.survivors(decision)
        flight.check()
        with pytest.raises(ValueError, match="decision: of a call that was refused, as a check has said before"):
            flight.survivors(decision)
    decision = decider(flight, 1, signals=torch.zeros(4, device=device))
    assert flight.survivors(decision).tolist() == [0, 1, 2, 3]


def test_refused_calls_are_remembered(device: str) -> None:
    """A host that looks only now and then still learns of every row."""
    decider, flight = started("line", device)
    nan = torch.full((2,), torch.nan, device=device)
    decider(flight, 1, signals=nan, rows=torch.tensor([0, 1], device=device))
    decider(flight, 1, signals=torch.zeros(2, device=device), rows=torch.tensor([2, 3], device=device))
    decider(flight, 2, signals=nan, rows=torch.tensor([2, 3], device=device))
    with pytest.raises(ValueError, match=r"at node 1 \(rows 0, 1\).*; signals: NaN at node 2 \(rows 2, 3\)"):
        flight.check()
    decider(flight, 2, signals=nan, rows=torch.tensor([2, 3], device=device))
    flight.reset(torch.tensor([2], device=device))
    with pytest.raises(ValueError, match=r"signals: NaN at node 2 \(row 3\)"):
        flight.check()
    flight.reset(torch.tensor([0, 12], device=device))
    with pytest.raises(IndexError, match="rows: expected 0 to 11"):
        flight.check()
    decider(flight, 1, signals=nan, rows=torch.tensor([11, 12], device=device))
    flight.reset()
    flight.check()


def test_many_rows_are_not_all_named(device: str) -> None:
    decider = Decider(policy_for("max_prob")).to(device)
    flight = decider.start(3000, kernels=True)
    logits = torch.zeros(3000, 2, device=device)
    logits[2500:, 0] = torch.nan
    decision = decider(flight, 0, logits)
    assert decision.count.tolist() == [-2501]
    text = "logits: NaN, +inf or only -inf at node 0 (rows 2500, 2501, 2502, 2503, 2504, 2505, 2506, 2507 and 492 more)"
    with pytest.raises(ValueError, match=re.escape(text)):
        flight.survivors(decision)
    assert (flight.answer_node == -1).all()


def test_nan_as_the_worst_state(device: str) -> None:
    policy = ttamer.solve(random_model(ttamer.Topology.line(2), 7, seed=4), 0.8, "observed")
    decider = Decider(policy, "max_prob").to(device)
    flight = decider.start(2, "worst", kernels=True)
    decider(flight, 0, torch.tensor([[torch.nan, 0.0], [-torch.inf, -torch.inf]], device=device))
    assert flight.answer_loss.tolist() == [policy.losses(0).max()] * 2
