"""Orders of independent models."""

from __future__ import annotations

import itertools
from functools import partial

import numpy as np
import pytest
from studies import load
from walks import from_probs, same_replay

from ttamer import Topology, Traces, baselines

pytestmark = pytest.mark.slow

orders = load("baselines.orders")
BUDGETS = [1.0, 1.5, 2.0, 3.0]


def roots(losses, signals=None, costs=None, seed=0):
    losses = np.asarray(losses, np.float32)
    rng = np.random.default_rng(seed)
    given = rng.random(losses.shape, dtype=np.float32) if signals is None else signals
    nodes = losses.shape[1]
    return Traces(given, losses, np.ones(nodes) if costs is None else costs, Topology.forest([-1] * nodes))


class TestBestOrder:
    def test_a_model_that_is_always_right_and_cheap_comes_alone(self):
        losses = np.ones((60, 3))
        losses[:, 1] = 0
        assert orders.best_order(roots(losses), baselines.threshold_curve, BUDGETS) == (1,)

    def test_a_cheap_model_that_knows_what_it_knows_comes_first(self):
        rng = np.random.default_rng(3)
        sure = rng.random((500, 3)).astype(np.float32)
        losses = np.stack([sure[:, 0] < 0.5, rng.random(500) < 0.02, rng.random(500) < 0.5], axis=1)
        traces = roots(losses, sure, [1.0, 3.0, 1.0])
        for rows in (100, 10_000):
            found = orders.best_order(traces, baselines.threshold_curve, np.linspace(1, 4, 9), rows=rows, keep=5)
            assert found == (0, 1)

    def test_it_is_the_least_of_all_orders(self):
        traces = from_probs(rows=300, nodes=3, seed=5)
        traces = Traces(traces.signals, traces.losses, [2.0, 1.0, 1.5], Topology.forest([-1] * 3))
        method = partial(baselines.threshold_curve, points=20)
        errors = {}
        for count in (1, 2, 3):
            for order in itertools.permutations(range(3), count):
                line = orders.line_through(traces, order)
                errors[order] = orders.budget_error(method(line), line, BUDGETS)
        assert orders.best_order(traces, method, BUDGETS) == min(errors, key=errors.get)

    def test_bad_input(self):
        with pytest.raises(ValueError, match=r"^traces: best_order tries all orders of at most 6 models, got 7$"):
            orders.best_order(roots(np.zeros((5, 7))), baselines.threshold_curve, BUDGETS)
        with pytest.raises(ValueError, match=r"^traces: expected a forest in which every node is a root, got Topology"):
            orders.best_order(from_probs(), baselines.threshold_curve, BUDGETS)
        with pytest.raises(ValueError, match=r"^keep: expected at least 1, got 0$"):
            orders.best_order(roots(np.zeros((5, 2))), baselines.threshold_curve, BUDGETS, keep=0)


class TestBudgetError:
    def test_by_hand(self):
        # Node 0 errs on half of the rows, node 1 never; they cost 1 and 2 together with it.
        losses = np.array([[1, 0], [0, 0]])
        line = orders.line_through(roots(losses), (0, 1))
        full = [baselines.threshold_curve(line)[0]]
        same_replay(full[0].replay(line), baselines.last_node(line))
        assert orders.budget_error(full, line, [0.5, 1.0, 1.5, 2.0, 9.0]) == pytest.approx((1 + 0.5 + 0.25 + 0 + 0) / 5)


class TestLineThrough:
    def test_costs_are_those_of_the_models(self):
        line = orders.line_through(roots(np.zeros((4, 3)), costs=[1.0, 2.0, 4.0]), (2, 0))
        assert line.costs.tolist() == [4.0, 1.0]
        assert line.topology == Topology.line(2)

    def test_bad_input(self):
        with pytest.raises(IndexError, match=r"^order: 3 is out of range for 3 nodes$"):
            orders.line_through(roots(np.zeros((4, 3))), (0, 3))
        with pytest.raises(ValueError, match=r"^nodes: expected each node at most once, got \[1, 1\]$"):
            orders.line_through(roots(np.zeros((4, 3))), (1, 1))
