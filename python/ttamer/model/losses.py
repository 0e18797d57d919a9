"""States of a node, as bins of its signals, and the expected loss of each state."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ttamer._base.types import Floats


def quantile_edges(signals: npt.NDArray[np.float32], bins: int) -> npt.NDArray[np.float32]:
    """Edges of at most `bins` bins: one for each value if there are no more, else quantiles, of which equal ones merge.

    Edge k belongs below the sorted signal at position ``round(k * N / bins)`` and above the next smaller recorded
    value, strictly between the two where float32 has a number there. A difference in a signal's last bit, as another
    batch size may cause, then does not change its state.

    Parameters
    ----------
    signals : (N,) float32
        Signals of one node, at least one of them recorded; NaN where it was not.
    bins : int
        Number of bins asked for, at least 1.

    Returns
    -------
    (K - 1,) float32
        Strictly increasing edges, K <= bins.
    """
    values = np.sort(signals[~np.isnan(signals)])
    above = np.unique(values)[1:]
    if len(above) >= bins:
        positions = (2 * np.arange(1, bins) * len(values) + bins) // (2 * bins)
        above = np.unique(values[positions[positions < len(values)]])
        above = above[above > values[0]]
    below = values[np.searchsorted(values, above, side="left") - 1]
    middle: Floats = (below.astype(np.float64) + above.astype(np.float64)) / 2
    edges: npt.NDArray[np.float32] = middle.astype(np.float32)
    edges = np.where(edges >= above, np.nextafter(above, np.float32(-np.inf)), edges)
    edges = np.where(edges <= below, above, edges).astype(np.float32)
    return edges


def state_losses(counts: Floats, sums: Floats, strength: float) -> Floats:
    """Expected loss of each state: its mean loss, shrunk to the node's mean.

    Parameters
    ----------
    counts, sums : (K,) float64
        Requests in each state and the sum of their losses.
    strength : float
        The node's mean weighs as much as this many requests.
    """
    mean = sums.sum() / counts.sum()
    weight = counts + strength
    losses: Floats = np.where(weight > 0, (sums + strength * mean) / np.where(weight > 0, weight, 1), mean)
    return losses


def platt_losses(counts: Floats, sums: Floats, signals: Floats, largest: float = 1.0) -> Floats:
    """Expected loss of each state from a logistic curve of its mean signal (Platt 1999), fitted to sums per state.

    The curve goes from 0 to the largest loss: it maximises the likelihood of losses divided by that, which may be
    fractions. It is in the log-odds of the mean signal where all of these lie in [0, 1], else in the mean signal
    itself.
    A state without requests takes the loss of its neighbours, linearly between them.

    Parameters
    ----------
    counts, sums, signals : (K,) float64
        Requests in each state, the sum of their losses and of their signals.
    largest : float
        The largest loss, above 0.
    """
    nonempty = counts > 0
    n, wrong, mean = counts[nonempty], sums[nonempty] / largest, signals[nonempty] / counts[nonempty]
    if mean.min() >= 0 and mean.max() <= 1:
        inside = np.clip(mean, 1e-7, 1 - 1e-7)
        mean = np.log(inside / (1 - inside))
    spread = mean.std()
    design = np.stack([np.ones_like(mean), (mean - mean.mean()) / (spread if spread > 0 else 1.0)], axis=1)
    ridge = 1e-3  # keeps the curve finite where errors separate perfectly
    weights = np.zeros(2)
    for _ in range(100):
        curve = 1 / (1 + np.exp(-np.clip(design @ weights, -30, 30)))
        gradient = design.T @ (wrong - n * curve) - ridge * weights
        curvature = (design.T * (n * curve * (1 - curve))) @ design + ridge * np.eye(2)
        step = np.linalg.solve(curvature, gradient)
        # Newton's method overshoots from afar; a bounded step still climbs, since the likelihood is concave.
        weights = weights + step * min(1.0, 2.0 / float(np.abs(step).max() + 1e-300))
        if np.abs(step).max() < 1e-12:
            break
    curve = 1 / (1 + np.exp(-np.clip(design @ weights, -30, 30)))
    losses: Floats = np.interp(np.arange(len(counts)), np.flatnonzero(nonempty), largest * curve)
    return losses


def curve_fits(counts: Floats, sums: Floats, losses: Floats) -> bool:
    """Whether a curve of two parameters explains the mean losses: its deviance is within 4 standard deviations.

    The deviance of K binomial counts from a true curve is about chi-squared with K - 2 degrees of freedom, whose mean
    is K - 2 and whose variance is twice that.
    """
    nonempty = counts > 0
    n, wrong, p = counts[nonempty], sums[nonempty], losses[nonempty]
    right = n - wrong
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(wrong > 0, wrong * np.log(wrong / (n * p)), 0) + np.where(
            right > 0, right * np.log(right / (n * (1 - p))), 0
        )
    freedom = max(int(nonempty.sum()) - 2, 0)
    return bool(2 * terms.sum() <= freedom + 4 * np.sqrt(2 * freedom))
