"""What was not recorded: NaN in traces, statistics of what was, and rows that policies may be judged on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ttamer
from ttamer import Topology, Traces, baselines, compare

Floats32 = npt.NDArray[np.float32]
TOPOLOGIES = [
    Topology.line(3),
    Topology.skip(3),
    Topology.forest([-1, 0, 0]),
    Topology.dag(3, [(-1, 0), (0, 1), (0, 2)]),
]


def complete(rows: int = 300, topology: Topology = TOPOLOGIES[0], seed: int = 0, **changes: object) -> Traces:
    rng = np.random.default_rng(seed)
    signals = rng.random((rows, 3)).astype(np.float32)
    losses = (rng.random((rows, 3)) > signals).astype(np.float32)
    costs = rng.random((rows, len(topology.edges)))
    return Traces(signals, losses, costs, topology, unit="ms", **changes)  # type: ignore[arg-type]


def with_gaps(traces: Traces, seed: int = 0, share: float = 0.3) -> Traces:
    """The traces with a share of all entries taken away."""
    rng = np.random.default_rng(seed)
    signals, losses = traces.signals.copy(), traces.losses.copy()
    costs = np.broadcast_to(traces.paid_costs, (len(traces), len(traces.topology.edges))).copy()
    for array in (signals, losses, costs):
        array[rng.random(array.shape) < share] = np.nan
    return Traces(signals, losses, costs, traces.topology, unit=traces.unit)


class TestTraces:
    def test_rows_in_which_everything_was_recorded(self) -> None:
        traces = with_gaps(complete())
        expected = ~(np.isnan(traces.signals) | np.isnan(traces.losses) | np.isnan(traces.paid_costs)).any(axis=1)
        np.testing.assert_array_equal(traces.complete, expected)
        part = traces[traces.complete]
        assert part.complete.all()
        assert f"{expected.sum()} of them complete" in repr(traces)
        assert "complete" not in repr(part)

    def test_mean_costs_are_those_of_the_requests_that_recorded_them(self) -> None:
        traces = with_gaps(complete())
        np.testing.assert_allclose(traces.costs, np.nanmean(traces.paid_costs, axis=0))

    def test_files(self, tmp_path: Path) -> None:
        traces = with_gaps(complete())
        traces.save(tmp_path / "t.npz")
        loaded = Traces.load(tmp_path / "t.npz")
        for name in ("signals", "losses", "paid_costs"):
            np.testing.assert_array_equal(getattr(loaded, name), getattr(traces, name))
        assert loaded.unit == "ms"

    def test_observed_losses_may_be_missing_with_their_signals(self) -> None:
        losses = np.array([[0.5, np.nan], [0.25, 1.0]], np.float32)
        assert Traces(losses, losses, [1, 1], observed=True).complete.tolist() == [False, True]
        with pytest.raises(ValueError, match="signals: expected the losses themselves .* at row 0, node 1"):
            Traces(np.nan_to_num(losses), losses, [1, 1], observed=True)

    def test_summary_counts_them(self) -> None:
        traces = with_gaps(complete())
        summary = traces.summary()
        assert summary.complete == traces.complete.sum()
        np.testing.assert_array_equal(summary.consulted, (~np.isnan(traces.signals)).sum(axis=0))
        np.testing.assert_array_equal(summary.judged, (~np.isnan(traces.losses)).sum(axis=0))
        np.testing.assert_allclose(summary.loss, np.nanmean(traces.losses, axis=0), rtol=1e-6)
        reach = np.cumsum(traces.paid_costs, axis=1)
        np.testing.assert_allclose(summary.costs["ms"].p95, np.nanquantile(reach, 0.95, axis=0))
        assert f"{summary.consulted[1]} consulted, {summary.judged[1]} judged" in str(summary)

    def test_a_summary_of_what_nothing_is_known_of(self) -> None:
        traces = Traces(np.zeros((3, 2), np.float32), np.full((3, 2), np.nan, np.float32), np.full((3, 2), np.nan))
        summary = traces.summary()
        assert summary.best is None
        assert summary.as_dict()["loss"] == [None, None]
        assert np.isnan(summary.costs[""].mean).all()

    def test_answers_that_are_none_agree_with_nobody(self) -> None:
        predictions = np.array([[1, 1], [-1, 1], [2, 1], [-1, -1]])
        summary = Traces(*(np.zeros((4, 2), np.float32),) * 2, [1, 1], predictions=predictions).summary()
        assert summary.agreement is not None
        assert summary.agreement.tolist() == [0.5, 1.0]


class TestStatistics:
    @pytest.mark.parametrize("topology", TOPOLOGIES, ids=lambda topology: topology.kind)
    def test_each_is_of_the_requests_that_recorded_it(self, topology: Topology) -> None:
        traces = with_gaps(complete(2_000, topology), share=0.2)
        model = ttamer.fit(traces, bins=4, smoothing="mean", loss_strength=0.0, transition_strength=0.0)
        signals, losses, paid = traces.signals, traces.losses, traces.paid_costs
        states = [np.searchsorted(model.bin_edges[j], signals[:, j], side="right") for j in range(3)]
        known = ~np.isnan(signals)
        for j in range(3):
            for s in range(4):
                here = known[:, j] & (states[j] == s)
                assert model.losses[j][s] == pytest.approx(np.nanmean(losses[here, j].astype(float)), abs=1e-12)
        for e, (i, j) in enumerate(topology.edges.tolist()):
            if i < 0:
                shares = np.bincount(states[j][known[:, j]], minlength=4) / known[:, j].sum()
                np.testing.assert_allclose(model.transitions[e][0], shares)
                assert model.state_costs[e][0] == pytest.approx(np.nanmean(paid[:, e]))
                continue
            both = known[:, i] & known[:, j]
            for s in range(4):
                here = both & (states[i] == s)
                shares = np.bincount(states[j][here], minlength=4) / here.sum()
                np.testing.assert_allclose(model.transitions[e][s], shares)
                there = known[:, i] & (states[i] == s)
                assert model.state_costs[e][s] == pytest.approx(np.nanmean(paid[there, e]))
        assert model.requests == 2_000

    @given(seed=st.integers(0, 10_000), smoothing=st.sampled_from(["auto", "platt", "mean"]))
    @settings(max_examples=30)
    def test_shards_add_to_the_whole(self, seed: int, smoothing: str) -> None:
        whole = complete(120, TOPOLOGIES[1], seed)
        gaps = with_gaps(whole[60:], seed, 0.2)
        like = ttamer.fit(whole, 3, smoothing=smoothing)
        parts = [whole[:60], gaps]
        added = ttamer.fit(parts[0], like=like) + ttamer.fit(parts[1], like=like)
        at_once = ttamer.fit(parts[0] + parts[1], like=like)
        assert added.requests == at_once.requests == 120
        for name in ("losses", "transitions", "state_costs"):
            for one, other in zip(getattr(added, name), getattr(at_once, name), strict=True):
                np.testing.assert_allclose(one, other, atol=1e-12)

    def test_complete_rows_are_counted_as_ever(self) -> None:
        traces = complete()
        assert ttamer.fit(traces)._statistics.gaps is None  # type: ignore[union-attr]

    def test_model_files(self, tmp_path: Path) -> None:
        model = ttamer.fit(with_gaps(complete()), 4)
        model.save(tmp_path / "m.safetensors")
        loaded = ttamer.CascadeModel.load(tmp_path / "m.safetensors")
        assert loaded.requests == 300
        for one, other in zip(loaded.transitions, model.transitions, strict=True):
            np.testing.assert_array_equal(one, other)
        assert ttamer.solve(loaded).value == ttamer.solve(model).value

    def test_a_prefix_log_teaches_what_follows_where_it_went_on(self) -> None:
        """Rows that stop at node 0 where its signal is high: what node 1 does after a low one is not biased."""
        traces = complete(20_000)
        signals, losses = traces.signals.copy(), traces.losses.copy()
        stopped = (signals[:, 0] > 0.5) & (np.arange(20_000) % 10 > 0)  # a tenth is finished through all nodes
        signals[stopped, 1:], losses[stopped, 1:] = np.nan, np.nan
        log = Traces(signals, losses, traces.paid_costs, unit="ms")
        full, partial = (
            ttamer.fit(traces, 4, smoothing="mean"),
            ttamer.fit(log, like=ttamer.fit(traces, 4, smoothing="mean")),
        )
        for one, other in zip(full.transitions[1], partial.transitions[1], strict=True):
            np.testing.assert_allclose(one, other, atol=0.06)
        np.testing.assert_array_equal(full.losses[0], partial.losses[0])


class TestRefused:
    @pytest.mark.parametrize(
        ("field", "column", "message"),
        [
            ("signals", 1, "traces: expected a request that recorded a signal of node 1, got none"),
            (
                "losses",
                2,
                "traces: expected a request that recorded a loss of node 2, which could not be judged, got none",
            ),
            ("costs", 1, r"traces: expected a request that recorded the cost of edge 1 \(0 -> 1\), got none"),
        ],
    )
    def test_a_model_of_what_nobody_recorded(self, field: str, column: int, message: str) -> None:
        traces = complete()
        arrays = {"signals": traces.signals, "losses": traces.losses, "costs": traces.paid_costs}
        arrays[field] = arrays[field].copy()
        arrays[field][:, column] = np.nan
        with pytest.raises(ValueError, match=f"^{message}$"):
            ttamer.fit(Traces(**arrays))

    def test_two_nodes_that_nobody_consulted_both(self) -> None:
        traces = complete()
        signals = traces.signals.copy()
        signals[::2, 0], signals[1::2, 1] = np.nan, np.nan
        with pytest.raises(ValueError, match="expected a request that recorded both node 0 and node 1, got none"):
            ttamer.fit(Traces(signals, traces.losses, traces.paid_costs))

    def test_judging_on_rows_that_lack_something(self) -> None:
        traces = with_gaps(complete())
        missing = 300 - traces.complete.sum()
        policy = ttamer.solve(ttamer.fit(traces, 4))
        message = rf"^traces: expected complete rows, {missing} of 300 lack a signal, a loss or a cost\. Models may"
        calls = [
            lambda: policy.replay(traces),
            lambda: ttamer.evaluate(policy, traces),
            lambda: ttamer.frontier(traces),
            lambda: ttamer.tune(traces, max_error=0.5),
            lambda: compare.run(traces),
            lambda: baselines.threshold(traces, 0.5),
            lambda: baselines.fixed_node(traces, 0),
            lambda: baselines.prophet(traces, 0.5),
        ]
        for call in calls:
            with pytest.raises(ValueError, match=message):
                call()
        rows = traces[traces.complete]
        front = ttamer.frontier(rows, model=ttamer.fit(traces, 4))
        assert len(policy.replay(rows)) == len(rows) == 300 - missing
        assert len(front) >= 1

    def test_signals_beside_evidence(self) -> None:
        rng = np.random.default_rng(0)
        probs, labels = rng.dirichlet([1, 1, 1], (4, 2)), rng.integers(0, 3, 4)
        traces = Traces.from_probs(probs, labels, [1, 1])
        signals = traces.signals.copy()
        signals[2, 1] = np.nan
        with pytest.raises(
            ValueError, match="^signals: expected one wherever there is evidence, got nan at row 2, node 1$"
        ):
            Traces(signals, traces.losses, [1, 1], evidence=traces.evidence)

    def test_costs_of_all_requests(self) -> None:
        with pytest.raises(ValueError, match="^costs: expected finite values, got nan at edge 1$"):
            Traces(*(np.zeros((2, 2), np.float32),) * 2, [1.0, np.nan])
