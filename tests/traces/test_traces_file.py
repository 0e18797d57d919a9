from __future__ import annotations

import pickle
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import FROZEN, plain, same, some_traces

from ttamer import Topology, Traces


def test_files_keep_everything(tmp_path):
    forest = Topology.forest([-1, -1, 0])
    dag = Topology.dag(3, [(-1, 1), (1, 0), (1, 2), (0, 2)])
    bare = {name: value for name, value in plain().items() if name != "costs"}
    for k, traces in enumerate(
        [
            some_traces(),
            some_traces()[:1],
            Traces(**{**plain(), "signals": plain()["losses"]}, observed=True, unit="µs", labels=[4, 3, 2, 1]),
            Traces(**bare, costs=[1, 2, 3], topology=forest, predictions=np.full((4, 3), -7)),
            Traces(**bare, costs=[1, 2, 3, 4], topology=dag),
            Traces(**bare, costs=np.arange(6.0), topology=Topology.skip(3)),
        ]
    ):
        path = tmp_path / f"traces-{k}"
        traces.save(path)
        same(Traces.load(path), traces)
        traces.save(str(path))
        same(Traces.load(str(path)), traces)


def test_the_frozen_file_of_version_1_loads():
    loaded = Traces.load(FROZEN)
    assert loaded.topology == Topology.forest([-1, 0, 0])
    assert (len(loaded), loaded.unit, loaded.signal, loaded.observed) == (4, "ms", "margin", False)
    np.testing.assert_array_equal(loaded.costs, [0.5, 1.25, 2.0])
    np.testing.assert_array_equal(loaded.signals[:, 0], np.float32([0.5, 0.125, 0.6875, 0.25]))
    assert loaded.evidence is not None
    assert loaded.evidence.classes[1, 0].tolist() == [1, 0]
    np.testing.assert_array_equal(loaded.losses, [[0, 1, 1], [1, 0, 0], [0, 0, 0], [0, 0, 1]])
    assert loaded.labels is not None
    assert loaded.labels.tolist() == [0, 0, 1, 2]


def test_a_missing_file_is_not_a_damaged_one(tmp_path):
    with pytest.raises(FileNotFoundError):
        Traces.load(tmp_path / "none.npz")


def test_foreign_files_are_refused(tmp_path):
    path = tmp_path / "foreign.npz"
    path.write_bytes(b"")
    with pytest.raises(ValueError, match=re.escape(f"{path}: not readable as traces: ")):
        Traces.load(path)
    path.write_text("signals,losses")
    with pytest.raises(ValueError, match=re.escape(f"{path}: not readable as traces: ")):
        Traces.load(path)
    np.savez(path, **plain())
    with pytest.raises(ValueError, match="there is no format version in it"):
        Traces.load(path)
    with open(path, "wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(ValueError, match=re.escape(f"{path}: not readable as traces: ")):
        Traces.load(path)


def contents(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as arrays:
        return dict(arrays)


CONTENTS = [
    "class_count",
    "costs",
    "labels",
    "log_probs",
    "losses",
    "observed",
    "predictions",
    "signal",
    "signals",
    "topology_edges",
    "topology_kind",
    "topology_nodes",
    "ttamer_traces",
    "unit",
]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ttamer_traces": np.array(5)}, "expected format 1 to 4, got 5"),
        ({"ttamer_traces": np.array("1")}, "expected format 1 to 4, got 1"),
        ({"extra": np.array(1)}, "missing or unknown: extra"),
        ({"unit": None}, "missing or unknown: unit"),
        ({"classes": None, "contents": np.array(CONTENTS)}, "missing: classes"),
        ({"classes": None}, "expected class_count, classes, costs, labels, log_probs, "),
        ({"contents": np.array(5)}, "expected 5, got class_count, classes, "),
        ({"unit": np.array(3)}, "unit: expected one value, got () int64"),
        ({"observed": np.array([True])}, "observed: expected one value, got (1,) bool"),
        ({"topology_kind": np.array("tree")}, "kind: expected line, skip, forest or dag, got tree"),
        ({"topology_nodes": np.array(2)}, "edges"),
        ({"topology_edges": np.array([[-1, 0], [0, 1], [0, 2]])}, "edges: not those of a line of 3 nodes"),
        ({"topology_edges": np.array([-1, 0])}, "topology_edges: expected (E, 2) integers, got (2,) int64"),
        ({"signals": np.full((12, 3), np.inf, np.float32)}, "signals: expected finite values, got inf"),
        (
            {"signals": np.full((12, 3), np.nan, np.float32)},
            "signals: expected one wherever there is evidence, got nan",
        ),
        ({"signals": np.zeros((12, 3))}, "signals: expected (N, n) float32, got (12, 3) float64"),
        ({"losses": np.full((12, 3), -1, np.float32)}, "losses: expected values >= 0"),
        ({"costs": np.ones(2)}, "costs: expected (3,) numbers"),
        ({"labels": np.full(12, 9)}, "labels: expected classes 0..4, got 9 at row 0"),
        ({"log_probs": np.zeros((12, 3, 5), np.float32)}, "log_probs: expected probabilities that sum to at most 1"),
        ({"signal": np.array("other")}, "signal: expected max_prob, margin, entropy or logit_margin, got 'other'"),
    ],
)
def test_files_with_wrong_contents_are_refused(tmp_path, changes, message):
    path = tmp_path / "traces.npz"
    some_traces().save(path)
    arrays = {**contents(path), **changes}
    np.savez(path, **{name: value for name, value in arrays.items() if value is not None})
    with pytest.raises(ValueError, match=re.escape(f"{path}: not readable as traces: {message}")):
        Traces.load(path)


def test_objects_are_never_unpickled(tmp_path):
    path = tmp_path / "traces.npz"
    some_traces().save(path)
    arrays = contents(path)
    np.savez(path, **{**arrays, "unit": np.array(Path, dtype=object)})
    with pytest.raises(ValueError, match=r"does not fit its size|Object arrays cannot be loaded"):
        Traces.load(path)


def test_a_header_that_promises_too_much_is_refused_before_memory_is_taken(tmp_path):
    path = tmp_path / "traces.npz"
    some_traces().save(path)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members["signals.npy"] = members["signals.npy"].replace(b"(12, 3)", b"(12, 3000000000000)", 1)
    # The header's length is in its bytes 8 and 9; the padding gives way to the longer shape.
    members["signals.npy"] = members["signals.npy"].replace(b" " * 12, b"", 1)
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    message = "signals.npy: (12, 3000000000000) float32 does not fit its size"
    with pytest.raises(ValueError, match=re.escape(message)):
        Traces.load(path)


@settings(max_examples=150)
@given(data=st.data())
def test_a_damaged_file_is_refused_or_reads_the_same(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("damaged") / "traces.npz"
    whole = FROZEN.read_bytes()
    if data.draw(st.booleans()):
        damaged = whole[: data.draw(st.integers(0, len(whole) - 1))]
    else:
        place = data.draw(st.integers(0, len(whole) - 1))
        damaged = whole[:place] + bytes([whole[place] ^ data.draw(st.integers(1, 255))]) + whole[place + 1 :]
    path.write_bytes(damaged)
    refused = None
    try:
        loaded = Traces.load(path)
    except ValueError as error:
        refused = str(error)
    if refused is None:
        # Bytes that carry nothing: the archive's time stamps and the like.
        same(loaded, Traces.load(FROZEN))
    else:
        assert refused.startswith(f"{path}: not readable as traces: ")


def test_traces_pickle():
    traces = some_traces()
    same(pickle.loads(pickle.dumps(traces)), traces)
