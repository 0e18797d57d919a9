"""What limits mean, in which order policies are tested for them, and what is said if none can be certified."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from tuned import COSTS, QUICK, make, parts

import ttamer
from ttamer import tuning
from ttamer.tuning import limits as levels
from ttamer.tuning import trial

pytest.importorskip("scipy", reason="tune needs the fit extra")


def outcome(error=0.1, cost=1.0, costs=(1.0,), counts=(100,)):
    return levels.Outcome(sum(counts), error, cost, np.array(costs), np.array(counts))


@pytest.fixture(scope="module")
def traces():
    return make(3000)


class TestOrder:
    def error(self, bound):
        return levels.Limit("max_error", bound, 0.0, 1.0, exact=True)

    def cost(self, bound):
        return levels.Limit("max_cost", bound, 1.0, 7.0, exact=False)

    def test_with_a_limit_on_the_error_it_gets_cheaper(self):
        outcomes = [outcome(error, cost) for error, cost in ((0.3, 1.0), (0.2, 2.0), (0.1, 3.0))]
        assert tuning.testing_order(outcomes, [self.error(0.15)]) == [2, 1, 0]

    def test_with_limits_on_the_cost_it_gets_more_accurate(self):
        outcomes = [outcome(error, cost) for error, cost in ((0.3, 1.0), (0.2, 2.0), (0.1, 3.0))]
        assert tuning.testing_order(outcomes, [self.cost(2.5)]) == [0, 1, 2]

    def test_with_both_it_starts_where_the_smaller_margin_is_largest(self):
        outcomes = [outcome(error, cost) for error, cost in ((0.4, 1.1), (0.3, 2.0), (0.2, 3.0), (0.1, 6.0))]
        # Number 3 is dearer than the start, so that nobody would want it.
        assert tuning.testing_order(outcomes, [self.error(0.5), self.cost(6.5)]) == [2, 1, 0]
        assert tuning.testing_order(outcomes, [self.error(0.5), self.cost(4.0)]) == [1, 0]

    def test_what_is_no_better_is_left_out(self):
        outcomes = [outcome(0.1, 3.0), outcome(0.2, 3.5), outcome(0.3, 2.0)]
        assert tuning.testing_order(outcomes, [self.error(0.4)]) == [0, 2]

    def test_of_equal_margins_the_safer_goes_first(self):
        quantile = levels.Limit("max_cost_quantile", 4.0, 1.0, 7.0, exact=True, quantile=0.9)
        outcomes = [outcome(0.1, 3.0, (3.0,)), outcome(0.2, 2.0, (2.0,)), outcome(0.3, 1.0, (1.0,))]
        assert tuning.testing_order(outcomes, [quantile]) == [2, 1, 0]

    @pytest.mark.parametrize(
        "asked", [{"max_error": 0.2}, {"max_cost": 4.0}, {"max_cost_quantile": (0.7, 3.0), "max_error": 0.3}]
    )
    def test_it_does_not_depend_on_the_held_back_rows(self, traces, asked):
        fit_rows, test_rows = parts(3000)
        front = ttamer.frontier(traces[fit_rows], QUICK["tradeoffs"], bins=8)
        given = {"max_error": None, "max_cost": None, "max_cost_quantile": None, **asked}
        limits = levels.stated(traces, **given, max_loss=1.0)
        rng = np.random.default_rng(5)
        orders = []
        for seed in range(3):
            test_part = traces[test_rows] if seed == 0 else traces[rng.choice(test_rows, 200)]
            trial = tuning.Trial(front, traces[fit_rows], test_part)
            orders.append([step.policy.tradeoff for step in trial._tests(limits)])
        assert orders[0] == orders[1] == orders[2]
        assert len(orders[0]) > 1

    def test_permuted_losses_of_held_back_rows_change_p_values_only(self, traces):
        _, test_rows = parts(3000)
        losses = traces.losses.copy()
        losses[test_rows] = losses[np.random.default_rng(6).permutation(test_rows)]
        mixed = ttamer.Traces(traces.signals, losses, COSTS, unit="ms")
        plain, permuted = (tuning.certify(each, max_error=0.3, **QUICK) for each in (traces, mixed))
        common = min(len(plain.steps), len(permuted.steps))
        assert common > 2
        assert [step.policy for step in plain.steps[:common]] == [step.policy for step in permuted.steps[:common]]
        assert [step.p_values for step in plain.steps[:common]] != [step.p_values for step in permuted.steps[:common]]


class TestLimits:
    def stated(self, traces, **asked):
        given = {"max_error": None, "max_cost": None, "max_cost_quantile": None, **asked}
        return levels.stated(traces, **given, max_loss=1.0)[0]

    def test_the_range_of_costs(self):
        forest = ttamer.Topology.forest([-1, 0, -1])
        dag = ttamer.Topology.dag(3, [(-1, 0), (-1, 1), (0, 2), (1, 2)])
        for topology, costs, ends in (
            (None, COSTS, (1.0, 7.0)),
            (forest, [2.0, 1.0, 1.5], (1.5, 4.5)),
            (dag, [3.0, 2.0, 1.0, 4.0], (2.0, 6.0)),
        ):
            limit = self.stated(make(10, topology=topology, costs=costs), max_cost=3.0)
            assert (limit.low, limit.high) == ends

    def test_what_no_policy_can_break_is_certain(self):
        few = make(8)
        for asked in ({"max_cost": 7.0}, {"max_cost": 9.0}, {"max_cost_quantile": (0.99, 7.0)}):
            found = tuning.certify(few, **asked, **QUICK)
            assert found.best.p_value == 0.0

    def test_costs_that_are_all_zero(self):
        free = make(200, costs=[0.0, 0.0, 0.0])
        assert tuning.certify(free, max_cost=0.0, **QUICK).best.p_value == 0.0

    def test_a_sum_of_edges_is_equal_to_its_rounding(self):
        limit = levels.Limit("max_cost_quantile", 0.3, 0.1, 0.7, exact=True, quantile=0.9)
        assert 0.1 + 0.2 > 0.3
        assert limit.mean(outcome(costs=(0.1 + 0.2, 0.3 + 1e-9), counts=(3, 1))) == 0.25

    def test_one_node(self):
        one = ttamer.Traces(np.full((100, 1), 0.5, np.float32), np.zeros((100, 1), np.float32), [2.0])
        assert tuning.certify(one, max_error=0.1).candidates == 1
        with pytest.raises(ttamer.InfeasibleError, match="a mean cost of at most 2 can be$"):
            ttamer.tune(one, max_cost=1.0)


class TestInfeasible:
    @pytest.mark.parametrize(
        "asked",
        [
            {"max_error": 0.08},
            {"max_cost": 1.0},
            {"max_cost": 0.5},
            {"max_cost_quantile": (0.9, 0.5)},
            {"max_error": 0.13, "max_cost": 2.0},
            {"max_error": 0.2, "max_cost_quantile": (0.9, 1.0)},
        ],
    )
    def test_what_it_says_can_be_asked_for(self, traces, asked):
        with pytest.raises(ttamer.InfeasibleError) as caught:
            ttamer.tune(traces, **asked, **QUICK)
        error = caught.value
        assert isinstance(error, ValueError)
        assert str(error).startswith(f"{', '.join(asked)}: ")
        assert error.rows is None
        reachable = {name: getattr(error, name) for name in asked if getattr(error, name) is not None}
        assert reachable
        for name, bound in reachable.items():
            pair = isinstance(asked[name], tuple)
            assert bound > (asked[name][1] if pair else asked[name])
            for value in (bound, trial._rounded_up(bound)):
                relaxed = {**asked, name: (asked[name][0], value) if pair else value}
                assert tuning.certify(traces, **relaxed, **QUICK).best.p_value <= 0.05
            assert f"{trial._rounded_up(bound):.4g}" in str(error)
            lower = 0.995 * bound
            with pytest.raises(ttamer.InfeasibleError):
                ttamer.tune(traces, **{**asked, name: (asked[name][0], lower) if pair else lower}, **QUICK)

    def test_one_limit_alone_may_not_be_enough(self, traces):
        with pytest.raises(
            ttamer.InfeasibleError,
            match=r"^max_error, max_cost: an error of at most 0.05 and a mean cost of at most 0.5 ms cannot be "
            r"certified with confidence 0.95 on 1500 held-back rows; to relax one of them is not enough$",
        ) as caught:
            ttamer.tune(traces, max_error=0.05, max_cost=0.5, **QUICK)
        assert (caught.value.max_error, caught.value.max_cost) == (None, None)

    @pytest.mark.parametrize("share", [0.5, 0.3])
    def test_too_few_rows(self, share):
        with pytest.raises(
            ttamer.InfeasibleError,
            match=r"^max_error: an error of at most 0.01 with confidence 0.95 needs at least \d+ rows, 299 of them "
            r"held back, got 40 and \d+$",
        ) as caught:
            ttamer.tune(make(40), max_error=0.01, held_back=share)
        needed = caught.value.rows
        assert f"at least {needed} rows" in str(caught.value)
        with pytest.raises(ttamer.InfeasibleError, match="299 of them"):
            ttamer.tune(make(needed - 1), max_error=0.01, held_back=share, **QUICK)
        with pytest.raises(ttamer.InfeasibleError, match="cannot be certified"):
            ttamer.tune(make(needed), max_error=0.01, held_back=share, **QUICK)

    def test_too_few_rows_for_a_cost(self):
        with pytest.raises(ttamer.InfeasibleError, match=r"^max_cost_quantile: .* needs at least 117 rows, 59 of"):
            ttamer.tune(make(100), max_cost_quantile=(0.95, 3.0))

    def test_it_pickles(self):
        error = ttamer.InfeasibleError("why", max_cost=1.5, rows=7)
        back = pickle.loads(pickle.dumps(error))
        assert (str(back), back.max_error, back.max_cost, back.rows) == ("why", None, 1.5, 7)

    def test_rounding_up(self):
        for value in (0.0712345, 0.99999, 123.456, 98765.4321, 1.0, 3e-7):
            rounded = trial._rounded_up(value)
            assert value <= rounded <= 1.002 * value
            assert float(f"{rounded:.4g}") == pytest.approx(rounded, rel=1e-12)
        assert trial._rounded_up(0.0) == 0.0
