"""The benchmarks behind ``ttamer bench`` and the scripts of the repository's ``bench/``.

Each measures ttamer and what people would use instead in one run, its arms taking turns. They need NumPy only; columns
of PyTorch appear where it is installed. Nothing of this is imported by ``import ttamer``.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from pathlib import Path

from ttamer.bench import answers, call, frontier, harness, logits, replay, solve, threads
from ttamer.bench.harness import Report

SIZES = ("full", "short", "tiny")
"""What the scripts run, what ``ttamer bench`` runs, and what only shows that everything works."""

_RUNS: dict[str, Callable[[str], Report]] = {
    "call": call.run,
    "logits": logits.run,
    "answers": answers.run,
    "solve": solve.run,
    "replay": replay.run,
    "frontier": frontier.run,
    "threads": threads.run,
}

NAMES = tuple(_RUNS)
"""The benchmarks, in the order they are run."""


def check(names: Iterable[str], argument: str = "name") -> None:
    """Raise a ValueError that names the argument if one of the names is none of `NAMES`."""
    for name in names:
        if name not in NAMES:
            raise ValueError(f"{argument}: expected {_one_of(NAMES)}, got {name!r}")


def run(name: str, size: str = "short") -> Report:
    """Run one benchmark.

    Parameters
    ----------
    name : str
        One of `NAMES`.
    size : {"full", "short", "tiny"}

    Returns
    -------
    Report

    Raises
    ------
    ValueError
        If the name or the size is unknown.
    """
    check([name])
    if size not in SIZES:
        raise ValueError(f"size: expected {_one_of(SIZES)}, got {size!r}")
    return _RUNS[name](size)


def main(description: str, results: Path) -> None:
    """The named benchmarks, all by default: print their tables, and write them to `results` unless told otherwise.

    The files of a Python without a GIL end in ``_free``.
    """
    parser = harness.parser(description, results)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{_one_of(NAMES)}; all by default")
    parser.add_argument("--tiny", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    unknown = [name for name in options.names if name not in NAMES]
    if unknown:
        parser.error(f"NAME: expected {_one_of(NAMES)}, got {unknown[0]}")
    options.quick |= options.tiny
    print(harness.machine_line())
    for name in options.names or NAMES:
        report = run(name, "tiny" if options.tiny else "short" if options.quick else "full")
        for table in report.tables:
            print(f"\n{table.title}\n")
            harness.print_rows(table.rows)
        for note in report.notes:
            print(f"\n{note}")
        if harness.is_kept(options):
            file = name if harness.has_gil() else f"{name}_free"
            harness.write(file, {"title": report.title, "machine": harness.machine(), **report.rows()}, options.output)


def _one_of(names: tuple[str, ...]) -> str:
    return ", ".join(names[:-1]) + f" or {names[-1]}"
