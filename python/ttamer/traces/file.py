"""The file of traces: an ``.npz`` of plain arrays with a format version; nothing in it is ever unpickled."""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Callable, Mapping
from os import PathLike
from typing import IO, Any, TypeVar

import numpy as np
import numpy.typing as npt

from ttamer._base import files
from ttamer._core import Topology
from ttamer.traces.evidence import Evidence

VERSION = 1
_VERSION_KEY = "ttamer_traces"
_ALWAYS = {
    _VERSION_KEY,
    "contents",
    "signals",
    "losses",
    "costs",
    "topology_kind",
    "topology_nodes",
    "topology_edges",
    "observed",
    "unit",
    "signal",
}
_EVIDENCE = {"log_probs", "classes", "class_count"}
_SOMETIMES = {"predictions", "labels", *_EVIDENCE}

T = TypeVar("T")


def write(path: str | PathLike[str], fields: Mapping[str, Any]) -> None:
    """Write the fields of `ttamer.Traces` to this path; the topology and the evidence are taken apart."""
    topology: Topology = fields["topology"]
    evidence: Evidence | None = fields["evidence"]
    arrays = {name: value for name, value in fields.items() if name not in ("topology", "evidence")}
    arrays |= {
        _VERSION_KEY: VERSION,
        "topology_kind": topology.kind,
        "topology_nodes": topology.nodes,
        "topology_edges": topology.edges,
    }
    if evidence is not None:
        arrays |= {name: getattr(evidence, name) for name in _EVIDENCE}
    present: dict[str, Any] = {name: np.asarray(value) for name, value in arrays.items() if value is not None}
    # A damaged directory may lose members, and some are optional: the file says which it has.
    present["contents"] = np.array(sorted(present))
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **present)
    files.write(path, buffer.getvalue())


def read(path: str | PathLike[str], build: Callable[[dict[str, Any]], T]) -> T:
    """Read the fields that `write` took and build an object of them.

    Raises
    ------
    OSError
        If the file cannot be opened.
    ValueError
        If it is not a file of traces, is damaged, is of another version, or `build` refuses what is in it.
    """
    with open(path, "rb") as file:
        # A damaged archive fails in zipfile, zlib, NumPy or here, with any of a dozen exceptions.
        try:
            return build(_fields(_arrays(file)))
        except Exception as error:
            raise ValueError(f"{path}: not readable as traces: {error}") from error


def _arrays(file: IO[bytes]) -> dict[str, npt.NDArray[Any]]:
    arrays = {}
    with zipfile.ZipFile(file) as archive:
        names = {info.filename.removesuffix(".npy") for info in archive.infolist()}
        if _VERSION_KEY not in names:
            raise ValueError("there is no format version in it")
        version = _array(archive, archive.getinfo(f"{_VERSION_KEY}.npy"))
        if version.shape != () or version.dtype.kind not in "iu" or version != VERSION:
            raise ValueError(f"expected format {VERSION}, got {version}")
        if not _ALWAYS <= names <= _ALWAYS | _SOMETIMES:
            wrong = sorted(_ALWAYS - names) + sorted(names - _ALWAYS - _SOMETIMES)
            raise ValueError(f"missing or unknown: {', '.join(wrong)}")
        for info in archive.infolist():
            arrays[info.filename.removesuffix(".npy")] = _array(archive, info)
    contents = arrays.pop("contents")
    if contents.dtype.kind != "U" or sorted(arrays) != contents.tolist():
        raise ValueError(f"expected {', '.join(map(str, contents.ravel()))}, got {', '.join(sorted(arrays))}")
    return arrays


def _array(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> npt.NDArray[Any]:
    with archive.open(info) as member:
        # The header of a hostile file may declare an array that no memory holds; compare before allocating.
        if np.lib.format.read_magic(member) != (1, 0):
            raise ValueError(f"{info.filename}: expected array format 1.0")
        shape, _, dtype = np.lib.format.read_array_header_1_0(member)
        if member.tell() + math.prod(shape) * dtype.itemsize != info.file_size:
            raise ValueError(f"{info.filename}: {shape} {dtype} does not fit its size")
    with archive.open(info) as member:
        array: npt.NDArray[Any] = np.lib.format.read_array(member, allow_pickle=False)
    return array


def _fields(arrays: dict[str, npt.NDArray[Any]]) -> dict[str, Any]:
    del arrays[_VERSION_KEY]
    kind, nodes = _scalar(arrays, "topology_kind", "U"), _scalar(arrays, "topology_nodes", "iu")
    edges = arrays.pop("topology_edges")
    if edges.ndim != 2 or edges.shape[1] != 2 or edges.dtype.kind not in "iu":
        raise ValueError(f"topology_edges: expected (E, 2) integers, got {edges.shape} {edges.dtype}")
    fields: dict[str, Any] = {
        "topology": Topology.from_parts(kind, nodes, edges.tolist()),
        "observed": _scalar(arrays, "observed", "b"),
        "unit": _scalar(arrays, "unit", "U"),
        "signal": _scalar(arrays, "signal", "U"),
    }
    if arrays.keys() & _EVIDENCE:
        if not arrays.keys() >= _EVIDENCE:
            raise ValueError(f"missing: {', '.join(sorted(_EVIDENCE - arrays.keys()))}")
        class_count = _scalar(arrays, "class_count", "iu")
        fields["evidence"] = Evidence(arrays.pop("log_probs"), arrays.pop("classes"), class_count)
    return {**fields, **arrays}


def _scalar(arrays: dict[str, npt.NDArray[Any]], name: str, kinds: str) -> Any:
    array = arrays.pop(name)
    if array.shape != () or array.dtype.kind not in kinds:
        raise ValueError(f"{name}: expected one value, got {array.shape} {array.dtype}")
    return array.item()
