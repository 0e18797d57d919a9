"""A batch in flight, and the check that a refused call leaves it as it was."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from helpers import f32, i32

import ttamer

SKIP = ttamer.Topology.skip(4)
GO, STAY = 0.0, 1.0
"""Signals: in state 0 a node is bad and the next one is worth its price, in state 1 it is perfect."""


def policy() -> ttamer.Policy:
    losses = [[0.9 - 0.1 * j, 0.0] for j in range(4)]
    transitions = [np.full((1, 2), 0.5) for _ in SKIP.edges]
    costs = [0.01 * (j - i) for i, j in SKIP.edges.tolist()]
    return ttamer.solve(ttamer.CascadeModel(SKIP, losses, transitions, costs, cost_scale=1), 0.5, "observed")


POLICY = policy()


def in_flight(nan: str = "error") -> ttamer.Batch:
    """Rows 0 to 2 have consulted node 0 and go on, row 3 has stopped there, rows 4 and 5 are fresh."""
    batch = POLICY.start(6, nan=nan)
    assert batch.decide(0, f32(GO, GO, GO, STAY)).tolist() == [1, 1, 1, -1]
    return batch


def finish(batch: ttamer.Batch) -> list[Any]:
    """Everything a batch in flight does from here on."""
    seen: list[Any] = [batch.answer_node.tolist(), batch.answer_loss.tolist()]
    for node, signals, rows in (
        (1, f32(GO, STAY), i32(0, 2)),
        (0, f32(GO, STAY), i32(4, 5)),
        (2, f32(GO, GO, GO), i32(1, 4, 0)),
        (3, f32(STAY, GO, GO), i32(4, 1, 0)),
    ):
        seen += [batch.decide(node, signals, rows).tolist(), batch.answer_node.tolist(), batch.answer_loss.tolist()]
    return seen


def refuses(call: Callable[[ttamer.Batch], object], error: type[Exception], message: str) -> None:
    batch, twin = in_flight(), in_flight()
    with pytest.raises(error) as caught:
        call(batch)
    assert str(caught.value) == message
    assert finish(batch) == finish(twin)
