"""What recall is worth: the family of cascades on which having none costs any factor, and the price on others."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from strategies import Cascade, cascades, tradeoffs

import ttamer


def two_nodes(a: float) -> ttamer.CascadeModel:
    """Node 0 has loss 1/a^2; node 1 has loss 0 with probability 1 - 1/a, else 1/a; both are free."""
    return ttamer.CascadeModel(
        ttamer.Topology.line(2), [[a**-2], [0.0, 1 / a]], [[[1.0]], [[1 - 1 / a, 1 / a]]], [0.0, 0.0]
    )


factors = st.floats(2.0, 1e4)


@given(factors, tradeoffs)
@example(1e4, 1.0)
@example(1e4, 0.01)
def test_no_constant_bounds_the_price_of_no_recall(a: float, tradeoff: float) -> None:
    model = two_nodes(a)
    with_recall = ttamer.solve(model, tradeoff, "observed").value / tradeoff
    without = ttamer.solve(model, tradeoff, "none").value / tradeoff
    assert with_recall == pytest.approx(a**-3, rel=1e-9)
    assert without == pytest.approx(a**-2, rel=1e-9)
    assert ttamer.price_of_no_recall(model, tradeoff) == pytest.approx(a, rel=1e-9)


@given(factors)
@example(1e4)
def test_recall_returns_to_the_first_node_where_the_second_is_worse(a: float) -> None:
    """The value is that of the decisions too: whatever node 1 shows, the smaller loss answers."""
    batch = ttamer.solve(two_nodes(a), 0.5, "observed").start(2)
    assert batch.decide(0, np.zeros(2, np.float32)).tolist() == [1, 1]
    assert batch.decide(1, np.array([0, 1], np.float32)).tolist() == [ttamer.STOP, ttamer.STOP]
    assert batch.answer_node.tolist() == [1, 0]
    assert batch.answer_loss.tolist() == [0.0, a**-2]


@pytest.mark.parametrize("kind", ["line", "skip", "dag"])
@given(data=st.data(), tradeoff=tradeoffs)
def test_the_price_is_the_ratio_of_the_values_and_at_least_1(kind: str, data: st.DataObject, tradeoff: float) -> None:
    cascade: Cascade = data.draw(cascades(kind, 4, 3, probes=True))
    model = cascade.model()
    price = ttamer.price_of_no_recall(model, tradeoff)
    without, with_recall = (ttamer.solve(model, tradeoff, recall).value for recall in ("none", "observed"))
    assert without >= with_recall - 1e-12
    if without <= with_recall:
        assert price == 1.0
    else:
        assert price == (without / with_recall if with_recall > 0 else math.inf)


def test_rounding_makes_no_price_less_than_1() -> None:
    """Both values are 0, and that with recall is a sum of products that leaves 1e-17 of it."""
    arrive = [[[1.0]], [[1 / 3] * 3], [[1.0]] * 3]
    model = ttamer.CascadeModel(ttamer.Topology.line(3), [[0.25], [0.0, 0.5, 0.5], [0.0]], arrive, [0.0] * 3)
    assert ttamer.solve(model, 0.5, "none").value == 0.0
    assert ttamer.price_of_no_recall(model, 0.5) == 1.0


def test_the_price_where_a_value_is_0() -> None:
    perfect = ttamer.CascadeModel(ttamer.Topology.line(1), [[0.0]], [[[1.0]]], [0.0])
    assert ttamer.price_of_no_recall(perfect) == 1.0
    # A walk that surely finds a loss of 0 may stop there: only where 1/a^3 is too small for a double is recall alone 0.
    assert ttamer.price_of_no_recall(two_nodes(1e110)) == math.inf
