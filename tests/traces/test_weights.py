"""Requests that count more or less when a model is fitted, and once everywhere else."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import graded_traces, random_traces
from hypothesis import given, settings
from hypothesis import strategies as st
from paths import DATA
from samples import plain

import ttamer
from ttamer import CascadeModel, Topology, Traces
from ttamer._base import files

LINE = Topology.line(3)
TOPOLOGIES = [LINE, Topology.skip(3), Topology.forest([-1, 0, 0]), Topology.dag(3, [(-1, 0), (0, 1), (0, 2)])]


def weights_of(traces: Traces) -> list[float]:
    assert traces.weights is not None
    return traces.weights.tolist()


class TestTraces:
    def test_numbers_of_all_and_of_each(self) -> None:
        traces = random_traces(LINE, 4, 0)
        assert traces.weights is None
        assert weights_of(traces.weighted(0.5)) == [0.5] * 4
        weighted = traces.weighted([0, 1, 2, 0.25])
        assert weights_of(weighted) == [0, 1, 2, 0.25]
        assert weighted.weights is not None
        assert not weighted.weights.flags.writeable
        assert weights_of(weighted.weighted(2)) == [2] * 4  # in place of the earlier ones
        assert weighted.weighted(1).weights is None
        assert "weights 0 to 2" in repr(weighted)
        assert "weights" not in repr(traces)

    def test_they_stay_with_their_rows(self) -> None:
        traces = random_traces(LINE, 4, 0)
        weighted = traces.weighted([0, 1, 2, 0.25])
        assert weights_of(weighted[[2, 0, 2]]) == [2, 0, 2]
        assert weights_of(weighted[weighted.complete]) == [0, 1, 2, 0.25]
        assert weights_of(weighted + traces) == [0, 1, 2, 0.25, 1, 1, 1, 1]
        assert weights_of(traces[:1] + weighted) == [1, 0, 1, 2, 0.25]
        assert (traces + traces).weights is None
        assert weights_of(weighted.path([2], [1.0])) == [0, 1, 2, 0.25]
        assert weights_of(pickle.loads(pickle.dumps(weighted))) == [0, 1, 2, 0.25]

    @pytest.mark.parametrize(
        ("weights", "error", "message"),
        [
            (0, ValueError, "weights: expected one above 0, got none"),
            ([0, 0, 0, 0], ValueError, "weights: expected one above 0, got none"),
            (-1, ValueError, "weights: expected values >= 0, got -1.0 at row 0"),
            ([1, 1, -2, 1], ValueError, "weights: expected values >= 0, got -2.0 at row 2"),
            (np.inf, ValueError, "weights: expected finite values, got inf at row 0"),
            ([1, np.nan, 1, 1], ValueError, "weights: expected finite values, got nan at row 1"),
            ([1, 2], ValueError, r"weights: expected a number, or \(4,\) numbers, one a row, got \(2,\) int64"),
            (np.ones((4, 1)), ValueError, r"weights: expected a number, or \(4,\) numbers, one a row, got \(4, 1\)"),
            ("heavy", TypeError, "weights: expected a number, got str"),
            (["a"] * 4, TypeError, r"weights: expected a number, or \(4,\) numbers, one a row, got "),
            (True, TypeError, "weights: expected a number, got bool"),
            (1e16, ValueError, r"weights: expected a sum of at most 2\*\*53, got 4e\+16"),
        ],
    )
    def test_refused(self, weights: Any, error: type[Exception], message: str) -> None:
        with pytest.raises(error, match=f"^{message}"):
            random_traces(LINE, 4, 0).weighted(weights)

    def test_files(self, tmp_path: Path) -> None:
        traces = random_traces(LINE, 4, 0)
        for k, some in enumerate([traces.weighted([0, 1, 2, 0.25]), traces.weighted([0, 1, 2, 0.25])[:1]]):
            some.save(tmp_path / "t.npz")
            assert weights_of(Traces.load(tmp_path / "t.npz")) == weights_of(some), k
        with np.load(tmp_path / "t.npz") as arrays:
            assert arrays["ttamer_traces"] == 3
        traces.save(tmp_path / "t.npz")
        assert Traces.load(tmp_path / "t.npz").weights is None
        with np.load(tmp_path / "t.npz") as arrays:
            assert arrays["ttamer_traces"] == 1
            assert "weights" not in arrays

    def test_a_frozen_file(self) -> None:
        traces = Traces.load(DATA / "traces-v3.npz")
        assert weights_of(traces) == [k / 8 for k in range(12)]
        assert traces.signals[5].tolist() == [0.125, 0.5, 0.875]

    def test_files_with_wrong_weights(self, tmp_path: Path) -> None:
        Traces(**plain()).weighted([1, 2, 3, 4]).save(tmp_path / "t.npz")
        with np.load(tmp_path / "t.npz") as loaded:
            arrays = dict(loaded)
        for wrong, message in ((np.ones(3), r"\(4,\) numbers"), (-np.ones(4), ">= 0"), (np.ones(5), "larger than")):
            with open(tmp_path / "t.npz", "wb") as file:
                np.savez_compressed(file, **{**arrays, "weights": wrong})
            assert zipfile.is_zipfile(tmp_path / "t.npz")
            with pytest.raises(ValueError, match=f"weights.*{message}"):
                Traces.load(tmp_path / "t.npz")


@st.composite
def weighted_rows(draw: st.DrawFn) -> tuple[Traces, list[int]]:
    rows = draw(st.integers(5, 40))
    make = draw(st.sampled_from([random_traces, graded_traces]))
    traces = make(draw(st.sampled_from(TOPOLOGIES)), rows, draw(st.integers(0, 999)))
    rng = np.random.default_rng(rows)
    if draw(st.booleans()):
        costs = rng.random((rows, len(traces.topology.edges)))
        signals, losses = traces.signals.copy(), traces.losses.copy()
        if draw(st.booleans()):
            for array in (signals, losses, costs):
                array[1:][rng.random(array[1:].shape) < 0.2] = np.nan
        traces = Traces(signals, losses, costs, traces.topology, unit="ms")
    weights = draw(st.lists(st.integers(0, 4), min_size=rows - 1, max_size=rows - 1))
    return traces, [draw(st.integers(1, 4)), *weights]


def same_tables(one: CascadeModel, other: CascadeModel, tolerance: float = 1e-12) -> None:
    for name in ("losses", "transitions", "state_costs", "costs"):
        for a, b in zip(getattr(one, name), getattr(other, name), strict=True):
            np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


class TestFit:
    @given(case=weighted_rows(), smoothing=st.sampled_from(["auto", "mean"]))
    @settings(max_examples=60)
    def test_a_weight_of_two_is_a_row_stated_twice(self, case: tuple[Traces, list[int]], smoothing: str) -> None:
        traces, weights = case
        like = ttamer.fit(traces, 4, smoothing=smoothing)
        repeated = traces[np.repeat(np.arange(len(traces)), weights)]
        one = ttamer.fit(traces.weighted(weights), like=like)
        other = ttamer.fit(repeated, like=like)
        same_tables(one, other)
        assert one.requests == other.requests == sum(weights)
        assert type(one.requests) is int
        assert one._statistics is not None
        assert other._statistics is not None
        arrays, expected = one._statistics.to_arrays([""]), other._statistics.to_arrays([""])
        assert arrays.keys() == expected.keys()
        for name, array in expected.items():
            assert arrays[name].dtype == array.dtype
            if not name.startswith(("loss_sums", "signal_sums", "cost_sums")):
                np.testing.assert_array_equal(arrays[name], array)

    def test_halves_are_half_as_many_requests(self) -> None:
        """What strengths weigh stays: the node's mean counts as 4 requests of weight 1."""
        traces = random_traces(LINE, 60, 0)
        halves = ttamer.fit(traces.weighted(0.5), 3, smoothing="mean", loss_strength=2, transition_strength=3)
        wholes = ttamer.fit(traces, 3, smoothing="mean", loss_strength=4, transition_strength=6)
        same_tables(halves, wholes)
        assert halves.requests == 30
        assert ttamer.fit(traces.weighted(0.3)[:5], like=halves).requests == pytest.approx(1.5)
        assert "1.5 requests" in repr(ttamer.fit(traces.weighted(0.3)[:5], like=halves))

    def test_shards_of_other_weights_add_to_the_whole(self) -> None:
        traces = random_traces(LINE, 90, 1)
        old, new = traces[:60].weighted(0.125), traces[60:]
        like = ttamer.fit(traces, 3)
        model = ttamer.fit(old, like=like) + ttamer.fit(new, like=like)
        same_tables(model, ttamer.fit(old + new, like=like))
        assert model.requests == 37.5
        same_tables(model - ttamer.fit(old, like=like), ttamer.fit(new, like=like))

    def test_files_of_fractions_are_of_a_version_of_their_own(self, tmp_path: Path) -> None:
        traces = random_traces(LINE, 60, 0)
        for weights, version in ((2, 1), (0.3, 3)):
            model = ttamer.fit(traces.weighted(weights), 3)
            model.save(tmp_path / "m")
            assert files.from_bytes(model._to_bytes(), "model", 3, "")[0]["version"] == version
            loaded = CascadeModel.load(tmp_path / "m")
            assert loaded.requests == model.requests
            assert loaded._to_bytes() == model._to_bytes()
            same_tables(loaded, model, 0)

    def test_what_judges_policies_counts_rows(self) -> None:
        traces = random_traces(LINE, 200, 0)
        weighted = traces.weighted(np.linspace(0, 3, 200))
        policy = ttamer.solve(ttamer.fit(traces, 4), 0.8)
        assert policy.replay(weighted).error == policy.replay(traces).error
        one, other = ttamer.evaluate(policy, weighted).as_dict(), ttamer.evaluate(policy, traces).as_dict()
        assert one == other
        assert weighted.summary().as_dict() == traces.summary().as_dict()
        model = ttamer.fit(traces, 4)
        points = [ttamer.frontier(some, model=model).points for some in (weighted, traces)]
        assert [point.error for point in points[0]] == [point.error for point in points[1]]

    def test_only_weightless_rows(self) -> None:
        traces = random_traces(LINE, 4, 0).weighted([0, 1, 1, 1])
        with pytest.raises(ValueError, match="^traces: expected a request of a weight above 0, got none$"):
            ttamer.fit(traces[:1], 2)

    def test_rows_without_weight_are_as_if_not_recorded(self) -> None:
        traces = random_traces(LINE, 20, 0)
        signals, losses = traces.signals.copy(), traces.losses.copy()
        signals[1:, 1], losses[1:, 1] = np.nan, np.nan
        partial = Traces(signals, losses, traces.costs).weighted([0] + [1] * 19)
        with pytest.raises(ValueError, match="^traces: expected a request that recorded a signal of node 1, got none$"):
            ttamer.fit(partial, 2)

    def test_promises_are_compared_with_the_same_weights(self) -> None:
        """Node 0 is right for the first half of the rows only; with weights on these no promise is broken."""
        rows = np.arange(400)
        signals = np.stack([rows % 7, rows % 5], axis=1).astype(np.float32)
        losses = np.stack([rows >= 200, rows % 2 == 0], axis=1).astype(np.float32)
        traces = Traces(signals, losses, [1, 1]).weighted(np.where(rows < 200, 1, 0.001))
        policy = ttamer.solve(ttamer.fit(traces, 8), 0.8)
        assert policy.expected_loss < 0.05
        assert policy.replay(traces).error > 0.4

    def test_estimates_are_refused(self) -> None:
        rng = np.random.default_rng(0)
        probs, labels = rng.dirichlet([1, 1, 1], (60, 2)), rng.integers(0, 3, 60)
        traces = Traces.from_probs(probs, labels, [1, 1]).weighted(0.5)
        message = "^estimate: expected traces without weights, got weights; use 'signal'$"
        with pytest.raises(ValueError, match=message):
            ttamer.fit(traces, estimate="posterior")
        assert ttamer.fit(traces, estimate="auto").estimator is None


def test_a_row_without_weight_does_not_choose_the_smoothing() -> None:
    traces = random_traces(LINE, 300, 0)
    graded = Traces(traces.signals[:10], traces.losses[:10] / 2 + np.float32(0.1), traces.costs, traces.topology)
    whole = Traces(traces.signals, traces.losses, traces.costs, traces.topology) + graded
    model = ttamer.fit(whole.weighted((np.arange(310) < 300).astype(float)), bins=4)
    alone = ttamer.fit(whole[:300], bins=4)
    for one, other in zip(model.losses + model.bin_edges, alone.losses + alone.bin_edges, strict=True):
        np.testing.assert_array_equal(one, other)
