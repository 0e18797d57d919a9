"""Safetensors files that carry a kind, a format version and a digest."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import secrets
import stat
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors
import safetensors.numpy

from ttamer._base import checks

Arrays = dict[str, npt.NDArray[Any]]

_ZIP = b"PK\x03\x04"
"""How zip archives begin, those of traces among them."""


def to_bytes(kind: str, version: int, fields: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> bytes:
    """Serialise arrays and JSON fields; the digest covers both."""
    contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    text = json.dumps({"kind": kind, "version": version, **fields}, sort_keys=True)
    # One entry: the order of several in the header would change from call to call, and equal files would differ.
    metadata = {"ttamer": json.dumps({"sha256": digest(text, contiguous), "text": text})}
    return bytes(safetensors.numpy.save(contiguous, metadata=metadata))


def from_bytes(data: bytes, kind: str, version: int, source: str) -> tuple[dict[str, Any], Arrays]:
    """Read what `to_bytes` wrote.

    Raises
    ------
    ValueError
        If the bytes are not safetensors, are damaged, or are of another kind or version. `source` is named.
    """
    fields, arrays, is_whole = _parsed(data, source, kind)
    found_kind, found_version = fields["kind"], fields["version"]
    if found_kind != kind:
        raise ValueError(f"{source}: expected a {kind} file, got a {checks.quoted(found_kind)} file")
    if found_version not in range(1, version + 1):
        readable = "version 1" if version == 1 else f"versions 1 to {version}"
        other = checks.quoted(found_version)
        raise ValueError(f"{source}: {kind} format version {other}, this ttamer reads {readable}")
    if not is_whole:
        raise ValueError(f"{source}: damaged, the tables do not match their digest")
    return fields, arrays


def kind_in(data: bytes, source: str) -> str:
    """What a file says it is; ValueError as of `from_bytes`."""
    return str(_parsed(data, source, "policy")[0]["kind"])


def _parsed(data: bytes, source: str, kind: str) -> tuple[dict[str, Any], Arrays, bool]:
    """Fields, tables, and whether they match their digest; `kind` is what was hoped for."""
    if data.startswith(_ZIP):
        raise ValueError(f"{source}: expected a {kind} file, got a zip archive, as Traces.save writes")
    try:
        arrays = safetensors.numpy.load(data)
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    except (safetensors.SafetensorError, ValueError, KeyError, OverflowError, RecursionError) as error:
        raise ValueError(f"{source}: not a readable safetensors file ({checks.quoted(error)})") from None
    metadata = header.get("__metadata__") or {}
    if "ttamer" not in metadata:
        raise ValueError(f"{source}: a safetensors file, but not one of ttamer's")
    try:
        signed = json.loads(metadata["ttamer"])
        text, expected = signed["text"], signed["sha256"]
        fields = json.loads(text)
        text.encode()  # lone surrogates have no bytes
        fields["kind"], fields["version"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ValueError(f"{source}: damaged metadata") from None
    return fields, arrays, expected == digest(text, arrays)


def check_fields(fields: Mapping[str, Any], types: Mapping[str, type]) -> None:
    """Raise ValueError unless each field is there and of its type; an int does for a float, a bool for neither."""
    for name, expected in types.items():
        value: object = fields[name]
        accepted = (int, float) if expected is float else expected
        if not isinstance(value, accepted) or (isinstance(value, bool) and expected is not bool):
            raise ValueError(f"{name}: expected {expected.__name__}, got {type(value).__name__}")
        if expected is float and isinstance(value, int) and abs(value) > 2**1023:
            raise ValueError(f"{name}: too large for a float")
        if expected is int and isinstance(value, int) and not -(2**63) <= value < 2**63:
            raise ValueError(f"{name}: {value} is out of range")
        if expected is str:
            checks.text(name, value)


def edges(name: str, table: npt.NDArray[Any], nodes: int) -> list[tuple[int, int]]:
    """The edges of a topology of so many nodes; ValueError unless they are (E, 2) integers, and not too many."""
    if table.ndim != 2 or table.shape[1] != 2 or table.dtype.kind not in "iu":
        raise ValueError(f"{name}: expected (E, 2) integers, got {checks.describe(table)}")
    if nodes > 0 and len(table) > most_edges(nodes):
        raise ValueError(f"{name}: expected at most {most_edges(nodes)} edges of {nodes} nodes, got {len(table)}")
    return [(int(i), int(j)) for i, j in table.tolist()]


def most_edges(nodes: int) -> int:
    """Edges of the largest topology of so many nodes, which has one between any two and from the root to each."""
    return nodes * (nodes + 1) // 2


def read(path: str | os.PathLike[str]) -> tuple[bytes, str]:
    """What is in a file, and its name for messages."""
    name = checks.path("path", path)
    return Path(name).read_bytes(), checks.printable(name)


def write(path: str | os.PathLike[str], data: bytes) -> None:
    """Write a file so that a reader, another writer or a crash never sees half of it.

    Links are followed, and a file that is replaced keeps its permissions.

    Raises
    ------
    OSError
        If it cannot be written, or what is there is not a regular file; it is named.
    """
    name = checks.path("path", path)
    try:
        _replace(name, os.path.realpath(name), data)
    except OSError as error:  # the user knows the target, not the part
        raise OSError(error.errno, error.strerror, name) from None


def _replace(name: str, target: str, data: bytes) -> None:
    try:
        mode = os.stat(name).st_mode
    except FileNotFoundError:
        mode = None
    if mode is not None and not stat.S_ISREG(mode):
        number = errno.EISDIR if stat.S_ISDIR(mode) else errno.EINVAL
        raise OSError(number, "not a regular file", name)
    permissions = 0o666 if mode is None else stat.S_IMODE(mode)
    part = os.path.join(os.path.dirname(target), f".ttamer-{secrets.token_hex(8)}")
    try:
        # The kernel takes the process's mask off: asking for it would set it for a moment, for all threads.
        with open(part, "xb", opener=lambda file, flags: os.open(file, flags, permissions)) as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if mode is not None:
            os.chmod(part, permissions)
        os.replace(part, target)
    except BaseException:
        with suppress(OSError):
            os.unlink(part)
        raise


def digest(text: str, arrays: Mapping[str, npt.NDArray[Any]]) -> str:
    """SHA-256 of a text and arrays, with their names, dtypes and shapes, in hexadecimal digits."""
    total = hashlib.sha256(text.encode())
    for name in sorted(arrays):
        array = arrays[name]
        total.update(f"{name} {array.dtype.str} {array.shape}".encode())
        total.update(np.ascontiguousarray(array).tobytes())
    return total.hexdigest()
