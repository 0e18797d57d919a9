"""From traces to a model: quantiser, losses per state, transitions, shards."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from helpers import assert_same_policy, attempt, f32, graded_traces, i32, random_traces
from hypothesis import given, settings
from hypothesis import strategies as st

import ttamer
from ttamer import _core, reference
from ttamer._base import files

LINE = ttamer.Topology.line(3)
MAX32 = np.finfo(np.float32).max
TINY32 = np.finfo(np.float32).smallest_subnormal

signals32 = st.lists(
    st.one_of(
        st.integers(-4, 4).map(float),
        st.floats(width=32, allow_nan=False, allow_infinity=False),
    ),
    min_size=1,
    max_size=40,
).map(lambda values: np.array(values, dtype=np.float32))


class TestQuantileEdges:
    @given(signals32, st.integers(1, 50))
    def test_edges_lie_between_recorded_values(self, signals: npt.NDArray[np.float32], bins: int) -> None:
        edges = reference.quantile_edges(signals, bins)
        assert edges.dtype == np.float32
        assert len(edges) < bins
        assert np.all(np.isfinite(edges))
        assert np.all(edges[:-1] < edges[1:])
        recorded = np.unique(signals)
        for edge in edges:
            above = recorded[recorded >= edge][0]
            below = recorded[recorded < edge][-1]
            # Strictly between where float32 has a number there; else on the upper one, which then belongs above.
            assert edge < above or np.nextafter(below, np.float32(np.inf)) == above

    @given(signals32, st.integers(1, 50))
    def test_every_state_is_recorded(self, signals: npt.NDArray[np.float32], bins: int) -> None:
        edges = reference.quantile_edges(signals, bins)
        assert np.bincount(reference.states(signals, edges), minlength=len(edges) + 1).min() >= 1

    @given(signals32, st.integers(1, 50))
    def test_core_counts_edges_alike(self, signals: npt.NDArray[np.float32], bins: int) -> None:
        edges = reference.quantile_edges(signals, bins)
        with np.errstate(all="ignore"):  # beyond the largest float lies infinity
            beside = [np.nextafter(edges, f32(end)) for end in (-np.inf, np.inf)]
        probes = np.concatenate([signals, edges, *beside, f32(-np.inf, np.inf, 0.0, -0.0)])
        expected = [int(np.sum(edges <= probe)) for probe in probes]
        assert reference.states(probes, edges).tolist() == expected
        assert _core.states(edges, probes[:, None], 0).tolist() == expected

    def test_bins_hold_equally_many(self) -> None:
        signals = np.random.default_rng(0).permutation(1000).astype(np.float32)
        edges = reference.quantile_edges(signals, 8)
        assert np.bincount(reference.states(signals, edges)).tolist() == [125] * 8
        assert edges[0] == 124.5

    def test_ties_are_merged(self) -> None:
        assert reference.quantile_edges(f32(0, 0, 0, 0, 0, 0, 1, 2), 2).tolist() == []
        assert reference.quantile_edges(f32(0, 0, 0, 1, 1, 1, 2, 2), 2).tolist() == [0.5]

    def test_few_values_keep_a_state_each(self) -> None:
        """Also rare ones: a class of a router that is seen once in a hundred requests has its own specialist."""
        assert reference.quantile_edges(f32(0, 0, 0, 0, 0, 0, 0, 1), 2).tolist() == [0.5]
        subjects = np.append(np.arange(57), np.zeros(10_000)).astype(np.float32)
        edges = reference.quantile_edges(subjects, 57)
        assert np.bincount(reference.states(subjects, edges)).tolist() == [10_001] + [1] * 56
        assert len(reference.quantile_edges(subjects, 56)) < 56

    @pytest.mark.parametrize("bins", [1, 2, 64])
    def test_a_constant_signal_is_one_state(self, bins: int) -> None:
        assert reference.quantile_edges(np.full(10, 0.25, np.float32), bins).tolist() == []

    def test_one_bin(self) -> None:
        assert reference.quantile_edges(f32(3, 1, 2), 1).tolist() == []

    def test_more_bins_than_requests(self) -> None:
        assert reference.quantile_edges(f32(3, 1, 2), 1000).tolist() == [1.5, 2.5]

    def test_neighbouring_floats(self) -> None:
        one = np.float32(1)
        assert reference.quantile_edges(f32(1, np.nextafter(one, f32(2)[0])), 2)[0] == np.nextafter(one, f32(2)[0])
        assert reference.quantile_edges(f32(0, TINY32), 2)[0] == TINY32

    def test_the_widest_range(self) -> None:
        assert reference.quantile_edges(f32(-MAX32, MAX32), 2).tolist() == [0.0]


class TestTables:
    @given(
        st.lists(st.integers(0, 5), min_size=1, max_size=8).filter(sum),
        st.sampled_from([0.0, 0.5, 4.0]),
        st.integers(0, 2**16),
    )
    def test_state_losses_shrink_to_the_mean(self, counts: list[int], strength: float, seed: int) -> None:
        sums = np.random.default_rng(seed).random(len(counts)) * counts
        losses = reference.state_losses(np.array(counts, float), sums, strength)
        mean = sums.sum() / sum(counts)
        for loss, count, total in zip(losses, counts, sums, strict=True):
            own = total / count if count else mean
            weight = count / (count + strength) if count else 0.0
            assert loss == pytest.approx(weight * own + (1 - weight) * mean, rel=0, abs=1e-12)

    @given(st.integers(2, 12), st.integers(0, 2**16), st.booleans())
    def test_the_curve_maximises_the_likelihood(self, states: int, seed: int, wide: bool) -> None:
        """Logistic in the (log-odds of the) mean signal, with no gradient left but that of the small ridge."""
        rng = np.random.default_rng(seed)
        counts = rng.integers(1, 40, states).astype(float)
        mean = np.sort(rng.uniform(-3.0, 5.0, states) if wide else rng.uniform(0.05, 0.95, states))
        sums = rng.binomial(counts.astype(int), rng.uniform(0.1, 0.9, states)).astype(float)
        curve = reference.platt_losses(counts, sums, mean * counts)
        assert np.all((curve > 0) & (curve < 1))
        inside = np.all((mean >= 0) & (mean <= 1))
        x = np.log(mean / (1 - mean)) if inside else mean
        x = (x - x.mean()) / x.std()
        logits = np.log(curve / (1 - curve))
        slope, offset = np.polyfit(x, logits, 1)
        np.testing.assert_allclose(offset + slope * x, logits, rtol=0, atol=1e-8)
        residual = sums - counts * curve
        assert residual.sum() == pytest.approx(1e-3 * offset, rel=0, abs=1e-6)
        assert residual @ x == pytest.approx(1e-3 * slope, rel=0, abs=1e-6)

    def test_the_curve_reaches_over_empty_states(self) -> None:
        counts, sums = np.array([0, 10, 0, 10, 0.0]), np.array([0, 8, 0, 2, 0.0])
        curve = reference.platt_losses(counts, sums, np.array([0, 2, 0, 7, 0.0]))
        assert curve[0] == curve[1] > curve[3] == curve[4]
        assert curve[2] == pytest.approx((curve[1] + curve[3]) / 2)

    @pytest.mark.parametrize("sums", [[0, 0, 0], [10, 10, 10], [10, 0, 0], [0, 0, 10]])
    def test_the_curve_stays_finite_where_errors_separate(self, sums: list[float]) -> None:
        curve = reference.platt_losses(np.full(3, 10.0), np.array(sums, float), np.array([1.0, 5.0, 9.0]))
        assert np.all((curve >= 0) & (curve <= 1))
        np.testing.assert_allclose(curve, np.array(sums) / 10, rtol=0, atol=0.02)

    def test_one_state_has_its_mean(self) -> None:
        curve = reference.platt_losses(np.array([40.0]), np.array([10.0]), np.array([20.0]))
        assert curve[0] == pytest.approx(0.25, abs=1e-3)

    def test_a_curve_that_does_not_fit(self) -> None:
        counts = np.full(5, 1000.0)
        signals = counts * np.array([0.1, 0.3, 0.5, 0.7, 0.9])
        for sums, fits in (([900, 700, 500, 300, 100], True), ([100, 900, 100, 900, 100], False)):
            wrong = np.array(sums, float)
            assert reference.curve_fits(counts, wrong, reference.platt_losses(counts, wrong, signals)) is fits

    @given(
        st.integers(1, 6), st.integers(1, 6), st.integers(0, 30), st.sampled_from([0.0, 1.0, 16.0]), st.integers(0, 99)
    )
    def test_counted_transitions_are_the_reference(
        self, rows: int, columns: int, requests: int, strength: float, seed: int
    ) -> None:
        rng = np.random.default_rng(seed)
        before = rng.integers(0, rows, requests).astype(np.int32)
        after = rng.integers(0, columns, requests).astype(np.int32)
        counts = _core.Counts.count(before, after, rows, columns)
        dense = np.zeros((rows, columns))
        np.add.at(dense, (before, after), 1)
        marginal = np.bincount(after, minlength=columns) + 1.0
        found = _core.Transition.counted(counts, marginal, strength).to_dense()
        expected = reference.transition(dense, marginal, strength)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-15)
        np.testing.assert_allclose(found.sum(axis=1), 1, rtol=0, atol=1e-12)

    def test_a_row_without_requests_is_the_marginal(self) -> None:
        counts = _core.Counts.count(i32(0, 0), i32(1, 1), 2, 2)
        found = _core.Transition.counted(counts, np.array([1.0, 3.0]), 0.0).to_dense()
        assert found.tolist() == [[0.0, 1.0], [0.25, 0.75]]

    def test_counts_add(self) -> None:
        first = _core.Counts.count(i32(0, 1, 1), i32(2, 0, 2), 2, 3)
        second = _core.Counts.count(i32(1, 0), i32(2, 0), 2, 3)
        both = first + second
        assert both.offsets.tolist() == [0, 2, 4]
        assert both.indices.tolist() == [0, 2, 0, 2]
        assert both.values.tolist() == [1, 1, 1, 2]
        with pytest.raises(ValueError, match="counts: shapes differ"):
            first + _core.Counts.count(i32(), i32(), 2, 2)

    def test_counts_subtract(self) -> None:
        first = _core.Counts.count(i32(0, 1, 1), i32(2, 0, 2), 2, 3)
        second = _core.Counts.count(i32(1, 0), i32(2, 0), 2, 3)
        rest = (first + second) - second
        for part in ("offsets", "indices", "values"):
            np.testing.assert_array_equal(getattr(rest, part), getattr(first, part))
        with pytest.raises(ValueError, match="counts: expected those of a part, got larger ones"):
            first - second

    def test_counts_of_weights(self) -> None:
        counts = _core.Counts.count(i32(0, 1, 0), i32(2, 0, 2), 2, 3, np.array([0.5, 2, 0.25]))
        assert counts.indices.tolist() == [2, 0]
        assert counts.values.tolist() == [0.75, 2]
        for weights, message in (
            (np.ones(2), "weights: expected as many as from_states"),
            (np.array([1, 0, 1.0]), "weights: expected finite numbers > 0"),
            (np.array([1, np.inf, 1]), "weights: expected finite numbers > 0"),
        ):
            with pytest.raises(ValueError, match=message):
                _core.Counts.count(i32(0, 1, 0), i32(2, 0, 2), 2, 3, weights)


class TestFit:
    @pytest.mark.parametrize("smoothing", ["mean", "platt", "auto"])
    @pytest.mark.parametrize("topology", [LINE, ttamer.Topology.skip(3), ttamer.Topology.forest([-1, 0, 0])])
    def test_tables_are_those_of_the_reference(self, topology: ttamer.Topology, smoothing: str) -> None:
        traces = random_traces(topology, 300, seed=1)
        model = ttamer.fit(traces, bins=8, smoothing=smoothing, loss_strength=3, transition_strength=5)
        states, counts = [], []
        for j in range(3):
            edges = reference.quantile_edges(traces.signals[:, j], 8)
            np.testing.assert_array_equal(model.bin_edges[j], edges)
            states.append(reference.states(traces.signals[:, j], edges))
            counts.append(np.bincount(states[j], minlength=len(edges) + 1).astype(float))
            sums, signals = (
                np.bincount(states[j], weights=values[:, j], minlength=len(counts[j]))
                for values in (traces.losses, traces.signals)
            )
            expected = reference.state_losses(counts[j], sums, 3)
            curve = reference.platt_losses(counts[j], sums, signals)
            if smoothing == "platt" or (smoothing == "auto" and reference.curve_fits(counts[j], sums, curve)):
                expected = curve
            # Two ways of climbing to the same curve agree to rounding; means are sums of the same numbers.
            np.testing.assert_allclose(model.losses[j], expected, rtol=1e-9 if expected is curve else 0)
        for (i, j), found in zip(topology.edges.tolist(), model.transitions, strict=True):
            if i < 0:
                expected = counts[j][None, :] / counts[j].sum()
            else:
                pairs = np.zeros((len(counts[i]), len(counts[j])))
                np.add.at(pairs, (states[i], states[j]), 1)
                expected = reference.transition(pairs, counts[j], 5)
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-15)
        assert model.topology == topology
        assert model.cost_scale == reference.costliest_path(topology, traces.costs)
        assert (model.requests, model.unit, model.observed) == (300, "ms", False)

    def test_losses_that_no_curve_describes(self) -> None:
        """Observed losses, and graded ones, are means unless asked for otherwise."""
        for observed, losses in ((True, [[0.5], [0.25]]), (False, [[4.0], [0.5]])):
            recorded = np.array(losses, np.float32)
            signals = recorded if observed else f32(0.25, 0.75)[:, None]
            traces = ttamer.Traces(signals, recorded, [1], observed=observed)
            model = ttamer.fit(traces, bins=2, loss_strength=0)
            assert model.losses[0].tolist() == [loss for _, (loss,) in sorted(zip(signals[:, 0], losses, strict=True))]
        assert ttamer.fit(traces[1:], smoothing="platt").losses[0][0] == pytest.approx(0.5, rel=0.01)

    @settings(max_examples=40)  # the fits of the reference are slow
    @given(st.integers(0, 2**16), st.sampled_from([1e-6, 0.5, 1.0, 5574.0]))
    def test_curves_of_graded_losses_are_those_of_the_reference(self, seed: int, scale: float) -> None:
        """Up to the largest loss of all nodes, whatever its unit; shards add to the same."""
        traces = graded_traces(LINE, 120, seed, scale)
        model = ttamer.fit(traces, 6, smoothing="platt")
        largest = float(traces.losses.max())
        for j in range(3):
            states = reference.states(traces.signals[:, j], model.bin_edges[j])
            sums, signals = (np.bincount(states, values[:, j]) for values in (traces.losses, traces.signals))
            curve = reference.platt_losses(np.bincount(states).astype(float), sums, signals, largest)
            np.testing.assert_allclose(model.losses[j], curve, rtol=1e-6)
            assert model.losses[j].max() <= largest
        for rows in (slice(0, 40), slice(40, None)):  # one of them without the largest loss
            rest = slice(40, None) if rows.start == 0 else slice(0, 40)
            both = ttamer.fit(traces[rows], like=model) + ttamer.fit(traces[rest], like=model)
            for found, expected in zip(both.losses, model.losses, strict=True):
                np.testing.assert_allclose(found, expected, rtol=1e-6)

    def test_curves_of_graded_losses_come_back_from_files(self, tmp_path: Path) -> None:
        traces = graded_traces(LINE, 120, 0, 7.0)
        model = ttamer.fit(traces, 6, smoothing="platt")
        model.save(tmp_path / "m")
        again = ttamer.CascadeModel.load(tmp_path / "m")
        assert [row.tolist() for row in again.losses] == [row.tolist() for row in model.losses]
        nothing = ttamer.fit(traces._with(losses=np.zeros_like(traces.losses)), like=again)
        assert max(row.max() for row in nothing.losses) < 0.01
        expected = (model + nothing).losses[0].tolist()
        assert (again + pickle.loads(pickle.dumps(nothing))).losses[0].tolist() == expected

    def test_a_file_whose_largest_loss_is_none(self, tmp_path: Path) -> None:
        ttamer.fit(graded_traces(LINE, 120, 0, 7.0), 6, smoothing="platt").save(tmp_path / "m")
        fields, arrays = files.from_bytes((tmp_path / "m").read_bytes(), "model", 2, "m")
        for value in ([0.1], [-7.0], [7.0, 7.0]):
            arrays["largest_loss"] = np.array(value)
            files.write(tmp_path / "m", files.to_bytes("model", 2, fields, arrays))
            with pytest.raises(ValueError, match=r"largest_loss: expected a bound on every state's mean loss, got \["):
                ttamer.CascadeModel.load(tmp_path / "m")

    def test_observed_losses_are_not_shrunk(self) -> None:
        traces = random_traces(LINE, 200, seed=10, observed=True)
        model = ttamer.fit(traces)
        for j in range(3):
            np.testing.assert_array_equal(model.losses[j], np.unique(traces.signals[:, j]))

    def test_one_row(self) -> None:
        model = ttamer.fit(random_traces(LINE, 1, seed=0))
        assert [len(row) for row in model.losses] == [1, 1, 1]
        assert ttamer.solve(model, 0.5).first_node == 0

    def test_without_shrinkage(self) -> None:
        traces = random_traces(LINE, 100, seed=2)
        model = ttamer.fit(traces, bins=4, smoothing="mean", loss_strength=0, transition_strength=0)
        state = reference.states(traces.signals[:, 1], model.bin_edges[1])
        for s in range(4):
            assert model.losses[1][s] == pytest.approx(traces.losses[state == s, 1].mean(), abs=1e-7)

    @given(st.integers(1, 99), st.integers(0, 9), st.sampled_from(["auto", "mean", "platt"]))
    def test_shards_add_to_the_whole(self, cut: int, seed: int, smoothing: str) -> None:
        """Counts add exactly, and so do sums of 0/1 losses and of signals on a grid."""
        traces = random_traces(LINE, 100, seed=seed)
        traces = ttamer.Traces(np.round(traces.signals * 64) / 64, traces.losses, traces.costs, unit="ms")
        whole = ttamer.fit(traces, bins=6, smoothing=smoothing)
        parts = [ttamer.fit(traces[rows], like=whole) for rows in (slice(0, cut), slice(cut, None))]
        both = parts[0] + parts[1]
        assert both.requests == 100
        for found, expected in zip(both.transitions, whole.transitions, strict=True):
            np.testing.assert_array_equal(found, expected)
        for found, expected in zip(both.losses, whole.losses, strict=True):
            np.testing.assert_array_equal(found, expected)
        assert_same_policy(ttamer.solve(both, 0.7), ttamer.solve(whole, 0.7))

    def test_more_requests_refine_a_model(self) -> None:
        traces = random_traces(LINE, 200, seed=3)
        model = ttamer.fit(traces[:150], bins=5, smoothing="mean", loss_strength=1, transition_strength=2)
        shard = ttamer.fit(traces[150:], like=model, smoothing="auto", loss_strength=9)
        both = shard + model
        assert both.requests == 200
        assert [row.tolist() for row in both.bin_edges] == [row.tolist() for row in model.bin_edges]
        states = reference.states(traces.signals[:, 0], model.bin_edges[0])
        sums = np.bincount(states, weights=traces.losses[:, 0])
        np.testing.assert_array_equal(
            both.losses[0], reference.state_losses(np.bincount(states).astype(float), sums, 1)
        )

    def test_models_that_do_not_add(self) -> None:
        traces = random_traces(LINE, 100, seed=4)
        model = ttamer.fit(traces, bins=4)
        stated = ttamer.CascadeModel(LINE, model.losses, model.transitions, model.costs, bin_edges=model.bin_edges)
        with pytest.raises(ValueError, match="only fitted models add"):
            model + stated
        with pytest.raises(ValueError, match="only fitted models add"):
            stated + model
        with pytest.raises(ValueError, match="same topology and bin edges: fit the shard with like=model"):
            model + ttamer.fit(traces, bins=5)
        with pytest.raises(ValueError, match="same topology and bin edges"):
            model + ttamer.fit(traces.path([0, 1], [1, 1]), bins=4)
        dearer = ttamer.Traces(traces.signals, traces.losses, traces.costs * 2)
        with pytest.raises(ValueError, match="same costs, unit, signal, smoothing, strengths and kind of losses"):
            model + ttamer.fit(dearer, like=model)
        seen = ttamer.Traces(traces.losses, traces.losses, traces.costs, observed=True, unit="ms")
        with pytest.raises(ValueError, match="same costs, unit, signal, smoothing, strengths and kind of losses"):
            model + ttamer.fit(seen, like=model)
        with pytest.raises(TypeError):
            model + 1

    def test_the_order_of_adding_does_not_matter(self) -> None:
        """Models of the same edges that shrink or smooth differently do not add, or add alike both ways."""
        traces = random_traces(LINE, 100, seed=5)
        models = [
            ttamer.fit(traces, bins=4, **options)
            for options in ({"smoothing": "mean"}, {"smoothing": "mean", "loss_strength": 50}, {"smoothing": "platt"})
        ]
        for one, other in ((0, 1), (0, 2), (1, 2)):
            sums = attempt(lambda a=models[one], b=models[other]: (a + b, b + a))
            if isinstance(sums, ValueError):
                assert "models add only with the same" in str(sums)
            else:
                assert sums[0].losses[0].tolist() == sums[1].losses[0].tolist()

    @pytest.mark.parametrize(
        ("arguments", "error", "message"),
        [
            ({"bins": 0}, ValueError, "bins: expected at least 1, got 0"),
            ({"bins": 2.0}, TypeError, "bins: expected an int, got float"),
            ({"bins": True}, TypeError, "bins: expected an int, got bool"),
            ({"estimate": "oracle"}, ValueError, "estimate: expected one of .*, got 'oracle'"),
            ({"smoothing": "none"}, ValueError, "smoothing: expected one of .*, got 'none'"),
            ({"loss_strength": -1}, ValueError, "loss_strength: expected a finite number >= 0, got -1"),
            ({"loss_strength": "4"}, TypeError, "loss_strength: expected a number, got str"),
            ({"transition_strength": np.nan}, ValueError, "transition_strength: expected a .*number.*, got nan"),
            ({"transition_strength": np.inf}, ValueError, "transition_strength: expected a .*number.*, got inf"),
            ({"like": "model"}, TypeError, "like: expected a CascadeModel, got str"),
        ],
    )
    def test_bad_arguments(self, arguments: dict[str, object], error: type[Exception], message: str) -> None:
        with pytest.raises(error, match=message):
            ttamer.fit(random_traces(LINE, 10, seed=0), **arguments)

    def test_bad_traces_and_like(self) -> None:
        traces = random_traces(LINE, 10, seed=0)
        with pytest.raises(TypeError, match="traces: expected Traces, got ndarray"):
            ttamer.fit(traces.signals)
        stated = ttamer.CascadeModel(ttamer.Topology.line(1), [[1]], [[[1]]], [1])
        with pytest.raises(ValueError, match="like: expected a fitted model, got one whose tables were stated"):
            ttamer.fit(traces, like=stated)
        other = ttamer.fit(traces.path([0, 1], [1, 1]))
        with pytest.raises(ValueError, match=r"like: expected a model of Topology.line\(3\), got one of .*line\(2\)"):
            ttamer.fit(traces, like=other)


class TestWarnings:
    def test_a_promise_that_these_rows_break(self) -> None:
        """A recall of estimates on independent models: the smallest of noisy losses is too small."""
        rng = np.random.default_rng(0)
        right = rng.random((2000, 1)) + 0.3 * rng.random((2000, 4))
        signals = right.astype(np.float32)
        losses = np.repeat(right[:, :1] + rng.random((2000, 1)) < 0.8, 4, axis=1).astype(np.float32)
        traces = ttamer.Traces(signals, losses, [0.01] * 4, ttamer.Topology.forest([-1] * 4))
        message = r"^fit: at trade-off 0\.8 the model promises a loss of 0\.\d+ where these rows give 0\.\d+: "
        with pytest.warns(UserWarning, match=message):
            ttamer.fit(traces)

    def test_costs_too_small_to_weigh_are_fitted_all_the_same(self) -> None:
        traces = ttamer.Traces(np.zeros((3, 1), np.float32), np.eye(3, 1, dtype=np.float32), [1e-310])
        assert ttamer.fit(traces).costs.tolist() == [1e-310]

    def test_losses_that_are_seen_keep_their_promise(self) -> None:
        ttamer.fit(random_traces(ttamer.Topology.forest([-1] * 4), 500, seed=1, observed=True))
