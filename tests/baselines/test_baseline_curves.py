from __future__ import annotations

import itertools
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from walks import from_probs, line, lines, same_replay

from ttamer import Replay, Traces, baselines
from ttamer._base.hull import lower_hull
from ttamer.baselines.climb import climb, thinned
from ttamer.traces.signals import SIGNALS


def replayed(curve: list[baselines.Setting], traces: Traces) -> list[Replay]:
    return [setting.replay(traces) for setting in curve]


def test_settings_say_what_they_replay():
    traces = from_probs()
    walks_ = {
        "threshold": baselines.threshold_curve(traces, "margin"),
        "node_thresholds": baselines.tune_thresholds(traces),
        "patience": baselines.patience_curve(traces),
    }
    for walk, curve in walks_.items():
        assert len({setting.name for setting in curve}) == len(curve) or walk != "patience"
        for setting in curve:
            again = getattr(baselines, walk)(traces, **setting.parameters)
            same_replay(setting.replay(traces), again)
            same_replay(pickle.loads(pickle.dumps(setting)).replay(traces), again)
    assert [s.name for s in walks_["patience"]] == ["patience 1", "patience 2", "patience 3"]
    assert walks_["threshold"][0].name == "threshold margin >= inf"
    assert walks_["node_thresholds"][0].name == "tuned thresholds inf, inf, inf"


@pytest.mark.parametrize("points", [2, 3, 10, 120])
@pytest.mark.parametrize("signal", [None, *SIGNALS])
def test_threshold_curve(points, signal):
    traces = from_probs()
    curve = baselines.threshold_curve(traces, signal, points)
    assert 2 <= len(curve) <= points
    values = [setting.parameters["value"] for setting in curve]
    assert values == sorted(set(values), reverse=True)
    same_replay(curve[0].replay(traces), baselines.last_node(traces))
    same_replay(curve[-1].replay(traces), baselines.fixed_node(traces, 0))
    costs = [result.mean_cost for result in replayed(curve, traces)]
    assert costs == sorted(costs, reverse=True)


def test_threshold_curve_is_dense_where_confident_nodes_are():
    sure = 1 - np.geomspace(1e-5, 0.5, 2000)
    traces = Traces(np.stack([sure, sure], axis=1).astype(np.float32), np.zeros((2000, 2), np.float32), [1.0, 1.0])
    curve = baselines.threshold_curve(traces)
    shares = np.array([1 - result.last_node.mean() for result in replayed(curve, traces)])
    assert np.diff(shares).max() < 0.01
    assert np.sum(np.array([setting.parameters["value"] for setting in curve]) > 1 - 1e-4) > 20


@pytest.mark.parametrize("seed", range(5))
def test_no_threshold_is_better_than_the_curve(seed):
    traces = from_probs(rows=500, seed=seed)
    kept = replayed(baselines.threshold_curve(traces, points=40), traces)
    kept_hull = lower_hull(*np.array([[result.mean_cost, result.error] for result in kept]).T)
    corners = np.array([[kept[k].mean_cost, kept[k].error] for k in kept_hull])
    for value in np.unique(traces.signals):
        result = baselines.threshold(traces, value)
        assert result.error >= np.interp(result.mean_cost, *corners.T) - 1e-12


@settings(max_examples=60)
@given(lines)
def test_curves_of_any_line(traces):
    first, last = baselines.fixed_node(traces, 0), baselines.last_node(traces)
    curve = baselines.threshold_curve(traces)
    same_replay(curve[0].replay(traces), last)
    same_replay(curve[-1].replay(traces), first)
    tuned = replayed(baselines.tune_thresholds(traces), traces)
    same_replay(tuned[0], last)
    for before, after in itertools.pairwise(tuned):
        assert after.mean_cost < before.mean_cost or after.error < before.error
        assert after.mean_cost <= before.mean_cost + 1e-12
    # Nothing is left that would save cost, so what remains are first nodes, or nodes that cost no more.
    assert tuned[-1].mean_cost == pytest.approx(first.mean_cost)
    assert len(baselines.patience_curve(traces)) == min(4, max(1, traces.topology.nodes - 1))


@settings(max_examples=60)
@given(lines)
def test_the_climb_keeps_its_accounts(traces):
    reach = traces.request_reach_costs
    path = climb(traces.signals, traces.losses, reach)
    for step in path:
        result = baselines.node_thresholds(traces, step.thresholds)
        assert step.cost == pytest.approx(result.cost.sum(), abs=1e-9)
        assert step.loss == pytest.approx(result.loss.sum(), abs=1e-9)


def test_the_climb_takes_what_saves_most_for_each_error():
    # Node 0 is always wrong, node 1 always right: all rows should stop at node 1 before any stops at node 0.
    rng = np.random.default_rng(0)
    losses = np.zeros((400, 3), np.float32)
    losses[:, 0] = 1
    traces = Traces(rng.random((400, 3), np.float32), losses, [1.0, 1.0, 1.0])
    results = replayed(baselines.tune_thresholds(traces), traces)
    free = [result for result in results if result.error == 0]
    assert free[-1].mean_cost == 2.0
    assert all(result.last_node.min() == 0 for result in results[len(free) :])


def test_tuned_thresholds_are_no_worse_than_one_where_nodes_differ_in_scale():
    # The second node's signals are the same information on another scale: one threshold cannot fit both.
    rng = np.random.default_rng(7)
    sure = rng.random((4000, 3))
    losses = (rng.random((4000, 3)) > sure).astype(np.float32)
    losses[:, 2] = rng.random(4000) > 0.95
    signals = sure.astype(np.float32)
    signals[:, 1] *= 0.3
    traces = Traces(signals, losses, [1.0, 1.0, 1.0])
    one, tuned = (
        replayed(curve, traces) for curve in (baselines.threshold_curve(traces), baselines.tune_thresholds(traces))
    )
    for budget in (1.6, 2.0, 2.4):
        best = [min(r.error for r in results if r.mean_cost <= budget) for results in (one, tuned)]
        assert best[1] < best[0] - 0.01


def test_paths_are_thinned_evenly():
    traces = from_probs(rows=2000)
    path = climb(traces.signals, traces.losses, traces.request_reach_costs)
    assert len(path) > 60
    assert thinned(path, len(path)) == path
    for points in (2, 7, 60):
        kept = thinned(path, points)
        assert 2 <= len(kept) <= points
        assert (kept[0], kept[-1]) == (path[0], path[-1])
        assert [path.index(step) for step in kept] == sorted(path.index(step) for step in kept)
    assert len(baselines.tune_thresholds(traces, points=7)) <= 7


def test_a_line_of_one_node_has_nothing_to_choose():
    traces = line(5, 1, 0)
    for curve in (
        baselines.threshold_curve(traces),
        baselines.tune_thresholds(traces),
        baselines.patience_curve(traces),
    ):
        assert len(curve) == 1
        same_replay(curve[0].replay(traces), baselines.last_node(traces))


def test_a_curve_of_calibration_rows_replays_on_other_rows():
    traces = from_probs(rows=400)
    calibration, test = traces[:200], traces[200:]
    for setting in [*baselines.threshold_curve(calibration, "entropy"), *baselines.tune_thresholds(calibration)]:
        assert len(setting.replay(test)) == 200
