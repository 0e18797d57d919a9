"""Policies as thresholds: the same decisions, and which policies are none."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from evidence_cases import independent, posterior
from helpers import random_model, random_traces
from hypothesis import given
from hypothesis import strategies as st

import ttamer
from ttamer import STOP, Topology, Traces


@given(
    st.integers(0, 2**16), st.sampled_from([Topology.line(4), Topology.skip(3)]), st.sampled_from([0.3, 0.8, 0.97, 1.0])
)
def test_they_decide_as_the_policy(seed: int, topology: Topology, tradeoff: float) -> None:
    traces = random_traces(topology, 300, seed)
    policy = ttamer.solve(ttamer.fit(traces, 6, smoothing="platt"), tradeoff)
    try:
        table = {each.node: each for each in policy.thresholds()}
    except ValueError as error:
        assert "does not stop at large signals" in str(error)
        return
    replay = policy.replay(traces)
    for row in range(300):
        node = policy.first_node
        while traces.signals[row, node] < table[node].stops_from:
            node = table[node].following
        assert node == replay.last_node[row]


def test_always_and_never() -> None:
    traces = random_traces(Topology.line(2), 200, 0)
    model = ttamer.fit(traces, 4)
    assert ttamer.solve(model, 1e-6).thresholds() == ((0, -math.inf, STOP),)
    first, last = ttamer.solve(model, 1.0).thresholds()
    assert first[2] == 1
    assert last == (1, -math.inf, STOP)


def carried() -> ttamer.Policy:
    traces = random_traces(Topology.line(3), 400, 0)
    signals = traces.signals.copy()
    signals[:, 1] = 0.5
    return ttamer.solve(ttamer.fit(traces._with(signals=signals), 4), 0.99)


def categories() -> ttamer.Policy:
    codes = np.arange(60).reshape(-1, 2) % 2
    traces = Traces(codes.astype(np.float32), codes.astype(np.float32), [1.0, 1.0], categories={0: ["a", "b"]})
    return ttamer.solve(ttamer.fit(traces, 4), 0.9)


def unordered() -> ttamer.Policy:
    """Stops in its first state, goes on in the second."""
    model = ttamer.CascadeModel(
        Topology.line(2), [[0.0, 1.0], [0.0]], [[[0.5, 0.5]], [[1.0], [1.0]]], [0.1, 0.1], observed=False
    )
    return ttamer.solve(model, 0.9)


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        (lambda: ttamer.solve(posterior(independent(60))), "got estimate='posterior'"),
        (lambda: ttamer.solve(random_model(Topology.forest([-1, -1]), 3, 0)), "got forest with recall"),
        (lambda: ttamer.solve(random_model(Topology.line(2), 3, 0), 0.9, "observed"), "got line with recall"),
        (carried, "thresholds: node 1 goes by the signal of node 0"),
        (categories, "thresholds: expected signals that are numbers, node 0's are categories"),
        (unordered, r"thresholds: node 0 does not stop at large signals .*by state: \[-1, 1\]"),
    ],
)
def test_policies_that_are_none(policy: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        policy().thresholds()
