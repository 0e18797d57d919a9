"""Forests: the dynamic index, policies that leave a branch and come back, batches and replay."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from exhaustive import enumerate_policy, optimum
from helpers import assert_same_policy, f32, i32, random_model, random_traces
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import Cascade, cascades, tradeoffs

import ttamer
from ttamer import reference

BRANCHES = ttamer.Topology.forest([-1, 0, 0, 1, -1])


def by_reference(cascade: Cascade, model: ttamer.CascadeModel, tradeoff: float) -> reference.Tables:
    return reference.solve(
        cascade.topology, model.losses, model.transitions, cascade.costs, tradeoff, True, model.cost_scale
    )


@settings(max_examples=150)
@given(cascades("forest", nodes=5, states=3, probes=True), tradeoffs)
def test_as_exhaustive_search_and_as_the_reference(cascade: Cascade, tradeoff: float) -> None:
    model = cascade.model(cost_scale=1.0)
    policy, tables = ttamer.solve(model, tradeoff), by_reference(cascade, model, tradeoff)
    weight = (1 - tradeoff) / tradeoff
    best = optimum(cascade.topology, cascade.losses, cascade.transitions, cascade.costs * weight)
    assert policy.value == pytest.approx(tradeoff * best, rel=0, abs=1e-12)
    assert policy.value == pytest.approx(tables.value, rel=0, abs=1e-12)
    assert enumerate_policy(policy, model).objective(tradeoff, 1.0) == pytest.approx(policy.value, rel=0, abs=1e-12)
    assert policy.first_node == tables.first_node
    arrays = policy._core.arrays()
    assert arrays["ranks"].tolist() == np.concatenate(tables.ranks).tolist()
    assert arrays["index_ranks"].tolist() == np.concatenate(tables.index_ranks).tolist()
    for node in range(cascade.topology.nodes):
        np.testing.assert_allclose(policy.index(node), tables.index[node], rtol=0, atol=1e-9)


@settings(max_examples=80)
@given(cascades("forest", nodes=8, states=6, probes=True), tradeoffs)
def test_larger_forests_as_the_reference(cascade: Cascade, tradeoff: float) -> None:
    model = cascade.model(cost_scale=1.0)
    policy, tables = ttamer.solve(model, tradeoff), by_reference(cascade, model, tradeoff)
    assert policy.value == pytest.approx(tables.value, rel=0, abs=1e-12)
    assert policy._core.arrays()["index_ranks"].tolist() == np.concatenate(tables.index_ranks).tolist()


@settings(max_examples=80)
@given(cascades("line", nodes=5, states=4, probes=True), tradeoffs)
def test_one_branch_is_a_line(cascade: Cascade, tradeoff: float) -> None:
    line = cascade.model(cost_scale=1.0)
    topology = ttamer.Topology.forest(range(-1, cascade.topology.nodes - 1))
    branch = ttamer.CascadeModel(topology, line.losses, line.transitions, line.state_costs, cost_scale=1.0)
    on_line, on_branch = ttamer.solve(line, tradeoff, "observed"), ttamer.solve(branch, tradeoff)
    assert on_branch.value == pytest.approx(on_line.value, rel=0, abs=1e-12)
    outcomes = [enumerate_policy(on_line, line), enumerate_policy(on_branch, branch)]
    for a, b in zip(outcomes[0].stops, outcomes[1].stops, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_independent_models_are_weitzmans_boxes(seed: int) -> None:
    """All nodes are roots: each index solves E[(index - R)_+] = cost alone, and kappa = max(index, R)."""
    rng = np.random.default_rng(seed)
    losses = [np.sort(rng.random(4)) for _ in range(3)]
    chances = [rng.dirichlet(np.ones(4)) for _ in range(3)]
    costs = rng.uniform(0.01, 0.2, 3)
    topology = ttamer.Topology.forest([-1, -1, -1])
    model = ttamer.CascadeModel(topology, losses, [row[None, :] for row in chances], costs, cost_scale=1.0)
    policy = ttamer.solve(model, 0.5)
    for node in range(3):
        index = policy.index(node)[0]
        gain = chances[node] @ np.maximum(index - losses[node], 0)
        assert gain == pytest.approx(costs[node], rel=0, abs=1e-12)
    kappas = [np.maximum(policy.index(node)[0], losses[node]) for node in range(3)]
    every = np.minimum(np.minimum(kappas[0][:, None, None], kappas[1][:, None]), kappas[2])
    expected = np.einsum("a,b,c,abc->", *chances, every)
    assert 2 * policy.value == pytest.approx(expected, rel=0, abs=1e-12)
    assert policy.first_node == int(np.argmin([policy.index(node)[0] for node in range(3)]))


def serve_in_any_order(policy: ttamer.Policy, traces: ttamer.Traces, seed: int) -> ttamer.Batch:
    """All requests in one batch; each call takes some of them, at whatever nodes these are."""
    rng = np.random.default_rng(seed)
    batch = policy.start(len(traces))
    ahead = np.full(len(traces), policy.first_node, np.int32)
    while (ahead != ttamer.STOP).any():
        going = np.flatnonzero(ahead != ttamer.STOP)
        rows = rng.permutation(going)[: max(1, len(going) // 2)]
        ahead[rows] = batch.decide(ahead[rows], traces.signals[rows, ahead[rows]], rows)
    return batch


@pytest.mark.parametrize("observed", [False, True])
def test_batch_is_replay_is_reference(observed: bool) -> None:
    traces = random_traces(BRANCHES, 500, seed=3, observed=observed)
    model = ttamer.fit(traces, bins=6)
    for tradeoff in (0.5, 0.9, 0.99):
        policy = ttamer.solve(model, tradeoff)
        replayed = policy.replay(traces)
        tables = reference.solve(
            BRANCHES, model.losses, model.transitions, model.costs, tradeoff, True, model.cost_scale
        )
        expected = reference.replay(tables, model.bin_edges, traces, observed)
        for name in ("last_node", "answer_node", "cost", "loss"):
            np.testing.assert_array_equal(getattr(replayed, name), expected[name])
        batch = serve_in_any_order(policy, traces, seed=int(100 * tradeoff))
        np.testing.assert_array_equal(batch.answer_node, replayed.answer_node)


def test_a_branch_is_left_and_taken_up_again() -> None:
    """Two branches: a bad answer of the first sends the request to the second, a worse one there sends it back."""
    topology = ttamer.Topology.forest([-1, 0, -1])
    losses = [[0.5, 0.9], [0.0], [0.1, 1.0]]
    transitions = [[[0.5, 0.5]], [[1.0], [1.0]], [[0.6, 0.4]]]
    policy = ttamer.solve(ttamer.CascadeModel(topology, losses, transitions, [0.01, 0.3, 0.05], cost_scale=1.0), 0.5)
    assert policy.first_node in (0, 2)
    batch = policy.start(1)
    assert batch.decide(2, f32(1)).tolist() == [0]
    assert batch.decide(0, f32(1)).tolist() == [1]
    assert batch.decide(1, f32(0)).tolist() == [ttamer.STOP]
    assert batch.answer_node.tolist() == [1]


class TestRefused:
    policy = ttamer.solve(random_model(BRANCHES, 3, seed=1), 0.9)

    def test_closed_nodes(self) -> None:
        batch = self.policy.start(3)
        with pytest.raises(
            ValueError, match=r"^node: 3 is not open to row 1, which consulted nothing last; open: 0, 4$"
        ):
            batch.decide(3, f32(0), i32(1))
        batch.decide(0, f32(2), i32(1))
        before = batch.answer_loss.tolist()
        for node in (0, 3):
            with pytest.raises(
                ValueError, match=rf"^node: {node} is not open to row 1, .* node 0 last; open: 1, 2, 4$"
            ):
                batch.decide(i32(0, node), f32(0, 0), i32(0, 1))
        assert batch.answer_loss.tolist() == before
        assert batch.answer_node.tolist() == [-1, 0, -1]
        batch.decide(4, f32(0), i32(1))  # another branch, recommended or not

    def test_reset_closes_what_was_opened(self) -> None:
        batch = self.policy.start(2)
        batch.decide(0, f32(2, 2))
        batch.reset(i32(1))
        with pytest.raises(ValueError, match="is not open to row 1"):
            batch.decide(1, f32(0), i32(1))
        batch.reset()
        assert batch.decide(0, f32(2, 2)).tolist() == self.policy.start(2).decide(0, f32(2, 2)).tolist()

    def test_no_recall(self) -> None:
        model = random_model(BRANCHES, 2, seed=2)
        with pytest.raises(ValueError, match="^recall: 'none' is not defined on a forest"):
            ttamer.solve(model, 0.5, "none")
        with pytest.raises(ValueError, match="^recall: 'none' is not defined on a forest"):
            ttamer.price_of_no_recall(model)

    def test_actions(self) -> None:
        with pytest.raises(ValueError, match="^actions: a forest compares the indices of all open nodes"):
            self.policy.actions(0)

    @pytest.mark.parametrize(
        ("name", "change", "message"),
        [
            ("index_ranks", lambda t: t - 100, "index_ranks: expected positions in levels"),
            ("index_ranks", lambda t: t[:-1], "index_offsets: expected increasing offsets into index_ranks"),
            ("index_offsets", lambda t: t[::-1].copy(), "index_offsets: expected increasing offsets"),
            ("index_offsets", lambda t: np.array([0, 2, 4, 6, 9, 11], np.int32), "of the parent of node 0"),
        ],
    )
    def test_tables_that_do_not_fit(self, name: str, change: Any, message: str) -> None:
        arrays = self.policy._core.arrays()
        core = self.policy._core
        scalars = [core.recall, core.observed, core.tradeoff, core.value, core.cost_scale, core.first_node]
        with pytest.raises(ValueError, match=message):
            ttamer._core.Policy(BRANCHES, *scalars, {**arrays, name: change(arrays[name])})
        with pytest.raises(ValueError, match="recall: a forest needs it"):
            ttamer._core.Policy(BRANCHES, False, *scalars[1:], arrays)


def test_files(tmp_path: Path) -> None:
    policy = ttamer.solve(ttamer.fit(random_traces(BRANCHES, 300, seed=5), bins=4), 0.8)
    policy.save(tmp_path / "p.safetensors")
    for read in (ttamer.Policy.load(tmp_path / "p.safetensors"), pickle.loads(pickle.dumps(policy))):
        assert_same_policy(read, policy)
        assert [read.index(j).tolist() for j in range(5)] == [policy.index(j).tolist() for j in range(5)]


def test_expectations_are_those_of_enumeration() -> None:
    model = random_model(BRANCHES, 3, seed=8)
    policy = ttamer.solve(model, 0.9)
    exact = enumerate_policy(policy, model)
    assert sum(row.sum() for row in policy.expected_stops) == pytest.approx(1)
    for found, expected in zip(policy.expected_visits, exact.visits, strict=True):
        np.testing.assert_allclose(found, expected, rtol=0, atol=0.012)  # 5 standard errors of 50,000 requests
    for found, expected in zip(policy.expected_stops, exact.stops, strict=True):
        np.testing.assert_allclose(found, expected, rtol=0, atol=0.012)
    assert policy.expected_cost == pytest.approx(exact.cost, rel=0.02)


@settings(max_examples=60)
@given(cascades("forest", nodes=4, states=3, probes=True), st.floats(0.0, 1.5))
def test_an_outside_option(cascade: Cascade, outside: float) -> None:
    """The value with an outside option X is E[min(X, min over roots of kappa)]."""
    model = cascade.model(cost_scale=1.0)
    _, value = ttamer._core.surrogates(model._core, 0.5, outside)
    best = optimum(cascade.topology, cascade.losses, cascade.transitions, cascade.costs, outside=outside)
    assert value == pytest.approx(best, rel=0, abs=1e-12)
