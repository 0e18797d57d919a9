"""Fronts of losses of any size: the default trade-offs reach both ends."""

from __future__ import annotations

import numpy as np
import pytest

import ttamer
from ttamer.fitting.budgets import default_tradeoffs, loss_scale


def squared_errors(scale: float) -> ttamer.Traces:
    """Three models whose errors halve, and a signal that tells how hard a request is."""
    rng = np.random.default_rng(0)
    hard = rng.gamma(2.0, 1.0, (3000, 1))
    losses = scale * (hard * rng.normal(0, [3.0, 1.5, 0.7], (3000, 3))) ** 2
    signals = -hard + rng.normal(0, 0.3, (3000, 3))
    return ttamer.Traces(signals.astype(np.float32), losses.astype(np.float32), [1, 2, 4], unit="ms")


def test_of_errors_nothing_changes() -> None:
    assert loss_scale(np.array([[0, 1], [1, 0], [0, 0]], np.float32)) == 1.0
    assert loss_scale(np.zeros((2, 2), np.float32)) == 1.0
    np.testing.assert_array_equal(default_tradeoffs(), default_tradeoffs(1.0))


@pytest.mark.parametrize("scale", [3.0, 300.0, 1e7, 1e18])
def test_the_front_does_not_depend_on_the_unit_of_losses(scale: float) -> None:
    unit, scaled = (ttamer.frontier(squared_errors(each)) for each in (1.0, scale))
    assert len(unit) > 10
    np.testing.assert_allclose([point.cost for point in scaled], [point.cost for point in unit], rtol=0.02)
    np.testing.assert_allclose([point.error / scale for point in scaled], [point.error for point in unit], rtol=0.02)
    assert scaled[0].cost < 1.2
    assert scaled[-1].cost > 6


def test_a_front_that_is_cut_off_says_so() -> None:
    """Where costs are weighed against one large loss that nothing can mend, nobody pays for the small ones."""
    losses = np.array([[100, 100], *[[1e-6, 0]] * 999], np.float32)
    traces = ttamer.Traces(np.zeros((1000, 2), np.float32), losses, [1, 1])
    line = ttamer.Topology.line(2)
    model = ttamer.CascadeModel(line, [[1e-6], [0.0]], [[[1.0]], [[1.0]]], [1, 1], observed=False)
    message = (
        r"^frontier: the default trade-offs reach losses down to .* and costs down to 1, .* and 1; pass tradeoffs$"
    )
    with pytest.warns(UserWarning, match=message):
        ttamer.frontier(traces, model=model)


def test_costs_too_small_for_any_other_trade_off() -> None:
    signals, losses = np.zeros((4, 1), np.float32), np.full((4, 1), 0.5, np.float32)
    assert [point.error for point in ttamer.frontier(ttamer.Traces(signals, losses, [1e-300]))] == [0.5]
