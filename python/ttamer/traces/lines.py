"""The lines of logs and of tables of JSON: what each says, and where one is none."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from os import PathLike
from typing import Any

from ttamer._base import checks


def read_log(
    paths: Sequence[str | PathLike[str]],
    on_request: Callable[[dict[str, Any]], None],
    on_losses: Callable[[str, dict[str, Any]], None],
) -> list[str]:
    """Show each request of the logs to one function, and losses that became known later, by request, to another one.

    What these raise names the file and the line. The last line of a file may have been cut off while it was written:
    which ones were, and are left out, is returned.
    """
    if not paths:
        raise ValueError("path: expected at least one file, got none")
    cuts: list[str] = []
    for path in paths:
        name = checks.path("path", path)
        try:
            for line, record in _whole_lines(name, cuts):
                try:
                    if isinstance(record, dict) and isinstance(record.get("visits"), list):
                        on_request(record)
                    elif isinstance(record, dict) and "visits" not in record and isinstance(record.get("losses"), dict):
                        on_losses(checks.text("request", record.get("request")), record["losses"])
                    else:
                        raise ValueError('expected {"visits": [...]}, or {"request": ..., "losses": {...}}')
                except (TypeError, ValueError, IndexError) as error:
                    raise ValueError(f"line {line}: {checks.quoted(error)}") from None
        except ValueError as error:
            raise ValueError(f"{checks.printable(name)}: {error}") from None
    return cuts


def _whole_lines(name: str, cuts: list[str]) -> Iterator[tuple[int, Any]]:
    """What each line says, without one that was cut off."""
    lines = json_lines(name)
    while True:
        try:
            line = next(lines, None)
        except ValueError as error:
            with open(name, "rb") as file:
                content = file.read()
            last = len(content.splitlines())
            if content.endswith(b"\n") or not str(error).startswith(f"line {last}: not JSON"):
                raise
            cuts.append(f"{checks.printable(name)}: line {last} was cut off and is left out")
            return
        if line is None:
            return
        yield line


def json_lines(name: str) -> Iterator[tuple[int, Any]]:
    """What each line of a file says, with its number; ValueError if one is no JSON, or says a key twice."""
    with open(name, encoding="utf-8-sig") as file:
        try:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield number, _parsed(number, line)
        except UnicodeDecodeError as error:
            raise ValueError(f"expected UTF-8 ({checks.quoted(error)})") from None


def _parsed(number: int, line: str) -> Any:
    try:
        return json.loads(line.rstrip(), object_pairs_hook=_object)
    except json.JSONDecodeError as error:
        raise ValueError(f"line {number}: not JSON ({error.msg}, column {error.colno})") from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"line {number}: not JSON ({checks.quoted(error)})") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"{next(key for key in keys if keys.count(key) > 1)!r} stands there twice")
    return record
