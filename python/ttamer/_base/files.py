"""Safetensors files that carry a kind, a format version and a digest."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors
import safetensors.numpy

Arrays = dict[str, npt.NDArray[Any]]


def to_bytes(kind: str, version: int, fields: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> bytes:
    """Serialise arrays and JSON fields; the digest covers both."""
    contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    text = json.dumps({"kind": kind, "version": version, **fields}, sort_keys=True)
    # One entry: the order of several in the header would change from call to call, and equal files would differ.
    metadata = {"ttamer": json.dumps({"sha256": _digest(text, contiguous), "text": text})}
    return bytes(safetensors.numpy.save(contiguous, metadata=metadata))


def from_bytes(data: bytes, kind: str, version: int, source: str) -> tuple[dict[str, Any], Arrays]:
    """Read what `to_bytes` wrote.

    Raises
    ------
    ValueError
        If the bytes are not safetensors, are damaged, or are of another kind or version. `source` is named.
    """
    try:
        arrays = safetensors.numpy.load(data)
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    except (safetensors.SafetensorError, ValueError, KeyError, OverflowError, RecursionError) as error:
        raise ValueError(f"{source}: not a readable safetensors file ({error})") from None
    metadata = header.get("__metadata__") or {}
    if "ttamer" not in metadata:
        raise ValueError(f"{source}: a safetensors file, but not one of ttamer's")
    try:
        signed = json.loads(metadata["ttamer"])
        text, digest = signed["text"], signed["sha256"]
        fields = json.loads(text)
        found_kind, found_version = fields["kind"], fields["version"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ValueError(f"{source}: damaged metadata") from None
    if found_kind != kind:
        raise ValueError(f"{source}: expected a {kind} file, got a {found_kind} file")
    if found_version not in range(1, version + 1):
        readable = "version 1" if version == 1 else f"versions 1 to {version}"
        raise ValueError(f"{source}: {kind} format version {found_version}, this ttamer reads {readable}")
    if digest != _digest(text, arrays):
        raise ValueError(f"{source}: damaged, the tables do not match their digest")
    return fields, arrays


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


def edges(arrays: Mapping[str, npt.NDArray[Any]]) -> list[tuple[int, int]]:
    """The topology's edges; ValueError unless they are (E, 2) integers."""
    table = arrays["edges"]
    if table.ndim != 2 or table.shape[1] != 2 or table.dtype.kind != "i":
        raise ValueError(f"edges: expected (E, 2) integers, got {table.shape} {table.dtype}")
    return [(int(i), int(j)) for i, j in table]


def write(path: str | os.PathLike[str], data: bytes) -> None:
    """Write a file so that a reader, another writer or a crash never sees half of it."""
    target = Path(path)
    try:
        with tempfile.NamedTemporaryFile(dir=target.parent, prefix=f".{target.name}.", delete=False) as part:
            part.write(data)
            part.flush()
            os.fsync(part.fileno())
        try:
            # A temporary file is its maker's alone; what is saved has the permissions of any new file.
            mask = os.umask(0)
            os.umask(mask)
            os.chmod(part.name, 0o666 & ~mask)
            os.replace(part.name, target)
        except OSError:
            os.unlink(part.name)
            raise
    except OSError as error:  # named by the target, which the user knows, not by the temporary file
        raise OSError(error.errno, error.strerror, str(target)) from None


def _digest(text: str, arrays: Mapping[str, npt.NDArray[Any]]) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
