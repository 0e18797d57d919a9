"""The lines of logs and of tables of JSON: what each says, and where one is none."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from os import PathLike
from typing import Any

from ttamer._base import checks


def read_log(
    paths: Sequence[str | PathLike[str]],
    on_request: Callable[[dict[str, Any]], None],
    on_losses: Callable[[str, str, dict[str, Any]], None],
) -> list[str]:
    """Show each request of the logs to one function, and losses that became known later to another one.

    That one is told the line, the request and its losses.

    What these raise names the file and the line. Lines may have been cut off, where who wrote them was ended: which
    ones were, and are left out, is returned.
    """
    if not paths:
        raise ValueError("path: expected at least one file, got none")
    files = [os.path.realpath(checks.path("path", path)) for path in paths]
    if len(set(files)) < len(files):
        raise ValueError(f"path: expected each file once, got {checks.printable(', '.join(map(str, paths)))}")
    cuts: list[str] = []
    for path in paths:
        name = checks.path("path", path)
        try:
            for line, record in _whole_lines(name, cuts):
                try:
                    if isinstance(record, dict) and isinstance(record.get("visits"), list):
                        on_request(record)
                    elif isinstance(record, dict) and "visits" not in record and isinstance(record.get("losses"), dict):
                        where = f"line {line}" if len(paths) == 1 else f"{checks.printable(name)}, line {line}"
                        on_losses(where, checks.text("request", record.get("request")), record["losses"])
                    else:
                        raise ValueError('expected {"visits": [...]}, or {"request": ..., "losses": {...}}')
                except (TypeError, ValueError, IndexError) as error:
                    raise ValueError(f"line {line}: {checks.quoted(error)}") from None
        except ValueError as error:
            raise ValueError(f"{checks.printable(name)}: {error}") from None
    return cuts


def _whole_lines(name: str, cuts: list[str]) -> Iterator[tuple[int, Any]]:
    """What each line says, without those that were cut off."""
    for number, line in _lines(name):
        try:
            yield number, _parsed(number, line)
        except ValueError:
            if not _is_cut(line):
                raise
            cuts.append(f"{checks.printable(name)}: line {number} was cut off and is left out")


def json_lines(name: str) -> Iterator[tuple[int, Any]]:
    """What each line of a file says, with its number; ValueError if one is no JSON, or says a key twice."""
    for number, line in _lines(name):
        yield number, _parsed(number, line)


def _lines(name: str) -> Iterator[tuple[int, str]]:
    with open(name, encoding="utf-8-sig") as file:
        try:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield number, line
        except UnicodeDecodeError as error:
            raise ValueError(f"expected UTF-8 ({checks.quoted(error)})") from None


def _is_cut(line: str) -> bool:
    """Whether a line is the beginning of an object and no more: JSON misses something at its end."""
    text = line.strip()
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        # Where a word, a number or the escape of a character was cut, it says where that began or went wrong.
        rest = re.fullmatch(r"[\w.+\\-]*", text[error.pos :])
        other = error.msg.startswith("Extra data") or (
            error.msg.startswith("Expecting property name") and error.pos < len(text)
        )
        return text.startswith("{") and (error.msg.startswith("Unterminated") or (rest is not None and not other))
    except RecursionError:
        pass
    return False


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
