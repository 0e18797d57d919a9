"""Numbers as text, and what losses are called."""

from __future__ import annotations

import numpy as np
import pytest

from ttamer._base.numbers import are_rates, largest_loss, loss_text, loss_word, number


@pytest.mark.parametrize(
    ("value", "digits", "expected"),
    [
        (5574.4, 4, "5574"),
        (5574.4, 3, "5574"),
        (55743.6, 4, "55744"),
        (999_999.9, 4, "1000000"),
        (1e6, 4, "1e+06"),
        (-55743.6, 4, "-55744"),
        (9999.7, 4, "10000"),
        (0.07349, 3, "0.0735"),
        (1.25e-6, 4, "1.25e-06"),
        (0.0, 4, "0"),
        (np.inf, 4, "inf"),
    ],
)
def test_numbers(value: float, digits: int, expected: str) -> None:
    assert number(value, digits) == expected


def test_losses() -> None:
    errors, graded = np.array([0, 1], np.float32), np.array([0, 0.5, 5574], np.float32)
    assert [are_rates(losses) for losses in (errors, graded, 5 * errors, 0 * errors)] == [True, False, False, True]
    assert [largest_loss(losses) for losses in (errors, graded, 0 * errors)] == [1.0, 5574.0, 1.0]
    assert [loss_word(True), loss_word(False)] == ["error", "loss"]
    assert [loss_text(0.07, True), loss_text(5573.96, False)] == ["0.0700", "5574"]
