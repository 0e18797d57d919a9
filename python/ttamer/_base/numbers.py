"""Numbers as text, and losses, which are errors or graded."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

MOST_EXACT = 2.0**53
"""Whole numbers up to this are exact in float64, and so are their sums."""


def number(value: float, digits: int = 4) -> str:
    """So many significant digits; below a million all digits before the point rather than an exponent."""
    short = f"{value:.{digits}g}"
    return f"{value:.0f}" if "e+" in short and abs(value) < 1e6 else short


def with_unit(value: str, unit: str) -> str:
    """A value and its unit, which stands in brackets where it is a sum of several: ``0.2 (usd + 0.01 ms)``."""
    return f"{value} ({unit})" if " + " in unit else f"{value} {unit}".rstrip()


def are_rates(losses: npt.NDArray[np.floating[Any]]) -> bool:
    """Whether losses are errors, 0 or 1 each, so that their mean is a rate; else they are graded.

    Those that were not recorded (NaN), or are of nodes that cannot answer (inf), do not count.
    """
    return bool((~np.isfinite(losses) | np.isin(losses, (0.0, 1.0))).all())


def largest_loss(losses: npt.NDArray[np.floating[Any]]) -> float:
    """What losses are divided by to lie in [0, 1]: the largest finite one, 1 if all are 0."""
    return float(losses[np.isfinite(losses)].max(initial=0)) or 1.0


def loss_word(rates: bool) -> str:
    """What the mean of losses is called."""
    return "error" if rates else "loss"


def loss_text(loss: float, rates: bool) -> str:
    """The mean of losses: a rate with four digits after the point, others with four significant ones."""
    return f"{loss:.4f}" if rates else number(loss)
