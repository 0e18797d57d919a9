"""Bins and losses of states are those of the reference, which computes each in another way."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ttamer import reference
from ttamer.model import losses
from ttamer.traces.signals import SIGNALS, signals_from_probs

FLOATS32 = st.floats(-(2.0**100), 2.0**100, width=32) | st.sampled_from([0.0, 0.25, 0.5, 1.0])


@given(arrays(np.float32, st.integers(1, 60), elements=FLOATS32), st.integers(1, 80))
def test_edges(signals: np.ndarray, bins: int) -> None:
    np.testing.assert_array_equal(losses.quantile_edges(signals, bins), reference.quantile_edges(signals, bins))


STATES = st.lists(st.tuples(st.integers(0, 50), st.floats(0, 1), st.floats(-3, 3)), min_size=1, max_size=12).filter(
    lambda states: any(count for count, _, _ in states)
)


@given(STATES, st.sampled_from([0.0, 0.5, 4.0]))
def test_means(states: list[tuple[int, float, float]], strength: float) -> None:
    counts, rates, _ = (np.array(column, float) for column in zip(*states, strict=True))
    found = losses.state_losses(counts, counts * rates, strength)
    np.testing.assert_allclose(found, reference.state_losses(counts, counts * rates, strength), rtol=1e-14)


@given(STATES, st.booleans())
def test_curves(states: list[tuple[int, float, float]], confidences: bool) -> None:
    counts, rates, means = (np.array(column, float) for column in zip(*states, strict=True))
    means = 1 / (1 + np.exp(-means)) if confidences else means
    wrong = np.round(counts * rates)
    curve = losses.platt_losses(counts, wrong, counts * means)
    np.testing.assert_allclose(curve, reference.platt_losses(counts, wrong, counts * means), rtol=1e-6, atol=1e-9)
    assert losses.curve_fits(counts, wrong, curve) == reference.curve_fits(counts, wrong, curve)


@pytest.mark.parametrize("kind", SIGNALS)
@given(probs=arrays(np.float64, (4, 5), elements=st.floats(0.0009765625, 1)))
def test_signals(kind: str, probs: np.ndarray) -> None:
    probs = probs / probs.sum(axis=1, keepdims=True)
    found = signals_from_probs(probs, kind)
    np.testing.assert_allclose(found, reference.signals.signals_from_probs(probs, kind), rtol=3e-7, atol=1e-7)
