"""Costs that were recorded for each request: what replays pay, models expect and limits are tested on."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ttamer
from ttamer import Topology, Traces, baselines, reference, tuning

SHAPES = {
    "line": Topology.line(4),
    "skip": Topology.skip(4),
    "dag": Topology.dag(5, [(-1, 1), (-1, 4), (1, 0), (4, 0), (1, 2), (0, 2), (2, 3), (0, 3)]),
    "forest": Topology.forest([-1, 0, 0, 1, -1]),
}


def recorded(shape: str, rows: int = 200, seed: int = 0) -> Traces:
    """Requests of very different lengths, on which what they cost depends, and which the first signals show."""
    topology, rng = SHAPES[shape], np.random.default_rng(seed)
    length = rng.lognormal(0, 1, (rows, 1))
    signals = 1 / (1 + length) + rng.normal(0, 0.1, (rows, topology.nodes))
    losses = rng.random(signals.shape) > signals
    costs = length * rng.uniform(0.1, 0.5, len(topology.edges)) * rng.uniform(0.8, 1.2, (rows, len(topology.edges)))
    return Traces(signals.astype(np.float32), losses.astype(np.float32), costs, topology, unit="usd")


def with_evidence(by_request: bool) -> Traces:
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 4, 300)
    logits = rng.standard_normal((300, 3, 4))
    logits[np.arange(300), :, labels] += np.arange(1.0, 4.0)
    probs = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    return Traces.from_probs(probs, labels, rng.uniform(1, 3, (300, 3) if by_request else 3), unit="usd")


class TestTraces:
    def test_costs_are_their_mean(self) -> None:
        traces = recorded("skip")
        assert traces.request_costs is not None
        assert traces.request_costs.shape == (200, 10)
        np.testing.assert_allclose(traces.costs, traces.request_costs.mean(axis=0))
        assert repr(traces) == "Traces(200 rows, Topology.skip(4), costs in usd, costs of each request)"
        few = traces[[3, 3, 5]]
        assert few.request_costs is not None
        np.testing.assert_array_equal(few.request_costs, traces.request_costs[[3, 3, 5]])
        np.testing.assert_allclose(few.costs, few.request_costs.mean(axis=0))
        assert not traces.request_costs.flags.writeable

    def test_one_number_an_edge_has_none(self) -> None:
        traces = Traces(np.zeros((2, 2), np.float32), np.zeros((2, 2), np.float32), [1, 2])
        assert traces.request_costs is None
        assert traces.request_reach_costs.tolist() == [[1, 3], [1, 3]]

    def test_a_path_takes_costs_of_each_request(self) -> None:
        traces = recorded("forest")
        line = traces.path([0, 1], traces.paid_costs[:, [0, 1]])
        assert line.request_costs is not None
        np.testing.assert_array_equal(line.request_costs, traces.paid_costs[:, [0, 1]])

    @pytest.mark.parametrize("shape", SHAPES)
    def test_reach_costs_are_those_of_each_request_alone(self, shape: str) -> None:
        traces = recorded(shape, rows=20)
        alone = [Traces(traces.signals, traces.losses, row, traces.topology).reach_costs for row in traces.paid_costs]
        np.testing.assert_allclose(traces.request_reach_costs, np.stack(alone))

    def test_files(self, tmp_path: Path) -> None:
        traces = recorded("dag")
        traces.save(tmp_path / "t.npz")
        again = Traces.load(tmp_path / "t.npz")
        np.testing.assert_array_equal(again.paid_costs, traces.paid_costs)
        with np.load(tmp_path / "t.npz") as arrays:
            assert arrays["ttamer_traces"] == 2
        traces.path([0], [1.0]).save(tmp_path / "t.npz")
        with np.load(tmp_path / "t.npz") as arrays:
            assert arrays["ttamer_traces"] == 1

    @pytest.mark.parametrize(
        ("costs", "error", "message"),
        [
            (np.ones((3, 2)), ValueError, "costs: expected (2, 2) numbers, for each request one an edge of the line"),
            (np.ones((2, 3)), ValueError, "costs: expected (2, 2) numbers, for each request one an edge of the line"),
            ([[1, 2], [3, -4]], ValueError, "costs: expected values >= 0, got -4.0 at row 1, edge 1"),
            ([[1, np.inf], [3, 4]], ValueError, "costs: expected finite values, got inf at row 0, edge 1"),
            (
                [["a", "b"], ["c", "d"]],
                TypeError,
                "costs: expected (2, 2) numbers, for each request one an edge of the line, got",
            ),
        ],
    )
    def test_bad_ones(self, costs: Any, error: type[Exception], message: str) -> None:
        with pytest.raises(error, match=f"^{re.escape(message)}"):
            Traces(np.zeros((2, 2), np.float32), np.zeros((2, 2), np.float32), costs)


@pytest.mark.parametrize("shape", SHAPES)
@settings(max_examples=25)
@given(seed=st.integers(0, 10**6), rows=st.integers(1, 3000), tradeoff=st.sampled_from([0.5, 0.8, 0.95, 0.99]))
def test_replays_pay_what_each_request_cost(shape: str, seed: int, rows: int, tradeoff: float) -> None:
    """As the reference does by hand, on the first and the last of the rows."""
    traces = recorded(shape, rows, seed)
    model = ttamer.fit(recorded(shape, 300, seed + 1), bins=6, smoothing="mean")
    policy = ttamer.solve(model, tradeoff)
    tables = reference.solve(
        traces.topology, model.losses, model.transitions, model.state_costs, tradeoff, policy._core.recall,
        model.cost_scale,
    )  # fmt: skip
    some = np.unique(np.clip([*range(20), *range(rows - 20, rows)], 0, rows - 1))
    expected = reference.replay(tables, model.bin_edges, traces[some], observed=False)
    replay = policy.replay(traces)
    for name in ("last_node", "answer_node", "cost", "loss"):
        np.testing.assert_allclose(getattr(replay, name)[some], expected[name], rtol=1e-12, atol=1e-12)
    assert ttamer.evaluate(policy, traces).mean_cost == replay.mean_cost


def test_estimates_pay_them_too() -> None:
    traces = with_evidence(by_request=True)
    policy = ttamer.solve(ttamer.fit(traces, 6, "posterior"), 0.8)
    replay = policy.replay(traces)
    paid = np.cumsum(traces.paid_costs, axis=1)[np.arange(300), replay.last_node]
    np.testing.assert_allclose(replay.cost, paid)


class TestModels:
    def test_a_state_costs_its_mean_shrunk_to_that_of_all(self) -> None:
        traces = recorded("line")
        model = ttamer.fit(traces, bins=5, smoothing="mean", transition_strength=10.0)
        states = reference.states(traces.signals[:, 0], model.bin_edges[0])
        counts = np.bincount(states).astype(np.float64)
        sums = np.bincount(states, traces.paid_costs[:, 1])
        np.testing.assert_allclose(model.state_costs[1], reference.state_losses(counts, sums, 10.0))
        np.testing.assert_allclose(model.state_costs[0], traces.costs[:1])
        np.testing.assert_allclose(model.costs, traces.costs)
        assert model.state_costs[1][0] > 2 * model.state_costs[1][-1]  # unsure answers come with long requests

    def test_shards_add(self, tmp_path: Path) -> None:
        traces = recorded("dag")
        whole = ttamer.fit(traces, bins=4, smoothing="mean")
        both = ttamer.fit(traces[:70], like=whole) + ttamer.fit(traces[70:], like=whole)
        for a, b in zip(both.state_costs, whole.state_costs, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12)
        both.save(tmp_path / "m")
        again = ttamer.CascadeModel.load(tmp_path / "m")
        for a, b in zip(again.state_costs, both.state_costs, strict=True):
            np.testing.assert_array_equal(a, b)
        once_more = again + ttamer.fit(traces[:50], like=whole)
        assert once_more.requests == 250

    def test_shards_whose_requests_all_cost_the_same_add_too(self) -> None:
        traces = recorded("line")
        model = ttamer.fit(traces, bins=4, smoothing="mean")
        fixed = Traces(traces.signals, traces.losses, traces.costs, traces.topology, unit="usd")
        both = model + ttamer.fit(fixed, like=model)
        whole = ttamer.fit(traces + fixed, like=model)
        np.testing.assert_allclose(both.costs, traces.costs)
        for one, other in zip(both.state_costs, whole.state_costs, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-12)
        with pytest.raises(ValueError, match="models add only with the same costs"):
            ttamer.fit(fixed, bins=4, smoothing="mean") + model

    def test_going_on_where_it_is_cheap_pays(self) -> None:
        """The second model is always right, and costs what a request is long; the first one's signal shows that."""
        rng = np.random.default_rng(5)
        length = rng.lognormal(0, 1, 4000)
        signals = np.stack([1 / (1 + length), np.ones(4000)], axis=1).astype(np.float32)
        losses = np.stack([rng.random(4000) < 0.5, np.zeros(4000)], axis=1).astype(np.float32)
        costs = np.stack([np.full(4000, 0.1), length], axis=1)
        traces, test = (Traces(signals, losses, costs)[rows] for rows in (slice(0, 2000), slice(2000, None)))
        half = next(p for p in ttamer.frontier(traces, estimate="signal") if p.error < 0.25)
        replay = half.policy.replay(test)
        # Whoever goes on at random for half of the errors pays half of all costs.
        assert replay.mean_cost < 0.5 * np.cumsum(test.paid_costs, axis=1)[:, 1].mean() - 0.3
        assert replay.error < 0.27


class TestBaselines:
    def test_each_request_takes_its_cheapest_path(self) -> None:
        traces = recorded("skip")
        replay = baselines.fixed_node(traces, 2)
        np.testing.assert_allclose(replay.cost, traces.request_reach_costs[:, 2])

    @pytest.mark.parametrize("shape", ["line", "skip", "forest"])
    def test_comparisons_run(self, shape: str) -> None:
        comparison = ttamer.compare.run(recorded(shape, 400))
        assert comparison.curves[0].test_cost[-1].std() > 0  # not one cost for all

    def test_the_prophet_weighs_what_each_request_costs(self) -> None:
        traces = recorded("line", 50)
        best = 0.5 * traces.losses + 0.5 * np.cumsum(traces.paid_costs, axis=1) / traces.costs.sum()
        np.testing.assert_array_equal(baselines.prophet(traces, 0.5).last_node, best.argmin(axis=1))


class TestLimits:
    def test_a_quantile_is_tested_on_the_costs_of_requests(self) -> None:
        traces, test = recorded("line", 2000, 1), recorded("line", 20_000, 2)
        policy = ttamer.tune(traces, max_cost_quantile=(0.9, 2.5), estimate="signal")
        assert np.mean(policy.replay(test).cost > 2.5) < 0.1

    def test_what_can_be_certified_is_said(self) -> None:
        with pytest.raises(
            ttamer.InfeasibleError, match=r"a cost of at most \S+ usd in 99% of requests can be"
        ) as caught:
            ttamer.tune(recorded("line", 2000, 1), max_cost_quantile=(0.99, 0.01), estimate="signal")
        assert caught.value.max_cost_quantile is not None
        assert 0.01 < caught.value.max_cost_quantile < 10

    def test_a_mean_needs_the_most_that_a_request_can_cost(self) -> None:
        traces = recorded("line", 2000, 1)
        with pytest.raises(ValueError, match="^max_cost_of_a_request: expected a number, the most that any request"):
            ttamer.tune(traces, max_cost=1.0)
        with pytest.raises(ValueError, match="^max_cost_of_a_request: expected a bound .*, got 2 and one that"):
            ttamer.tune(traces, max_cost=1.0, max_cost_of_a_request=2.0)
        with pytest.raises(ValueError, match="^max_cost_of_a_request: expected a finite cost >= 0, got -1"):
            ttamer.tune(traces, max_cost=1.0, max_cost_of_a_request=-1.0)
        certificate = tuning.certify(traces, max_cost=2.0, max_cost_of_a_request=100.0, estimate="signal")
        assert certificate.limits[0].high == 100.0
        assert certificate.best.outcome.cost < 2.0

    def test_where_all_cost_the_same_it_is_known(self) -> None:
        fixed = Traces(np.zeros((20, 2), np.float32), np.zeros((20, 2), np.float32), [1, 2])
        with pytest.raises(ValueError, match="^max_cost_of_a_request: expected None, all requests of these"):
            ttamer.tune(fixed, max_cost=1.0, max_cost_of_a_request=4.0)
