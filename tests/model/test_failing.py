"""A line some of whose nodes are silent, against a search over all that can be seen."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest
from evidence_cases import independent, posterior
from helpers import random_model, random_traces
from hypothesis import given
from hypothesis import strategies as st

import ttamer
from ttamer import Topology
from ttamer.model.failing import failing

NODES, STATES = 4, 3


def optimum(model: ttamer.CascadeModel, silent: set[int], tradeoff: float, recall: bool) -> float:
    """Of all policies that see the states of nodes which are not silent, by dynamic programming over histories."""
    nodes = model.topology.nodes
    costs = [np.resize(each, STATES) if len(each) > 1 else np.full(STATES, each[0]) for each in model.state_costs]

    @lru_cache(None)
    def value(seen: tuple[int | None, ...]) -> float:
        """The least expected value of what follows, after these states, None of a silent node."""
        node = len(seen)
        spoken = [(j, s) for j, s in enumerate(seen) if s is not None]
        losses = [float(model.losses[j][s]) for j, s in spoken]
        stop = tradeoff * (min(losses) if recall else losses[-1]) if spoken else np.inf
        if node == nodes:
            return stop
        share = belief(seen)  # over the states of the node before
        cost = (1 - tradeoff) * float(share @ costs[node][: len(share)]) / model.cost_scale
        if node in silent:
            return min(stop, cost + value((*seen, None)))
        chances = share @ model.transitions[node]
        return min(stop, cost + sum(p * value((*seen, s)) for s, p in enumerate(chances)))

    def belief(seen: tuple[int | None, ...]) -> np.ndarray:
        share = np.ones(1)
        for node, state in enumerate(seen):
            share = share @ model.transitions[node] if state is None else np.eye(STATES)[state]
        return share

    return value(())


@given(
    st.integers(0, 2**16),
    st.sets(st.integers(0, NODES - 1), max_size=NODES - 1),
    st.sampled_from([0.5, 0.8, 0.97]),
    st.booleans(),
    st.booleans(),
)
def test_the_policy_is_optimal(seed: int, silent: set[int], tradeoff: float, recall: bool, by_state: bool) -> None:
    model = random_model(Topology.line(NODES), STATES, seed, observed=False)
    if by_state:
        rng = np.random.default_rng(seed)
        costs = [rng.uniform(0, 0.2, 1 if j == 0 else STATES) for j in range(NODES)]
        tables = (model.topology, model.losses, model.transitions, costs)
        model = ttamer.CascadeModel(*tables, observed=False, cost_scale=0.7)
    policy = ttamer.solve(failing(model, silent), tradeoff, "observed" if recall else "none")
    assert policy.value == pytest.approx(optimum(model, silent, tradeoff, recall), rel=0, abs=1e-12)


def test_without_silent_nodes_it_is_the_model() -> None:
    model = random_model(Topology.line(3), 4, 0)
    same = failing(model, ())
    for name in ("losses", "transitions", "bin_edges"):
        for found, expected in zip(getattr(same, name), getattr(model, name), strict=True):
            np.testing.assert_array_equal(found, expected)
    assert (same.signal_nodes, same.cost_scale) == (model.signal_nodes, model.cost_scale)


def test_nodes_that_carry_the_state_of_a_silent_one_expect_their_loss() -> None:
    """The second node's signal says nothing: it answers by what the first one showed, and that one is silent now."""
    traces = random_traces(Topology.line(3), 400, 0)
    signals = traces.signals.copy()
    signals[:, 1] = 0.5
    model = ttamer.fit(traces._with(signals=signals), 4)
    assert model.signal_nodes == (0, 0, 2)
    one = failing(model, [0])
    assert one.signal_nodes == (0, 0, 2)
    assert one.losses[1] == pytest.approx(model.transitions[0][0] @ model.losses[1])
    two = failing(model, [1])
    np.testing.assert_array_equal(two.transitions[1], np.eye(4))
    assert two.signal_nodes == (0, 0, 2)


def test_units_and_categories_stay() -> None:
    rng = np.random.default_rng(0)
    signals = np.stack([rng.integers(0, 3, 300), rng.random(300)], axis=1).astype(np.float32)
    costs = {"usd": [0.1, 0.2], "ms": rng.random((300, 2))}
    traces = ttamer.Traces(
        signals, rng.integers(0, 2, (300, 2)).astype(np.float32), costs, categories={0: ["a", "b", "c"]}
    )
    model = ttamer.fit(traces, 4)
    assert failing(model, [1]).categories == model.categories
    assert failing(model, [0]).categories == {}
    assert set(failing(model, [1]).unit_costs) == {"usd", "ms"}


@pytest.mark.parametrize(
    ("model", "nodes", "error", "message"),
    [
        (
            random_model(Topology.skip(3), 2, 0),
            [1],
            ValueError,
            "model: expected a line of plain signals, or independent models, got a skip",
        ),
        (
            posterior(independent(60)),
            [1],
            ValueError,
            "model: expected a line of plain signals, or independent models, got estimate='posterior'",
        ),
        (
            random_model(Topology.line(2), 2, 0),
            [0, 1],
            ValueError,
            "nodes: expected one that can answer to be left, got all of them",
        ),
        (random_model(Topology.line(2), 2, 0), [2], IndexError, "nodes: expected 0 to 1, got 2"),
        ("model", [0], TypeError, "model: expected a CascadeModel, got str"),
    ],
)
def test_refusals(model: ttamer.CascadeModel, nodes: list[int], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=f"^{message}$"):
        failing(model, nodes)
