"""Ridge regressions of losses on columns, each row estimated by slopes that did not see its fold.

Two steps, both in closed form: least squares of every loss at once, with the strength of the penalty that does best out
of fold; then one Newton step of a logistic regression from these estimates, which ranks the sure answers better.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ttamer._base.types import Floats
from ttamer.fitting.crossfit import log_odds

STRENGTHS = np.array([3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0, 1e5])
"""Of penalties on the weights of standardised columns, in rows."""
SUREST = 0.02
"""Estimates closer to 0 or 1 count as this far away when the Newton step weighs rows."""


class Regression(NamedTuple):
    """Log-odds of shares of a loss.

    Attributes
    ----------
    coefficients : (t, 1 + d) float64
        Of each target, an intercept and weights of the columns, fitted on all rows.
    out_of_fold : (N, t) float64
        Log-odds of each row, by slopes fitted without its fold. The intercept and the strength of the penalty are those
        of all rows.
    """

    coefficients: Floats
    out_of_fold: Floats


def cross_fitted(columns: Floats, shares: Floats, folds: npt.NDArray[np.int64]) -> Regression:
    """Regressions of shares of a loss on columns.

    Parameters
    ----------
    columns : (N, d) float64
    shares : (N, t) float64
        Of each target, in [0, 1].
    folds : (N,) int64
        Numbered from 0, at least two.
    """
    mean, spread = columns.mean(axis=0), columns.std(axis=0)
    spread[spread < 1e-9] = 1.0
    standard = (columns - mean) / spread
    order = np.argsort(folds, kind="stable")
    cuts = np.flatnonzero(np.diff(folds[order], prepend=-1, append=folds.max() + 1))
    parts = [slice(start, stop) for start, stop in pairwise(cuts.tolist())]
    ordered, targets = np.ascontiguousarray(standard[order]), shares[order]
    strengths, rates = _least_squares(ordered, targets, parts)
    rows, width = ordered.shape
    design = np.concatenate([np.ones((rows, 1)), ordered], axis=1)
    coefficients = np.empty((shares.shape[1], 1 + width))
    out_of_fold = np.empty_like(shares)
    for target, strength in enumerate(strengths):
        rate = rates[:, target]
        weight = rate * (1 - rate)
        response = log_odds(rate) + (targets[:, target] - rate) / weight
        weighed = design * weight[:, None]
        grams = [weighed[part].T @ design[part] for part in parts]
        moments = [weighed[part].T @ response[part] for part in parts]
        penalty = np.diag(np.append(1e-9, np.full(width, strength * weight.mean() + 1e-6)))
        gram, moment = sum(grams) + penalty, sum(moments)
        whole = np.linalg.solve(gram, moment)
        for part, own_gram, own_moment in zip(parts, grams, moments, strict=True):
            # The intercept stays that of all rows: one that leaves a fold out leans away from the fold's own losses,
            # and trees would tell folds apart by it.
            others, rest = gram - own_gram, moment - own_moment
            without = np.linalg.solve(others[1:, 1:], rest[1:] - whole[0] * others[1:, 0])
            out_of_fold[order[part], target] = whole[0] + ordered[part] @ without
        weights = whole[1:] / spread
        coefficients[target] = np.append(whole[0] - weights @ mean, weights)
    return Regression(coefficients, out_of_fold)


def _least_squares(columns: Floats, shares: Floats, parts: list[slice]) -> tuple[Floats, Floats]:
    """The strength of each target's penalty (t,), and its out-of-fold rates (N, t), away from 0 and 1.

    What a target's own rows say of the strength counts as much as what those of all targets say together: one of many
    noisy targets finds a spurious best strength by chance.
    """
    mean = shares.mean(axis=0)
    centred = shares - mean
    grams = [columns[part].T @ columns[part] for part in parts]
    moments = [columns[part].T @ centred[part] for part in parts]
    gram, moment = np.sum(grams, axis=0), np.sum(moments, axis=0)
    squares = np.zeros((len(STRENGTHS), shares.shape[1]))
    solved = []
    for own_gram, own_moment in zip(grams, moments, strict=True):
        roots, vectors = np.linalg.eigh(gram - own_gram)
        weights = vectors @ (
            (vectors.T @ (moment - own_moment)) / (np.maximum(roots, 0) + STRENGTHS[:, None])[:, :, None]
        )
        solved.append(weights)
        # Squared errors of the fold, less those of the mean.
        squares += (weights * (own_gram @ weights - 2 * own_moment)).sum(axis=1)
    shrunk = squares / np.maximum((centred**2).sum(axis=0), 1e-9)
    best = (shrunk + shrunk.mean(axis=1, keepdims=True)).argmin(axis=0)
    rates = np.empty_like(shares)
    for part, weights in zip(parts, solved, strict=True):
        rates[part] = columns[part] @ weights[best, :, np.arange(len(best))].T + mean
    return STRENGTHS[best], np.clip(rates, SUREST, 1 - SUREST)
