"""Shards that leave a model: the inverse of adding, and refused where they were not part of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import random_model, random_traces
from hypothesis import given, settings
from hypothesis import strategies as st

import ttamer
from ttamer import CascadeModel, Topology, Traces

LINE = Topology.line(3)
TOPOLOGIES = [LINE, Topology.skip(3), Topology.forest([-1, 0, 0]), Topology.dag(3, [(-1, 0), (0, 1), (0, 2)])]


def changed(traces: Traces, **fields: Any) -> Traces:
    """The traces with other signals, losses or costs."""
    arrays = {"signals": traces.signals, "losses": traces.losses, "costs": traces.paid_costs, **fields}
    return Traces(**arrays, topology=traces.topology, unit=traces.unit)


def recorded(rows: int, topology: Topology, seed: int, kind: str) -> Traces:
    """Requests with 0/1 losses; with costs of their own, with gaps, or with a probe first."""
    traces = random_traces(topology, rows, seed)
    rng = np.random.default_rng(seed)
    signals, losses = traces.signals.copy(), traces.losses.copy()
    edges = len(topology.edges)
    costs = rng.random((rows, edges)) if kind in ("costs", "gaps") else np.arange(1.0, edges + 1)
    if kind == "gaps":
        for array in (signals, losses, costs):
            array[rng.random(array.shape) < 0.2] = np.nan
    if kind == "probe":
        losses[:, 0] = np.inf
    return changed(traces, signals=signals, losses=losses, costs=costs)


def arrays_of(model: CascadeModel) -> dict[str, Any]:
    assert model._statistics is not None
    return model._statistics.to_arrays([""])


@given(
    seed=st.integers(0, 10_000),
    cut=st.integers(20, 100),
    topology=st.sampled_from(TOPOLOGIES),
    kinds=st.sampled_from([(kind,) * 2 for kind in ("plain", "costs", "gaps", "probe")] + [("costs", "gaps")]),
    smoothing=st.sampled_from(["auto", "platt", "mean"]),
)
@settings(max_examples=60)
def test_what_was_added_leaves(seed: int, cut: int, topology: Topology, kinds: tuple[str, str], smoothing: str) -> None:
    first = recorded(cut, topology, seed, kinds[0])
    second = recorded(120 - cut, topology, seed + 1, kinds[1])
    like = ttamer.fit(first + second, 4, smoothing=smoothing)
    a, b = (ttamer.fit(part, like=like) for part in (first, second))
    rest = (a + b) - b
    assert rest.requests == a.requests == cut
    expected, arrays = arrays_of(a), arrays_of(rest)
    assert arrays.keys() == expected.keys()
    for name, array in expected.items():
        if name.startswith(("signal_sums", "cost_sums")):
            np.testing.assert_allclose(arrays[name], array, rtol=0, atol=1e-12)
        else:
            assert arrays[name].dtype == array.dtype
            np.testing.assert_array_equal(arrays[name], array)
    for one, other in zip(rest.losses, a.losses, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-9)
    assert rest._to_bytes() == CascadeModel._from_bytes(rest._to_bytes(), "f")._to_bytes()


@given(seed=st.integers(0, 10_000), cut=st.integers(5, 115))
@settings(max_examples=30)
def test_graded_losses_and_fractions_of_weights_leave_within_rounding(seed: int, cut: int) -> None:
    rng = np.random.default_rng(seed)
    traces = random_traces(LINE, 120, seed)
    traces = changed(traces, losses=rng.random((120, 3)).astype(np.float32)).weighted(rng.random(120) + 0.01)
    like = ttamer.fit(traces, 4)
    a, b = (ttamer.fit(traces[rows], like=like) for rows in (slice(cut), slice(cut, None)))
    rest = (a + b) - b
    assert rest.requests == pytest.approx(a.requests)
    assert CascadeModel._from_bytes(rest._to_bytes(), "f").requests == rest.requests
    expected, arrays = arrays_of(a), arrays_of(rest)
    for name, array in expected.items():
        np.testing.assert_allclose(arrays[name], array, rtol=0, atol=1e-12, err_msg=name)
    for one, other in zip(rest.transitions, a.transitions, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-9)


class TestRefused:
    def test_requests_that_were_not_part(self) -> None:
        """Each is found where it differs: in states, losses, transitions or costs."""
        traces = recorded(60, LINE, 0, "costs")
        model = ttamer.fit(traces, 3, smoothing="mean")
        shard = traces[:30]

        def left(**fields: Any) -> CascadeModel:
            return model - ttamer.fit(changed(shard, **fields), like=model)

        assert left().requests == 30
        # The same states of each node in other pairs.
        pairs = {"signals": np.sort(shard.signals, axis=0), "losses": np.zeros_like(shard.losses)}
        message = "^shard: expected a part of the model's requests, what it has of {} was not part of it$"
        for fields, place in (
            ({"signals": np.full_like(shard.signals, traces.signals.max())}, "node 0"),
            ({"losses": 60 * np.ones_like(shard.losses)}, "the losses of node 0"),
            (pairs, r"edge 1 \(0 -> 1\)"),
            ({"costs": shard.paid_costs * [1, 1, 60]}, r"the costs of edge 2 \(1 -> 2\)"),
        ):
            with pytest.raises(ValueError, match=message.format(place)):
                left(**fields)

    def test_losses_that_would_be_more_than_there_are_requests(self) -> None:
        traces = changed(random_traces(LINE, 60, 0), signals=np.zeros((60, 3), np.float32))
        model = ttamer.fit(traces, 1, smoothing="platt")
        shard = changed(traces[:50], losses=np.zeros((50, 3), np.float32))
        with pytest.raises(ValueError, match="what it has of the losses of node 0 was not part of it$"):
            model - ttamer.fit(shard, like=model)

    def test_more_requests_than_there_are(self) -> None:
        traces = random_traces(LINE, 60, 0)
        model = ttamer.fit(traces[:30], 3)
        with pytest.raises(ValueError, match="^shard: expected at most the 30 requests of the model, got 60$"):
            model - ttamer.fit(traces, like=model)

    @pytest.mark.parametrize("weights", [None, 0.25])
    def test_the_last_request_cannot_leave(self, weights: float | None) -> None:
        traces = random_traces(LINE, 60, 0)
        model = ttamer.fit(traces if weights is None else traces.weighted(weights), 3)
        message = "^shard: expected requests of all nodes to stay, the last one cannot leave$"
        with pytest.raises(ValueError, match=message):
            model - model

    def test_the_last_request_of_a_node_cannot_leave(self) -> None:
        traces = random_traces(LINE, 60, 0)
        signals, losses = traces.signals.copy(), traces.losses.copy()
        signals[30:, 2], losses[:10, 1], losses[30:, 1] = np.nan, np.nan, np.nan
        model = ttamer.fit(changed(traces, signals=signals, losses=losses), 3)
        for rows, place in ((slice(30), "node 2"), (slice(10, 30), "the losses of node 1")):
            shard = ttamer.fit(changed(traces[rows], signals=signals[rows], losses=losses[rows]), like=model)
            with pytest.raises(ValueError, match=f"^shard: expected requests of {place} to stay, the last one cannot"):
                model - shard

    def test_gaps_that_the_model_does_not_have(self) -> None:
        traces = random_traces(LINE, 60, 0)
        model = ttamer.fit(traces, 3)
        signals = traces.signals.copy()
        signals[:20, 1] = np.nan
        shard = ttamer.fit(changed(traces[:40], signals=signals[:40]), like=model)
        with pytest.raises(ValueError, match="^shard: expected a part .*, what is left is none: counts.1: expected"):
            model - shard

    def test_models_of_other_things(self) -> None:
        traces = random_traces(LINE, 60, 0)
        model = ttamer.fit(traces, 3)
        shard = ttamer.fit(traces[:20], like=model)
        for other, message in (
            (random_model(LINE, 3, seed=0), "only fitted models subtract: a model whose tables were stated"),
            (ttamer.fit(traces[:20], 2), "models subtract only with the same topology and bin edges"),
            (
                ttamer.fit(changed(traces[:20], costs=2 * traces.costs), like=model),
                "models subtract only with the same costs, unit, signal, smoothing, strengths and kind of losses",
            ),
            (
                ttamer.fit(changed(traces[:20], losses=traces.losses[:20] + np.float32([np.inf, 0, 0])), like=model),
                "models subtract only with the same costs, .* and kind of losses",
            ),
        ):
            with pytest.raises(ValueError, match=message):
                model - other
        with pytest.raises(TypeError):
            model - 1
        assert (model - shard).requests == 40


def test_a_probe_without_requests_in_a_state_is_saved(tmp_path: Path) -> None:
    traces = recorded(60, LINE, 0, "probe")
    model = ttamer.fit(traces, 4)
    shard = ttamer.fit(traces[traces.signals[:, 0] < model.bin_edges[0][1]], like=model)
    shard.save(tmp_path / "m")
    assert np.isposinf(CascadeModel.load(tmp_path / "m").losses[0]).all()
