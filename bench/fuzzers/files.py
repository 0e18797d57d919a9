"""Files of traces, models and policies that someone damaged or made up."""

from __future__ import annotations

import io
import tempfile
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import ttamer
from fuzzers.runner import Case, Fuzzer
from ttamer._base import files
from ttamer.model.model import FORMAT_VERSION
from ttamer.model.set_estimators import SetEstimator

Arrays = dict[str, npt.NDArray[Any]]

NUMBERS = [0, 1, -1, 2, 2**31 - 1, 2**31, 2**40, 2**63 - 1, 2**64, 10**30, -(2**31), 1e308, 5e-324, -1e308, 1e-300]
ODD = [
    *NUMBERS,
    float("nan"),
    float("inf"),
    None,
    True,
    "",
    "x" * 20_000,
    "a\x1b[31m\u202eb",
    [],
    {},
    [[1]] * 3,
    "line",
]
DTYPES = ["f4", "f8", "f2", "i4", "i8", "u1", "u8", "?", ">f4", ">i4"]
SHAPES: list[tuple[int, ...]] = [(), (0,), (1,), (2,), (3, 2), (0, 2), (2, 3, 4), (300,), (1000, 1000), (1, 2000)]


def start() -> Callable[[np.random.Generator], Case]:
    folder = tempfile.TemporaryDirectory(prefix="ttamer-fuzz-")
    path = Path(folder.name) / "case"
    good = _good(path)

    def make(rng: np.random.Generator) -> Case:
        load, kind, data = good[rng.integers(len(good))]
        change = rng.choice([_mutated, _rebuilt], p=[0.3, 0.7])
        text, data = change(rng, kind, data)

        def call() -> object:
            path.write_bytes(data)
            read = load(path)
            repr(read)
            if isinstance(read, ttamer.Policy):
                serve(read)
            return folder, read  # the folder lives as long as the cases

        return Case(f"{kind} of {len(data)} bytes: {text}", call)

    return make


def _good(path: Path) -> list[tuple[Callable[[Path], object], str, bytes]]:
    rng = np.random.default_rng(1)
    probs = rng.dirichlet(np.ones(5), (60, 3))
    labels = rng.integers(0, 5, 60)
    recorded = [
        ttamer.Traces.from_probs(probs, labels, np.ones(len(topology.edges)), topology, unit="ms", top=3)
        for topology in (ttamer.Topology.line(3), ttamer.Topology.skip(3), ttamer.Topology.forest([-1, 0, 0]))
    ]
    losses = rng.random((20, 2)).astype(np.float32)
    recorded.append(ttamer.Traces(losses, losses, [1, 2], observed=True))
    gaps = np.where(rng.random((40, 2)) < 0.1, np.float32("nan"), rng.random((40, 2)).astype(np.float32))
    several = ttamer.Traces(gaps, gaps, {"usd": [1, 3], "ms": rng.random((40, 2))}, nodes=["a", "b"])
    stated, probing = (
        ttamer.CascadeModel(ttamer.Topology.line(2), [first, [0.0, 0.7]], [[[0.5, 0.5]], np.eye(2)], [1, 3])
        for first in ([0.1, 0.6], [np.inf, np.inf])
    )
    models = [ttamer.fit(traces, 4, smoothing=how) for traces in recorded for how in ("mean", "platt")]
    models += [stated, probing, ttamer.fit(several.priced({"ms": 1}).weighted(0.5), 4)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        models.append(ttamer.fit(recorded[0], 4, "posterior"))
    asked = _of_models(rng)
    models += [ttamer.fit(asked, estimate=kind) for kind in ("sets", "chains")]
    policies = [ttamer.solve(model, tradeoff) for model in models for tradeoff in (0.5, 0.9)]
    policies.append(ttamer.solve(models[0], 0.5, aggregate=2))
    recorded += [several, asked]
    models.append(ttamer.fit(several, 4))
    good: list[tuple[Callable[[Path], object], str, bytes]] = []
    for kind in (recorded, models, policies):
        for each in kind:
            each.save(path)
            good.append((type(each).load, type(each).__name__, path.read_bytes()))
    return good


def serve(policy: ttamer.Policy) -> None:
    """Open a batch; of a policy that decides on scores and answers serve some requests, whatever they show."""
    batch, estimator = policy.start(64), policy.estimator
    if not isinstance(estimator, SetEstimator):
        return
    widths = np.diff(estimator.tables["input_offsets"])
    ahead = np.full(64, policy.first_node)
    while (rows := np.flatnonzero(ahead != ttamer.STOP)).size:
        node = int(ahead[rows[0]])
        rows = rows[ahead[rows] == node]
        scores = np.linspace(-3, 3, rows.size * widths[node], dtype=np.float32).reshape(rows.size, -1)
        ahead[rows] = batch.decide_answers(node, scores, np.arange(rows.size, dtype=np.int32) - 1, rows)


def _of_models(rng: np.random.Generator) -> ttamer.Traces:
    """Three models, each with scores and answers, and a context of numbers and names."""
    scores = rng.random((60, 3))
    return ttamer.Traces.from_models(
        rng.random((60, 3)) > scores,
        [1, 2, 4],
        scores=scores,
        answers=rng.integers(0, 3, (60, 3)),
        context={"topic": rng.choice(["a", "b"], 60), "length": rng.random(60)},
    )


def _mutated(rng: np.random.Generator, kind: str, data: bytes) -> tuple[str, bytes]:
    """A few bytes changed, moved, lost or put in."""
    changed = bytearray(data)
    done = []
    for _ in range(rng.integers(1, 4)):
        at, length = int(rng.integers(len(changed) + 1)), int(rng.integers(1, 40))
        how = str(rng.choice(["flip", "fill", "cut", "drop", "repeat", "random"]))
        done.append(f"{how} {length} at {at}")
        if how == "flip" and at < len(changed):
            changed[at] ^= 1 << rng.integers(8)
        elif how == "fill":
            changed[at : at + length] = bytes([int(rng.choice([0, 255, 127, 128]))]) * length
        elif how == "cut":
            del changed[at:]
        elif how == "drop":
            del changed[at : at + length]
        elif how == "repeat":
            changed[at:at] = changed[at : at + length]
        else:
            changed[at : at + length] = rng.bytes(length)
    return ", ".join(done), bytes(changed)


def _rebuilt(rng: np.random.Generator, kind: str, data: bytes) -> tuple[str, bytes]:
    """The file of other contents, with digests and headers that fit."""
    return _zipped(rng, data) if kind == "Traces" else _signed(rng, kind.removeprefix("Cascade").lower(), data)


def _zipped(rng: np.random.Generator, data: bytes) -> tuple[str, bytes]:
    with np.load(io.BytesIO(data)) as arrays:
        members = {name: _npy(array) for name, array in arrays.items()}
        originals = dict(arrays)
    done, twice = [], []
    for _ in range(rng.integers(1, 3)):
        name = str(rng.choice(list(members)))
        how = str(rng.choice(["array", "array", "text", "edges", "header", "twice", "gone", "more", "values"]))
        done.append(f"{how} {name}")
        if how == "array":
            members[name] = _npy(_array(rng))
        elif how == "values":
            members[name] = _npy(with_extremes(rng, originals.get(name, np.zeros(1))))
        elif how == "text":
            members[name] = _npy(np.array(str(rng.choice(["a\x1b[31mb", "é" * 5000, "\u202ems", "$x", "max_prob"]))))
        elif how == "edges":
            members["topology_edges"] = _npy(np.zeros((int(rng.choice([3, 10**4, 3 * 10**6])), 2), np.int32))
        elif how == "header":
            descr, shape = rng.choice(["<U0", "|S0", "<f4", "|V0", "|O", "<i8"]), rng.choice([10**9, 2**62, 0, 3])
            text = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': ({shape},), }}"
            if rng.random() < 0.3:
                text = str(rng.choice(["-" * 9000 + "1", "(" * 9000, "{'descr': " * 1000, "x" * 9000, ""]))
            members[name] = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()
        elif how == "twice":
            twice.append((name, members[name]))
        elif how == "gone":
            members.pop(name)
            members["contents"] = _npy(np.array(sorted(set(members) - {"contents"})))
            members.setdefault("unit", _npy(np.array("")))
        else:
            members[str(rng.choice(["extra", "a\x1b[31m", "x" * 30_000]))] = _npy(_array(rng))
    packing = int(rng.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA], p=[0.4, 0.5, 0.1]))
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of names that are there twice
        with zipfile.ZipFile(buffer, "w", packing) as archive:
            for name, member in [*members.items(), *twice]:
                archive.writestr(f"{name}.npy", member)
    packed = buffer.getvalue()
    if rng.random() < 0.1:  # sizes that the directory makes up
        place = packed.rfind(b"PK\x01\x02")
        packed = packed[: place + 24] + b"\xf0\xff\xff\x7f" + packed[place + 28 :]
        done.append("size")
    return ", ".join(done), packed


def _signed(rng: np.random.Generator, kind: str, data: bytes) -> tuple[str, bytes]:
    fields, arrays = files.from_bytes(data, kind, FORMAT_VERSION, "good")
    arrays = dict(arrays)
    version: Any = fields["version"]
    fields = {name: value for name, value in fields.items() if name not in ("kind", "version")}
    done = []
    for _ in range(rng.integers(1, 4)):
        how = str(rng.choice(["field", "estimator", "array", "values", "values", "gone", "version"]))
        table = fields.get("estimator", fields.get("set_estimator")) if how == "estimator" else fields
        if how in ("field", "estimator") and isinstance(table, dict) and table:
            name = str(rng.choice(list(table)))
            table[name] = ODD[rng.integers(len(ODD))]
            if name in ("top", "class_count") and rng.random() < 0.7:
                table["class_count"], table["top"] = 2**31 - 1, int(rng.choice([10**6, 10**7, 10**9]))
        elif how == "version":
            kind, version = str(rng.choice([kind, "x\x1b[31m" * 3000])), ODD[rng.integers(len(ODD))]
            name = "kind, version"
        elif how in ("field", "estimator"):
            continue
        else:
            name = str(rng.choice(list(arrays)))
            if how == "gone":
                arrays.pop(name)
            else:
                arrays[name] = _array(rng) if how == "array" else with_extremes(rng, arrays[name])
        done.append(f"{how} {name}")
        if not arrays:
            break
    arrays = {name: array.astype(array.dtype.newbyteorder("=")) for name, array in arrays.items()}
    try:
        return ", ".join(done), files.to_bytes(kind, version, fields, arrays)
    except Exception:  # safetensors does not write every dtype
        return "as it was", data


def _array(rng: np.random.Generator) -> npt.NDArray[Any]:
    shape = SHAPES[rng.integers(len(SHAPES))]
    dtype = np.dtype(str(rng.choice(DTYPES)))
    with np.errstate(all="ignore"):
        array = np.full(shape, rng.choice([0, 1, 3, 0.5, 200]), np.float64).astype(dtype)
    return with_extremes(rng, array) if rng.random() < 0.5 else array


def with_extremes(rng: np.random.Generator, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Some or all of the values replaced by the ends of what the dtype holds."""
    if array.dtype.kind not in "iuf":
        return array
    info: Any = np.finfo(array.dtype) if array.dtype.kind == "f" else np.iinfo(array.dtype)
    ends = [info.min, info.max, 0, 1]
    if array.dtype.kind == "f":
        ends += [info.tiny, info.smallest_subnormal, np.nan, np.inf, -0.0]
    share = rng.choice([0.1, 0.5, 1.0])
    value = np.array(ends[rng.integers(len(ends))], array.dtype)
    return np.where(rng.random(array.shape) < share, value, array)


def _npy(array: npt.NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


# Python and NumPy say no more of an argument than this; what is read of a file may say its path too.
FUZZER = Fuzzer(start, (ValueError, TypeError, OSError), memory=1 << 29, longest=400)
