"""Models of many states: solvers cut their work into blocks, and these have several."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers import random_model, random_traces

import ttamer
from ttamer import reference

SHAPES = {
    "line": ttamer.Topology.line(4),
    "skip": ttamer.Topology.skip(3),
    "dag": ttamer.Topology.dag(4, [(-1, 0), (-1, 2), (0, 1), (2, 1), (1, 3), (0, 3)]),
}


def assert_solved(model: ttamer.CascadeModel, tradeoff: float) -> None:
    """Value, first node, and what to do at every rank of every state, as the reference has them."""
    for recall in ("observed", "none"):
        policy = ttamer.solve(model, tradeoff, recall)
        kept = recall == "observed"
        tables = reference.solve(
            model.topology, model.losses, model.transitions, model.costs, tradeoff, kept, model.cost_scale
        )
        assert policy.value == pytest.approx(tables.value, rel=0, abs=1e-12)
        assert policy.first_node == tables.first_node
        for node, intervals in enumerate(tables.intervals):
            expected = [[(tables.levels[upper], follows) for upper, follows in row] for row in intervals]
            assert policy.actions(node) == expected
        if kept and model.topology.kind == "line":
            for node in range(model.topology.nodes):
                np.testing.assert_allclose(policy.index(node), tables.index[node], rtol=0, atol=1e-9)
        assert sum(float(row.sum()) for row in policy.expected_stops) == pytest.approx(1, rel=0, abs=1e-12)


@pytest.mark.parametrize("states", [15, 16, 17, 33, 70])
@pytest.mark.parametrize("levels", [40, 10**6])
@pytest.mark.parametrize("shape", SHAPES)
def test_stated_models(shape: str, levels: int, states: int) -> None:
    for tradeoff in (0.6, 0.95):
        assert_solved(random_model(SHAPES[shape], states, seed=states, levels=levels), tradeoff)


@pytest.mark.parametrize("shape", SHAPES)
def test_losses_in_order(shape: str) -> None:
    """States by rising loss, by falling loss, or neither: the solver keeps the first two in place."""
    rng = np.random.default_rng(66)
    topology = SHAPES[shape]
    for rising in (True, False, None):
        losses = [rng.integers(0, 120, size) / 120 for size in rng.integers(30, 60, topology.nodes)]
        if rising is not None:
            losses = [np.sort(row) if rising else np.sort(row)[::-1] for row in losses]
        transitions = [
            rng.dirichlet(np.full(len(losses[j]), 0.2), size=1 if i < 0 else len(losses[i]))
            for i, j in topology.edges.tolist()
        ]
        costs = rng.uniform(0, 0.1, len(transitions))
        assert_solved(ttamer.CascadeModel(topology, losses, transitions, costs), 0.9)


@pytest.mark.parametrize("shape", SHAPES)
def test_sparse_models(shape: str) -> None:
    """Most transitions are impossible, and some nodes do not depend on the one before."""
    rng = np.random.default_rng(61)
    topology = SHAPES[shape]
    losses = [rng.integers(0, 200, 50) / 200 for _ in range(topology.nodes)]
    transitions = []
    for k, (i, _) in enumerate(topology.edges.tolist()):
        rows = rng.random((1 if i < 0 or k % 3 == 2 else 50, 50)) * (rng.random((1, 50)) < 0.2)
        rows[:, 7] += 0.1
        transitions.append(rows / rows.sum(axis=1, keepdims=True))
    costs = rng.uniform(0, 0.1, len(transitions))
    assert_solved(ttamer.CascadeModel(topology, losses, transitions, costs), 0.9)


@pytest.mark.parametrize("requests", [60, 2_000])
@pytest.mark.parametrize("observed", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_fitted_models(shape: str, observed: bool, requests: int) -> None:
    """Counts stay sparse where requests are few; of many they fill the table."""
    traces = random_traces(SHAPES[shape], requests, seed=62, observed=observed)
    for strength in (0.0, 16.0):
        model = ttamer.fit(traces, bins=40, smoothing="mean", transition_strength=strength)
        for tradeoff in (0.6, 0.95):
            assert_solved(model, tradeoff)


def test_a_state_for_every_request() -> None:
    traces = random_traces(ttamer.Topology.line(3), 400, seed=63)
    model = ttamer.fit(traces, bins=400)
    assert min(len(row) for row in model.losses) > 390  # a few signals are equal
    assert_solved(model, 0.9)


def test_few_states_before_many() -> None:
    """Where one node has few states its transitions are dense, and the counted ones follow their blocks."""
    rng = np.random.default_rng(67)
    losses = rng.random((400, 4)).astype(np.float32)
    losses[:, 0] = np.round(losses[:, 0] * 4) / 4
    traces = ttamer.Traces(losses, losses, [0.05, 0.02, 0.03, 0.04], observed=True)
    model = ttamer.fit(traces, bins=70)
    assert [len(row) for row in model.losses] == [5, 70, 70, 70]
    for tradeoff in (0.6, 0.95):
        assert_solved(model, tradeoff)


def test_free_nodes_without_loss() -> None:
    """Values that are 0 stay 0, though rows of probabilities sum to a last bit more or less than 1."""
    for seed in range(40):
        rng = np.random.default_rng(seed)
        rows = [rng.integers(1, 9, size) for size in rng.integers(1, 60, 3)]
        losses = [np.zeros(len(row)) for row in rows[:2]] + [np.full(len(rows[2]), 0.25)]
        transitions = [(row / row.sum())[None, :] for row in rows]
        model = ttamer.CascadeModel(ttamer.Topology.line(3), losses, transitions, np.zeros(3))
        for recall in ("observed", "none"):
            assert ttamer.solve(model, 0.5, recall).value == 0


@pytest.mark.parametrize("recall", ["observed", "none"])
def test_a_thousand_states_a_node_stay_sparse_and_exact(recall: str, tmp_path: Path) -> None:
    """Counts of 4,000 requests over 1,024 x 1,024 cells: never made dense on the way to the file or the policy."""
    signals = np.random.default_rng(65).random((4000, 3)).astype(np.float32)
    traces = ttamer.Traces(signals, signals, [0.1, 0.2, 0.3], observed=True)
    model = ttamer.fit(traces, bins=1024)
    assert [len(row) for row in model.losses] == [1024] * 3
    model.save(tmp_path / "m.safetensors")
    assert (tmp_path / "m.safetensors").stat().st_size < 400_000  # one dense matrix alone is 8 MB
    policy = ttamer.solve(ttamer.CascadeModel.load(tmp_path / "m.safetensors"), 0.95, recall)
    weighted = model.costs * (0.05 / 0.95 / model.cost_scale)
    expected = reference.induction(
        model.topology, model.losses, model.transitions, weighted, recall == "observed"
    ).value
    assert policy.value == pytest.approx(0.95 * expected, rel=0, abs=1e-12)
