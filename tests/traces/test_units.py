"""Costs in several units, their sum at given prices, and who is told of which."""

from __future__ import annotations

import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ttamer
import ttamer.cli
from ttamer import Topology, Traces, baselines
from ttamer.traces.costs import priced_unit, prices_in

PRICES = {"usd": 1.0, "ms": 0.002}


def traces_in(rows: int = 200, costs: Any = None, **changes: Any) -> Traces:
    rng = np.random.default_rng(0)
    signals = rng.random((rows, 3)).astype(np.float32)
    losses = (rng.random((rows, 3)) > signals).astype(np.float32)
    if costs is None:
        costs = {"usd": [0.0, 0.25, 1.0], "ms": rng.lognormal(4, 1, (rows, 3))}
    return Traces(signals, losses, costs, **changes)


class TestPrices:
    @given(
        st.dictionaries(
            st.text("abcxyz µ$/%0123456789.", min_size=1).filter(lambda name: not re.match(r"[-+.\d ]|.* $", name)),
            st.floats(1e-300, 1e300),
            min_size=1,
        )
    )
    def test_are_read_from_the_unit_that_they_made(self, prices: dict[str, float]) -> None:
        assert prices_in(priced_unit(prices)) == prices

    def test_of_one_unit_leave_it(self) -> None:
        assert priced_unit({"usd": 1}) == "usd"
        assert priced_unit(PRICES) == "usd + 0.002 ms"

    def test_weigh_the_sum(self) -> None:
        traces = traces_in()
        priced = traces.priced(PRICES)
        assert priced.unit == "usd + 0.002 ms"
        ms = traces.unit_costs["ms"]
        np.testing.assert_allclose(priced.paid_costs, np.array([0.0, 0.25, 1.0]) + 0.002 * ms)
        assert traces.priced({"ms": 1, "usd": 0}).unit == "ms"
        np.testing.assert_array_equal(traces.priced({"ms": 1}).paid_costs, ms)
        # Whatever the order in which prices are stated, the sum is one unit.
        assert traces.priced({"ms": 0.002, "usd": 1.0}).unit == priced.unit

    @pytest.mark.parametrize(
        ("prices", "error", "message"),
        [
            ({"eur": 1.0}, ValueError, "prices: expected units of ['usd', 'ms'], got 'eur'"),
            ({"usd": -1.0}, ValueError, "prices['usd']: expected a finite number >= 0, got -1"),
            ({"usd": np.inf}, ValueError, "prices['usd']: expected a finite number >= 0, got inf"),
            ({"usd": "1"}, TypeError, "prices['usd']: expected a number, got str"),
            ({"usd": 0.0}, ValueError, "prices: expected a price above 0 for one of ['usd', 'ms'], got none"),
            ({}, ValueError, "prices: expected a price above 0 for one of ['usd', 'ms'], got none"),
            (1.0, TypeError, "prices: expected a mapping of units to numbers, got float"),
        ],
    )
    def test_bad_ones(self, prices: Any, error: type[Exception], message: str) -> None:
        with pytest.raises(error, match=f"^{re.escape(message)}$"):
            traces_in().priced(prices)


class TestTraces:
    def test_rows_files_and_sums_keep_all_units(self, tmp_path: Path) -> None:
        traces = traces_in()
        traces.save(tmp_path / "t.npz")
        for same in (Traces.load(tmp_path / "t.npz"), traces[:50] + traces[50:]):
            assert list(same.unit_costs) == ["usd", "ms"]
            np.testing.assert_array_equal(same.unit_costs["ms"], traces.unit_costs["ms"])
            np.testing.assert_array_equal(np.broadcast_to(same.unit_costs["usd"], (200, 3))[7], [0.0, 0.25, 1.0])
        assert repr(traces) == "Traces(200 rows, Topology.line(3), costs in usd, ms, costs of each request)"

    def test_costs_of_no_price_are_refused_with_what_to_say(self) -> None:
        traces = traces_in()
        message = (
            "traces: expected costs in one unit, got usd, ms; say what each is worth: prices={'usd': ..., 'ms': ...}"
        )
        for use in (
            lambda: traces.costs,
            lambda: ttamer.frontier(traces),
            lambda: ttamer.compare.run(traces),
        ):
            with pytest.raises(ValueError, match=re.escape(message)):
                use()

    def test_summary_has_each_unit(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        traces = traces_in()
        summary = traces.summary()
        assert summary.costs["usd"].mean.tolist() == [0.0, 0.25, 1.25]
        np.testing.assert_allclose(summary.costs["ms"].mean, np.cumsum(traces.unit_costs["ms"], axis=1).mean(axis=0))
        traces.save(tmp_path / "t.npz")
        assert ttamer.cli.main(["show", str(tmp_path / "t.npz")]) == 0
        shown = capsys.readouterr().out
        assert "mean cost, usd" in shown
        assert "mean cost, ms" in shown

    @pytest.mark.parametrize(
        ("costs", "message"),
        [
            ({}, "costs: expected at least one unit, got none"),
            ({"": [1, 1, 1]}, "costs: expected units like 'usd' and 'ms', got ''"),
            ({"2 usd": [1, 1, 1]}, "costs: expected units like 'usd' and 'ms', got '2 usd'"),
            ({"inf usd": [1, 1, 1]}, "costs: expected units like 'usd' and 'ms', got 'inf usd'"),
            ({"usd + ms": [1, 1, 1]}, "costs: expected units like 'usd' and 'ms', got 'usd + ms'"),
            (
                {"usd": [1, 1, 1], "ms": [1, 1]},
                "costs['ms']: expected (3,) numbers, one an edge of the line, got (2,) int64",
            ),
            ({"usd": [1, -1, 1]}, "costs['usd']: expected values >= 0, got -1.0 at edge 1"),
            (
                {"usd": np.ones((3, 3))},
                "costs['usd']: expected (200, 3) numbers, for each request one an edge of the line",
            ),
        ],
    )
    def test_bad_ones(self, costs: Any, message: str) -> None:
        with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
            traces_in(costs=costs)

    def test_a_unit_beside_a_mapping(self) -> None:
        with pytest.raises(ValueError, match="^unit: expected none with costs in several units, .* got 'ms'$"):
            traces_in(unit="ms")

    def test_a_policy_is_replayed_at_its_own_prices(self) -> None:
        traces = traces_in()
        policy = ttamer.solve(ttamer.fit(traces.priced(PRICES), 4), 0.7)
        assert policy.unit == "usd + 0.002 ms"
        here, there = policy.replay(traces), policy.replay(traces.priced(PRICES))
        np.testing.assert_array_equal(here.cost, there.cost)
        other = traces_in(costs={"eur": [1, 1, 1], "ms": [1, 1, 1]})
        with pytest.raises(ValueError, match=r"^traces: expected costs in 'usd \+ 0.002 ms', got 'eur, ms'$"):
            policy.replay(other)


def test_the_order_of_units_does_not_matter() -> None:
    costs = traces_in().unit_costs
    here, there = traces_in(), traces_in(costs={"ms": costs["ms"], "usd": costs["usd"]})
    policy = ttamer.solve(ttamer.fit(here, 4), 0.7, prices=PRICES)
    for part in (there, there.priced(PRICES), here.priced(PRICES)):
        np.testing.assert_array_equal(policy.replay(part).cost, policy.replay(here).cost)
    model = ttamer.fit(here, 4)
    both = model + ttamer.fit(there, like=model)
    assert list(both.unit_costs) == list((here + there).unit_costs) == ["usd", "ms"]
    np.testing.assert_allclose(both.unit_costs["ms"].mean, model.unit_costs["ms"].mean)
    assert here.priced(PRICES).unit == "usd + 0.002 ms"
    assert (here.priced(PRICES) + there.priced(PRICES)).unit == "usd + 0.002 ms"
    front = ttamer.frontier(here, prices=PRICES)
    assert ttamer.compare.curve_of_front(front, here.priced(PRICES), there.priced(PRICES)).settings


def test_a_file_keeps_which_costs_are_of_requests(tmp_path: Path) -> None:
    for traces in (traces_in(), traces_in()[:1]):
        traces.save(tmp_path / "t.npz")
        loaded = Traces.load(tmp_path / "t.npz")
        assert [costs.shape for costs in loaded.unit_costs.values()] == [
            costs.shape for costs in traces.unit_costs.values()
        ]


@pytest.mark.parametrize(
    ("costs", "message"),
    [
        ([1.0, 2.0], "costs: expected a mapping of the units ['usd', 'ms'], got costs without units"),
        ({"usd": [1, 2]}, "costs: expected a mapping of the units ['usd', 'ms'], got ['usd']"),
        ({"usd": [1, 2], "eur": [1, 2]}, "costs: expected a mapping of the units ['usd', 'ms'], got ['usd', 'eur']"),
    ],
)
def test_a_path_has_the_units_of_its_traces(costs: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        traces_in().path([0, 2], costs)


def test_unpickled_traces_are_read_only() -> None:
    traces = pickle.loads(pickle.dumps(traces_in()))
    assert not traces.signals.flags.writeable
    assert not traces.unit_costs["ms"].flags.writeable


class TestNames:
    def test_a_policy_is_for_the_nodes_that_it_was_fitted_on(self, tmp_path: Path) -> None:
        traces = traces_in(nodes=["small", "medium", "large"]).priced(PRICES)
        other = traces_in(nodes=["medium", "small", "large"]).priced(PRICES)
        model = ttamer.fit(traces, 4)
        model.save(tmp_path / "m.safetensors")
        ttamer.solve(ttamer.CascadeModel.load(tmp_path / "m.safetensors"), 0.7).save(tmp_path / "p.safetensors")
        policy = ttamer.Policy.load(tmp_path / "p.safetensors")
        assert policy.nodes == model.nodes == ("small", "medium", "large")
        message = "expected the nodes small, medium, large, got medium, small, large$"
        with pytest.raises(ValueError, match=f"^traces: {message}"):
            policy.replay(other)
        with pytest.raises(ValueError, match=r"^like: expected the nodes medium, small, large, got small"):
            ttamer.fit(other, like=model)
        unnamed = traces_in().priced(PRICES)  # nothing is known of them
        np.testing.assert_array_equal(policy.replay(unnamed).cost, policy.replay(traces).cost)

    def test_are_kept_and_shown(self, tmp_path: Path) -> None:
        traces = traces_in(nodes=["small", "medium", "large"])
        traces.save(tmp_path / "t.npz")
        assert Traces.load(tmp_path / "t.npz").nodes == ("small", "medium", "large")
        assert traces.path([2, 0], {"usd": [1, 1], "ms": [1, 1]}).nodes == ("large", "small")
        assert "node 1 (medium)" in str(traces.summary())

    def test_messages_say_them(self) -> None:
        signals, losses = np.random.default_rng(0).random((2, 40, 2)).astype(np.float32)
        traces = Traces(signals, losses, [1, 2], nodes=["small", "large"])
        unseen = np.stack([signals[:, 0], np.full(40, np.nan, np.float32)], axis=1)
        with pytest.raises(ValueError, match=r"^traces: expected a request .* a signal of node 1 \(large\), got none$"):
            ttamer.fit(traces._with(signals=unseen))
        halves = signals.copy()
        halves[:20, 0], halves[20:, 1] = np.nan, np.nan
        with pytest.raises(ValueError, match=r"both node 0 \(small\) and node 1 \(large\), got none$"):
            ttamer.fit(traces._with(signals=halves))
        coded = Traces(np.zeros_like(signals), losses, [1, 2], nodes=["small", "large"], categories={1: ["x"]})
        with pytest.raises(ValueError, match=r"expected numbers as signals of node 1 \(large\), got categories$"):
            ttamer.solve(ttamer.fit(traces, 4)).replay(coded)
        with pytest.raises(ValueError, match=r"those of node 1 \(large\) are categories$"):
            baselines.threshold(coded, 0.5)

    @pytest.mark.parametrize(
        ("nodes", "error", "message"),
        [
            (["a", "b"], ValueError, "nodes: expected 3 names, one a node, got 2"),
            (["a", "b", "a"], ValueError, "nodes: expected names that differ, got ['a', 'b', 'a']"),
            (["a", "b", ""], ValueError, "nodes: expected names that differ, got ['a', 'b', '']"),
            (["a", "b", 3], TypeError, "nodes[2]: expected a str, got int"),
            ("abc", TypeError, "nodes: expected a sequence of names, got a str"),
        ],
    )
    def test_bad_ones(self, nodes: Any, error: type[Exception], message: str) -> None:
        with pytest.raises(error, match=f"^{re.escape(message)}$"):
            traces_in(nodes=nodes)


class TestRunningSums:
    """Costs on a line are what each node adds."""

    MESSAGE = "^The costs rise by about the first one from node to node. .* record np.diff"

    def test_costs_that_look_like_sums(self) -> None:
        rng = np.random.default_rng(0)
        probs, labels = rng.dirichlet([1, 1, 1], (40, 3)), rng.integers(0, 3, 40)
        with pytest.warns(UserWarning, match=self.MESSAGE):
            traces = Traces.from_probs(probs, labels, [0.9, 2.0, 3.1])
        assert traces.summary().like_sums
        assert str(traces.summary()).endswith("record np.diff(costs, prepend=0).")
        with pytest.warns(UserWarning, match=self.MESSAGE):
            Traces(traces.signals, traces.losses, {"usd": [1.0, 1.0, 1.0], "ms": [1.0, 2.0, 3.0]})

    @pytest.mark.filterwarnings("error")
    def test_others_do_not(self, tmp_path: Path) -> None:
        traces = traces_in(costs=[1.0, 1.0, 2.0])
        assert not traces.summary().like_sums
        Traces(traces.signals, traces.losses, [1.0, 2.0, 3.0], Topology.forest([-1, -1, -1]))

    @pytest.mark.filterwarnings("error")
    def test_a_file_is_not_warned_of_again(self, tmp_path: Path) -> None:
        traces = traces_in(costs=[1.0, 1.0, 2.0])._with(unit_costs={"ms": np.array([1.0, 2.0, 3.0])})
        traces.save(tmp_path / "t.npz")
        assert Traces.load(tmp_path / "t.npz")[:10].costs.tolist() == [1, 2, 3]
