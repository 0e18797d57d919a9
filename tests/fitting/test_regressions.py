"""Cross-fitted regressions, against a plain reading of their definition."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ttamer.fitting.crossfit import folds_of
from ttamer.fitting.regressions import STRENGTHS, SUREST, cross_fitted

Floats = npt.NDArray[np.float64]


def plainly(columns: Floats, shares: Floats, folds: npt.NDArray[Any]) -> tuple[Floats, Floats]:
    """Coefficients (t, 1 + d) of standardised columns put back on the columns themselves, and out-of-fold log-odds."""
    spread = columns.std(axis=0)
    spread[spread < 1e-9] = 1
    x = (columns - columns.mean(axis=0)) / spread
    rows, width = x.shape
    targets = shares.shape[1]
    mean = shares.mean(axis=0)
    rates = np.empty((len(STRENGTHS), rows, targets))
    for fold in np.unique(folds):
        held, known = folds == fold, folds != fold
        for k, strength in enumerate(STRENGTHS):
            gram = x[known].T @ x[known] + strength * np.eye(width)
            weights = np.linalg.solve(gram, x[known].T @ (shares[known] - mean))
            rates[k, held] = x[held] @ weights + mean
    squares = ((rates - shares) ** 2).mean(axis=1) / np.maximum(shares.var(axis=0), 1e-9)
    best = (squares + squares.mean(axis=1, keepdims=True)).argmin(axis=0)
    coefficients, log_odds = np.empty((targets, 1 + width)), np.empty((rows, targets))
    design = np.concatenate([np.ones((rows, 1)), x], axis=1)
    for target in range(targets):
        rate = np.clip(rates[best[target], :, target], SUREST, 1 - SUREST)
        weight = rate * (1 - rate)
        response = np.log(rate / (1 - rate)) + (shares[:, target] - rate) / weight
        penalty = np.diag([1e-9] + [STRENGTHS[best[target]] * weight.mean() + 1e-6] * width)
        whole = np.linalg.solve((design * weight[:, None]).T @ design + penalty, design.T @ (weight * response))
        for fold in np.unique(folds):
            known = folds != fold
            gram = (x[known] * weight[known, None]).T @ x[known] + penalty[1:, 1:]
            own = np.linalg.solve(gram, x[known].T @ (weight[known] * (response[known] - whole[0])))
            log_odds[~known, target] = whole[0] + x[~known] @ own
        coefficients[target, 1:] = whole[1:] / spread
        coefficients[target, 0] = whole[0] - coefficients[target, 1:] @ columns.mean(axis=0)
    return coefficients, log_odds


def sample(rows: int, width: int, targets: int, seed: int) -> tuple[Floats, Floats, npt.NDArray[Any]]:
    rng = np.random.default_rng(seed)
    columns = rng.normal(size=(rows, width)) * rng.choice([0.01, 1, 50], width) + rng.normal(size=width)
    truth = columns @ rng.normal(size=(width, targets)) / max(width, 1) / 10
    shares = (rng.random((rows, targets)) < 1 / (1 + np.exp(-truth))).astype(np.float64)
    return columns, shares, folds_of(rows, seed)


@given(st.integers(40, 200), st.integers(1, 6), st.integers(1, 4), st.integers(0, 1000))
@settings(max_examples=25)
def test_it_is_the_definition(rows: int, width: int, targets: int, seed: int) -> None:
    columns, shares, folds = sample(rows, width, targets, seed)
    found = cross_fitted(columns, shares, folds)
    coefficients, log_odds = plainly(columns, shares, folds)
    np.testing.assert_allclose(found.out_of_fold, log_odds, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(found.coefficients, coefficients, rtol=1e-6, atol=1e-8)


def test_scales_of_columns_do_not_matter() -> None:
    columns, shares, folds = sample(200, 4, 2, 1)
    found = cross_fitted(columns, shares, folds)
    scale = np.array([1e3, 1, 1e-3, 7])
    other = cross_fitted(columns * scale + 5, shares, folds)
    np.testing.assert_allclose(other.out_of_fold, found.out_of_fold, atol=1e-7)
    np.testing.assert_allclose(other.coefficients[:, 1:] * scale, found.coefficients[:, 1:], rtol=1e-5, atol=1e-9)


def test_columns_that_say_nothing() -> None:
    """None, constant ones and twice the same: the mean, or what the others say."""
    columns, shares, folds = sample(100, 1, 2, 2)
    mean = np.log(shares.mean(axis=0) / (1 - shares.mean(axis=0)))
    for empty in (np.empty((100, 0)), np.full((100, 3), 7.0)):
        found = cross_fitted(empty, shares, folds)
        np.testing.assert_allclose(found.out_of_fold, np.broadcast_to(mean, (100, 2)), atol=1e-6)
    alone = cross_fitted(columns, shares, folds).out_of_fold
    constant = cross_fitted(np.concatenate([columns, np.ones((100, 1))], axis=1), shares, folds).out_of_fold
    np.testing.assert_allclose(constant, alone, atol=1e-9)
    twice = cross_fitted(np.repeat(columns, 3, axis=1), shares, folds)
    assert np.isfinite(twice.out_of_fold).all()
    assert np.isfinite(twice.coefficients).all()


@pytest.mark.parametrize("value", [0.0, 1.0, 0.25])
def test_losses_that_are_all_alike(value: float) -> None:
    columns, _, folds = sample(60, 3, 1, 3)
    found = cross_fitted(columns, np.full((60, 2), value), folds)
    assert np.isfinite(found.out_of_fold).all()
    assert np.ptp(found.out_of_fold) < 1e-6
    rate = 1 / (1 + np.exp(-found.out_of_fold[0, 0]))
    assert rate == pytest.approx(value, abs=SUREST)


def test_a_row_is_estimated_without_itself() -> None:
    """With as many columns of noise as rows a fit says what each row was; out of fold it does not."""
    rng = np.random.default_rng(0)
    columns, shares = rng.normal(size=(200, 150)), rng.integers(0, 2, (200, 1)).astype(np.float64)
    found = cross_fitted(columns, shares, folds_of(200, 0))
    inside = found.coefficients[0, 0] + columns @ found.coefficients[0, 1:]
    assert np.corrcoef(inside, shares[:, 0])[0, 1] > 0.5
    assert abs(np.corrcoef(found.out_of_fold[:, 0], shares[:, 0])[0, 1]) < 0.25


def test_it_learns_log_odds() -> None:
    rng = np.random.default_rng(0)
    columns = rng.normal(size=(20_000, 2))
    truth = -0.5 + columns @ [0.8, -0.4]
    shares = (rng.random((20_000, 1)) < 1 / (1 + np.exp(-truth[:, None]))).astype(np.float64)
    found = cross_fitted(columns, shares, folds_of(20_000, 0))
    np.testing.assert_allclose(found.coefficients[0], [-0.5, 0.8, -0.4], atol=0.06)
    assert np.abs(found.out_of_fold[:, 0] - truth).mean() < 0.06
