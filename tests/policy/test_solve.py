"""Solving, what a policy says of itself, evaluation and the front."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from exhaustive import Floats, enumerate_policy
from helpers import assert_same_policy, f32, random_model, random_traces
from paths import REPOSITORY

import ttamer
from ttamer import _core

LINE = ttamer.Topology.line(3)
SKIP = ttamer.Topology.skip(3)
MODEL = random_model(LINE, 4, seed=41, unit="ms")


class TestPackage:
    def test_the_version_is_that_of_the_project(self) -> None:
        lines = (REPOSITORY / "pyproject.toml").read_text().splitlines()
        version = next(line.split('"')[1] for line in lines if line.startswith("version = "))
        assert ttamer.__version__ == _core.__version__ == version

    def test_importing_brings_nothing_that_is_optional(self) -> None:
        optional = {"torch", "matplotlib", "sklearn", "scipy", "typer", "rich", "pandas"}
        code = f"import sys, ttamer; print({optional} & {{name.partition('.')[0] for name in sys.modules}})"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == "set()"

    def test_everything_exported_is_there(self) -> None:
        assert all(hasattr(ttamer, name) for name in ttamer.__all__)
        assert ttamer.STOP == -1


class TestSolve:
    @pytest.mark.parametrize("tradeoff", [0, -0.5, 1.0000001, 2, np.nan, np.inf, -np.inf, np.float32(1.5)])
    def test_tradeoffs_out_of_range(self, tradeoff: float) -> None:
        with pytest.raises(ValueError, match=r"^tradeoff: expected a number in \(0, 1\], got"):
            ttamer.solve(MODEL, tradeoff)

    @pytest.mark.parametrize("tradeoff", ["0.5", True, [0.5], 1j])
    def test_tradeoffs_that_are_no_numbers(self, tradeoff: Any) -> None:
        with pytest.raises(TypeError, match=f"^tradeoff: expected a number, got {type(tradeoff).__name__}"):
            ttamer.solve(MODEL, tradeoff)

    @pytest.mark.parametrize("tradeoff", [1, 1.0, np.float32(0.5), np.int64(1), 1e-12, np.nextafter(1, 0)])
    def test_tradeoffs_of_any_width(self, tradeoff: Any) -> None:
        policy = ttamer.solve(MODEL, tradeoff)
        assert policy.tradeoff == float(tradeoff)
        assert 0 <= policy.value <= 1

    def test_the_smallest_tradeoffs_say_so(self) -> None:
        """Costs weighed against next to nothing overflow: that is the trade-off's fault, and no crash."""
        for recall in ("observed", "none"):
            with pytest.raises(ValueError, match=r"^tradeoff: "):
                ttamer.solve(MODEL, 5e-324, recall)

    def test_loss_alone_and_cost_alone(self) -> None:
        every = ttamer.solve(MODEL, 1.0, "observed")
        assert every.expected_stops[2].sum() > 0.5
        first = ttamer.solve(MODEL, 1e-9, "observed")
        assert first.expected_stops[0].sum() == pytest.approx(1)
        assert first.expected_cost == pytest.approx(MODEL.costs[0])

    @pytest.mark.parametrize("recall", ["sometimes", "", True, None, 1])
    def test_unknown_recall(self, recall: Any) -> None:
        with pytest.raises(ValueError, match=r"^recall: expected 'auto', 'observed' or 'none', got"):
            ttamer.solve(MODEL, 0.5, recall)

    def test_recall_follows_the_losses(self) -> None:
        for observed, recall in ((True, "observed"), (False, "none")):
            model = random_model(LINE, 4, seed=41, observed=observed)
            assert ttamer.solve(model, 0.5).recall == recall
            assert_same_policy(ttamer.solve(model, 0.5), ttamer.solve(model, 0.5, recall))

    def test_the_model_is_checked(self) -> None:
        with pytest.raises(TypeError, match=r"^model: expected a CascadeModel, got Traces"):
            ttamer.solve(random_traces(LINE, 3, seed=0))

    def test_recall_is_necessary(self) -> None:
        """Section 2 of the theory: without recall the best policy is a times worse, for any a."""
        for a in (2, 10, 1000):
            model = ttamer.CascadeModel(
                ttamer.Topology.line(2), [[1 / a**2], [0, 1 / a]], [[[1]], [[1 - 1 / a, 1 / a]]], [0, 0]
            )
            with_recall, without = (ttamer.solve(model, 1.0, recall).value for recall in ("observed", "none"))
            assert with_recall == pytest.approx(1 / a**3, rel=1e-9)
            assert without == pytest.approx(1 / a**2, rel=1e-9)

    def test_the_unit_of_costs_does_not_matter(self) -> None:
        tables = (MODEL.topology, MODEL.losses, MODEL.transitions)
        small, large = (ttamer.CascadeModel(*tables, MODEL.costs * scale) for scale in (1.0, 1e6))
        assert ttamer.solve(small, 0.7).value == pytest.approx(ttamer.solve(large, 0.7).value, rel=1e-12)


class TestPolicy:
    line = ttamer.solve(MODEL, 0.9, "observed")
    skip = ttamer.solve(random_model(SKIP, 4, seed=43), 0.9, "observed")

    def test_what_it_was_made_of(self) -> None:
        assert self.line.topology == LINE
        assert (self.line.unit, self.line.recall, self.line.tradeoff) == ("ms", "observed", 0.9)
        assert self.line.cost_scale == MODEL.cost_scale
        assert self.line.costs.tolist() == MODEL.costs.tolist()
        for node in range(3):
            assert self.line.losses(node).tolist() == MODEL.losses[node].tolist()
            assert self.line.bin_edges(node).tolist() == MODEL.bin_edges[node].tolist()

    def test_repr(self) -> None:
        assert (
            repr(self.line) == f"Policy(Topology.line(3), tradeoff=0.9, recall='observed', value={self.line.value:.6g})"
        )

    @pytest.mark.parametrize(
        "table",
        [
            lambda policy: policy.costs,
            lambda policy: policy.losses(1),
            lambda policy: policy.bin_edges(1),
            lambda policy: policy.index(1),
            lambda policy: policy.expected_visits[1],
            lambda policy: policy.expected_stops[1],
        ],
    )
    def test_nobody_changes_a_policy(self, table: Callable[[ttamer.Policy], Floats]) -> None:
        policy = ttamer.solve(MODEL, 0.9, "observed")
        before = table(policy).tolist()
        if table(policy).flags.writeable:
            table(policy)[:] = 99
        assert table(policy).tolist() == before

    def test_the_index_says_when_to_stop(self) -> None:
        for node in range(2):
            index = np.broadcast_to(self.line.index(node + 1), 4)
            for state, row in enumerate(self.line.actions(node)):
                own = self.line.losses(node)[state]
                for best in [x for x in np.unique(np.concatenate(MODEL.losses)) if x <= own]:
                    follows = next(action for upper, action in row if best <= upper)
                    assert follows == (ttamer.STOP if best <= index[state] else node + 1)
        assert len(self.line.index(0)) == 1

    def test_actions_of_the_last_node(self) -> None:
        for state, row in enumerate(self.line.actions(2)):
            assert row == [(self.line.losses(2)[state], ttamer.STOP)]

    def test_without_recall_there_is_one_action_a_state(self) -> None:
        policy = ttamer.solve(MODEL, 0.9, "none")
        for node in range(3):
            assert [len(row) for row in policy.actions(node)] == [1] * 4
            assert [row[0][0] for row in policy.actions(node)] == policy.losses(node).tolist()

    @pytest.mark.parametrize("name", ["index", "losses", "bin_edges", "actions"])
    @pytest.mark.parametrize("node", [-1, 3, 2**40])
    def test_nodes_out_of_range(self, name: str, node: int) -> None:
        with pytest.raises(IndexError, match=f"^node: expected 0 to 2, got {node}"):
            getattr(self.line, name)(node)

    @pytest.mark.parametrize("name", ["index", "losses", "bin_edges", "actions"])
    @pytest.mark.parametrize("node", ["0", 0.5, None])
    def test_nodes_that_are_no_numbers(self, name: str, node: Any) -> None:
        with pytest.raises(TypeError, match=f"^node: expected an int, got {type(node).__name__}"):
            getattr(self.line, name)(node)

    def test_an_index_needs_a_line_and_recall(self) -> None:
        message = "^index: defined with recall on a line or forest, this policy is a {} with recall='{}'"
        with pytest.raises(ValueError, match=message.format("skip", "observed")):
            self.skip.index(0)
        with pytest.raises(ValueError, match=message.format("line", "none")):
            ttamer.solve(MODEL, 0.9, "none").index(0)

    @pytest.mark.parametrize("recall", ["observed", "none"])
    @pytest.mark.parametrize("topology", [LINE, SKIP, ttamer.Topology.dag(3, [(-1, 2), (-1, 0), (2, 1), (0, 1)])])
    def test_expectations_are_what_happens(self, topology: ttamer.Topology, recall: str) -> None:
        model = random_model(topology, 4, seed=44)
        policy = ttamer.solve(model, 0.9, recall)
        outcome = enumerate_policy(policy, model)
        assert sum(row.sum() for row in policy.expected_stops) == pytest.approx(1, rel=0, abs=1e-12)
        for node in range(3):
            np.testing.assert_allclose(policy.expected_visits[node], outcome.visits[node], rtol=0, atol=1e-12)
            np.testing.assert_allclose(policy.expected_stops[node], outcome.stops[node], rtol=0, atol=1e-12)
            assert np.all(policy.expected_stops[node] <= policy.expected_visits[node] + 1e-15)
        assert policy.expected_cost == pytest.approx(outcome.cost, rel=0, abs=1e-12)
        expected = 0.9 * outcome.loss + 0.1 * outcome.cost / model.cost_scale
        assert policy.value == pytest.approx(expected, rel=0, abs=1e-12)

    def test_fitted_expectations_too(self) -> None:
        """Counted transitions take another way through the solver than dense ones."""
        traces = random_traces(SKIP, 300, seed=45)
        fitted = ttamer.fit(traces, bins=5)
        stated = ttamer.CascadeModel(SKIP, fitted.losses, fitted.transitions, fitted.costs)
        for recall in ("observed", "none"):
            one, other = (ttamer.solve(model, 0.8, recall) for model in (fitted, stated))
            assert one.value == pytest.approx(other.value, rel=0, abs=1e-12)
            assert one.expected_cost == pytest.approx(other.expected_cost, rel=0, abs=1e-12)
            for node in range(3):
                np.testing.assert_allclose(one.expected_stops[node], other.expected_stops[node], rtol=0, atol=1e-12)

    def test_replay_checks_the_traces(self) -> None:
        with pytest.raises(TypeError, match=r"^traces: expected Traces, got ndarray"):
            self.line.replay(np.zeros((3, 3), np.float32))
        with pytest.raises(ValueError, match=r"^traces: expected Topology.line\(3\), got Topology.skip\(3\)"):
            self.line.replay(random_traces(SKIP, 3, seed=46))

    @pytest.mark.parametrize("topology", [LINE, SKIP, ttamer.Topology.forest([-1, 0, 0])])
    def test_replay_loses_what_the_answer_lost(self, topology: ttamer.Topology) -> None:
        traces = random_traces(topology, 5000, seed=48)
        result = ttamer.solve(ttamer.fit(traces, bins=6), 0.8, "observed").replay(traces)
        assert len(np.unique(result.answer_node)) > 1
        np.testing.assert_array_equal(result.loss, traces.losses[np.arange(5000), result.answer_node])

    def test_replay_in_the_core(self) -> None:
        """Losses may be left out, and are as many as the signals."""
        core, traces = self.line._core, random_traces(LINE, 10, seed=49)
        *found, loss = core.replay(traces.signals, traces.costs)
        *expected, _ = core.replay(traces.signals, traces.costs, traces.losses)
        assert all(map(np.array_equal, found, expected))
        assert loss.shape == (0,)
        for losses in (traces.losses[:9], traces.losses[:, :2].copy()):
            with pytest.raises(ValueError, match=r"^losses: expected \(N, n\) float32 like signals, got \("):
                core.replay(traces.signals, traces.costs, losses)
        for costs in (traces.costs[:2].copy(), np.tile(traces.costs, (9, 1)), np.tile(traces.costs[:2], (10, 1))):
            with pytest.raises(
                ValueError, match=r"^costs: expected \(3,\), one an edge, or a row of these for each of"
            ):
                core.replay(traces.signals, costs)

    def test_replay_costs_are_the_traces(self) -> None:
        traces = ttamer.Traces(np.zeros((2, 3), np.float32), np.zeros((2, 3), np.float32), [10, 100, 1000])
        result = self.line.replay(traces)
        assert len(result) == 2
        assert result.cost[0] == {0: 10, 1: 110, 2: 1110}[int(result.last_node[0])]
        assert result.mean_cost == result.cost[0]


class TestEvaluate:
    traces = random_traces(LINE, 500, seed=47)
    policy = ttamer.solve(ttamer.fit(traces, bins=8), 0.6, "observed")

    def test_it_summarises_the_replay(self) -> None:
        report, result = ttamer.evaluate(self.policy, self.traces), self.policy.replay(self.traces)
        assert report.requests == 500
        assert report.error == result.error == pytest.approx(result.loss.mean())
        assert report.mean_cost == result.mean_cost == pytest.approx(result.cost.mean())
        assert report.p50_cost == np.quantile(result.cost, 0.5)
        assert report.p95_cost == np.quantile(result.cost, 0.95)
        assert report.stops.tolist() == [np.mean(result.last_node == j) for j in range(3)]
        assert report.answers.tolist() == [np.mean(result.answer_node == j) for j in range(3)]
        assert report.recall_rate == np.mean(result.answer_node != result.last_node) > 0
        assert report.full_error == pytest.approx(self.traces.losses[:, 2].mean())
        assert report.full_cost == pytest.approx(self.traces.costs.sum())
        assert report.unit == "ms"

    def test_it_prints_and_dumps(self) -> None:
        report = ttamer.evaluate(self.policy, self.traces)
        assert "500" in str(report)
        assert "ms" in str(report)
        assert report.as_dict()["stops"] == report.stops.tolist()

    def test_free_cascades_save_nothing(self) -> None:
        free = ttamer.Traces(self.traces.signals, self.traces.losses, [0, 0, 0])
        assert "0.0% saved" in str(ttamer.evaluate(self.policy, free))

    def test_bad_arguments(self) -> None:
        with pytest.raises(ValueError, match=r"^traces: expected"):
            ttamer.evaluate(self.policy, random_traces(SKIP, 3, seed=0))
        with pytest.raises(TypeError, match=r"^policy: expected a Policy, got int"):
            ttamer.evaluate(3, self.traces)
        with pytest.raises(TypeError, match=r"^traces: expected Traces, got int"):
            ttamer.evaluate(self.policy, 3)


@pytest.fixture(scope="module")
def front() -> ttamer.Front:
    return ttamer.frontier(TestFrontier.traces)


class TestFrontier:
    traces = random_traces(LINE, 600, seed=48)

    def test_no_point_dominates_another(self, front: ttamer.Front) -> None:
        assert 1 < len(front) <= 120
        assert all(a.cost < b.cost and a.error > b.error for a, b in itertools.pairwise(front))
        assert front.unit == "ms"
        assert str(len(front)) in repr(front)

    def test_points_are_what_their_policies_do(self, front: ttamer.Front) -> None:
        for point in (front[0], front[-1]):
            result = point.policy.replay(self.traces)
            assert (point.cost, point.error) == (result.mean_cost, result.error)

    def test_no_policy_of_the_sweep_beats_the_front(self) -> None:
        tradeoffs = [0.3, 0.5, 0.7, 0.9, 0.99]
        model = ttamer.fit(self.traces, bins=16)
        front = ttamer.frontier(self.traces, tradeoffs, "signal", bins=16)
        for tradeoff in tradeoffs:
            result = ttamer.solve(model, tradeoff).replay(self.traces)
            assert any(point.cost <= result.mean_cost and point.error <= result.error for point in front)
        assert 1 <= len(front) <= 5

    def test_cheapest_and_best(self, front: ttamer.Front) -> None:
        middle = front[len(front) // 2]
        assert front.cheapest(middle.error) == middle
        assert front.best(middle.cost) == middle
        assert front.cheapest(1.0) == front[0]
        assert front.best(1e9) == front[-1]
        smallest, cheapest = front[-1].error, front[0].cost
        with pytest.raises(ValueError, match=f"^max_error: no point reaches -1, the smallest error is {smallest:g}"):
            front.cheapest(-1)
        with pytest.raises(ValueError, match=f"^max_cost: no point costs at most 0, the cheapest costs {cheapest:g}"):
            front.best(0)

    def test_a_given_model(self) -> None:
        model = ttamer.fit(self.traces, bins=3)
        front = ttamer.frontier(self.traces, [0.5], model=model)
        assert_same_policy(front[0].policy, ttamer.solve(model, 0.5))

    def test_repeated_tradeoffs_count_once(self) -> None:
        assert len(ttamer.frontier(self.traces, [0.5] * 500)) == 1
        assert len(ttamer.frontier(self.traces, f32(0.5))) == 1

    @pytest.mark.parametrize(
        ("arguments", "error", "message"),
        [
            ({"tradeoffs": []}, ValueError, "^tradeoffs: expected 1 to 120 numbers"),
            ({"tradeoffs": np.linspace(0.1, 1, 121)}, ValueError, "^tradeoffs: expected 1 to 120 numbers"),
            ({"tradeoffs": [0.0, 0.5]}, ValueError, r"^tradeoffs?: expected .*\(0, 1\]"),
            ({"tradeoffs": [0.5, np.nan]}, ValueError, r"^tradeoffs?: expected .*\(0, 1\]"),
            ({"tradeoffs": [[0.5, 0.6]]}, ValueError, "^tradeoffs: expected 1 to 120 numbers"),
            ({"tradeoffs": "many"}, TypeError, "^tradeoffs: expected .*numbers"),
            ({"estimate": "oracle"}, ValueError, "^estimate: expected one of .*, got 'oracle'"),
            ({"bins": 0}, ValueError, "^bins: expected at least 1, got 0"),
            ({"model": 3}, TypeError, "^model: expected a CascadeModel, got int"),
        ],
    )
    def test_bad_arguments(self, arguments: dict[str, Any], error: type[Exception], message: str) -> None:
        with pytest.raises(error, match=message):
            ttamer.frontier(self.traces, **arguments)

    def test_bad_traces_and_models(self) -> None:
        with pytest.raises(TypeError, match=r"^traces: expected Traces, got int"):
            ttamer.frontier(3)
        with pytest.raises(ValueError, match=r"^(model|traces): expected"):
            ttamer.frontier(self.traces, model=random_model(SKIP, 2, seed=0))
