"""Small files that promise much: refused before memory is taken, in messages that quote little of them."""

from __future__ import annotations

import io
import re
import tracemalloc
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from samples import FROZEN

import ttamer
from ttamer._base import files

DATA = Path(__file__).parent.parent / "data"


def npy(array: npt.NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def headed(header: str) -> bytes:
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode()


def rezipped(path: Path, changes: dict[str, bytes], twice: str = "", packing: int = zipfile.ZIP_DEFLATED) -> None:
    """The frozen traces with other members, one of them twice."""
    with zipfile.ZipFile(FROZEN) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the name that is there twice
        with zipfile.ZipFile(path, "w", packing) as archive:
            for name, member in {**members, **changes}.items():
                archive.writestr(name, member)
            if twice:
                archive.writestr(twice, members[twice])


def refused(kind: Any, path: Path, message: str) -> None:
    """Loading raises a ValueError of one short line, and takes little memory."""
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=re.escape(message)) as raised:
            kind.load(path)
        assert tracemalloc.get_traced_memory()[1] < 2e7
    finally:
        tracemalloc.stop()
    text = str(raised.value).removeprefix(f"{path}: ")
    assert len(text) < 300
    assert text.isprintable()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"unit.npy": headed("{'descr': '<U0', 'fortran_order': False, 'shape': (1000000000,), }\n")},
            "unit.npy: (1000000000,) <U0 is larger than there is use for",
        ),
        ({"unit.npy": npy(np.array("x" * 10_000))}, "unit.npy: () <U10000 is larger than there is use for"),
        (
            {"topology_edges.npy": npy(np.zeros((10**6, 2), np.int32))},
            "topology_edges.npy: (1000000, 2) int32 is larger than there is use for",
        ),
        (
            {"labels.npy": npy(np.zeros(10**6, np.int64))},
            "labels.npy: (1000000,) int64 is larger than there is use for",
        ),
        ({"costs.npy": npy(np.zeros(10**6))}, "costs.npy: (1000000,) float64 is larger than there is use for"),
        ({"signals.npy": npy(np.zeros(3, np.float32))}, "signals: expected (N, n) float32, got (3,)"),
        ({"unit.npy": headed("-" * 60_000 + "1")}, "unit.npy: expected the header of an array, got b'---"),
        ({"unit.npy": npy(np.array("a\x1b[31mb"))}, r"unit: expected characters that can be shown, got 'a\x1b[31mb'"),
        ({"topology_kind.npy": npy(np.array("x" * 200))}, "kind: expected"),
        ({"signal.npy": npy(np.array("\x1b[31m"))}, r"signal: expected characters that can be shown, got '\x1b[31m'"),
        ({"\x1b[31m" + "x" * 10_000 + ".npy": npy(np.zeros(1))}, r"missing or unknown: \x1b[31mxxx"),
    ],
)
def test_traces(tmp_path: Path, changes: dict[str, bytes], message: str) -> None:
    path = tmp_path / "traces.npz"
    rezipped(path, changes)
    refused(ttamer.Traces, path, f"not readable as traces: {message}")


def test_a_member_that_is_there_twice(tmp_path: Path) -> None:
    path = tmp_path / "traces.npz"
    rezipped(path, {}, twice="signals.npy")
    refused(ttamer.Traces, path, "not readable as traces: listed twice: signals")


def test_a_packing_without_a_bound(tmp_path: Path) -> None:
    path = tmp_path / "traces.npz"
    rezipped(path, {}, packing=zipfile.ZIP_BZIP2)
    refused(ttamer.Traces, path, "expected a member that is stored or deflated")


def test_a_size_that_the_directory_makes_up(tmp_path: Path) -> None:
    path = tmp_path / "traces.npz"
    data = FROZEN.read_bytes()
    place = data.rindex(b"PK\x01\x02")
    path.write_bytes(data[: place + 24] + (2**31 - 1).to_bytes(4, "little") + data[place + 28 :])
    refused(ttamer.Traces, path, "2147483647 bytes do not fit into the file")


def test_memory_that_is_not_there_is_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **options: object) -> None:
        raise MemoryError

    monkeypatch.setattr(np.lib.format, "read_array", fail)
    with pytest.raises(MemoryError):
        ttamer.Traces.load(FROZEN)


def changed(path: Path, name: str, fields: dict[str, Any], arrays: dict[str, npt.NDArray[Any]]) -> None:
    """A frozen model or policy with other fields and arrays and a digest that fits."""
    kind = name.partition("-")[0]
    own_fields, own_arrays = files.from_bytes((DATA / f"{name}.safetensors").read_bytes(), kind, 1, name)
    for key in ("kind", "version"):
        own_fields.pop(key)
    if "estimator" in own_fields:
        inner = {key: fields.pop(key) for key in list(fields) if key in own_fields["estimator"]}
        own_fields["estimator"].update(inner)
    path.write_bytes(files.to_bytes(kind, 1, {**own_fields, **fields}, {**own_arrays, **arrays}))


@pytest.mark.parametrize("name", ["policy-posterior-v1", "model-posterior-v1"])
def test_how_many_classes_a_batch_keeps_is_bounded(tmp_path: Path, name: str) -> None:
    path = tmp_path / "file"
    changed(path, name, {"class_count": 2**31 - 1, "top": 10**7}, {})
    kind = ttamer.Policy if name.startswith("policy") else ttamer.CascadeModel
    refused(kind, path, "top: expected at most")


@pytest.mark.parametrize(("kind", "name"), [(ttamer.Policy, "policy-v1"), (ttamer.CascadeModel, "model-v1")])
def test_messages_quote_little(tmp_path: Path, kind: Any, name: str) -> None:
    path = tmp_path / "file"
    changed(path, name, {"topology": "x" * 16_000}, {})
    refused(kind, path, "topology: expected at most 200 characters, got 16000")
    changed(path, name, {"unit": "\x1b[31m"}, {})
    refused(kind, path, r"unit: expected characters that can be shown, got '\x1b[31m'")
    changed(path, name, {"signal": ["x" * 16_000]}, {})
    refused(kind, path, "signal: expected a str, got list")
    changed(path, name, {}, {"edges": np.zeros((10**5, 2), np.int32)})
    refused(kind, path, "edges: expected at most")
    word = name.partition("-")[0]
    path.write_bytes(files.to_bytes("\x1b[31m" * 4000, 1, {}, {"levels": np.zeros(1)}))
    refused(kind, path, rf"expected a {word} file, got a \x1b[31m")
    path.write_bytes(files.to_bytes(word, "9" * 16_000, {}, {"levels": np.zeros(1)}))  # type: ignore[arg-type]
    refused(kind, path, f"{word} format version 999")


@pytest.mark.parametrize("value", [1.7e308, 5e-324])
@pytest.mark.parametrize("part", ["loss_sums", "signal_sums"])
def test_sums_without_a_mean(tmp_path: Path, part: str, value: float) -> None:
    """A model of such sums loads or is refused; no warning is all that is said."""
    path = tmp_path / "file"
    _, arrays = files.from_bytes((DATA / "model-v1.safetensors").read_bytes(), "model", 1, "model")
    hostile = {name: np.full_like(array, value) for name, array in arrays.items() if name.startswith(part)}
    changed(path, "model-v1", {"smoothing": "platt" if part == "signal_sums" else "mean"}, hostile)
    if value < 1:
        assert np.isfinite(np.concatenate(ttamer.CascadeModel.load(path).losses)).all()
    else:
        refused(ttamer.CascadeModel, path, "not a valid model (")


def test_probabilities_without_a_sum() -> None:
    with pytest.raises(ValueError, match=r"^transitions\[0\]: expected probabilities that sum to 1 within 1e-6, row 0"):
        ttamer.CascadeModel(ttamer.Topology.line(1), [[0.0, 1.0]], [[[1.7e308, 1.7e308]]], [1.0])
