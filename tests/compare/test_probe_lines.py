"""Baselines of cascades with nodes that cannot answer: these are left out, and paid for where the way leads by them."""

from __future__ import annotations

import numpy as np
import pytest
from probed import CASCADES, probed_traces

import ttamer
from ttamer import Topology, Traces, compare
from ttamer.compare.lines import line_of, lines_through

SUMS = {
    "line": {(1, 2, 3): [2.125, 4, 8]},
    "middle": {(0, 1, 3): [1, 2, 8.125]},
    "end": {(0, 1, 2): [1, 2, 4]},
    "skip": {(1, 2, 3): [2, 4, 8]},
    "dag": {(1, 2, 3): [2.125, 4, 8], (1,): [2.125], (2,): [4.125], (3,): [8.125]},
    "top": {(1, 2, 3): [2.125, 4, 8], (1,): [2.125], (2,): [4.125], (3,): [8]},
    "leaf": {(0, 2): [1, 4], (3,): [8], (0, 2, 3): [1, 4, 8]},
}
"""The nodes of each line, and what each costs after the one before it."""


@pytest.mark.parametrize("name", CASCADES)
def test_lines_leave_probes_out(name: str) -> None:
    traces = probed_traces(name)
    lines = {}
    for nodes, edges in lines_through(traces):
        line = line_of(traces, nodes, edges)
        answering = tuple(node for node in nodes if node not in traces.probes)
        assert not line.probes
        np.testing.assert_array_equal(line.signals, traces.signals[:, answering])
        np.testing.assert_array_equal(line.losses, traces.losses[:, answering])
        lines[answering] = line.costs.tolist()  # of a skip the line that does without the probe comes last
    assert lines == SUMS[name]


@pytest.mark.parametrize("name", CASCADES)
def test_costs_of_each_request(name: str) -> None:
    traces = probed_traces(name, 50, request_costs=True)
    factors = traces.paid_costs[:, 0] / probed_traces(name, 50).paid_costs[0]
    for nodes, edges in lines_through(traces):
        line = line_of(traces, nodes, edges)
        single = line_of(probed_traces(name, 50), nodes, edges)
        np.testing.assert_allclose(line.paid_costs, factors[:, None] * single.paid_costs)


def test_lines_without_an_answer_are_none() -> None:
    traces = probed_traces("leaf")
    losses = traces.losses.copy()
    losses[:, 1:3] = np.inf
    forest = Traces(traces.signals, losses, traces.costs, Topology.forest([-1, -1, 1, 0]))
    assert [nodes for nodes, _ in lines_through(forest)] == [[0, 3]]
    losses[:, 1], losses[:, 3], losses[:, 2] = np.inf, np.inf, traces.losses[:, 2]
    dag = Traces(traces.signals, losses, [1, 1, 1, 1, 1], Topology.dag(4, [(-1, 0), (-1, 1), (-1, 3), (0, 2), (1, 2)]))
    assert [nodes for nodes, _ in lines_through(dag)] == [[0, 2], [0], [1, 2]]  # and not [3]


@pytest.mark.parametrize("request_costs", [False, True])
@pytest.mark.parametrize("name", CASCADES)
def test_comparisons(name: str, request_costs: bool) -> None:
    calibration, test = (probed_traces(name, 600, seed, request_costs=request_costs) for seed in (0, 1))
    result = compare.run(calibration, test)
    probe = CASCADES[name][1]
    full = ttamer.baselines.fixed_node(test, 2 if probe == 3 else 3)
    assert (result.full_cost, result.full_error) == pytest.approx((full.mean_cost, full.error))
    assert all(probe not in nodes for nodes in result.paths.values())
    for curve in result.curves:
        for values in (curve.test_cost, curve.test_loss, curve.calibration_cost, curve.calibration_loss):
            assert np.isfinite(values).all()
    cheapest = min((j for j in range(4) if j != probe), key=lambda j: calibration.reach_costs[j])
    assert result.curves[-1].settings[-1] == f"always node {cheapest}"
    assert result.budgets[0] >= 1.5 * calibration.reach_costs[cheapest]


def test_the_full_model_is_the_last_node_that_answers() -> None:
    """On a forest the last node may be a probe."""
    traces = probed_traces("end")
    forest = Traces(traces.signals, traces.losses, traces.costs, Topology.forest([-1, 0, 1, 2]), unit="ms")
    report = ttamer.evaluate(ttamer.solve(ttamer.fit(forest, 8), 0.8), forest)
    assert report.full_error == forest.losses[:, 2].mean(dtype=np.float64)
    assert report.full_cost == 7
    assert f"full model {report.full_error:.4f}" in str(report)


def test_thresholds_are_left_out_where_an_answering_node_shows_categories() -> None:
    rng = np.random.default_rng(0)
    signals = np.stack([rng.integers(0, 3, 400), rng.random(400)], axis=1).astype(np.float32)
    losses = (rng.random((400, 2)) < [0.4, 0.2]).astype(np.float32)
    traces = ttamer.Traces(signals, losses, [1, 3], categories={0: ["a", "b", "c"]})
    result = compare.run(traces)
    reason = "needs signals that are numbers, those of node 0 are categories"
    assert set(result.left_out) == {
        "patience: needs predictions, which these traces do not have",
        f"one threshold: {reason}",
        f"tuned thresholds: {reason}",
    }
