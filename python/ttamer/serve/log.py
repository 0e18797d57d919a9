"""Records of requests that were served, one JSON line each."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from threading import Lock
from typing import Any, TextIO
from uuid import uuid4

import numpy as np

from ttamer._base import checks
from ttamer.serve.flight import Flight


class Log:
    """A file that lines are appended to, which `Traces.from_log` reads.

    Parameters
    ----------
    path : str or os.PathLike
        Made if it is not there. Lines are written whole: threads, and processes that append to the same file, do not
        mix them.
    answers : bool
        Whether to keep what nodes answered, as text where JSON has nothing for it: to judge later what shadows said.

    Raises
    ------
    OSError
        If it cannot be opened.
    """

    def __init__(self, path: str | os.PathLike[str], answers: bool = False) -> None:
        self._answers = checks.flag("answers", answers)
        self._lock = Lock()
        self._path = checks.path("path", path)
        self._file = self._opened()

    def write(self, flight: Flight, losses: Mapping[str, float] | None = None) -> str:
        """Append `Flight.record`.

        Parameters
        ----------
        flight : Flight
            Without a name (`Flight.request`) it gets one.
        losses : mapping of str to float, optional
            By name of node, as far as they are known.

        Returns
        -------
        str
            What the request is called.
        """
        checks.instance("flight", flight, Flight)
        flight.request = uuid4().hex if flight.request is None else flight.request
        record = flight.record(self._answers)
        if losses is not None:
            record["losses"] = _checked(losses)
        self._append(record)
        return flight.request

    def losses(self, request: str, losses: Mapping[str, float]) -> None:
        """Append the losses of an earlier request, such as whether an answer was wrong, by name of node."""
        self._append({"request": checks.text("request", request), "losses": _checked(losses)})

    def reopen(self) -> None:
        """Open the path anew, once the file was renamed: what is written from now on goes to a new one.

        Raises
        ------
        OSError
            If it cannot be opened; lines go to the old file then.
        """
        with self._lock:
            old, self._file = self._file, self._opened()
            old.close()

    def close(self) -> None:
        """Close the file; another call changes nothing."""
        self._file.close()

    def __enter__(self) -> Log:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _opened(self) -> TextIO:
        file = open(self._path, "a", encoding="utf-8", buffering=1)  # noqa: SIM115
        if not _ends_whole(
            self._path
        ):  # who wrote it was ended in the middle of a line: that one is lost, not the next
            file.write("\n")
        return file

    def _append(self, record: Mapping[str, Any]) -> None:
        try:
            line = json.dumps(finite(record), default=_number_or_text)
        except (TypeError, ValueError):  # keys that are no texts, or circles, in an answer
            visits = [{**visit, "said": str(visit["said"])} if "said" in visit else visit for visit in record["visits"]]
            line = json.dumps(finite({**record, "visits": visits}), default=_number_or_text)
        with self._lock:
            self._file.write(line + "\n")


def _ends_whole(name: str) -> bool:
    """Whether a file is empty, or its last line is ended."""
    try:
        with open(name, "rb") as file:
            return file.seek(0, os.SEEK_END) == 0 or (file.seek(-1, os.SEEK_END), file.read())[1] == b"\n"
    except OSError:  # a pipe, which has no end
        return True


def _number_or_text(value: object) -> object:
    """NumPy's numbers as Python's, for JSON; anything else as text."""
    return value.item() if isinstance(value, np.generic) else str(value)


def _checked(losses: Mapping[str, float]) -> dict[str, float]:
    if not isinstance(losses, Mapping):
        raise TypeError(f"losses: expected a mapping of nodes to losses, got {type(losses).__name__}")
    values = {checks.text("losses", node): checks.real(f"losses[{node!r}]", loss) for node, loss in losses.items()}
    for node, loss in values.items():
        if not 0 <= loss < math.inf:
            raise ValueError(f"losses[{node!r}]: expected a finite number >= 0, got {loss}")
    return values


def finite(record: Mapping[str, Any]) -> dict[str, Any]:
    """Without scores of -inf, which JSON has no number for: a model that gave none."""
    visits = record.get("visits")
    if visits is None:
        return dict(record)
    return {**record, "visits": [_without_none(visit) for visit in visits]}


def _without_none(visit: Mapping[str, Any]) -> dict[str, Any]:
    lacks = isinstance(visit.get("signal"), float) and visit["signal"] == -math.inf
    return {key: value for key, value in visit.items() if not (lacks and key == "signal")}
