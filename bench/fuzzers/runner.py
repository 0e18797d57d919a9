"""Cases of a fuzzer, run in a child process that may use so much memory and time, and may crash."""

from __future__ import annotations

import math
import multiprocessing
import tempfile
import time
import traceback
import unicodedata
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

try:
    import resource
except ImportError:  # there is none on Windows, where memory is not bounded then
    resource = None  # type: ignore[assignment]

READY = 120.0  # seconds that a child may take to import everything
RETURNED = "returned"


class Case(NamedTuple):
    """One call and what it is, for who reads of a fault."""

    text: str
    call: Callable[[], object]


@dataclass(frozen=True)
class Fuzzer:
    """Where cases come from, and what may come of them. Another process imports it: functions of modules only.

    Attributes
    ----------
    start : () -> (rng -> Case)
        Makes what the cases share; the function it returns makes the case of a generator.
    accepted : tuple of exception types
        Any other is a fault.
    memory : int
        Bytes that a case may take.
    longest : int
        Characters that a message may have.
    """

    start: Callable[[], Callable[[np.random.Generator], Case]]
    accepted: tuple[type[BaseException], ...]
    memory: int = 1 << 30
    longest: int = 1000


class Fault(NamedTuple):
    """A case that should have come out otherwise."""

    number: int
    kind: str
    place: str
    text: str


@dataclass
class Result:
    """How many cases came out in which way; of faults of a kind and place the first."""

    kinds: Counter[str] = field(default_factory=Counter)
    faults: dict[tuple[str, str], Fault] = field(default_factory=dict)
    faulty: int = 0

    @property
    def cases(self) -> int:
        return self.kinds.total()

    def add(self, kind: str, fault: Fault | None) -> None:
        self.kinds[kind] += 1
        if fault is not None:
            self.faulty += 1
            self.faults.setdefault((fault.kind, fault.place), fault)


def run(
    fuzzer: Fuzzer,
    seed: int,
    seconds: float,
    cases: float = math.inf,
    patience: float = 30.0,
    progress: Callable[[Result], None] = lambda result: None,
) -> Result:
    """So many cases, or as many as so many seconds allow; a child that crashes or stays silent is a fault."""
    with tempfile.TemporaryDirectory(prefix="ttamer-fuzz-", ignore_cleanup_errors=True) as folder:
        return _run(fuzzer, seed, seconds, cases, patience, progress, folder)


def _run(
    fuzzer: Fuzzer,
    seed: int,
    seconds: float,
    cases: float,
    patience: float,
    progress: Callable[[Result], None],
    folder: str,
) -> Result:
    context = multiprocessing.get_context("spawn")
    result = Result()
    ends = None
    while result.cases < cases and (ends is None or time.monotonic() < ends):
        ours, theirs = context.Pipe(duplex=False)
        child = context.Process(target=_work, args=(fuzzer, seed, result.cases, theirs, folder), daemon=True)
        child.start()
        theirs.close()
        try:
            _received(ours, READY)
            ends = ends or time.monotonic() + seconds
            while result.cases < cases and time.monotonic() < ends:
                text = "a case that could not be made"
                try:
                    text = _received(ours, patience)
                    result.add(*_received(ours, patience))
                except TimeoutError:
                    result.add("silence", Fault(result.cases, "silence", f"{patience:g} seconds", text))
                    break
                except EOFError:
                    child.join()
                    result.add("crash", Fault(result.cases, "crash", f"exit code {child.exitcode}", text))
                    break
                progress(result)
        finally:
            child.kill()
            child.join()
            ours.close()
    return result


def _received(connection: Connection, seconds: float) -> Any:
    if not connection.poll(seconds):
        raise TimeoutError
    return connection.recv()


def case_of(fuzzer: Fuzzer, seed: int, number: int) -> Case:
    """The case of this number, by itself."""
    return fuzzer.start()(np.random.default_rng([seed, number]))


def outcome(fuzzer: Fuzzer, case: Case, number: int) -> tuple[str, Fault | None]:
    """What came of a case, and the fault if it is one."""
    kind, place, message = RETURNED, "", ""
    accepted = True
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", RuntimeWarning)
        try:
            case.call()
        except Exception as error:
            kind, accepted = type(error).__name__, isinstance(error, fuzzer.accepted)
            message = _message(error)
            place = _place(error)
    warning = next((each for each in caught if issubclass(each.category, RuntimeWarning)), None)
    if warning is not None:
        place = f"{Path(warning.filename).name}:{warning.lineno}"
        return "RuntimeWarning", Fault(number, "RuntimeWarning", place, f"{case.text}\n  {warning.message}")
    if not accepted:
        return kind, Fault(number, kind, place, f"{case.text}\n  {message[:200]}")
    wrong = _wrong(message, fuzzer.longest)
    return kind, Fault(number, f"{kind}, {wrong}", place, case.text) if wrong else None


def _work(fuzzer: Fuzzer, seed: int, first: int, connection: Connection, folder: str) -> None:
    tempfile.tempdir = folder  # a child is killed, and does not tidy up
    make = fuzzer.start()
    if resource is not None and Path("/proc/self/statm").exists():
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + fuzzer.memory, resource.RLIM_INFINITY))
    connection.send("ready")
    number = first
    while True:
        case = make(np.random.default_rng([seed, number]))
        connection.send(case.text[:2000])
        connection.send(outcome(fuzzer, case, number))
        number += 1


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as second:
        return f"a message that raises {type(second).__name__}"


def _place(error: BaseException) -> str:
    """The last line of the package that the error came through."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "ttamer" in frame.filename]
    return f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "?"


def _wrong(message: str, longest: int) -> str:
    if "incompatible function arguments" in message or "Unable to cast" in message:
        return "in the words of pybind11"
    if len(message) > longest:
        return f"more than {longest} characters"
    if any(unicodedata.category(character) == "Cc" and character != "\n" for character in message):
        return "with control characters"
    return ""
