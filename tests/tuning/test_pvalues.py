"""P-values: exact where they are exact, never too small where they are bounds."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

from ttamer.tuning import pvalues

stats = pytest.importorskip("scipy.stats", reason="p-values need the fit extra")


def tail(count: int, rows: int, level: Fraction) -> Fraction:
    """P(Binomial(rows, level) <= count), term by term."""
    return sum((math.comb(rows, k) * level**k * (1 - level) ** (rows - k) for k in range(count + 1)), start=Fraction(0))


class TestBinomial:
    @pytest.mark.parametrize("rows", [1, 7, 40])
    @pytest.mark.parametrize("level", [Fraction(1, 1000), Fraction(3, 10), Fraction(1, 2), Fraction(99, 100)])
    def test_is_the_sum_of_its_terms(self, rows, level):
        for count in range(rows + 1):
            found = pvalues.binomial(count, rows, float(level))
            assert found == pytest.approx(float(tail(count, rows, level)), rel=1e-10)

    def test_large_numbers_agree_with_scipy(self):
        for rows, level in ((5000, 0.08), (100_000, 1e-3), (2_000_000, 0.5)):
            for share in (0.5, 0.9, 0.99, 1.0, 1.01):
                count = int(share * rows * level)
                assert pvalues.binomial(count, rows, level) == pytest.approx(
                    stats.binom.cdf(count, rows, level), rel=1e-8
                )

    def test_nothing_broken(self):
        assert pvalues.binomial(0, 200, 0.02) == pytest.approx(0.98**200, rel=1e-12)

    def test_everything_broken(self):
        assert pvalues.binomial(50, 50, 0.1) == 1.0

    def test_rises_with_the_count_and_falls_with_the_level(self):
        by_count = [pvalues.binomial(count, 300, 0.1) for count in range(301)]
        assert (np.diff(by_count) >= 0).all()
        by_level = [pvalues.binomial(20, 300, level) for level in np.linspace(0.0, 1.0, 101)]
        assert (np.diff(by_level) <= 0).all()
        assert by_level[0] == 1.0
        assert by_level[-1] == 0.0


class TestHoeffdingBentkus:
    @pytest.mark.parametrize(("mean", "rows", "level"), [(0.05, 400, 0.1), (0.0, 30, 0.1), (0.3, 50, 0.31)])
    def test_is_the_smaller_bound(self, mean, rows, level):
        entropy = stats.entropy([mean, 1 - mean], [level, 1 - level])
        bentkus = math.e * stats.binom.cdf(math.ceil(mean * rows), rows, level)
        expected = min(math.exp(-rows * entropy), bentkus, 1.0)
        assert pvalues.hoeffding_bentkus(mean, rows, level) == pytest.approx(expected, rel=1e-9)

    @pytest.mark.parametrize("mean", [0.2, 0.2 + 1e-12, 0.7, 1.0])
    def test_is_1_at_and_above_the_level(self, mean):
        assert pvalues.hoeffding_bentkus(mean, 100, 0.2) == 1.0

    def test_rises_with_the_mean_and_falls_with_the_level(self):
        by_mean = [pvalues.hoeffding_bentkus(mean, 123, 0.4) for mean in np.linspace(0, 1, 400)]
        assert (np.diff(by_mean) >= -1e-15).all()
        by_level = [pvalues.hoeffding_bentkus(0.2, 123, level) for level in np.linspace(0.01, 0.99, 99)]
        assert (np.diff(by_level) <= 1e-15).all()

    def test_is_never_below_the_exact_one_of_0_and_1(self):
        for count in range(0, 61, 3):
            assert pvalues.hoeffding_bentkus(count / 60, 60, 0.25) >= pvalues.binomial(count, 60, 0.25)


class TestValidity:
    """At a mean of exactly the level, a p-value is at most x in at most a share x of samples."""

    def test_binomial_exactly(self):
        for level in (0.03, 0.2, 0.5):
            counts = np.arange(101)
            values = np.array([pvalues.binomial(int(count), 100, level) for count in counts])
            chances = stats.binom.pmf(counts, 100, level)
            for x in (0.01, 0.05, 0.3):
                assert chances[values <= x].sum() <= x + 1e-12

    @pytest.mark.parametrize("shape", [(0.2, 0.8), (2.0, 8.0), (40.0, 160.0)])
    def test_bounded_by_simulation(self, shape):
        samples = np.random.default_rng(0).beta(*shape, size=(4000, 60))
        values = np.array([pvalues.hoeffding_bentkus(mean, 60, 0.2) for mean in samples.mean(axis=1)])
        for x in (0.05, 0.2, 0.5):
            # Four standard deviations of a share of 4000.
            assert (values <= x).mean() <= x + 4 * math.sqrt(x * (1 - x) / 4000)


class TestExponent:
    def test_is_the_signed_relative_entropy(self):
        assert pvalues.exponent(0.1, 0.3) == pytest.approx(stats.entropy([0.1, 0.9], [0.3, 0.7]))
        assert pvalues.exponent(0.5, 0.3) == pytest.approx(-stats.entropy([0.5, 0.5], [0.3, 0.7]))
        assert pvalues.exponent(0.0, 0.3) == pytest.approx(-math.log(0.7))
        assert pvalues.exponent(1.0, 0.3) == pytest.approx(math.log(0.3))
        assert pvalues.exponent(0.3, 0.3) == 0.0

    def test_certain_and_impossible_levels(self):
        assert pvalues.exponent(0.9, 1.0) == math.inf
        assert pvalues.exponent(0.0, 0.0) == -math.inf


@pytest.mark.parametrize(("level", "confidence", "expected"), [(0.01, 0.95, 299), (0.5, 0.5, 1), (0.1, 0.999, 66)])
def test_rows_needed(level, confidence, expected):
    found = pvalues.rows_needed(level, confidence)
    assert found == expected
    assert pvalues.binomial(0, found, level) <= 1 - confidence + 1e-12
    assert found == 1 or pvalues.binomial(0, found - 1, level) > 1 - confidence


@pytest.mark.parametrize("rows", [50, 1000])
def test_both_reach_what_rows_needed_says(rows):
    level = -math.expm1(math.log(0.05) / rows) * (1 + 1e-9)
    assert pvalues.rows_needed(level, 0.95) == rows
    assert pvalues.hoeffding_bentkus(0.0, rows, level) <= 0.05 + 1e-9
