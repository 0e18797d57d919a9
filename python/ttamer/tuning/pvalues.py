"""P-values of "the mean is above the level", for independent rows: small ones say that it is not.

With n rows of a quantity in [0, 1] whose mean is r, a p-value p for the hypothesis r > level satisfies
P(p <= x) <= x for all x in [0, 1], at every n, whatever the quantity's distribution: no limit theorem is used.
"""

from __future__ import annotations

from math import ceil, e, exp, inf, log, log1p
from typing import Any

__all__ = ["binomial", "exponent", "hoeffding_bentkus", "require_scipy", "rows_needed"]


def binomial(count: int, rows: int, level: float) -> float:
    """Exact p-value of a 0/1 quantity: P(Binomial(rows, level) <= count).

    Parameters
    ----------
    count : int
        Rows where it is 1, 0 to `rows`.
    rows : int
        At least 1.
    level : float
        In [0, 1].

    Returns
    -------
    float
        Non-decreasing in `count`, non-increasing in `level`.
    """
    if count >= rows:
        return 1.0
    # The binomial tail is a regularised incomplete beta function, which does not lose digits as a sum of terms does.
    return float(_special().betainc(rows - count, count + 1, 1.0 - level))


def hoeffding_bentkus(mean: float, rows: int, level: float) -> float:
    """P-value of a quantity in [0, 1]: the smaller one of Hoeffding's and of Bentkus' bound.

    ``min(exp(-rows * h(min(mean, level), level)), e * P(Binomial(rows, level) <= ceil(rows * mean)))``, where h is
    `exponent` (Bates et al., *Distribution-Free, Risk-Controlling Prediction Sets*, arXiv 2101.02703).

    Parameters
    ----------
    mean : float
        Of the rows, in [0, 1].
    rows : int
        At least 1.
    level : float
        In (0, 1).

    Returns
    -------
    float
        Non-decreasing in `mean`, non-increasing in `level`.
    """
    hoeffding = exp(-rows * max(exponent(mean, level), 0.0))
    # A sum of rows that should be whole may miss it by its rounding, upwards: the p-value is then too large, not small.
    bentkus = e * binomial(min(ceil(rows * mean), rows), rows, level)
    return min(hoeffding, bentkus, 1.0)


def exponent(mean: float, level: float) -> float:
    """How fast a p-value falls with the number of rows, negative where the mean is above the level.

    The relative entropy ``mean * ln(mean / level) + (1 - mean) * ln((1 - mean) / (1 - level))``, with the sign of
    ``level - mean``: a mean of n rows this far below the level has a probability of at most ``exp(-n * exponent)``.

    Parameters
    ----------
    mean : float
        In [0, 1].
    level : float
        Any; infinite at 1 and above, where no mean is larger, and minus infinity at 0 and below.
    """
    if level >= 1 or level <= 0:
        return inf if level >= 1 else -inf
    entropy = mean * log(mean / level) if mean > 0 else 0.0
    entropy += (1 - mean) * (log1p(-mean) - log1p(-level)) if mean < 1 else 0.0
    return max(entropy, 0.0) if mean <= level else -entropy


def rows_needed(level: float, confidence: float) -> int:
    """The fewest rows that can say with this confidence that a mean is at most a level, when all of them are 0.

    The least n with ``(1 - level)**n <= 1 - confidence``.

    Parameters
    ----------
    level, confidence : float
        In (0, 1).
    """
    needed = log1p(-confidence) / log1p(-level) - 1e-9
    return max(1, ceil(min(needed, 2.0**53)))  # a tiny level asks for more rows than a float can say


def require_scipy() -> None:
    """Raise ImportError, naming the extra, where SciPy is missing."""
    _special()


def _special() -> Any:
    try:
        import scipy.special
    except ImportError:
        raise ImportError('tune needs SciPy: pip install "ttamer[fit]"') from None
    return scipy.special
