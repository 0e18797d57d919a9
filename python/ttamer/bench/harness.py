"""What the benchmarks share: interleaved timing, tables, JSON with the machine described in general words."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import ttamer

RESULTS = Path(__file__).parent / "results"


def median_times(arms: dict[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """Median seconds of each arm. Arms take turns, so that a slow spell of the machine hits all of them."""
    for run in arms.values():
        run()
    seconds: dict[str, list[float]] = {name: [] for name in arms}
    for _ in range(repeats):
        for name, run in arms.items():
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def machine() -> dict[str, Any]:
    """The machine in general words."""
    model = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "ttamer": ttamer.__version__,
    }


def parser(description: str) -> argparse.ArgumentParser:
    """Options that every benchmark has."""
    made = argparse.ArgumentParser(description=description)
    made.add_argument("--output", type=Path, default=RESULTS, help="folder for the JSON (default: bench/results)")
    made.add_argument("--quick", action="store_true", help="fewer repeats: to see that it runs, not to quote")
    return made


def report(name: str, title: str, rows: Sequence[dict[str, Any]], output: Path) -> None:
    """Print a table and write it, with the machine, as NAME.json."""
    described = machine()
    print(f"{title}\n{described['cpu']}, {described['cores']} cores, Python {described['python']}\n")
    print_rows(rows)
    write(name, {"title": title, "machine": described, "rows": list(rows)}, output)


def is_kept(options: argparse.Namespace) -> bool:
    """Whether results are written: those of a quick run only where they are sent on purpose."""
    return not options.quick or options.output != RESULTS


def print_rows(rows: Sequence[dict[str, Any]]) -> None:
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
    path.write_text(json.dumps(content, indent=1) + "\n")
    print(f"\nwritten: {path}")


def _text(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, tuple):
        return "±".join(f"{part:.3f}" for part in value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)
