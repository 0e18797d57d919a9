"""What holds of every curve of settings that takes traces and a number of points, and of the walk of its settings."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from walks import from_probs, same_replay

from ttamer import Topology, Traces, baselines


def settings_say_what_they_replay(curve, walk):
    traces = from_probs(rows=300)
    calibration, test = traces[:200], traces[200:]
    made = curve(calibration)
    assert 3 <= len(made) <= 120
    for setting in made[:: max(1, len(made) // 10)]:
        again = walk(test, **setting.parameters)
        same_replay(setting.replay(test), again)
        same_replay(pickle.loads(pickle.dumps(setting)).replay(test), again)


def at_most_that_many_points(curve, walk):
    for points in (2, 9):
        assert 1 <= len(curve(from_probs(), points=points)) <= points
    with pytest.raises(ValueError, match=r"^points: expected at least 2, got 1$"):
        curve(from_probs(), points=1)


def one_node(curve, walk):
    traces = from_probs(nodes=1)
    for setting in curve(traces):
        same_replay(setting.replay(traces), baselines.last_node(traces))


def other_topologies(curve, walk):
    skip = from_probs(nodes=3)
    skip = Traces(skip.signals, skip.losses, np.ones(6), Topology.skip(3), evidence=skip.evidence)
    with pytest.raises(ValueError, match=r"^traces: .*(a line, got a skip|every node is a root, got)"):
        curve(skip)


def constant_signals_and_nodes_that_are_always_right(curve, walk):
    probs = np.full((50, 3, 2), 0.5)
    probs[..., 0] = 0.75
    probs[..., 1] = 0.25
    traces = Traces.from_probs(probs, np.zeros(50, int), np.ones(3))
    results = [setting.replay(traces) for setting in curve(traces)]
    assert {result.error for result in results} == {0.0}
    assert all(set(result.last_node.tolist()) <= {0, 1, 2} for result in results)


CHECKS = (
    settings_say_what_they_replay,
    at_most_that_many_points,
    one_node,
    other_topologies,
    constant_signals_and_nodes_that_are_always_right,
)
