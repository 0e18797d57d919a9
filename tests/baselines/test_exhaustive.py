"""All combinations of thresholds, against walking each of them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from curves import CHECKS
from walks import from_probs, line

from ttamer import baselines
from ttamer.baselines import exhaustive


def hull_error(curve, traces, budget):
    results = [setting.replay(traces) for setting in curve]
    return min(result.error for result in results if result.mean_cost <= budget)


@pytest.mark.parametrize("check", CHECKS)
def test_the_curve(check):
    check(baselines.search_thresholds, baselines.node_thresholds)


class TestSearch:
    @pytest.mark.parametrize(("nodes", "levels"), [(1, 2), (2, 9), (3, 5), (4, 3)])
    @pytest.mark.parametrize("seed", range(3))
    def test_outcomes_are_those_of_walking_every_combination(self, nodes, levels, seed):
        traces = line(40, nodes, seed)
        grid = exhaustive._grid(traces, levels)
        cost, loss = exhaustive._outcomes(traces, grid)
        assert cost.shape == tuple(len(values) for values in grid)
        for place in itertools.product(*(range(len(values)) for values in grid)):
            values = [values[k] for values, k in zip(grid, place, strict=True)]
            result = baselines.node_thresholds(traces, np.array(values, np.float32))
            assert cost[place] == pytest.approx(result.mean_cost)
            assert loss[place] == pytest.approx(result.error)

    def test_the_best_combinations_are_kept(self):
        traces = from_probs(rows=150, nodes=3)
        grid = exhaustive._grid(traces, 8)
        kept = baselines.search_thresholds(traces, levels=8)
        for budget in (1.2, 1.6, 2.0, 2.6):
            by_hand = [
                result.error
                for values in itertools.product(*grid)
                if (result := baselines.node_thresholds(traces, np.array(values))).mean_cost <= budget
            ]
            assert hull_error(kept, traces, budget) == pytest.approx(min(by_hand))

    def test_levels(self):
        assert [exhaustive._levels(count, None) for count in (1, 2, 3, 7, 10)] == [512, 512, 101, 7, 4]
        with pytest.raises(ValueError, match=r"^traces: search_thresholds tries all .* line of 12 nodes; tune_thr"):
            baselines.search_thresholds(line(20, 12, 0))
        with pytest.raises(ValueError, match=r"^levels: expected at least 2, got 1$"):
            baselines.search_thresholds(line(20, 3, 0), levels=1)
        with pytest.raises(ValueError, match=r"^levels: expected at most 1048576 combinations, got 2000\^2$"):
            baselines.search_thresholds(line(20, 3, 0), levels=2000)
