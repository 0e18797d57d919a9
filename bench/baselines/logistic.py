"""Logistic regressions of being wrong, kept as plain coefficients."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from baselines.scores import extra
from ttamer._base.types import Floats

RIDGE = 1.0
"""Half the weight of the squared coefficients of standardised features beside the summed log-likelihood."""


@dataclass(frozen=True, eq=False)
class Logistic:
    """Probability 1 / (1 + exp(-(intercept + features @ weights)))."""

    intercept: float
    weights: Floats

    def __call__(self, features: Floats) -> Floats:
        """(N,) float64 from (N, d) float64."""
        return np.asarray(1.0 / (1.0 + np.exp(-np.clip(self.intercept + features @ self.weights, -500, 500))))


def fit_logistic(features: Floats, positive: npt.NDArray[np.bool_], who: str) -> Logistic:
    """Regress being positive on features; with one class only, its smoothed share.

    Parameters
    ----------
    features : (N, d) float64
        Constant ones get no weight.
    positive : (N,) bool
    who : str
        Named where scikit-learn is missing.
    """
    linear_model = extra("sklearn.linear_model", who)
    count = int(positive.sum())
    if count in (0, len(positive)) or features.shape[1] == 0:
        odds = (count + 0.5) / (len(positive) - count + 0.5)
        return Logistic(float(np.log(odds)), np.zeros(features.shape[1]))
    mean, deviation = features.mean(axis=0), features.std(axis=0)
    scale = np.where(deviation > 1e-12, deviation, np.inf)
    model = linear_model.LogisticRegression(C=1.0 / RIDGE, solver="newton-cholesky", max_iter=200)
    model.fit((features - mean) / scale, positive)
    weights = np.asarray(model.coef_[0]) / scale
    return Logistic(float(model.intercept_[0] - mean @ weights), weights)
