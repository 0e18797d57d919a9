"""Costs in several units: models that hold them, policies at prices, an error that has a price, limits on each."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from helpers import random_model
from hypothesis import given, settings
from hypothesis import strategies as st

import ttamer
from ttamer import Topology, Traces, tuning
from ttamer.cli import main

PRICES = {"usd": 1.0, "ms": 0.002}
TOPOLOGIES = [
    Topology.line(3),
    Topology.skip(3),
    Topology.forest([-1, 0, 0]),
    Topology.dag(3, [(-1, 0), (0, 1), (0, 2)]),
]


def traces_of(topology: Topology = TOPOLOGIES[0], rows: int = 600, seed: int = 0) -> Traces:
    rng = np.random.default_rng(seed)
    edges = len(topology.edges)
    signals = rng.random((rows, 3)).astype(np.float32)
    losses = (rng.random((rows, 3)) > signals ** [1.0, 0.5, 0.2]).astype(np.float32)
    usd = np.linspace(0.01, 0.05, edges) * (1 + signals[:, :1])
    return Traces(
        signals, losses, {"usd": usd, "ms": rng.lognormal(1, 0.5, (rows, edges)), "calls": np.ones(edges)}, topology
    )


class TestModels:
    @pytest.mark.parametrize("topology", TOPOLOGIES, ids=lambda topology: topology.kind)
    def test_a_model_at_prices_is_that_of_priced_traces(self, topology: Topology) -> None:
        traces = traces_of(topology)
        policy = ttamer.solve(ttamer.fit(traces, 4), 0.7, prices=PRICES)
        expected = ttamer.solve(ttamer.fit(traces.priced(PRICES), 4), 0.7)
        assert policy.unit == expected.unit == "usd + 0.002 ms"
        assert policy.value == pytest.approx(expected.value, rel=1e-12)
        np.testing.assert_array_equal(policy.replay(traces).answer_node, expected.replay(traces).answer_node)

    def test_what_each_unit_costs(self) -> None:
        traces = traces_of()
        model = ttamer.fit(traces, 4)
        assert list(model.unit_costs) == ["usd", "ms", "calls"]
        assert model.unit == "usd, ms, calls"
        np.testing.assert_allclose(model.unit_costs["usd"].mean, traces.unit_costs["usd"].mean(axis=0))
        assert model.unit_costs["calls"].states is None
        # Whoever is sure at node 0 pays more for node 1, as its cost was made.
        costs = model.unit_costs["usd"].by_state()[1]
        assert np.all(np.diff(costs) > 0)
        for read in (lambda: model.costs, lambda: model.state_costs, lambda: model.cost_scale):
            with pytest.raises(
                ValueError, match=r"^model: .* got usd, ms, calls; say what each is worth: solve\(model"
            ):
                read()

    def test_files_and_shards(self, tmp_path: Path) -> None:
        traces = traces_of()
        model = ttamer.fit(traces, 4)
        parts = [ttamer.fit(traces[:250], like=model), ttamer.fit(traces[250:], like=model)]
        model.save(tmp_path / "m.safetensors")
        for other in (parts[0] + parts[1], ttamer.CascadeModel.load(tmp_path / "m.safetensors")):
            assert list(other.unit_costs) == ["usd", "ms", "calls"]
            for unit, costs in model.unit_costs.items():
                for one, two in zip(other.unit_costs[unit].by_state(), costs.by_state(), strict=True):
                    np.testing.assert_allclose(one, two, rtol=1e-12)
        assert "units" not in ttamer.fit(traces.priced(PRICES), 4)._to_bytes()[:400].decode("latin1")

    def test_stated_ones(self, tmp_path: Path) -> None:
        plain = random_model(Topology.line(2), 2, seed=1)
        tables = (plain.topology, plain.losses, plain.transitions)
        model = ttamer.CascadeModel(*tables, {"usd": [0.1, [0.2, 0.4]], "ms": [1, 2]})
        model.save(tmp_path / "m.safetensors")
        for same in (model, ttamer.CascadeModel.load(tmp_path / "m.safetensors")):
            policy = ttamer.solve(same, 0.6, prices={"usd": 2, "ms": 0.5})
            summed = ttamer.CascadeModel(*tables, [0.7, [1.4, 1.8]], unit="2.0 usd + 0.5 ms")
            assert policy.value == pytest.approx(ttamer.solve(summed, 0.6).value, rel=1e-12)
            assert policy.unit == summed.unit

    @pytest.mark.parametrize(
        ("costs", "options", "message"),
        [
            ({"usd": [1, 1], "ms": [1]}, {}, "costs: expected one for each of the 2 edges, got 1"),
            ({"usd": [1, 1], "ms": [1, -1]}, {}, "costs: expected finite values >= 0"),
            ({"usd": [1, 1], "2 ms": [1, 1]}, {}, "costs: expected units like 'usd' and 'ms', got '2 ms'"),
            ({"usd": [1, 1], "ms": [1, 1]}, {"unit": "eur"}, "unit: expected none with costs in several units"),
            (
                {"usd": [1, 1], "ms": [1, 1]},
                {"cost_scale": 2.0},
                "cost_scale: expected none with costs in several units",
            ),
        ],
    )
    def test_bad_ones(self, costs: Any, options: dict[str, Any], message: str) -> None:
        plain = random_model(Topology.line(2), 2, seed=1)
        with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
            ttamer.CascadeModel(plain.topology, plain.losses, plain.transitions, costs, **options)


class TestPrices:
    def test_are_needed_where_there_are_several_units(self) -> None:
        model = ttamer.fit(traces_of(), 4)
        with pytest.raises(ValueError, match=r"^model: expected costs in one unit, got usd, ms, calls; say what each"):
            ttamer.solve(model)
        with pytest.raises(ValueError, match=r"^prices: expected units of \['usd', 'ms', 'calls'\], got 'eur'$"):
            ttamer.solve(model, prices={"eur": 1})

    def test_of_a_single_unit(self) -> None:
        model = random_model(Topology.line(2), 2, seed=1, unit="ms")
        assert ttamer.solve(model, 0.7, prices={"ms": 1}).value == pytest.approx(ttamer.solve(model, 0.7).value)
        assert ttamer.solve(model, 0.7, prices={"ms": 3}).unit == "3.0 ms"

    @given(price=st.floats(1e-6, 1e6), kind=st.sampled_from([0, 1, 2, 3]), seed=st.integers(0, 100))
    @settings(max_examples=60)
    def test_an_error_price_weighs_losses_against_costs(self, price: float, kind: int, seed: int) -> None:
        """The value is that of E[price * loss + cost], and the policy attains it."""
        model = random_model(TOPOLOGIES[kind], 3, seed)
        policy = ttamer.solve(model, error_price=price)
        share = price / (price + model.cost_scale)
        assert policy.tradeoff == share
        # Both sides of tradeoff * loss + (1 - tradeoff) * cost / scale, times price + scale.
        assert policy.value * (price + model.cost_scale) == pytest.approx(
            price * policy.expected_loss + policy.expected_cost, rel=1e-2 if kind == 2 else 1e-9
        )

    def test_an_error_is_worth_five_dollars_and_a_second_a_cent(self) -> None:
        tables = Topology.line(2), [[0.5], [0.0]], [[[1.0]], [[1.0]]]
        model = ttamer.CascadeModel(*tables, {"usd": [0.0, 2.0], "s": [0.0, 60.0]}, observed=False)
        for price, stops in ((5.0, True), (5.3, False)):  # half an error saved costs 2 usd and 60 s at 0.01
            policy = ttamer.solve(model, prices={"usd": 1, "s": 0.01}, error_price=price)
            assert (policy.actions(0)[0][0][1] == ttamer.STOP) == stops

    @pytest.mark.parametrize(
        ("options", "error", "message"),
        [
            ({"error_price": 0}, ValueError, "error_price: expected a finite number above 0, got 0"),
            ({"error_price": np.inf}, ValueError, "error_price: expected a finite number above 0, got inf"),
            ({"error_price": "5"}, TypeError, "error_price: expected a number, got str"),
            ({"error_price": 5, "tradeoff": 0.5}, ValueError, "tradeoff: expected none with an error price"),
        ],
    )
    def test_bad_error_prices(self, options: dict[str, Any], error: type[Exception], message: str) -> None:
        with pytest.raises(error, match=f"^{message}"):
            ttamer.solve(random_model(Topology.line(2), 2, seed=1), **options)


class TestJudging:
    def test_replays_say_what_was_paid_in_each_unit(self) -> None:
        for topology in TOPOLOGIES:
            traces = traces_of(topology)
            policy = ttamer.solve(ttamer.fit(traces, 4), 0.9, prices=PRICES)
            replay = policy.replay(traces)
            assert list(replay.unit_costs) == ["usd", "ms", "calls"]
            np.testing.assert_allclose(replay.cost, replay.unit_costs["usd"] + 0.002 * replay.unit_costs["ms"])
            report = ttamer.evaluate(policy, traces)
            assert report.unit == "usd + 0.002 ms"
            assert report.unit_costs["ms"] == pytest.approx(replay.unit_costs["ms"].mean())
            assert report.full_unit_costs["calls"] in (1.0, 2.0, 3.0)
            assert f"mean cost  {report.unit_costs['usd']:.4g} usd  (full model" in str(report)

    def test_policies_that_estimate(self) -> None:
        rng = np.random.default_rng(0)
        probs, labels = rng.dirichlet([1, 1, 1], (300, 3)), rng.integers(0, 3, 300)
        traces = Traces.from_probs(probs, labels, {"usd": [0.1, 0.1, 0.2], "ms": rng.random((300, 3))})
        front = ttamer.frontier(traces, [0.6, 0.9], "posterior", prices=PRICES)
        replay = front[0].policy.replay(traces)
        np.testing.assert_allclose(replay.cost, replay.unit_costs["usd"] + 0.002 * replay.unit_costs["ms"])
        # The estimates of the fitted rows are out-of-fold, whatever the costs.
        assert replay.error == front[0].error

    def test_a_front_names_its_prices(self) -> None:
        traces = traces_of()
        front = ttamer.frontier(traces, prices=PRICES)
        assert front.unit == "usd + 0.002 ms"
        same = ttamer.frontier(traces, prices=PRICES, model=ttamer.fit(traces, "auto"))
        assert [point.cost for point in same] == pytest.approx([point.cost for point in front])
        mixed = front.mix((front[0].cost + front[-1].cost) / 2).replay(traces)
        np.testing.assert_allclose(mixed.cost, mixed.unit_costs["usd"] + 0.002 * mixed.unit_costs["ms"])


class TestLimits:
    LIMITS: ClassVar[dict[str, Any]] = {
        "max_cost": {"usd": 0.05, "ms": 8.0},
        "max_cost_of_a_request": {"usd": 0.5, "ms": 60.0},
    }

    def test_on_each_unit(self) -> None:
        traces = traces_of(rows=4_000)
        found = tuning.certify(traces, **self.LIMITS)
        assert [(limit.name, limit.unit) for limit in found.limits] == [("max_cost", "usd"), ("max_cost", "ms")]
        assert found.policy.unit == "20.0 usd + 0.125 ms"  # each limit weighs alike
        spent = found.policy.replay(traces).unit_costs
        for limit in found.limits:
            assert limit.observed(found.best.outcome) < limit.bound
            assert spent[limit.unit].mean() < limit.bound
        assert "a mean cost of at most 0.05 usd and a mean cost of at most 8 ms" in str(found)
        assert json.loads(json.dumps(found.as_dict()))["limits"][1]["unit"] == "ms"

    def test_on_quantiles_of_units_at_stated_prices(self) -> None:
        traces = traces_of(rows=4_000)
        found = tuning.certify(traces, max_cost_quantile={"ms": (0.9, 12.0)}, max_error=0.6, prices=PRICES)
        assert found.policy.unit == "usd + 0.002 ms"
        assert np.mean(found.policy.replay(traces).unit_costs["ms"] > 12.0) < 0.1

    def test_one_that_cannot_be_kept_says_what_can(self) -> None:
        traces = traces_of(rows=2_000)
        options = self.LIMITS | {"max_cost": {"usd": 0.05, "ms": 0.2}}
        with pytest.raises(
            tuning.InfeasibleError, match=r"a mean cost of at most 0.2 ms cannot be .* ms can be"
        ) as caught:
            ttamer.tune(traces, **options)
        assert isinstance(caught.value.max_cost, dict)
        assert caught.value.max_cost["ms"] > 2

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"max_cost": 0.5}, "max_cost: expected a mapping of units, these traces have costs in usd, ms, calls"),
            ({"max_cost": {"eur": 1}}, "max_cost: expected units of ['usd', 'ms', 'calls'], got 'eur'"),
            ({"max_cost": {"usd": 1}}, "max_cost_of_a_request: expected a number, the most that any request can cost"),
            ({"max_cost": {"usd": -1}, "max_cost_of_a_request": {"usd": 1}}, "max_cost: expected a finite cost >= 0"),
            ({"max_cost_quantile": (0.9, 1.0)}, "max_cost_quantile: expected a mapping of units"),
            ({"max_error": 0.5}, "traces: expected costs in one unit, got usd, ms, calls; say what each is worth"),
        ],
    )
    def test_bad_ones(self, options: dict[str, Any], message: str) -> None:
        with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
            ttamer.tune(traces_of(), **options)

    def test_a_mapping_of_the_only_unit(self) -> None:
        traces = traces_of(rows=2_000).priced({"ms": 1})
        quick = {"max_cost_of_a_request": 60.0, "tradeoffs": [0.3, 0.6]}
        one = tuning.certify(traces, max_cost=8.0, **quick)
        other = tuning.certify(traces, max_cost={"ms": 8.0}, **quick)
        assert one.best.p_values == other.best.p_values


class TestCommandLine:
    def test_prices_and_limits(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        path, policy = str(tmp_path / "t.npz"), str(tmp_path / "p.safetensors")
        traces_of(rows=2_000).save(path)
        price = ["--price", "usd=1", "--price", "ms=0.002"]
        model = ["--output", str(tmp_path / "m.safetensors")]
        assert main(["fit", path, "--policy", policy, *model, *price]) == 0
        assert main(["evaluate", policy, path]) == 0
        shown = capsys.readouterr().out
        assert "mean cost, usd + 0.002 ms" in shown
        assert "mean cost, calls" in shown
        assert main(["frontier", path, *price, "--plot", str(tmp_path / "f.png")]) == 0
        assert "usd + 0.002 ms" in capsys.readouterr().out
        assert main(["compare", path, *price, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["unit"] == "usd + 0.002 ms"
        limits = ["--max-cost", "usd=0.05", "--max-cost", "ms=8", "--policy", policy]
        most = ["--max-cost-of-a-request", "usd=0.5", "--max-cost-of-a-request", "ms=60"]
        assert main(["tune", path, *limits, *most]) == 0
        shown = capsys.readouterr().out
        assert "mean cost, usd" in shown
        assert re.search(r"mean cost [\d.]+ \(20.0 usd \+ 0.125 ms\), [\d.]+ usd, [\d.]+ ms", shown)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["frontier", "--price", "usd"], "--price: expected UNIT=NUMBER, got 'usd'"),
            (["compare", "--price", "usd=x"], "--price: expected UNIT=NUMBER, got 'x'"),
            (["tune", "--max-cost", "many"], "--max-cost: expected a number or UNIT=NUMBER, got 'many'"),
            (["fit", "--price", "usd=1"], "--price: expected together with --policy FILE"),
            (["frontier"], "traces: expected costs in one unit, got usd, ms, calls; say what each is worth"),
        ],
    )
    def test_bad_ones(
        self, arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        traces_of().save(tmp_path / "t.npz")
        command, *options = arguments
        assert main([command, str(tmp_path / "t.npz"), *options]) == 2
        assert message in " ".join(capsys.readouterr().err.split())

    def test_a_unit_twice_is_refused(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        traces_of().save(tmp_path / "t.npz")
        assert main(["frontier", str(tmp_path / "t.npz"), "--price", "usd=1", "--price", "usd=2"]) == 2
        assert "--price: expected each unit once, got usd=1 usd=2" in capsys.readouterr().err


def test_a_single_unit_at_a_price_can_be_judged() -> None:
    traces = traces_of().priced({"usd": 1})
    policy = ttamer.solve(ttamer.fit(traces, 4), 0.9, prices={"usd": 2})
    assert policy.unit == "2.0 usd"
    plain = ttamer.solve(ttamer.fit(traces, 4), 0.9)
    assert policy.cost_scale == 2 * plain.cost_scale
    np.testing.assert_allclose(policy.replay(traces).cost, 2 * plain.replay(traces).cost)
    assert ttamer.evaluate(policy, traces).unit == "2.0 usd"


def test_a_stated_scale_is_kept_at_a_price() -> None:
    plain = random_model(Topology.line(2), 2, seed=1)
    model = ttamer.CascadeModel(plain.topology, plain.losses, plain.transitions, [1, 2], cost_scale=100, unit="ms")
    assert ttamer.solve(model, 0.8, prices={"ms": 3}).cost_scale == 300


def test_the_full_model_pays_in_each_unit_for_the_path_that_it_takes() -> None:
    topology = Topology.dag(4, [(-1, 0), (0, 1), (0, 2), (1, 3), (2, 3)])
    signals = np.random.default_rng(0).random((50, 4)).astype(np.float32)
    costs = {"usd": [1, 1, 10, 1, 1], "ms": [1, 10, 2, 1, 1]}  # by node 1 the sum is smaller, by 2 the milliseconds
    traces = Traces(signals, (signals < 0.5).astype(np.float32), costs, topology)
    policy = ttamer.solve(ttamer.fit(traces, 4), 0.9, prices={"usd": 1, "ms": 1})
    report = ttamer.evaluate(policy, traces)
    assert report.full_cost == 15
    assert report.full_unit_costs == {"usd": 3, "ms": 12}


def test_a_limit_on_the_mean_knows_the_dearest_path() -> None:
    losses = (np.random.default_rng(0).random((400, 3)) < 0.5).astype(np.float32)
    traces = Traces(losses, losses, np.ones((400, 6)), Topology.skip(3), observed=True)
    with pytest.raises(ValueError, match="max_cost_of_a_request: expected a bound .* got 1.5 and one that can cost 3"):
        ttamer.tune(traces, max_cost=1.5, max_cost_of_a_request=1.5, estimate="signal")
    whole = Traces(losses, losses, np.ones((400, 3)), Topology.forest([-1, -1, 0]), observed=True)
    with pytest.raises(ValueError, match="max_cost_of_a_request: expected a bound .* got 2.5 and one that can cost 3"):
        ttamer.tune(whole, max_cost=1.5, max_cost_of_a_request=2.5, estimate="signal")


def test_a_trial_of_limits_in_another_unit_is_refused() -> None:
    traces = traces_of()
    limits = tuning.certify(traces, max_cost_quantile={"ms": (0.5, 20.0)}, prices=PRICES).limits
    parts = traces[:300].priced(PRICES), traces[300:].priced(PRICES)
    trial = tuning.Trial(ttamer.frontier(parts[0]), *parts)
    with pytest.raises(ValueError, match=r"^max_cost_quantile: expected a limit in usd \+ 0.002 ms, got one in ms$"):
        trial.certify(limits, 0.9)
