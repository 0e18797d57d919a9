from __future__ import annotations

import math
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from walks import from_probs, line, lines, same_replay, walked

from ttamer import Replay, Topology, Traces, baselines
from ttamer.traces.signals import SIGNALS


@settings(max_examples=60)
@given(lines)
def test_last_node(traces):
    same_replay(baselines.last_node(traces), walked(traces, lambda row, node: False))
    same_replay(baselines.fixed_node(traces, 0), walked(traces, lambda row, node: True))


@settings(max_examples=100)
@given(lines, st.sampled_from([-math.inf, 0.0, 0.2, 0.4, np.float32(0.6), 0.61, 1, math.inf, 1e300]))
def test_threshold(traces, value):
    with np.errstate(over="ignore"):
        limit = np.float32(value)
    expected = walked(traces, lambda row, node: bool(traces.signals[row, node] >= limit))
    same_replay(baselines.threshold(traces, value), expected)


@pytest.mark.parametrize("signal", SIGNALS)
def test_threshold_on_another_signal(signal):
    traces = from_probs()
    other = traces.with_signal(signal)
    value = float(np.median(other.signals))
    expected = walked(traces, lambda row, node: bool(other.signals[row, node] >= np.float32(value)))
    same_replay(baselines.threshold(traces, value, signal), expected)
    assert 0 < expected.last_node.mean() < 3


def test_thresholds_are_compared_in_float32():
    traces = Traces(np.full((1, 2), 0.9, np.float32), np.zeros((1, 2), np.float32), [1, 1])
    assert float(np.float32(0.9)) < 0.9
    assert baselines.threshold(traces, 0.9).last_node.tolist() == [0]
    assert baselines.node_thresholds(traces, [0.9]).last_node.tolist() == [0]


@settings(max_examples=100)
@given(lines, st.data())
def test_node_thresholds(traces, data):
    choices = st.sampled_from([-math.inf, 0.0, 0.2, 0.4, 0.8, math.inf])
    count = traces.topology.nodes - 1
    values = np.array(data.draw(st.lists(choices, min_size=count, max_size=count)))
    expected = walked(traces, lambda row, node: bool(traces.signals[row, node] >= np.float32(values[node])))
    same_replay(baselines.node_thresholds(traces, values), expected)


@settings(max_examples=150)
@given(lines, st.integers(1, 6))
def test_patience(traces, k):
    predictions = traces.predictions

    def stops(row: int, node: int) -> bool:
        recent = predictions[row, max(0, node - k) : node + 1]
        return len(recent) == k + 1 and len(set(recent.tolist())) == 1

    same_replay(baselines.patience(traces, k), walked(traces, stops))


def test_patience_of_an_example():
    traces = line(3, 5, 0)
    predictions = [[1, 1, 1, 1, 1], [1, 2, 2, 1, 1], [0, 1, 0, 1, 0]]
    traces = Traces(traces.signals, traces.losses, traces.costs, predictions=predictions)
    assert baselines.patience(traces, 1).last_node.tolist() == [1, 2, 4]
    assert baselines.patience(traces, 2).last_node.tolist() == [2, 4, 4]
    assert baselines.patience(traces, 4).last_node.tolist() == [4, 4, 4]


TOPOLOGIES = [
    (Topology.line(4), [1, 2, 3, 4]),
    (Topology.skip(4), [1, 3, 5, 7, 1, 1, 1, 2, 2, 2]),
    (Topology.forest([-1, 0, -1, 2]), [1, 2, 3, 4]),
    (Topology.dag(4, [(-1, 0), (0, 1), (0, 2), (1, 3), (2, 3)]), [1, 2, 3, 4, 1]),
    (Topology.line(4), [0, 0, 0, 0]),
]


def walks(topology: Topology, costs: list[float]) -> list[tuple[int, float]]:
    """Every walk from the root, as the node where it ends and its cost."""
    edges = [(int(i), int(j), cost) for (i, j), cost in zip(topology.edges, costs, strict=True)]
    found = [(j, float(cost)) for i, j, cost in edges if i == -1]
    for node, spent in found:
        found += [(j, spent + cost) for i, j, cost in edges if i == node]
    return found


@pytest.mark.parametrize(("topology", "costs"), TOPOLOGIES)
@pytest.mark.parametrize("tradeoff", [0.1, 0.5, 0.9, 1])
def test_prophet_and_fixed_node_on_every_topology(topology, costs, tradeoff):
    base = line(40, 4, 8)
    traces = Traces(base.signals, base.losses, costs, topology)
    every = walks(topology, costs)
    scale = max(cost for _, cost in every) or 1.0
    result = baselines.prophet(traces, tradeoff)
    for row in range(40):
        best = min(tradeoff * float(traces.losses[row, j]) + (1 - tradeoff) * cost / scale for j, cost in every)
        node = result.answer_node[row]
        got = tradeoff * result.loss[row] + (1 - tradeoff) * result.cost[row] / scale
        assert got == pytest.approx(best, abs=1e-12)
        assert result.loss[row] == traces.losses[row, node]
        assert result.last_node[row] == node
    for node in range(4):
        fixed = baselines.fixed_node(traces, node)
        np.testing.assert_array_equal(fixed.cost, min(cost for j, cost in every if j == node))
        np.testing.assert_array_equal(fixed.loss, traces.losses[:, node])


def test_the_prophet_takes_the_lowest_of_equal_nodes():
    traces = Traces(np.zeros((1, 3), np.float32), np.array([[1, 0, 0]], np.float32), [1, 0, 0])
    assert baselines.prophet(traces, 0.5).answer_node.tolist() == [1]


@settings(max_examples=60)
@given(lines, st.floats(0.05, 1))
def test_nothing_beats_the_prophet(traces, tradeoff):
    scale = traces.costs.sum() or 1.0

    def value(result: Replay) -> float:
        return tradeoff * result.error + (1 - tradeoff) * result.mean_cost / scale

    bound = value(baselines.prophet(traces, tradeoff))
    curve = baselines.threshold_curve(traces) + baselines.tune_thresholds(traces)
    for setting in curve + baselines.patience_curve(traces):
        assert value(setting.replay(traces)) >= bound - 1e-12


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda t: baselines.fixed_node(t, 4), IndexError, "node: 4 is out of range for 4 nodes"),
        (lambda t: baselines.fixed_node(t, -1), IndexError, "node: -1 is out of range for 4 nodes"),
        (lambda t: baselines.fixed_node(t, 1.0), TypeError, "node: expected an int, got float"),
        (lambda t: baselines.fixed_node(t, True), TypeError, "node: expected an int, got bool"),
        (lambda t: baselines.threshold(t, "0.5"), TypeError, "value: expected a number, got str"),
        (lambda t: baselines.threshold(t, True), TypeError, "value: expected a number, got bool"),
        (lambda t: baselines.threshold(t, math.nan), ValueError, "value: expected a number, got nan"),
        (
            lambda t: baselines.threshold(t, 0.5, "margin"),
            ValueError,
            "signal: margin needs evidence, and these traces have none (Traces.from_probs does)",
        ),
        (
            lambda t: baselines.threshold_curve(t, "logit"),
            ValueError,
            "signal: expected max_prob, margin, entropy or logit_margin, got 'logit'",
        ),
        (
            lambda t: baselines.node_thresholds(t, [0.5, 0.5]),
            ValueError,
            "values: expected (3,) numbers, one a node but the last, got (2,) float64",
        ),
        (
            lambda t: baselines.node_thresholds(t, 0.5),
            ValueError,
            "values: expected (3,) numbers, one a node but the last, got () float64",
        ),
        (
            lambda t: baselines.node_thresholds(t, [0.5, math.nan, 0.5]),
            ValueError,
            "values: expected numbers, got nan at node 1",
        ),
        (
            lambda t: baselines.node_thresholds(t, ["a", "b", "c"]),
            TypeError,
            "values: expected (3,) numbers, one a node but the last, got (3,) text",
        ),
        (lambda t: baselines.patience(t, 0), ValueError, "k: expected at least 1, got 0"),
        (lambda t: baselines.patience(t, 1.5), TypeError, "k: expected an int, got float"),
        (
            lambda t: baselines.patience(Traces(t.signals, t.losses, t.costs), 1),
            ValueError,
            "traces: patience needs predictions, and these traces have none",
        ),
        (lambda t: baselines.prophet(t, 0), ValueError, "tradeoff: expected a number in (0, 1], got 0.0"),
        (lambda t: baselines.prophet(t, 1.5), ValueError, "tradeoff: expected a number in (0, 1], got 1.5"),
        (lambda t: baselines.prophet(t, math.nan), ValueError, "tradeoff: expected a number, got nan"),
        (lambda t: baselines.prophet(t, None), TypeError, "tradeoff: expected a number, got NoneType"),
        (lambda t: baselines.threshold_curve(t, points=1), ValueError, "points: expected at least 2, got 1"),
        (lambda t: baselines.tune_thresholds(t, points=1.0), TypeError, "points: expected an int, got float"),
        (lambda t: baselines.patience_curve(t, 0), ValueError, "most: expected at least 1, got 0"),
    ],
)
def test_bad_arguments(call, error, message):
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        call(line(5, 4, 1))


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("last_node", ()),
        ("threshold", (0.5,)),
        ("node_thresholds", ([0.5, 0.5],)),
        ("patience", (1,)),
        ("threshold_curve", ()),
        ("tune_thresholds", ()),
        ("patience_curve", ()),
    ],
)
def test_thresholds_and_patience_need_a_line(name, arguments):
    base = line(5, 3, 1)
    for topology, edges in [
        (Topology.skip(3), 6),
        (Topology.forest([-1, 0, 0]), 3),
        (Topology.dag(3, [(-1, 0), (0, 1), (1, 2)]), 3),
    ]:
        traces = Traces(base.signals, base.losses, np.ones(edges), topology, predictions=base.predictions)
        message = f"traces: {name} needs a line, got a {topology.kind}; Traces.path makes a line of some nodes"
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            getattr(baselines, name)(traces, *arguments)
