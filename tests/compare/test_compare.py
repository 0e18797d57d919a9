"""Comparing methods: hulls, polylines and the paired bootstrap, against figures worked out by hand and brute force."""

from __future__ import annotations

import numpy as np
import pytest

import ttamer
from ttamer import baselines, compare
from ttamer._base.hull import lower_hull
from ttamer.compare import Curve


def curve(calibration, test, name="method", rows=4):
    """Curve with these (cost, error) means, each setting spread over the rows without changing its mean."""
    spread = np.linspace(-1, 1, rows)

    def matrices(points):
        cost, error = np.array(points, dtype=float).T
        return cost[:, None] * (1 + 0.5 * spread), error[:, None] * (1 - 0.5 * spread)

    settings = tuple(str(k) for k in range(len(calibration)))
    return Curve(name, settings, *matrices(calibration), *matrices(test), unit="ms")


def random_curve(generator, settings=7, rows=30):
    cost = generator.random((settings, rows)) + 0.2 * np.arange(settings)[:, None]
    loss = (generator.random((settings, rows)) > 0.1 * np.arange(settings)[:, None]).astype(float)
    half = rows // 2
    names = tuple(str(k) for k in range(settings))
    return Curve("random", names, cost[:, :half], loss[:, :half], cost[:, half:], loss[:, half:])


@pytest.fixture
def traces():
    generator = np.random.default_rng(5)
    quality = generator.random((400, 1))
    signals = np.clip(quality + 0.3 * generator.random((400, 3)), 0, 1.5).astype(np.float32)
    losses = (generator.random((400, 3)) > quality * [0.6, 0.8, 1.0]).astype(np.float32)
    predictions = generator.integers(0, 2, (400, 3)).astype(np.int32)
    return ttamer.Traces(signals, losses, [1.0, 2.0, 4.0], predictions=predictions, unit="ms")


class TestHull:
    def test_by_hand(self):
        cost = np.array([3.0, 1.0, 2.0, 2.0, 4.0, 5.0, 1.0])
        error = np.array([0.3, 0.9, 0.5, 0.4, 0.1, 0.1, 0.9])
        # (1, .9), (2, .4), (4, .1); (3, .3) lies above the chord, (5, .1) and the second (1, .9) add nothing.
        assert lower_hull(cost, error).tolist() == [1, 3, 4]

    def test_points_on_a_line_are_left_out(self):
        assert lower_hull(np.array([0.0, 1.0, 2.0]), np.array([1.0, 0.5, 0.0])).tolist() == [0, 2]

    @pytest.mark.parametrize("seed", range(20))
    def test_no_mixture_of_two_points_is_below(self, seed):
        generator = np.random.default_rng(seed)
        # A coarse grid, so that equal costs and errors come up.
        cost, error = generator.integers(0, 8, (2, 12)) / 4
        hull = lower_hull(cost, error)
        assert (np.diff(cost[hull]) > 0).all()
        assert (np.diff(error[hull]) < 0).all()
        for budget in np.linspace(cost.min(), cost.max(), 29):
            mixtures = [error[i] for i in range(12) if cost[i] <= budget]
            for i in range(12):
                for j in range(12):
                    if cost[i] <= budget < cost[j]:
                        share = (budget - cost[i]) / (cost[j] - cost[i])
                        mixtures.append((1 - share) * error[i] + share * error[j])
            assert np.interp(budget, cost[hull], error[hull]) == pytest.approx(min(mixtures), abs=1e-12)


class TestCostAtError:
    # On the calibration rows all four are vertices; on the test rows the error comes up again in between.
    points = curve([(1, 0.8), (2, 0.4), (3, 0.2), (4, 0.1)], [(1, 0.5), (2, 0.2), (3, 0.3), (5, 0.1)])

    @pytest.mark.parametrize(
        ("level", "cost"),
        [(0.6, 1.0), (0.5, 1.0), (0.35, 1.5), (0.2, 2.0), (0.15, 4.5), (0.1, 5.0), (0.05, None)],
    )
    def test_by_hand(self, level, cost):
        found = compare.cost_at_error(self.points, level)
        assert found == (None if cost is None else pytest.approx(cost))

    def test_order_is_that_of_the_calibration_rows(self):
        # Setting 1 costs more than setting 2 on the test rows, and still comes first.
        swapped = curve([(1, 0.8), (2, 0.4), (3, 0.2)], [(1, 0.8), (3, 0.4), (2, 0.2)])
        assert compare.cost_at_error(swapped, 0.4) == pytest.approx(3.0)

    def test_settings_off_the_calibration_hull_are_not_used(self):
        # Setting 2 would be the best on the test rows, and is the worst on the calibration rows.
        tempting = curve([(1, 0.8), (2, 0.4), (3, 0.9)], [(1, 0.8), (2, 0.4), (0.1, 0.0)])
        assert tempting.hull.tolist() == [0, 1]
        assert compare.cost_at_error(tempting, 0.3) is None

    @pytest.mark.parametrize("seed", range(10))
    def test_walking_along_the_polyline(self, seed):
        some = random_curve(np.random.default_rng(seed))
        cost, error = some.test_points
        places = np.linspace(0, len(cost) - 1, 200_001)
        walked_cost = np.interp(places, np.arange(len(cost)), cost)
        walked_error = np.interp(places, np.arange(len(cost)), error)
        for level in (0.2, 0.4, 0.55, 0.7, 0.9):
            reached = walked_error <= level + 1e-12
            found = compare.cost_at_error(some, level)
            if reached.any():
                assert found == pytest.approx(walked_cost[reached.argmax()], abs=1e-3)
            else:
                assert found is None


class TestLargeLosses:
    def test_a_budget_that_affords_nothing_counts_as_the_worst_loss(self):
        rng = np.random.default_rng(0)
        losses = 5574 * rng.random((2, 50))
        some = compare.Curve("", ("a", "b"), np.ones((2, 50)), losses, np.ones((2, 50)), losses[::-1])
        assert compare.error_at_cost(some, 0.5) == losses.max() > compare.error_at_cost(some, 1.0)
        weights = compare.resample(50, 3)
        assert compare.resampled_errors(some, [0.5], weights).tolist() == [[losses.max()]] * 3
        errors = np.zeros((1, 50))
        assert compare.error_at_cost(compare.Curve("", ("a",), errors + 1, errors, errors + 1, errors), 0.5) == 1

    @pytest.mark.parametrize("scale", [1e-9, 1e9])
    def test_equal_sums_in_another_order_are_equal(self, scale):
        losses = scale * np.random.default_rng(1).random((1, 1000))
        some = compare.Curve("", ("a",), np.ones((1, 1000)), losses, np.ones((1, 1000)), losses)
        level = float(np.sum(losses[0, ::-1][::7]) + sum(np.sum(losses[0, ::-1][k::7]) for k in range(1, 7))) / 1000
        assert compare.cost_at_error(some, level * (1 - 1e-14)) == 1
        assert compare.cost_at_error(some, 0.99 * level) is None


class TestErrorAtCost:
    points = curve([(1, 0.8), (2, 0.4), (4, 0.2)], [(1.5, 0.7), (2.5, 0.5), (3, 0.3)])

    @pytest.mark.parametrize(
        ("budget", "error"), [(0.9, 1.2), (1.0, 0.7), (1.25, 0.65), (2.0, 0.5), (3.0, 0.4), (4.0, 0.3), (9.0, 0.3)]
    )
    def test_weights_come_from_calibration_costs(self, budget, error):
        assert compare.error_at_cost(self.points, budget) == pytest.approx(error)


class TestBootstrap:
    def test_weights_are_seeded_multinomial_counts(self):
        weights = compare.resample(50, 400, seed=3)
        assert weights.shape == (400, 50)
        assert (weights.sum(axis=1) == 50).all()
        assert np.array_equal(weights, compare.resample(50, 400, seed=3))
        assert not np.array_equal(weights, compare.resample(50, 400, seed=4))
        # A count is binomial: mean 1, variance 1 - 1/50, up to the noise of 20,000 counts.
        assert weights.var() == pytest.approx(0.98, abs=0.05)

    @pytest.mark.parametrize("seed", range(5))
    def test_a_resample_is_the_curve_of_its_rows(self, seed):
        some = random_curve(np.random.default_rng(seed), rows=40)
        weights = compare.resample(20, 30, seed=seed)
        levels, budgets = np.array([0.3, 0.5, 0.8]), np.array([0.1, 0.9, 1.3, 9.0])
        costs = compare.resampled_costs(some, levels, weights)
        errors = compare.resampled_errors(some, budgets, weights)
        for b, counts in enumerate(weights.astype(int)):
            rows = np.repeat(np.arange(20), counts)
            drawn = Curve(
                some.name,
                some.settings,
                some.calibration_cost,
                some.calibration_loss,
                some.test_cost[:, rows],
                some.test_loss[:, rows],
            )
            expected = [compare.cost_at_error(drawn, level) for level in levels]
            assert costs[b] == pytest.approx([np.inf if cost is None else cost for cost in expected])
            assert errors[b] == pytest.approx([compare.error_at_cost(drawn, budget) for budget in budgets])

    def test_each_resample_may_have_its_own_levels(self):
        some = random_curve(np.random.default_rng(0))
        weights = compare.resample(15, 6)
        levels = np.linspace(0.3, 0.8, 12).reshape(6, 2)
        own = compare.resampled_costs(some, levels, weights)
        for b in range(6):
            assert np.array_equal(own[b], compare.resampled_costs(some, levels[b], weights)[b])

    def test_difference_by_hand(self):
        ours, theirs = np.arange(100.0), np.full(100, 10.0)
        gap = compare.difference(30.0, 10.0, ours, theirs)
        assert (gap.value, gap.low, gap.high, gap.is_tie) == (20.0, -6.0, 84.0, True)
        gap = compare.difference(30.0, 10.0, ours + 20, theirs)
        assert (gap.low, gap.high, gap.is_tie) == (14.0, 104.0, False)

    def test_difference_where_a_level_is_not_reached(self):
        never, always = np.full(10, np.inf), np.full(10, 2.0)
        missing = compare.difference(None, 2.0, never, always)
        assert (missing.value, missing.low, missing.high) == (None, np.inf, np.inf)
        assert compare.difference(2.0, None, always, never).high == -np.inf
        assert compare.difference(None, None, never, never).is_tie

    def test_a_method_against_itself_is_a_tie_without_width(self):
        some = random_curve(np.random.default_rng(1))
        costs = compare.resampled_costs(some, [0.5], compare.resample(15, 50))[:, 0]
        cost = compare.cost_at_error(some, 0.5)
        gap = compare.difference(cost, cost, costs, costs)
        assert (gap.value, gap.low, gap.high) == (0.0, 0.0, 0.0)

    def test_weights_of_other_rows_are_refused(self):
        some = random_curve(np.random.default_rng(1))
        with pytest.raises(ValueError, match=r"weights: expected \(B, 15\) float64, got \(10, 14\) float64"):
            compare.resampled_costs(some, [0.5], compare.resample(14, 10))


class TestBuilding:
    def test_baseline_and_front(self, traces):
        calibration, test = traces[:300], traces[300:]
        settings = baselines.threshold_curve(calibration, points=10)
        made = compare.curve_of_settings("threshold", settings, calibration, test)
        assert made.settings == (*(setting.name for setting in settings), "always node 0")
        for k, setting in enumerate(settings):
            assert np.array_equal(made.test_cost[k], setting.replay(test).cost)
            assert np.array_equal(made.calibration_loss[k], setting.replay(calibration).loss)
        assert (made.test_cost[-1] == 1.0).all()
        assert np.array_equal(made.test_loss[-1], test.losses[:, 0])

        front = ttamer.frontier(calibration)
        ours = compare.curve_of_front(front, calibration, test)
        assert ours.unit == "ms"
        assert len(ours.settings) == len(front) + 1
        for k, point in enumerate(front.points):
            assert ours.calibration_cost[k].mean() == pytest.approx(point.cost)
            assert np.array_equal(ours.test_loss[k], point.policy.replay(test).loss)

    def test_one_setting_alone_is_a_point(self, traces):
        result = baselines.last_node(traces)
        point = compare.curve_of_replays("full model", "last node", result, result)
        assert compare.cost_at_error(point, result.error) == pytest.approx(7.0)
        assert compare.error_at_cost(point, 8.0) == pytest.approx(result.error)

    def test_off_a_line_the_cheapest_node_to_reach_is_the_first(self, traces):
        topology = ttamer.Topology.dag(3, [(-1, 0), (-1, 1), (0, 2), (1, 2)])
        walk = ttamer.Traces(traces.signals, traces.losses, [3.0, 1.0, 1.0, 1.0], topology)
        made = compare.curve_of_front(ttamer.frontier(walk), walk, walk)
        assert made.settings[-1] == "always node 1"

    def test_nothing_is_chosen_on_test_rows(self, traces):
        calibration = traces[:300]
        settings = baselines.threshold_curve(calibration)
        hulls = [
            compare.curve_of_settings("threshold", settings, calibration, test).hull.tolist()
            for test in (traces[300:], traces[300:320])
        ]
        assert hulls[0] == hulls[1]

    def test_too_many_settings(self, traces):
        settings = baselines.patience_curve(traces) * 61
        assert len(settings) == 122
        with pytest.raises(ValueError, match="settings: expected at most 120 a method, got 122"):
            compare.curve_of_settings("patience", settings, traces, traces)

    def test_other_topology_or_unit(self, traces):
        settings = baselines.patience_curve(traces)
        other = traces.path([0, 1], [1.0, 1.0])
        with pytest.raises(ValueError, match=r"test: expected traces like Traces\(400 rows"):
            compare.curve_of_front(ttamer.frontier(traces), traces, other)
        unit = ttamer.Traces(traces.signals, traces.losses, traces.costs, predictions=traces.predictions, unit="s")
        with pytest.raises(ValueError, match="costs in s"):
            compare.curve_of_settings("patience", settings, traces, unit)

    def test_shapes(self):
        good = np.zeros((2, 3))
        with pytest.raises(ValueError, match="settings: expected at least one"):
            Curve("x", (), good, good, good, good)
        with pytest.raises(ValueError, match=r"calibration_cost: expected \(1, rows\) float64, got \(2, 3\)"):
            Curve("x", ("a",), good, good, good, good)
        with pytest.raises(ValueError, match=r"test_loss: expected \(2, 3\) float64 like test_cost, got \(2, 4\)"):
            Curve("x", ("a", "b"), good, good, good, np.zeros((2, 4)))
