"""Paired bootstrap intervals of differences between methods, over the test rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ttamer._base import checks
from ttamer._base.types import Floats
from ttamer.compare.curves import Curve, first_crossing, mixed

MOST_DRAWS = 2**31
"""How many rows all resamples together may draw; each is a number in memory."""


@dataclass(frozen=True)
class Difference:
    """A difference of two methods on the test rows, and how sure it is.

    Attributes
    ----------
    value : float or None
        None where one of the two has no value: an error level it does not reach.
    low, high : float
        Ends of the bootstrap interval; infinite where a method does not reach the level in too many resamples.
    """

    value: float | None
    low: float
    high: float

    @property
    def is_tie(self) -> bool:
        """bool : whether the interval covers 0."""
        return self.low <= 0.0 <= self.high


# ---------------------------------------------------------------- building curves


def resample(rows: int, resamples: int = 1000, seed: int = 0) -> Floats:
    """How often each row is drawn in each bootstrap resample.

    Use one result for all methods: the comparison is then paired, and what is common to them cancels.

    Returns
    -------
    (resamples, rows) float64
        Multinomial counts; every row of the result sums to `rows`.
    """
    rows, resamples = checks.whole("rows", rows, least=1), checks.whole("resamples", resamples, least=1)
    if rows * resamples > MOST_DRAWS:
        raise ValueError(
            f"resamples: expected at most {MOST_DRAWS} draws of rows in all, got {checks.brief(rows * resamples)}"
        )
    generator = np.random.default_rng(checks.whole("seed", seed, least=0))
    counts = np.empty((resamples, rows))
    for count in counts:
        count[:] = np.bincount(generator.integers(0, rows, size=rows), minlength=rows)
    return counts


def resampled_costs(curve: Curve, levels: npt.ArrayLike, weights: Floats) -> Floats:
    """`cost_at_error` of every resample.

    Parameters
    ----------
    curve : Curve
    levels : (L,) or (B, L) float
        Error levels; with two axes, each resample has its own, such as the full model's error in it plus 0.01.
    weights : (B, M) float64
        From `resample`.

    Returns
    -------
    (B, L) float64
        Infinite where a level is not reached.
    """
    cost, error = checks.instance("curve", curve, Curve).resampled_points(weights)
    wanted = checks.as_array("levels", levels, "(L,) or (B, L) numbers").astype(np.float64)
    return first_crossing(cost, error, np.atleast_2d(wanted))


def resampled_errors(curve: Curve, budgets: npt.ArrayLike, weights: Floats) -> Floats:
    """`error_at_cost` of every resample.

    Parameters
    ----------
    curve : Curve
    budgets : (L,) float
    weights : (B, M) float64
        From `resample`.

    Returns
    -------
    (B, L) float64
    """
    checks.instance("curve", curve, Curve)
    return mixed(curve, budgets, curve.resampled_points(weights)[1])


def difference(
    ours: float | None, theirs: float | None, our_resamples: Floats, their_resamples: Floats, coverage: float = 0.9
) -> Difference:
    """A paired difference, ours minus theirs, with its percentile bootstrap interval.

    Parameters
    ----------
    ours, theirs : float or None
        On the test rows; None if not reached.
    our_resamples, their_resamples : (B,) float64
        The same of each resample, infinite if not reached. Where neither reaches, the two count as equal.
    coverage : float
        Of the interval, in (0, 1).
    """
    our_resamples, their_resamples = (
        checks.as_array(name, values, "(B,) float64").astype(np.float64)
        for name, values in (("our_resamples", our_resamples), ("their_resamples", their_resamples))
    )
    checks.check_shape("their_resamples", their_resamples, our_resamples.shape, f"{our_resamples.shape} float64")
    if our_resamples.ndim != 1 or len(our_resamples) == 0:
        raise ValueError(f"our_resamples: expected (B,) float64, got {checks.describe(our_resamples)}")
    if not 0 < checks.real("coverage", coverage) < 1:
        raise ValueError(f"coverage: expected a number in (0, 1), got {coverage}")
    both = np.isinf(our_resamples) & np.isinf(their_resamples)
    gaps = np.subtract(our_resamples, their_resamples, out=np.zeros_like(our_resamples), where=~both)
    tail = (1 - coverage) / 2
    # An order statistic, not an interpolation: the mean of a number and infinity would say nothing.
    low, high = np.quantile(gaps, [tail, 1 - tail], method="inverted_cdf")
    value = None if ours is None or theirs is None else checks.real("ours", ours) - checks.real("theirs", theirs)
    return Difference(value, float(low), float(high))
