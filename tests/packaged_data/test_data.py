from __future__ import annotations

import importlib.util
import re
import sys
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from paths import BENCH

from ttamer import Topology, data
from ttamer.data import codec


@pytest.fixture(scope="module")
def workload():
    return data.load()


def test_the_bundled_workload_is_what_its_page_says(workload):
    assert workload.name == "fashion-vgg"
    assert workload.node_names == tuple(f"block{k}" for k in range(1, 9))
    for traces, rows in [(workload.calibration, 10_000), (workload.test, 5_000)]:
        assert len(traces) == rows
        assert traces.topology == Topology.line(8)
        assert (traces.unit, traces.signal, traces.observed) == ("ms", "max_prob", False)
        assert traces.evidence is not None
        assert (traces.evidence.top, traces.evidence.class_count) == (8, 10)
        assert traces.labels is not None
        assert np.bincount(traces.labels).min() > 0.09 * rows
    page = resources.files(data).joinpath("fashion-vgg.md").read_text(encoding="utf-8")
    accuracy = [1 - traces.losses.mean(axis=0) for traces in (workload.calibration, workload.test)]
    reach = workload.test.reach_costs
    for node, name in enumerate(workload.node_names):
        row = (
            f"| {node} | {name} | {workload.test.costs[node]:.3f} | {reach[node]:.3f} "
            f"| {workload.flops[node] / 1e6:.3f} | {accuracy[0][node]:.4f} | {accuracy[1][node]:.4f} |"
        )
        assert row in page


@pytest.fixture(scope="module")
def models():
    return data.load("ferplus")


def test_the_bundled_models_are_what_their_page_says(models):
    assert (models.name, models.flops) == ("ferplus", None)
    assert models.node_names == models.calibration.nodes == ("GitHub(CNN)", "FacePP", "Microsoft", "Google")
    for traces, rows in [(models.calibration, 3179), (models.test, 1589)]:
        assert len(traces) == rows
        assert traces.independent
        assert traces.answer_classes
        assert traces.topology == Topology.skip(4)
        assert (traces.unit, traces.signal, traces.observed) == ("USD", "", False)
        assert traces.complete.all()
        assert 1 - traces.losses.min(axis=1).mean() == pytest.approx(0.97, abs=0.002)
        assert set(np.unique(traces.predictions)) == set(range(7))
    page = resources.files(data).joinpath("ferplus.md").read_text(encoding="utf-8")
    accuracy = [1 - traces.losses.mean(axis=0) for traces in (models.calibration, models.test)]
    for node, name in enumerate(models.node_names):
        scores, answers = (
            len(np.unique(table[:, node])) for table in (models.calibration.signals, models.calibration.predictions)
        )
        row = (
            f"| {node} | {name} | {models.test.reach_costs[node]:.7f} "
            f"| {accuracy[0][node]:.4f} | {accuracy[1][node]:.4f} | {scores} | {answers} |"
        )
        assert row in page
    parts = [{row.tobytes() for row in traces.signals} for traces in (models.calibration, models.test)]
    assert f"{len(parts[0] & parts[1])} rows of scores stand in both parts" in page


def test_the_bundled_files_are_small():
    folder = resources.files(data)
    sizes = [len(folder.joinpath(f"{name}.npz").read_bytes()) for name in data.NAMES]
    assert sum(sizes) <= 1_500_000
    assert len(folder.joinpath("ferplus.npz").read_bytes()) <= 150_000


def test_signals_leave_room_for_thresholds_near_one(workload):
    for node in workload.calibration.signals.T:
        assert len(np.unique(node)) > 7000
    last = workload.calibration.signals[:, -1]
    assert len(np.unique(last[last > 0.999])) > 2500


def test_parts_do_not_share_requests(workload):
    assert workload.calibration.evidence is not None
    assert workload.test.evidence is not None
    seen = {row.tobytes() for row in workload.calibration.evidence.log_probs}
    assert len(seen) == 10_000
    assert not any(row.tobytes() in seen for row in workload.test.evidence.log_probs)


def test_unknown_names():
    with pytest.raises(ValueError, match=re.escape("name: expected one of fashion-vgg, ferplus, got 'mnist'")):
        data.load("mnist")


# ---------------------------------------------------------------- the code


def distributions(classes: int) -> st.SearchStrategy[np.ndarray]:
    # A coarse grid, so that classes are often equal or nearly so.
    logits = hnp.arrays(np.float64, (3, 2, classes), elements=st.integers(-40, 24).map(lambda k: k / 2))
    nudges = hnp.arrays(np.float64, (3, 2, classes), elements=st.sampled_from([0.0, 1e-7, 1e-5, 1e-3, 0.02]))
    both = st.builds(np.add, logits, nudges)
    return both.map(lambda x: np.exp(x - x.max(-1, keepdims=True))).map(lambda x: x / x.sum(-1, keepdims=True))


@settings(max_examples=300)
@given(st.integers(2, 10).flatmap(distributions))
def test_decoding_gives_back_what_was_coded(probs):
    odds = codec.log_odds(probs)
    limits = (float(odds.min()) - 0.1, float(odds.max()) + 0.1)
    again = codec.decode(*codec.encode(probs, limits), limits)
    np.testing.assert_array_equal(again.argmax(axis=-1), probs.argmax(axis=-1))
    np.testing.assert_array_equal(
        again.astype(np.float32).argmax(axis=-1), probs.argmax(axis=-1), "the same in float32"
    )
    np.testing.assert_allclose(again.sum(axis=-1), 1.0, atol=1e-5)
    step = (limits[1] - limits[0]) / 65535
    np.testing.assert_allclose(again.max(axis=-1), probs.max(axis=-1), atol=0.3 * step + 2e-6)
    floored = np.log(np.maximum(probs, 1e-7)), np.log(np.maximum(again, 1e-7))
    assert np.abs(floored[0] - floored[1]).max() < 0.13


@pytest.mark.parametrize("tied", [2, 3, 4, 6, 10])
def test_classes_that_are_nearly_equal(tied):
    rng = np.random.default_rng(tied)
    probs = np.full((2000, 1, 10), 1e-3)
    probs[..., :tied] = 1 + 1e-4 * rng.random((2000, 1, tied))
    probs /= probs.sum(axis=-1, keepdims=True)
    again = codec.decode(*codec.encode(probs, (-4.0, 20.0)), (-4.0, 20.0))
    np.testing.assert_array_equal(again.argmax(axis=-1), probs.argmax(axis=-1))
    np.testing.assert_allclose(again.sum(axis=-1), 1.0, atol=1e-5)
    np.testing.assert_allclose(again, probs, rtol=0.07)


def test_a_large_vocabulary_keeps_its_largest():
    rng = np.random.default_rng(0)
    probs = rng.dirichlet(np.full(100, 0.05), (50, 2))
    odds = codec.log_odds(probs)
    limits = (float(odds.min()), float(odds.max()))
    again = codec.decode(*codec.encode(probs, limits), limits)
    np.testing.assert_allclose(codec.log_odds(again), odds, atol=6e-4 * (limits[1] - limits[0]))


# ---------------------------------------------------------------- recorded workloads


def script(name: str):
    spec = importlib.util.spec_from_file_location(name, BENCH / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def record(folder: Path, name: str, parents: list[int], dtype: type = np.float32) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(5)
    nodes = len(parents)
    for part, rows in [("calibration", 30), ("test", 20)]:
        arrays = {
            "probs": rng.dirichlet(np.ones(4), (rows, nodes)).astype(dtype),
            "labels": rng.integers(0, 4, rows).astype(np.int16),
            "edge_cost_ms": np.arange(1.0, nodes + 1),
            "edge_flops": np.arange(nodes) * 1e6,
            "parents": np.array(parents, np.int16),
            "node_names": np.array([f"n{k}" for k in range(nodes)]),
        }
        np.savez(folder / f"{name}-{part}.npz", **arrays)
    return arrays


@pytest.mark.skipif(not BENCH.exists(), reason="the tests run without the repository")
def test_recorded_workloads_load(tmp_path):
    workloads = script("workloads")
    arrays = record(tmp_path, "straight", [-1, 0, 1], np.float16)
    calibration, test = workloads.load_recorded(tmp_path, "straight")
    assert (len(calibration), len(test)) == (30, 20)
    assert test.topology == Topology.line(3)
    np.testing.assert_array_equal(test.predictions, arrays["probs"].argmax(axis=-1))
    record(tmp_path, "branched", [-1, 0, 0])
    assert workloads.load_recorded(str(tmp_path), "branched")[0].topology == Topology.forest([-1, 0, 0])
    bundled = workloads.load_recorded()
    assert [len(traces) for traces in bundled] == [10_000, 5_000]


@pytest.mark.skipif(not BENCH.exists(), reason="the tests run without the repository")
def test_the_bundle_is_made_from_a_recording(tmp_path, monkeypatch, capsys):
    arrays = record(tmp_path, "fashion-vgg", [-1, 0, 1])
    made = tmp_path / "made"
    made.mkdir()
    monkeypatch.setattr(sys, "argv", ["bundle_workload.py", str(tmp_path), "--out", str(made)])
    script("bundle_workload").main()
    assert "test: 20 rows, predictions unchanged" in capsys.readouterr().out
    monkeypatch.setattr(data.resources, "files", lambda _: made)
    workload = data.load()
    assert workload.node_names == ("n0", "n1", "n2")
    np.testing.assert_array_equal(workload.test.labels, arrays["labels"])
    np.testing.assert_array_equal(workload.test.predictions, arrays["probs"].argmax(axis=-1))
    np.testing.assert_allclose(workload.test.signals, arrays["probs"].max(axis=-1), atol=1e-4)
    np.testing.assert_array_equal(workload.flops, [0, 1e6, 2e6])
    record(tmp_path, "fashion-vgg", [-1, 0, 0])
    with pytest.raises(SystemExit, match="parents: expected a line"):
        script("bundle_workload").main()


@pytest.mark.skipif(not BENCH.exists(), reason="the tests run without the repository")
def test_models_are_bundled_as_they_were_recorded(tmp_path, monkeypatch, capsys):
    rng = np.random.default_rng(0)
    for part, rows in [("calibration", 30), ("test", 20)]:
        answers, label = rng.integers(0, 3, (rows, 2)), rng.integers(0, 3, rows)
        recording = {
            "quality": (answers == label[:, None]).astype(np.float32),
            "cost": np.array([1.0, 2.0]),
            "signal": rng.random((rows, 2)).astype(np.float32),
            "preds": answers.astype(np.int16),
            "label": label.astype(np.int16),
            "names": np.array(["cheap", "dear"]),
        }
        np.savez(tmp_path / f"frugalml_ferplus-{part}.npz", **recording)
    made = tmp_path / "made"
    made.mkdir()
    monkeypatch.setattr(sys, "argv", ["bundle_models.py", str(tmp_path), "--out", str(made)])
    script("bundle_models").main()
    assert "ferplus.npz: " in capsys.readouterr().out
    monkeypatch.setattr(data.resources, "files", lambda _: made)
    workload = data.load("ferplus")
    assert (len(workload.calibration), workload.node_names) == (30, ("cheap", "dear"))
    np.testing.assert_array_equal(workload.test.losses, 1 - recording["quality"])
    np.testing.assert_array_equal(workload.test.signals, recording["signal"])
    np.testing.assert_array_equal(workload.test.predictions, recording["preds"])
    np.testing.assert_array_equal(workload.test.reach_costs, [1, 2])
    for changes, message in [
        ({"cost": np.ones((20, 2))}, "cost: expected one a model"),
        ({"quality": np.full((20, 2), 0.5)}, "expected a quality of 1 where the answer is the label"),
        ({"signal": np.full((20, 2), np.nan)}, "expected an answer and a score of every model"),
    ]:
        np.savez(tmp_path / "frugalml_ferplus-calibration.npz", **{**recording, **changes})
        with pytest.raises(SystemExit, match=message):
            script("bundle_models").main()
