"""Zeros, ones and equal numbers wherever they can stand: what solves can be saved, and comes back the same."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import assert_same_policy
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import cascades

import ttamer
from ttamer._base import files


@pytest.mark.parametrize("kind", ["line", "skip", "dag", "forest"])
@settings(max_examples=60)
@given(st.data())
def test_whatever_solves_comes_back_from_its_file(kind: str, data: st.DataObject) -> None:
    cascade = data.draw(cascades(kind, 4, 4, probes=True))
    losses = [
        row if np.isinf(row[0]) else data.draw(st.sampled_from([row, row * 0, row * 1e-12, row * 1e6]))
        for row in cascade.losses
    ]
    costs = cascade.costs * data.draw(st.sampled_from([1.0, 0.0, 1e-9, 1e9]))
    # Rows that sum to 1 only nearly, as people write them down.
    transitions = [rows * data.draw(st.sampled_from([1.0, 1 - 1e-9, 1 + 1e-9])) for rows in cascade.transitions]
    model = ttamer.CascadeModel(cascade.topology, losses, transitions, costs, observed=data.draw(st.booleans()))
    again = ttamer.CascadeModel._from_bytes(model._to_bytes(), "f")
    recalls = ["observed"] if kind == "forest" else ["observed", "none"]
    tradeoff = data.draw(st.sampled_from([1.0, 0.5, 1e-6, 1 - 1e-12]))
    for recall in recalls:
        policy = ttamer.solve(model, tradeoff, recall)
        assert policy.value >= 0
        assert_same_policy(ttamer.Policy._from_bytes(policy._to_bytes(), "f"), policy)
        assert_same_policy(ttamer.solve(again, tradeoff, recall), policy)


def test_forests_whose_optimum_is_0() -> None:
    """Chains of states that end in a node of loss 0: rounding made the value a little less than 0."""
    rng = np.random.default_rng(0)
    for _ in range(200):
        nodes, states = int(rng.integers(2, 6)), int(rng.integers(2, 6))
        losses = [rng.random(states) for _ in range(nodes - 1)] + [np.zeros(states)]
        transitions = [rng.dirichlet(np.ones(states), 1 if j == 0 else states) for j in range(nodes)]
        topology = ttamer.Topology.forest(list(range(-1, nodes - 1)))
        policy = ttamer.solve(ttamer.CascadeModel(topology, losses, transitions, np.ones(nodes)), 1.0)
        assert policy.value == pytest.approx(0, abs=1e-12)
        assert_same_policy(ttamer.Policy._from_bytes(policy._to_bytes(), "f"), policy)


def test_a_model_of_estimates_has_no_observed_losses() -> None:
    """Its policy would be refused, and so is the model."""
    rng = np.random.default_rng(0)
    probs = rng.dirichlet(np.ones(3), (80, 2))
    model = ttamer.fit(ttamer.Traces.from_probs(probs, rng.integers(0, 3, 80), [1, 1]), 4, "posterior")
    fields, arrays = files.from_bytes(model._to_bytes(), "model", 2, "f")
    changed = {name: value for name, value in fields.items() if name not in ("kind", "version")} | {"observed": True}
    with pytest.raises(ValueError, match=r"f: not a valid model \(observed: expected false with an estimator\)"):
        ttamer.CascadeModel._from_bytes(files.to_bytes("model", 1, changed, arrays), "f")
