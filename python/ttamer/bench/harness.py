"""What the benchmarks share: interleaved timing, one thread, tables, JSON with the machine in general words."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import re
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ttamer._base import files
from ttamer._base.threads import one_thread as one_thread
from ttamer._core import __version__

Row = dict[str, Any]
Arms = dict[str, Callable[[], Any]]

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


@dataclass(frozen=True)
class Table:
    """Rows under a title.

    Attributes
    ----------
    name : str
        In the JSON.
    title : str
    rows : sequence of dict
        Column to value; all have the same columns.
    shown : dict of str to str
        The columns that a terminal gets, to what stands above them; files and scripts have all. Empty: it gets none.
    """

    name: str
    title: str
    rows: Sequence[Row]
    shown: dict[str, str]


@dataclass(frozen=True)
class Report:
    """What one benchmark measured.

    Attributes
    ----------
    tables : tuple of Table
        The first one's title is that of the report.
    notes : tuple of str
        How to read them.
    """

    tables: tuple[Table, ...]
    notes: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """str : what was measured."""
        return self.tables[0].title

    def rows(self) -> dict[str, list[Row]]:
        """The rows of every table by its name, for JSON."""
        return {table.name: list(table.rows) for table in self.tables}


def median_times(arms: Arms, repeats: int) -> dict[str, float]:
    """Median seconds of each arm. Arms take turns, so that a slow spell of the machine hits all of them."""
    return median_times_in_a_row(arms, repeats, 1)[0]


def median_times_in_a_row(arms: Arms, repeats: int, runs: int) -> list[dict[str, float]]:
    """The same where each turn is `runs` runs: the medians of the first after other arms, of the one after it, ..."""
    for run in arms.values():
        run()
    seconds: list[dict[str, list[float]]] = [{name: [] for name in arms} for _ in range(runs)]
    for _ in range(repeats):
        for name, run in arms.items():
            for of_run in seconds:
                start = time.perf_counter()
                run()
                of_run[name].append(time.perf_counter() - start)
    return [{name: statistics.median(values) for name, values in of_run.items()} for of_run in seconds]


def power(sizes: npt.ArrayLike, times: npt.ArrayLike) -> float:
    """Exponent of the power law through (size, time): least squares on the logarithms."""
    slope, _ = np.polyfit(np.log(np.asarray(sizes, float)), np.log(np.asarray(times, float)), 1)
    return float(slope)


@contextmanager
def on_one_thread(torch: Any) -> Iterator[None]:
    """PyTorch on one thread, if there is a PyTorch, and as before afterwards."""
    if torch is None:
        yield
        return
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def optional(name: str) -> Any:
    """A module, or None where it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def thread_note() -> tuple[str, ...]:
    """What to tell the user where `one_thread` could not do its work."""
    if optional("threadpoolctl") is not None or any(os.environ.get(name) == "1" for name in THREAD_VARIABLES):
        return ()
    return (
        "NumPy's matrix products may have used several threads, ttamer one: for one each, install threadpoolctl or set "
        "OMP_NUM_THREADS=1.",
    )


LEVELS = {
    "x86-64-v4": {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"},
    "x86-64-v3": {"avx2", "bmi2", "fma"},
}
"""Levels that the core has loops of its own for, and flags in /proc/cpuinfo that tell them apart."""


def cpu_of(cpuinfo: str) -> str:
    """Model and level of the first processor in a text as of /proc/cpuinfo; empty where it names none."""
    fields = dict(re.findall(r"^([^\t:]+?)\s*:[ \t]*(.*)$", cpuinfo.split("\n\n")[0], re.MULTILINE))
    flags = set(fields.get("flags", "").split())
    level = next((level for level, features in LEVELS.items() if features <= flags), "")
    model = fields.get("model name", "")
    return f"{model} ({level})" if model and level else model


def has_gil() -> bool:
    """Whether one thread at a time runs Python."""
    return bool(getattr(sys, "_is_gil_enabled", lambda: True)())  # Python 3.13 is the first to know


def machine() -> dict[str, Any]:
    """The machine in general words."""
    try:
        cpu = cpu_of(Path("/proc/cpuinfo").read_text())
    except OSError:
        cpu = ""
    return {
        "cpu": cpu or platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version() + ("" if has_gil() else " without a GIL"),
        "numpy": np.__version__,
        "ttamer": __version__,
    }


def machine_line() -> str:
    """The machine in one line, for the top of a table."""
    facts = machine()
    return f"{facts['cpu']}, {facts['cores']} cores, Python {facts['python']}, NumPy {facts['numpy']}"


def parser(description: str, results: Path) -> argparse.ArgumentParser:
    """Options that every script has; `results` is the folder for the JSON unless another is named."""
    command_line = argparse.ArgumentParser(description=description)
    command_line.add_argument(
        "--output", type=Path, default=results, help="folder for the JSON (default: bench/results)"
    )
    command_line.add_argument("--quick", action="store_true", help="fewer repeats: to see that it runs, not to quote")
    command_line.set_defaults(results=results)
    return command_line


def is_kept(options: argparse.Namespace) -> bool:
    """Whether results are written: those of a quick run only where they are sent on purpose."""
    return not options.quick or bool(options.output != options.results)


def print_rows(rows: Sequence[Row]) -> None:
    """Print a table; a tuple is a mean with its spread."""
    columns = list(rows[0])
    cells = [[_text(row.get(column)) for column in columns] for row in rows]
    widths = [max(len(column), *(len(line[k]) for line in cells)) for k, column in enumerate(columns)]
    for line in [columns, *cells]:
        print("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)))


def write(name: str, content: dict[str, Any], output: Path) -> None:
    """Write NAME.json into a folder, which is made if it is missing."""
    output.mkdir(parents=True, exist_ok=True)
    path = output / f"{name}.json"
    files.write(path, (json.dumps(content, indent=1) + "\n").encode())
    print(f"\nwritten: {path}")


def publish(name: str, title: str, rows: Sequence[Row], options: argparse.Namespace) -> None:
    """Print one table under its machine and title, and write it as NAME.json unless the run was a quick one."""
    print(f"{machine_line()}\n\n{title}\n")
    print_rows(rows)
    if is_kept(options):
        write(name, {"title": title, "machine": machine(), "rows": list(rows)}, options.output)


def _text(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, tuple):
        return "±".join(f"{part:.3f}" for part in value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)
