"""Costs that differ by what is known of a request."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from exhaustive import enumerate_policy
from helpers import assert_same_policy

import ttamer
from ttamer import Topology
from ttamer._base import files

LINE = Topology.line(2)
SHORT_OR_LONG = {
    "losses": [[0.4, 0.4], [0.0]],
    "transitions": [[[0.5, 0.5]], [[1.0]]],
    "costs": [0.1, [0.2, 2.0]],  # the second model is dear where the first has seen that the request is long
}


def model(**changes: Any) -> ttamer.CascadeModel:
    return ttamer.CascadeModel(LINE, **{**SHORT_OR_LONG, "cost_scale": 1.0, "unit": "usd", **changes})


def test_only_short_requests_go_on() -> None:
    for recall in ("observed", "none"):
        policy = ttamer.solve(model(observed=False), 0.5, recall)
        batch = policy.start(2)
        assert batch.decide(0, np.array([0, 1], np.float32)).tolist() == [1, ttamer.STOP]
        # Half of the requests go on for 0.2; the others stop with a loss of 0.4.
        assert policy.expected_cost == pytest.approx(0.1 + 0.5 * 0.2)
        assert policy.expected_loss == pytest.approx(0.5 * 0.4)
        assert policy.value == pytest.approx(0.5 * (0.2 + 0.2))


def test_the_index_knows_what_each_state_pays() -> None:
    policy = ttamer.solve(model(), 0.5)
    np.testing.assert_allclose(policy.index(1), [0.2, 2.0])  # the next loss is 0: its index is what it costs


def test_one_number_a_state_is_one_number() -> None:
    stated = model(costs=[0.1, [0.7, 0.7]])
    assert stated.costs.tolist() == [0.1, 0.7]
    assert [row.tolist() for row in stated.state_costs] == [[0.1], [0.7, 0.7]]
    assert [row.tolist() for row in model(costs=[0.1, 0.7]).state_costs] == [[0.1], [0.7]]
    for tradeoff in (0.3, 0.9):
        found, plain = (ttamer.solve(each, tradeoff) for each in (stated, model(costs=[0.1, 0.7])))
        assert (found.value, found.expected_cost) == (plain.value, plain.expected_cost)


def test_the_scale_is_that_of_the_mean() -> None:
    assert model(cost_scale=None).cost_scale == pytest.approx(0.1 + 1.1)
    assert model().costs.tolist() == [0.1, 1.1]
    assert ttamer.solve(model(), 0.5).costs.tolist() == [0.1, 1.1]


@pytest.mark.parametrize("recall", ["observed", "none"])
def test_aggregation_keeps_the_costs_of_states(recall: str) -> None:
    rng = np.random.default_rng(3)
    states, topology = 40, Topology.skip(3)
    losses = [np.sort(rng.random(states)) for _ in range(3)]
    transitions = [rng.dirichlet(np.ones(states), 1 if i < 0 else states) for i, _ in topology.edges.tolist()]
    costs = [rng.random(1 if i < 0 else states) / 4 for i, _ in topology.edges.tolist()]
    large = ttamer.CascadeModel(topology, losses, transitions, costs, cost_scale=1.0)
    exact = ttamer.solve(large, 0.6, recall)
    assert ttamer.solve(large, 0.6, recall, aggregate=states).value == pytest.approx(exact.value, abs=1e-12)
    nearly = ttamer.solve(large, 0.6, recall, aggregate=12)
    assert nearly.aggregation is not None
    assert -1e-12 <= nearly.aggregation.regret < 0.02


def test_simulated_forests_pay_by_state() -> None:
    forest = Topology.forest([-1, 0, 0])
    stated = ttamer.CascadeModel(
        forest, [[0.9, 0.9], [0.0], [0.0]], [[[0.5, 0.5]], [[1.0]], [[1.0]]], [0.1, [0.1, 0.5], [0.5, 0.1]],
        cost_scale=1.0,
    )  # fmt: skip
    policy = ttamer.solve(stated, 0.5)
    assert policy.expected_cost == pytest.approx(0.2)
    assert enumerate_policy(policy, stated).cost == pytest.approx(0.2)


def test_files(tmp_path: Path) -> None:
    model().save(tmp_path / "m")
    again = ttamer.CascadeModel.load(tmp_path / "m")
    assert [row.tolist() for row in again.state_costs] == [[0.1], [0.2, 2.0]]
    for recall in ("observed", "none"):
        policy = ttamer.solve(model(), 0.5, recall)
        assert_same_policy(ttamer.solve(again, 0.5, recall), policy)
        policy.save(tmp_path / "p")
        assert_same_policy(ttamer.Policy.load(tmp_path / "p"), policy)
    fields, _ = files.from_bytes(again._to_bytes(), "model", 2, "f")
    assert fields["version"] == 2
    fields, arrays = files.from_bytes(model(costs=[0.1, 0.2])._to_bytes(), "model", 2, "f")
    assert (fields["version"], "state_costs.0" in arrays) == (1, False)


def test_a_file_that_lacks_the_costs_of_an_edge_is_refused() -> None:
    topology = ttamer.Topology.line(2)
    model = ttamer.CascadeModel(topology, [[0.5, 0.3], [0.1]], [[[0.5, 0.5]], [[1.0]]], [1, [2, 3]])
    fields, arrays = files.from_bytes(model._to_bytes(), "model", 2, "f")
    fields = {name: value for name, value in fields.items() if name not in ("kind", "version")}
    for name in ("state_costs.0", "state_costs.1"):
        rest = {other: array for other, array in arrays.items() if other != name}
        with pytest.raises(ValueError, match=rf"f: not a valid model \('{name}'\)"):
            ttamer.CascadeModel._from_bytes(files.to_bytes("model", 2, fields, rest), "f")


@pytest.mark.parametrize(
    ("costs", "error", "message"),
    [
        (
            [0.1, [0.2, 0.3, 0.4]],
            ValueError,
            r"costs\[1\]: expected a number, or one for each of the 2 states of node 0",
        ),
        ([[0.1, 0.2], 0.3], ValueError, r"costs\[0\]: expected a number, or one for each of the 1 states of node -1"),
        ([0.1, []], ValueError, r"costs\[1\]: expected a number, or one for each state, got none"),
        ([0.1, [0.2, -1.0]], ValueError, "costs: expected finite values >= 0"),
        ([0.1, [0.2, np.nan]], ValueError, "costs: expected finite values >= 0"),
        ([0.1, [1e308, 1.7e308]], ValueError, "costs: expected finite values >= 0"),
        ([0.1, ["a", "b"]], TypeError, r"costs\[1\]: expected numbers, got"),
        ([0.1, [[0.2, 0.3]]], ValueError, r"costs\[1\]: expected 1 dimensions, got shape \(1, 2\)"),
    ],
)
def test_bad_ones(costs: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        model(costs=costs)
