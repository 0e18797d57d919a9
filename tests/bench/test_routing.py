"""Cascade routing: on a line, and over independent models."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from studies import load
from walks import from_probs, same_replay

from ttamer import Topology, Traces

pytestmark = pytest.mark.slow

pytest.importorskip("sklearn", reason="needs the fit extra")
routing, supermodels = load("baselines.routing"), load("baselines.supermodels")


class TestRoutingOnALine:
    def test_sure_rows_stop_first(self):
        # The last node is always right, so going on gains what is missing to 1: the order is that of confidence.
        rng = np.random.default_rng(1)
        sure = rng.uniform(0.5, 1.0, 4000)
        right = rng.random(4000) < sure
        probs = np.stack([np.stack([sure, 1 - sure], axis=1), np.tile([0.9, 0.1], (4000, 1))], axis=1)
        probs[~right, 1] = probs[~right, 1, ::-1]
        traces = Traces.from_probs(probs, np.where(right, 0, 1), [1.0, 3.0])
        for setting in routing.routing_curve(traces, points=10):
            stops = setting.replay(traces).last_node == 0
            if 0 < stops.sum() < 4000:
                assert sure[stops].min() > sure[~stops].max() - 0.02

    def test_a_node_that_gains_nothing_is_passed_over_for_one_that_does(self):
        # Node 1 repeats node 0; node 2 is always right. A one-step look-ahead would see no gain.
        rng = np.random.default_rng(2)
        sure = rng.uniform(0.5, 1.0, 4000)
        right = rng.random(4000) < sure
        own = np.stack([sure, 1 - sure], axis=1)
        last = np.where(right[:, None], [0.9, 0.1], [0.1, 0.9])
        traces = Traces.from_probs(np.stack([own, own, last], axis=1), np.where(right, 0, 1), [1.0, 1.0, 1.0])
        curve = routing.routing_curve(traces)
        results = [setting.replay(traces) for setting in curve]
        middle = [result for result in results if 1.2 < result.mean_cost < 2.8]
        assert len(middle) > 20
        assert all((result.last_node == 1).mean() < 0.05 for result in middle)


def experts(rows, seed=0):
    """Two models, each sure and right on its own half of the rows, at chance on the other; both are roots."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, rows)
    probs = np.empty((rows, 2, 2))
    for model in range(2):
        knows = np.arange(rows) % 2 == model
        says = np.where(knows, labels, rng.integers(0, 2, rows))
        top = np.where(knows, 0.98, 0.55) + rng.uniform(-0.01, 0.01, rows)
        probs[np.arange(rows), model, says] = top
        probs[np.arange(rows), model, 1 - says] = 1 - top
    return Traces.from_probs(probs, labels, [1.0, 2.0], Topology.forest([-1, -1]), unit="ms")


class TestRoute:
    def test_experts(self):
        calibration, test = experts(2000), experts(1000, seed=1)
        results = [setting.replay(test) for setting in routing.routing_curve(calibration)]
        best = min(results, key=lambda result: result.error)
        # All rows ask the cheap one; those it is unsure of ask the other, and the sure one answers.
        assert best.error < 0.01
        assert best.mean_cost == pytest.approx(1.0 + 2.0 / 2, abs=0.1)
        dear = results[-1]
        assert (dear.mean_cost, set(dear.last_node.tolist())) == (1.0, {0})

    def test_costs_and_answers_belong_together(self):
        traces = experts(400)
        for setting in routing.routing_curve(traces, points=9):
            result = setting.replay(traces)
            assert set(np.unique(result.cost)) <= {1.0, 2.0, 3.0}
            alone = result.cost < 3.0
            assert (result.answer_node[alone] == result.last_node[alone]).all()
            same_replay(supermodels.route(traces, **setting.parameters), result)
            same_replay(pickle.loads(pickle.dumps(setting)).replay(traces), result)

    def test_a_certain_model_alone(self):
        traces = experts(400)
        right = Traces(
            traces.signals,
            traces.losses * np.array([1, 0], np.float32),
            [5.0, 1.0],
            traces.topology,
            evidence=traces.evidence,
        )
        for setting in routing.routing_curve(right, points=5):
            assert set(setting.replay(right).last_node.tolist()) == {1}

    def test_bad_input(self):
        traces = experts(50)
        qualities = routing.routing_curve(traces)[0].parameters["qualities"]
        with pytest.raises(ValueError, match=r"^price: expected a number >= 0, got -1$"):
            supermodels.route(traces, qualities, -1)
        with pytest.raises(ValueError, match=r"^traces: expected a forest in which every node is a root, got Topology"):
            supermodels.route(from_probs(), qualities, 1.0)
        chain = Traces(traces.signals, traces.losses, [1, 1], Topology.forest([-1, 0]), evidence=traces.evidence)
        with pytest.raises(ValueError, match=r"^traces: expected a forest in which every node is a root, got Topology"):
            routing.routing_curve(chain)
        many = from_probs(nodes=7)
        many = Traces(many.signals, many.losses, np.ones(7), Topology.forest([-1] * 7), evidence=many.evidence)
        with pytest.raises(ValueError, match=r"^traces: routing_curve looks at all sets of at most 6 models, got 7$"):
            routing.routing_curve(many)
