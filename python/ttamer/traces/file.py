"""The file of traces: an ``.npz`` of plain arrays with a format version; nothing in it is ever unpickled."""

from __future__ import annotations

import io
import math
import re
import zipfile
from collections.abc import Callable, Mapping
from io import SEEK_END
from os import PathLike
from typing import IO, Any, TypeVar

import numpy as np
import numpy.typing as npt

from ttamer._base import checks, files
from ttamer._base.types import Floats
from ttamer._core import Topology
from ttamer.traces.categories import Names
from ttamer.traces.context import Column, columns_of
from ttamer.traces.evidence import Evidence
from ttamer.traces.tables import SUFFIXES

VERSION = 4
"""Version 2 has costs of each request; version 3 also what was not recorded, probes, names of nodes, several units,
weights, categories and a context; version 4 also that models are independent, and what their answers mean.

Files are written in the first version that can hold them.
"""
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
_CATEGORIES = {"category_nodes", "category_counts", "category_names"}
_CONTEXT = {"context_names", "context_is_text", "context_numbers", "context_texts"}
_MODELS = {"independent", "answer_classes"}
_PARTS = (_MODELS, _EVIDENCE, _CATEGORIES, _CONTEXT)
_SOMETIMES = {"predictions", "labels", "nodes", "weights", "costs_of_requests"}.union(*_PARTS)

_MOST_NODES = 1024  # of a topology
_MOST_UNITS = 64
_MOST_DEFLATED = 1032  # bytes that a byte can unpack to
# As NumPy writes it. Its own reader parses Python, and a hostile text can exhaust a parser.
_HEADER = re.compile(
    rb"\{'descr': '([<>|=][a-zA-Z]\d{0,9})', 'fortran_order': (?:True|False), 'shape': \(((?:\d{1,18},? ?)*)\), \} *\n"
)

T = TypeVar("T")


def write(path: str | PathLike[str], fields: Mapping[str, Any]) -> None:
    """Write the fields of `ttamer.Traces` to this path; the topology and the evidence are taken apart."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **_members(fields))
    files.write(path, buffer.getvalue())


def digest(fields: Mapping[str, Any]) -> str:
    """SHA-256 of what `write` writes, before it is packed: that depends on the library that does it."""
    return files.digest("", {name: array for name, array in _members(fields).items() if name != _VERSION_KEY})


def _members(fields: Mapping[str, Any]) -> dict[str, Any]:
    topology: Topology = fields["topology"]
    evidence: Evidence | None = fields["evidence"]
    unit_costs: Mapping[str, Floats] = fields["unit_costs"]
    apart = ("topology", "evidence", "unit_costs", "categories", "context")
    arrays = {name: value for name, value in fields.items() if name not in apart}
    costs = [np.atleast_2d(values) for values in unit_costs.values()]
    arrays["costs"] = np.stack(np.broadcast_arrays(*costs))
    arrays["costs_of_requests"] = [values.ndim == 2 for values in unit_costs.values()]
    arrays["unit"] = list(unit_costs)
    sums = [values.sum(dtype=np.float64) for values in (fields["signals"], fields["losses"], arrays["costs"])]
    gaps = not np.isfinite(sums).all()
    others = [fields[name] for name in ("categories", "context", "nodes")]
    newer = len(costs) > 1 or gaps or any(others) or fields["weights"] is not None
    version = (
        4 if fields["independent"] or fields["answer_classes"] else 3 if newer else next(iter(unit_costs.values())).ndim
    )
    if version < 4:
        arrays = {name: value for name, value in arrays.items() if name not in _MODELS}
    if version < 3:
        arrays["costs"], (arrays["unit"],) = next(iter(unit_costs.values())), unit_costs
        del arrays["costs_of_requests"]
    if fields["categories"]:
        arrays |= _categories_apart(fields["categories"])
    if fields["context"]:
        arrays |= _context_apart(fields["context"], len(fields["signals"]))
    arrays |= {
        _VERSION_KEY: version,
        "topology_kind": topology.kind,
        "topology_nodes": topology.nodes,
        "topology_edges": topology.edges,
    }
    if evidence is not None:
        arrays |= {name: getattr(evidence, name) for name in _EVIDENCE}
    present: dict[str, Any] = {name: np.asarray(value) for name, value in arrays.items() if value is not None}
    # A damaged directory may lose members, and some are optional: the file says which it has.
    present["contents"] = np.array(sorted(present))
    return present


def read(path: str | PathLike[str], build: Callable[[dict[str, Any]], T]) -> T:
    """Read the fields that `write` took and build an object of them.

    Raises
    ------
    OSError
        If the file cannot be opened.
    ValueError
        If it is not a file of traces, is damaged, is of another version, or `build` refuses what is in it.
    """
    name = checks.path("path", path)
    with open(name, "rb") as file:
        # A damaged archive fails in zipfile, zlib, NumPy or here, with any of a dozen exceptions.
        try:
            return build(_fields(_arrays(file)))
        except MemoryError:
            raise
        except Exception as error:
            if isinstance(error, zipfile.BadZipFile) and name.lower().endswith(SUFFIXES):
                raise ValueError(
                    f"{checks.printable(name)}: expected traces, got a table by its name: make traces of it with "
                    "Traces.read or ttamer import"
                ) from None
            raise ValueError(f"{checks.printable(name)}: not readable as traces: {checks.quoted(error)}") from None


def _arrays(file: IO[bytes]) -> dict[str, npt.NDArray[Any]]:
    size = file.seek(0, SEEK_END)
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        for info in members:
            _check_member(info, size)
        names = [info.filename.removesuffix(".npy") for info in members]
        if _VERSION_KEY not in names:
            raise ValueError("there is no format version in it")
        if len(set(names)) < len(names):
            raise ValueError(f"listed twice: {next(name for name in names if names.count(name) > 1)}")
        version = _array(archive, archive.getinfo(f"{_VERSION_KEY}.npy"), most=1)
        if version.shape != () or version.dtype.kind not in "iu" or not 1 <= version <= VERSION:
            raise ValueError(f"expected format 1 to {VERSION}, got {version}")
        if not _ALWAYS <= set(names) <= _ALWAYS | _SOMETIMES:
            wrong = sorted(_ALWAYS - set(names)) + sorted(set(names) - _ALWAYS - _SOMETIMES)
            raise ValueError(f"missing or unknown: {', '.join(wrong)}")
        most = _most_values(_header(archive, archive.getinfo("signals.npy"))[0])
        arrays = {name: _array(archive, info, most.get(name, 1)) for name, info in zip(names, members, strict=True)}
    contents = arrays.pop("contents")
    if contents.dtype.kind != "U" or sorted(arrays) != contents.tolist():
        raise ValueError(f"expected {', '.join(map(str, contents.ravel()))}, got {', '.join(sorted(arrays))}")
    return arrays


def _check_member(info: zipfile.ZipInfo, size: int) -> None:
    """Raise unless the file of `size` bytes can hold what the member claims to unpack to."""
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{info.filename}: expected a member that is stored or deflated")
    if info.compress_size > size or info.file_size > _MOST_DEFLATED * info.compress_size:
        raise ValueError(f"{info.filename}: {info.file_size} bytes do not fit into the file")


def _most_values(shape: tuple[int, ...]) -> dict[str, float]:
    """How many values each array may have beside signals of this shape; those that are not listed have one."""
    if len(shape) != 2:
        raise ValueError(f"signals: expected (N, n) float32, got {shape}")
    rows, nodes = shape
    edges = files.most_edges(min(nodes, _MOST_NODES))
    return {
        "contents": len(_ALWAYS | _SOMETIMES),
        "costs": _MOST_UNITS * rows * edges,
        "unit": _MOST_UNITS,
        "costs_of_requests": _MOST_UNITS,
        "nodes": nodes,
        "weights": rows,
        "topology_edges": 2 * edges,
        **dict.fromkeys(("signals", "losses", "predictions", "labels"), rows * nodes),
        **dict.fromkeys(("log_probs", "classes", "category_names", *_CONTEXT), math.inf),
        "category_nodes": nodes,
        "category_counts": nodes,
    }


def _header(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> tuple[tuple[int, ...], np.dtype[Any], int]:
    """Shape and dtype that a member declares, and the bytes before its values."""
    with archive.open(info) as member:
        if np.lib.format.read_magic(member) != (1, 0):
            raise ValueError(f"{info.filename}: expected array format 1.0")
        header = member.read(int.from_bytes(member.read(2), "little"))
        parts = _HEADER.fullmatch(header)
        if parts is None:
            raise ValueError(f"{info.filename}: expected the header of an array, got {header!r}")
        shape = tuple(int(length) for length in parts[2].replace(b" ", b"").split(b",") if length)
        return shape, np.dtype(parts[1].decode()), member.tell()


def _array(archive: zipfile.ZipFile, info: zipfile.ZipInfo, most: float) -> npt.NDArray[Any]:
    # What a hostile file declares may fit into no memory; compare before allocating.
    shape, dtype, start = _header(archive, info)
    count = math.prod(shape)
    if start + count * dtype.itemsize != info.file_size:
        raise ValueError(f"{info.filename}: {shape} {dtype} does not fit its size")
    if count > most or dtype.itemsize > 4 * checks.MOST_TEXT:
        raise ValueError(f"{info.filename}: {shape} {dtype} is larger than there is use for")
    with archive.open(info) as member:
        array: npt.NDArray[Any] = np.lib.format.read_array(member, allow_pickle=False)
    return array


def _fields(arrays: dict[str, npt.NDArray[Any]]) -> dict[str, Any]:
    version = arrays.pop(_VERSION_KEY)
    kind, nodes = _scalar(arrays, "topology_kind", "U"), _scalar(arrays, "topology_nodes", "iu")
    edges = files.edges("topology_edges", arrays.pop("topology_edges"), nodes)
    fields: dict[str, Any] = {
        "topology": Topology.from_parts(kind, nodes, edges),
        "observed": _scalar(arrays, "observed", "b"),
        "signal": _scalar(arrays, "signal", "U"),
    }
    if arrays.keys() & _MODELS:
        _check_has(arrays, _MODELS)
        fields |= {name: _scalar(arrays, name, "b") for name in _MODELS}
    if "nodes" in arrays:
        fields["nodes"] = _texts(arrays, "nodes")
    if version < 3:
        fields["unit"] = _scalar(arrays, "unit", "U")
    else:
        fields |= _several_costs(arrays.pop("costs"), arrays.pop("costs_of_requests"), _texts(arrays, "unit"))
    if arrays.keys() & _CATEGORIES:
        fields["categories"] = _categories_of(_all_of(arrays, _CATEGORIES))
    if arrays.keys() & _CONTEXT:
        fields["context"] = _context_of(_all_of(arrays, _CONTEXT), len(arrays["signals"]))
    if arrays.keys() & _EVIDENCE:
        parts = _all_of(arrays, _EVIDENCE)
        class_count = _scalar(parts, "class_count", "iu")
        fields["evidence"] = Evidence(parts["log_probs"], parts["classes"], class_count)
    return {**fields, **arrays}


def _all_of(arrays: dict[str, npt.NDArray[Any]], names: set[str]) -> dict[str, npt.NDArray[Any]]:
    """These arrays, taken out; ValueError if one is missing."""
    _check_has(arrays, names)
    return {name: arrays.pop(name) for name in names}


def _check_has(arrays: Mapping[str, object], names: set[str]) -> None:
    if not arrays.keys() >= names:
        raise ValueError(f"missing: {', '.join(sorted(names - arrays.keys()))}")


def _categories_apart(categories: Mapping[int, Names]) -> dict[str, Any]:
    """Arrays for the names of all nodes, one after another."""
    return {
        "category_nodes": np.array(list(categories), np.int64),
        "category_counts": np.array([len(names) for names in categories.values()], np.int64),
        "category_names": np.array([name for names in categories.values() for name in names], np.str_),
    }


def _categories_of(arrays: dict[str, npt.NDArray[Any]]) -> dict[int, list[str]]:
    nodes, counts = arrays["category_nodes"], arrays["category_counts"]
    names = _texts(arrays, "category_names")
    if nodes.dtype.kind not in "iu" or counts.dtype.kind not in "iu" or nodes.ndim != 1 or nodes.shape != counts.shape:
        raise ValueError(f"category_nodes: expected numbers of nodes and of names, got {nodes.shape} {counts.shape}")
    if (counts < 0).any() or counts.sum() != len(names) or len(np.unique(nodes)) < len(nodes):
        raise ValueError(f"category_counts: expected those of {len(names)} names of nodes, got {counts.tolist()}")
    ends = np.cumsum(counts).tolist()
    return {int(j): names[end - count : end] for j, count, end in zip(nodes, counts.tolist(), ends, strict=True)}


def _context_apart(context: Mapping[str, Column], rows: int) -> dict[str, Any]:
    """Arrays for the columns of numbers and for those of texts; `context_is_text` says which is which."""
    texts = [column for column in context.values() if column.dtype.kind == "U"]
    numbers = [column for column in context.values() if column.dtype.kind != "U"]
    return {
        "context_names": np.array(list(context), np.str_),
        "context_is_text": np.array([column.dtype.kind == "U" for column in context.values()], np.bool_),
        "context_numbers": np.array(numbers, np.float64).reshape(-1, rows),
        "context_texts": np.array(texts, np.str_).reshape(-1, rows),
    }


def _context_of(arrays: dict[str, npt.NDArray[Any]], rows: int) -> dict[str, Column]:
    names = _texts(arrays, "context_names")
    is_text, numbers, texts = (arrays[name] for name in ("context_is_text", "context_numbers", "context_texts"))
    fits = is_text.shape == (len(names),) and is_text.dtype == np.bool_ and numbers.dtype == np.float64
    count = int(is_text.sum()) if fits else 0
    if not fits or texts.dtype.kind != "U" or len(set(names)) < len(names):
        kinds = ", ".join(map(checks.describe, (is_text, numbers, texts)))
        raise ValueError(f"context: expected names that differ, numbers and texts, got {kinds}")
    if texts.shape != (count, rows) or numbers.shape != (len(names) - count, rows):
        raise ValueError(f"context: expected {len(names)} columns of {rows}, got {numbers.shape} and {texts.shape}")
    columns = {False: iter(numbers), True: iter(texts)}
    table = {name: next(columns[text]) for name, text in zip(names, is_text.tolist(), strict=True)}
    return columns_of(table, rows) if table else {}


def _several_costs(costs: npt.NDArray[Any], of_requests: npt.NDArray[Any], units: list[str]) -> dict[str, Any]:
    """What `Traces` takes for costs (units, N or 1, E), of which some are alike for all requests."""
    if of_requests.shape != (len(units),) or of_requests.dtype != np.bool_:
        raise ValueError(f"costs_of_requests: expected one bool a unit, got {checks.describe(of_requests)}")
    if costs.ndim != 3 or len(costs) != len(units) or not units or len(set(units)) < len(units):
        raise ValueError(f"costs: expected those of {len(units)} different units, got {costs.shape}")
    tables = [values if by_row else values[0] for values, by_row in zip(costs, of_requests.tolist(), strict=True)]
    return (
        {"costs": tables[0], "unit": units[0]} if len(units) == 1 else {"costs": dict(zip(units, tables, strict=True))}
    )


def _texts(arrays: dict[str, npt.NDArray[Any]], name: str) -> list[str]:
    array = arrays.pop(name)
    if array.ndim != 1 or array.dtype.kind != "U":
        raise ValueError(f"{name}: expected texts, got {checks.describe(array)}")
    texts: list[str] = array.tolist()
    return texts


def _scalar(arrays: dict[str, npt.NDArray[Any]], name: str, kinds: str) -> Any:
    array = arrays.pop(name)
    if array.shape != () or array.dtype.kind not in kinds:
        raise ValueError(f"{name}: expected one value, got {checks.describe(array)}")
    return array.item()
