"""Large calls take other loops than small ones; what they decide must not depend on it."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
from helpers import Floats32, f32, random_model
from hypothesis import given, settings
from hypothesis import strategies as st

import ttamer
from ttamer import _core, reference

SIZES = [1, 2, 31, 32, 33, 127, 128, 129, 255, 300]
SHAPES = {
    "line": ttamer.Topology.line(4),
    "skip": ttamer.Topology.skip(4),
    "dag": ttamer.Topology.dag(4, [(-1, 0), (0, 1), (0, 2), (1, 3), (2, 3)]),
}


@functools.cache
def solved(shape: str, recall: str, observed: bool) -> ttamer.Policy:
    model = random_model(SHAPES[shape], 6, seed=31, levels=4, observed=observed)
    return ttamer.solve(model, 0.95, recall)


def some_signals(count: int, seed: int, nan: bool) -> Floats32:
    rng = np.random.default_rng(seed)
    signals = rng.integers(0, 12, count).astype(np.float32) / 2
    if nan:
        signals[rng.random(count) < 0.2] = np.nan
    return signals


def walk(policy: ttamer.Policy, path: list[int], count: int, nan: bool, piece: int | None) -> list[Any]:
    """Everything that is seen when `count` rows consult the nodes of a path, in calls of at most `piece` rows."""
    batch = policy.start(count + 3, nan="worst" if nan else "error")
    going = np.arange(count)
    seen: list[Any] = []
    for step, node in enumerate(path):
        signals = some_signals(count, seed=step, nan=nan)
        ahead = np.full(count, ttamer.STOP, np.int32)
        if piece is None:
            whole = len(going) == count
            ahead[going] = batch.decide(node, signals[going], *([] if whole else [going]))
        else:
            for start in range(0, len(going), piece):
                rows = going[start : start + piece][::-1].copy()
                ahead[rows] = batch.decide(np.full(len(rows), node, np.int32), signals[rows], rows)
        seen += [ahead.tolist(), batch.answer_node.tolist(), batch.answer_loss.tolist()]
        going = going[ahead[going] != ttamer.STOP]
    return seen


@pytest.mark.parametrize("nan", [False, True])
@pytest.mark.parametrize("observed", [False, True])
@pytest.mark.parametrize("recall", ["observed", "none"])
@pytest.mark.parametrize("shape", SHAPES)
def test_every_size_of_call(shape: str, recall: str, observed: bool, nan: bool) -> None:
    policy = solved(shape, recall, observed)
    path = [0, 1, 3] if shape == "dag" else [0, 1, 2, 3]
    for count in SIZES:
        assert walk(policy, path, count, nan, piece=None) == walk(policy, path, count, nan, piece=7)


@pytest.mark.parametrize("observed", [False, True])
def test_answers_of_whole_batches(observed: bool) -> None:
    """A last node that costs nothing and is always best keeps every request going; the others tie all the time."""
    rng = np.random.default_rng(32)
    losses = [rng.integers(1, 4, 5) / 4 for _ in range(4)] + [np.array([0.125])]
    transitions = [np.full((1, len(row)), 1 / len(row)) for row in losses]
    model = ttamer.CascadeModel(ttamer.Topology.line(5), losses, transitions, np.zeros(5), observed=observed)
    policy = ttamer.solve(model, 0.5, "observed")
    states = rng.integers(0, 5, (200, 4))
    whole = policy.start(200)
    single = policy.start(200)
    for node in range(4):
        signals = states[:, node].astype(np.float32)
        assert whole.decide(node, signals).tolist() == [node + 1] * 200
        for row in range(200):
            single.decide(node, signals[[row]], np.array([row]))
        assert whole.answer_node.tolist() == single.answer_node.tolist()
        assert whole.answer_loss.tolist() == single.answer_loss.tolist()
    seen = np.stack([losses[j][states[:, j]] for j in range(4)], axis=1)
    tied = np.where(seen == seen.min(axis=1, keepdims=True), states if observed else 0, 99)
    assert whole.answer_node.tolist() == tied.argmin(axis=1).tolist()
    assert len(np.unique(whole.answer_node)) == 4


def test_an_error_in_a_large_call_changes_nothing() -> None:
    policy = solved("line", "observed", True)
    batch, twin = policy.start(200), policy.start(200)
    signals = some_signals(200, seed=5, nan=False)
    signals[170] = np.nan
    with pytest.raises(ValueError, match=r"^signals: NaN at position 170 \(row 170\)"):
        batch.decide(0, signals)
    assert (batch.answer_node == -1).all()
    twin.decide(0, signals[:1])
    batch.decide(0, signals[:1])
    with pytest.raises(ValueError, match=r"^node: 0 is not open to row 0|^rows: row 0 has stopped"):
        batch.decide(0, some_signals(200, seed=6, nan=False))
    assert batch.answer_node.tolist() == twin.answer_node.tolist()


def around(edges: Floats32) -> Floats32:
    """The edges and the floats next to them."""
    with np.errstate(all="ignore"):  # beyond the largest float lies infinity
        return np.concatenate([edges, np.nextafter(edges, f32(np.inf)), np.nextafter(edges, f32(-np.inf))])


def crowded(kind: str, count: int) -> Floats32:
    """Strictly increasing edges, as unevenly spread over the floats as can be."""
    one = np.float32(1)
    made = {
        "neighbours": lambda: one.view(np.int32) + np.arange(count, dtype=np.int32),
        "near-one": lambda: (1 - np.logspace(-7, -0.1, count)).astype(np.float32).view(np.int32),
        "orders": lambda: np.logspace(-44, 38, count).astype(np.float32).view(np.int32),
        "denormal": lambda: np.arange(1, count + 1, dtype=np.int32),
        "even": lambda: np.linspace(-1, 1, count).astype(np.float32).view(np.int32),
        "clusters": lambda: np.concatenate(
            [np.float32(x).view(np.int32) + np.arange(count // 4 + 1, dtype=np.int32) for x in (1e-30, 1, 2, 1e30)]
        ),
    }[kind]()
    values = np.unique(made.view(np.float32))
    both = np.unique(np.concatenate([values, -values])) if kind in ("orders", "denormal") else values
    return both[np.isfinite(both)]


@pytest.mark.parametrize("count", [1, 2, 3, 64, 1000, 20_000])
@pytest.mark.parametrize("kind", ["neighbours", "near-one", "orders", "denormal", "even", "clusters"])
def test_states_of_crowded_edges(kind: str, count: int) -> None:
    edges = crowded(kind, count)
    rng = np.random.default_rng(33)
    anything = rng.integers(0, 2**32, 500, dtype=np.uint32).view(np.float32)
    signals = np.concatenate(
        [
            around(edges),
            f32(-np.inf, np.inf, -0.0, 0.0),
            anything[~np.isnan(anything)],
            rng.random(200).astype(np.float32),
        ]
    )
    np.testing.assert_array_equal(_core.states(edges, signals[:, None], 0), reference.states(signals, edges))


def test_the_most_edges() -> None:
    edges = np.arange(65_534, dtype=np.float32)
    signals = f32(-1, 0, 0.5, 30_000, 65_533, 1e9)
    assert _core.states(edges, signals[:, None], 0).tolist() == [0, 1, 1, 30_001, 65_534, 65_534]
    with pytest.raises(ValueError, match=r"^bin_edges: expected at most 65534, got 65535"):
        _core.states(np.arange(65_535, dtype=np.float32), signals[:, None], 0)


@settings(max_examples=60)
@given(st.data(), st.integers(1, 200))
def test_large_calls_find_the_states_of_any_edges(data: st.DataObject, rows: int) -> None:
    finite = st.floats(width=32, allow_nan=False, allow_infinity=False)
    edges = np.unique(np.array(data.draw(st.lists(finite, min_size=1, max_size=12)), np.float32) + f32(0))
    states = len(edges) + 1
    rng = np.random.default_rng(rows)
    losses = rng.permutation(states) / states
    model = ttamer.CascadeModel(
        ttamer.Topology.line(1), [losses], [np.full((1, states), 1 / states)], [0], bin_edges=[edges]
    )
    signals = rng.choice(np.concatenate([around(edges), f32(np.nan, 0)]), rows).astype(np.float32)
    batch = ttamer.solve(model, 0.5).start(rows, nan="worst")
    batch.decide(0, signals)
    found = np.where(np.isnan(signals), reference.worst_state(losses), reference.states(signals, edges))
    assert batch.answer_loss.tolist() == losses[found].tolist()
