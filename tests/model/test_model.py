"""Stated models: what is accepted, what is refused and how, and their files."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import assert_same_policy, attempt, random_model, random_traces

import ttamer
from ttamer._base import files

LINE = ttamer.Topology.line(2)
GOOD: dict[str, Any] = {
    "topology": LINE,
    "losses": [[0.5, 0.25], [0.75, 0.0, 0.5]],
    "transitions": [[[0.5, 0.5]], [[0.5, 0.25, 0.25], [1.0, 0.0, 0.0]]],
    "costs": [1.0, 2.0],
}


def build(**changes: Any) -> ttamer.CascadeModel:
    return ttamer.CascadeModel(**{**GOOD, **changes})


class TestAccepted:
    def test_defaults(self) -> None:
        model = build()
        assert [edges.tolist() for edges in model.bin_edges] == [[1.0], [1.0, 2.0]]
        assert all(edges.dtype == np.float32 for edges in model.bin_edges)
        assert (model.cost_scale, model.observed, model.unit, model.requests) == (3.0, True, "", None)
        assert repr(model) == "CascadeModel(Topology.line(2), states=[2, 3], stated)"

    def test_the_scale_of_free_cascades_is_one(self) -> None:
        assert build(costs=[0, 0]).cost_scale == 1.0

    def test_the_costliest_walk_is_the_scale(self) -> None:
        skip = ttamer.Topology.skip(2)  # root -> 0, root -> 1, 0 -> 1
        model = build(topology=skip, transitions=[[[0.5, 0.5]], [[1, 0, 0]], [[1, 0, 0]]], costs=[1, 5, 2])
        assert model.cost_scale == 5.0
        forest = ttamer.Topology.forest([-1, -1])
        assert build(topology=forest, transitions=[[[0.5, 0.5]], [[1, 0, 0]]], costs=[1, 2]).cost_scale == 2.0

    def test_rows_are_normalised(self) -> None:
        model = build(transitions=[[[0.5, 0.5 + 9e-7]], [[1, 0, 0]]])
        assert model.transitions[0].sum() == pytest.approx(1, rel=0, abs=1e-15)

    def test_one_row_stands_for_all_states(self) -> None:
        one = build(transitions=[[[0.5, 0.5]], [[0.25, 0.25, 0.5]]])
        all_rows = build(transitions=[[[0.5, 0.5]], [[0.25, 0.25, 0.5]] * 2])
        for recall in ("observed", "none"):
            same = [ttamer.solve(model, 0.5, recall).value for model in (one, all_rows)]
            assert same[0] == pytest.approx(same[1], rel=0, abs=1e-15)

    def test_the_model_is_a_read_only_copy(self) -> None:
        costs = np.array([1.0, 2.0])
        model = build(costs=costs)
        costs[0] = 9
        assert model.costs.tolist() == [1.0, 2.0]
        for array in (model.costs, *model.losses, *model.bin_edges):
            assert not array.flags.writeable

    def test_numbers_of_any_width(self) -> None:
        model = build(costs=np.array([1, 2], np.int16), losses=[np.array([0, 1], np.float16), [0, 1, 2]])
        assert model.costs.dtype == np.float64
        assert model.losses[0].dtype == np.float64


BAD: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"topology": None}, TypeError, r"^topology: expected a Topology, got NoneType"),
    ({"losses": GOOD["losses"][:1]}, ValueError, r"losses: expected one for each of the 2 nodes, got 1"),
    ({"losses": [[0.5, 0.25], []]}, ValueError, r"losses\[1\]: expected at least one state"),
    ({"losses": [[0.5, np.nan], [1, 1, 1]]}, ValueError, r"losses\[0\]: expected finite values >= 0"),
    ({"losses": [[0.5, 0.5], [1, np.inf, 1]]}, ValueError, r"losses\[1\]: expected finite values >= 0"),
    ({"losses": [[0.5, -0.5], [1, 1, 1]]}, ValueError, r"losses\[0\]: expected finite values >= 0"),
    ({"losses": [[[0.5, 0.5]], [1, 1, 1]]}, ValueError, r"losses\[0\]: expected 1 dimensions, got shape \(1, 2\)"),
    ({"losses": [0.5, [1, 1, 1]]}, ValueError, r"losses\[0\]: expected 1 dimensions, got shape \(\)"),
    ({"losses": [["a", "b"], [1, 1, 1]]}, TypeError, r"losses\[0\]: expected numbers, got list"),
    ({"losses": [["1", "2"], [1, 1, 1]]}, TypeError, r"losses\[0\]: expected numbers"),
    ({"losses": [[1j, 0.5], [1, 1, 1]]}, TypeError, r"losses\[0\]: expected numbers, got list"),
    ({"losses": [[[1], 0.5], [1, 1, 1]]}, TypeError, r"losses\[0\]: expected numbers, got list"),
    ({"losses": None}, TypeError, r"^losses: expected .*, got NoneType"),
    ({"costs": [1.0]}, ValueError, r"costs: expected one for each of the 2 edges, got 1"),
    ({"costs": [1.0, np.nan]}, ValueError, r"costs: expected finite values >= 0"),
    ({"costs": [1.0, np.inf]}, ValueError, r"costs: expected finite values >= 0"),
    ({"costs": [1.0, -1.0]}, ValueError, r"costs: expected finite values >= 0"),
    ({"costs": np.ones((1, 2))}, ValueError, r"costs: expected 1 dimensions, got shape \(1, 2\)"),
    ({"costs": [[1.0, 1.0]]}, ValueError, r"costs: expected one for each of the 2 edges, got 1"),
    ({"costs": "free"}, TypeError, r"costs: expected numbers, got str"),
    ({"costs": [1e308, 1e308]}, ValueError, r"cost_scale: expected a finite number > 0, got inf"),
    ({"cost_scale": 0}, ValueError, r"cost_scale: expected a finite number > 0, got 0"),
    ({"cost_scale": -1}, ValueError, r"cost_scale: expected a finite number > 0, got -1"),
    ({"cost_scale": np.nan}, ValueError, r"cost_scale: expected a .*number.*, got nan"),
    ({"cost_scale": "ms"}, TypeError, r"^cost_scale: expected a number, got str"),
    ({"observed": "no"}, TypeError, r"^observed: expected a bool, got str"),
    ({"unit": 3}, TypeError, r"^unit: expected a str, got int"),
    ({"transitions": GOOD["transitions"][:1]}, ValueError, r"transitions: expected one for each of the 2 edges, got 1"),
    (
        {"transitions": [[[0.5, 0.5]], [[1, 0, 0]] * 3]},
        ValueError,
        r"transitions\[1\]: expected \(2 or 1, 3\) for edge 0 -> 1, got \(3, 3\)",
    ),
    (
        {"transitions": [[[0.5, 0.5]] * 2, [[1, 0, 0]]]},
        ValueError,
        r"transitions\[0\]: expected \(1 or 1, 2\) for edge -1 -> 0, got \(2, 2\)|expected \(1, 2\)",
    ),
    (
        {"transitions": [[[0.5, 0.5]], [[0.5, 0.5]] * 2]},
        ValueError,
        r"transitions\[1\]: expected \(2 or 1, 3\) for edge 0 -> 1, got \(2, 2\)",
    ),
    ({"transitions": [[[0.5, 0.5]], [[1, 0, 0], [0.5, 0, 0]]]}, ValueError, r"transitions\[1\]: .* row 1 sums to 0.5"),
    (
        {"transitions": [[[0.5, 0.5 + 2e-6]], [[1, 0, 0]]]},
        ValueError,
        r"transitions\[0\]: .*sum to 1 within 1e-6, row 0",
    ),
    ({"transitions": [[[1.5, -0.5]], [[1, 0, 0]]]}, ValueError, r"transitions\[0\]: .*(negative|>= 0|-0\.5)"),
    ({"transitions": [[[np.nan, 0.5]], [[1, 0, 0]]]}, ValueError, r"transitions\[0\]: .*nan"),
    ({"transitions": [[[np.inf, 0.5]], [[1, 0, 0]]]}, ValueError, r"transitions\[0\]: .*inf"),
    (
        {"transitions": [[0.5, 0.5], [[1, 0, 0]]]},
        ValueError,
        r"transitions\[0\]: expected 2 dimensions, got shape \(2,\)",
    ),
    ({"transitions": [[["a", "b"]], [[1, 0, 0]]]}, TypeError, r"transitions\[0\]: expected numbers, got list"),
    ({"bin_edges": [[1.0]]}, ValueError, r"bin_edges: expected one for each of the 2 nodes, got 1"),
    ({"bin_edges": [[1.0], [1.0]]}, ValueError, r"bin_edges\[1\]: expected 2 edges for 3 states, got 1"),
    ({"bin_edges": [[1.0], [2.0, 1.0]]}, ValueError, r"bin_edges\[1\]: expected finite, strictly increasing values"),
    ({"bin_edges": [[1.0], [1.0, 1.0]]}, ValueError, r"bin_edges\[1\]: expected finite, strictly increasing values"),
    ({"bin_edges": [[np.nan], [1.0, 2.0]]}, ValueError, r"bin_edges\[0\]: expected finite, strictly increasing values"),
    ({"bin_edges": [[1.0], [1.0, np.inf]]}, ValueError, r"bin_edges\[1\]: expected finite, strictly increasing values"),
    ({"bin_edges": [["a"], [1.0, 2.0]]}, TypeError, r"^bin_edges\[0\]: expected numbers"),
]


@pytest.mark.parametrize(("changes", "error", "message"), BAD, ids=[str(k) for k in range(len(BAD))])
def test_refused(changes: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message) as caught:
        build(**changes)
    assert "\n" not in str(caught.value)


class TestFiles:
    def models(self) -> list[ttamer.CascadeModel]:
        fitted = [
            ttamer.fit(random_traces(topology, 120, seed=5), bins=5)
            for topology in (ttamer.Topology.line(3), ttamer.Topology.skip(3), ttamer.Topology.forest([-1, -1, 0]))
        ]
        stated = [
            random_model(ttamer.Topology.line(3), 7, seed=6, unit="FLOPs", cost_scale=1 / 3),
            random_model(ttamer.Topology.dag(3, [(0, 2), (-1, 0), (-1, 1), (1, 2)]), 3, seed=7, observed=False),
            ttamer.CascadeModel(ttamer.Topology.line(1), [[0.5]], [[[1.0]]], [0.0]),
        ]
        return fitted + stated

    def test_a_round_trip_is_exact(self, tmp_path: Path) -> None:
        for k, model in enumerate(self.models()):
            path = tmp_path / f"{k}.safetensors"
            model.save(path)
            for read in (ttamer.CascadeModel.load(path), pickle.loads(pickle.dumps(model))):
                assert repr(read) == repr(model)
                assert read.topology == model.topology
                assert (read.cost_scale, read.observed, read.unit) == (model.cost_scale, model.observed, model.unit)
                for name in ("losses", "bin_edges", "transitions"):
                    for a, b in zip(getattr(read, name), getattr(model, name), strict=True):
                        np.testing.assert_array_equal(a, b, strict=True)
                if model.topology.kind != "forest":
                    for recall in ("observed", "none"):
                        assert_same_policy(ttamer.solve(read, 0.6, recall), ttamer.solve(model, 0.6, recall))

    def test_fitted_models_still_add(self, tmp_path: Path) -> None:
        traces = random_traces(ttamer.Topology.line(3), 100, seed=8)
        model = ttamer.fit(traces[:60], bins=4)
        model.save(tmp_path / "model.safetensors")
        read = ttamer.CascadeModel.load(tmp_path / "model.safetensors")
        shard = ttamer.fit(traces[60:], like=read)
        assert_same_policy(ttamer.solve(read + shard, 0.5), ttamer.solve(model + shard, 0.5))

    def test_damage_never_passes(self) -> None:
        for model in self.models():
            data = model._to_bytes()
            for k in [*range(0, len(data), 7), *range(8, 200)]:
                broken = data[:k] + bytes([data[k] ^ 0x41]) + data[k + 1 :]
                found = attempt(lambda broken=broken: ttamer.CascadeModel._from_bytes(broken, "f"))
                if isinstance(found, ValueError):
                    assert str(found).startswith("f: ")
                else:
                    assert repr(found) == repr(model)
            for length in (0, 1, 8, 40, len(data) // 2, len(data) - 1):
                with pytest.raises(ValueError, match=r"^f: not a readable safetensors file"):
                    ttamer.CascadeModel._from_bytes(data[:length], "f")

    def test_a_policy_is_not_a_model(self, tmp_path: Path) -> None:
        ttamer.solve(build(), 0.5).save(tmp_path / "policy.safetensors")
        with pytest.raises(ValueError, match="expected a model file, got a policy file"):
            ttamer.CascadeModel.load(tmp_path / "policy.safetensors")

    def test_another_version(self) -> None:
        data = files.to_bytes("model", 5, {}, {"costs": np.zeros(1)})
        with pytest.raises(ValueError, match="f: model format version 5, this ttamer reads versions 1 to 4"):
            ttamer.CascadeModel._from_bytes(data, "f")


FITTED = ttamer.fit(random_traces(LINE, 50, seed=9), bins=3, smoothing="mean")

ONE_ROW = {
    "transitions.1.offsets": np.array([0, 3]),
    "transitions.1.indices": np.arange(3, dtype=np.int32),
    "transitions.1.values": np.ones(3, np.int64),
}


def changed(model: ttamer.CascadeModel, fields: dict[str, Any], arrays: dict[str, Any]) -> bytes:
    """The model's file with other contents and a digest that is right again; None removes an entry."""
    old_fields, old_arrays = files.from_bytes(model._to_bytes(), "model", 1, "")
    new_fields = {k: v for k, v in {**old_fields, **fields}.items() if v is not None and k not in ("kind", "version")}
    new_arrays = {k: v for k, v in {**old_arrays, **arrays}.items() if v is not None}
    return files.to_bytes("model", 1, new_fields, new_arrays)


@pytest.mark.parametrize(
    ("fields", "arrays", "message"),
    [
        ({"nodes": 3}, {}, "edges"),
        ({"topology": "ring"}, {}, "kind: expected line, skip, forest or dag, got ring"),
        ({"cost_scale": None}, {}, "cost_scale"),
        ({"cost_scale": -1.0}, {}, "cost_scale: expected a finite number > 0"),
        ({"strengths": [4.0]}, {}, "strengths|unpack"),
        ({"strengths": [4.0, -50.0]}, {}, "strengths: expected two finite numbers >= 0"),
        ({"strengths": [4.0, float("nan")]}, {}, "strengths: expected two finite numbers >= 0"),
        ({"strengths": [float("inf"), 1.0]}, {}, "strengths: expected two finite numbers >= 0"),
        ({}, {"costs": np.array([1.0, np.nan])}, "costs: expected finite values >= 0"),
        ({}, {"costs": np.array([1.0, 1.0], np.float32)}, "costs: expected"),
        ({}, {"counts.1": None}, "counts.1"),
        ({}, {"counts.1": np.array([17, 17, 17])}, "counts.1: expected the same number of requests at every node"),
        ({}, {"counts.0": np.array([51, 17, -18])}, "counts.0: expected numbers of requests, got .* from -18"),
        ({}, {"counts.0": np.zeros(3, np.int64)}, "counts.0: expected the same number of requests .* above 0"),
        ({}, {"counts.0": np.full(3, 1.0, np.float32)}, r"counts.0: expected \(K,\) finite int64"),
        ({}, {"counts.0": np.full(3, 0.5)}, "counts.1: expected the same number of requests at every node"),
        ({}, {"loss_sums.0": np.full(3, np.nan)}, r"loss_sums.0: expected \(K,\) finite float64"),
        ({}, {"loss_sums.0": np.full(3, -1.0)}, "loss_sums.0: expected values >= 0, or inf alone, got -1"),
        ({}, {"signal_sums.0": np.ones(4)}, r"signal_sums.0: expected \(3,\), got \(4,\)"),
        ({}, {"signal_sums.0": np.full(3, np.inf)}, r"signal_sums.0: expected \(K,\) finite float64"),
        ({}, {"signal_sums.0": None}, "signal_sums.0"),
        ({"smoothing": "none"}, {}, "smoothing: expected one of"),
        ({"smoothing": None}, {}, "smoothing"),
        ({}, {"loss_sums.0": np.ones(1)}, r"loss_sums.0: expected \(3,\), got \(1,\)"),
        ({}, {"bin_edges.0": np.ones(3, np.float32)}, r"bin_edges\[0\]: expected 2 edges for 3 states, got 3"),
        ({}, {"bin_edges.0": np.ones(2, np.float32)}, r"bin_edges\[0\]: expected finite, strictly increasing"),
        ({}, {"transitions.1.offsets": np.array([0, 1])}, "counts: offsets, indices and values differ in length"),
        ({}, {"transitions.1.offsets": np.array([0, 5, 3, 9])}, "counts: offsets must start at 0 and not decrease"),
        ({}, ONE_ROW, r"transitions\.1: expected 3 rows, got 1"),
        ({}, {"transitions.1.indices": np.full(9, 3, np.int32)}, "counts: indices must be columns in increasing order"),
        ({}, {"transitions.1.values": np.zeros(9, np.int64)}, "counts: values must be positive"),
        ({}, {"transitions.1.values": np.ones(9, np.float32)}, "values: expected"),
        ({}, {"transitions.1.values": np.full(9, 0.5)}, "transitions.1: expected counts that add up"),
    ],
)
def test_a_file_that_lies(fields: dict[str, Any], arrays: dict[str, Any], message: str) -> None:
    assert len(FITTED._statistics.transitions[1].values) == 9
    with pytest.raises(ValueError, match=f"^f: not a valid model .*{message}") as caught:
        ttamer.CascadeModel._from_bytes(changed(FITTED, fields, arrays), "f")
    assert "\n" not in str(caught.value)


def test_negative_sums_are_refused_under_any_smoothing() -> None:
    for smoothing in ("mean", "platt", "auto"):
        model = ttamer.fit(random_traces(LINE, 50, seed=9), bins=3, smoothing=smoothing)
        with pytest.raises(ValueError, match=r"loss_sums\.0: expected values >= 0, or inf alone, got -1"):
            ttamer.CascadeModel._from_bytes(changed(model, {}, {"loss_sums.0": np.full(3, -1.0)}), "f")


def test_counts_that_contradict_each_other() -> None:
    """Transition counts have to add up to the counts of states, or the model is of no set of requests."""
    doubled = FITTED._statistics.transitions[1].values * 2
    with pytest.raises(ValueError, match=r"transitions\.1"):
        ttamer.CascadeModel._from_bytes(changed(FITTED, {}, {"transitions.1.values": doubled}), "f")
