"""What all commands share: where text goes, numbers as text, JSON, progress."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from rich.cells import cell_len
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from ttamer._base import files
from ttamer._base.numbers import number
from ttamer._base.progress import directed


def console() -> Console:
    """Tables and sentences, on stdout."""
    return Console(highlight=False, markup=False, emoji=False)


def print_json(value: dict[str, Any]) -> None:
    """One JSON document on stdout; infinities are null."""
    sys.stdout.write(json.dumps(_plain(value), indent=2, allow_nan=False) + "\n")


def write_json(path: Path, value: dict[str, Any]) -> None:
    """The same document in a file."""
    files.write(path, (json.dumps(_plain(value), indent=2, allow_nan=False) + "\n").encode())


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        return _plain(value.item())
    return None if isinstance(value, float) and not np.isfinite(value) else value


def table(*columns: str, text: int = 1) -> Table:
    """A table whose first `text` columns are text, and the others numbers, set right."""
    rows = Table(header_style="bold", box=None, pad_edge=False, show_header=any(columns))
    for k, column in enumerate(columns):
        rows.add_column(column, justify="left" if k < text else "right", no_wrap=k >= text)
    return rows


def print_table(out: Console, title: str, rows: Table) -> None:
    """A table under its title."""
    print_title(out, title)
    # On a page that is too narrow lines run over: no figure is left out.
    for column in rows.columns:
        cells = [str(cell) for cell in (column.header, *column.cells)]
        words = cells if column.no_wrap else [word for cell in cells for word in cell.split()]
        column.min_width = max((cell_len(word) for word in words), default=0)
    least = sum(column.min_width or 0 for column in rows.columns) + 2 * len(rows.columns)
    page, out.width = out.width, max(out.width, least)
    out.print(rows)
    out.width = page


def print_title(out: Console, title: str) -> None:
    """What stands above a table or a drawing."""
    out.print(Text(title, style="bold"), soft_wrap=True)


def share(value: float) -> str:
    """A percentage with one digit."""
    return f"{value:.1%}"


def in_unit(name: str, unit: str) -> str:
    """A column's name with its unit, if there is one."""
    return f"{name}, {unit}" if unit else name


def span(low: float, high: float, write: Callable[[float], str] = number) -> str:
    """One number, or the two ends of a range that differ as written."""
    first, last = write(low), write(high)
    return first if first == last else f"{first}..{last}"


def loss_span(low: float, high: float, digits: int = 4) -> str:
    """A range of expected losses; those of a node that cannot answer are infinite."""
    return "cannot answer" if np.isinf(high) else span(low, high, lambda value: number(value, digits))


@contextmanager
def steps(total: int) -> Iterator[Callable[[str], None]]:
    """A progress bar on stderr that leaves nothing behind; call the function with each step's name as it begins.

    Where stderr is no terminal nothing is written: a log has no use for a bar.
    """
    if not sys.stderr.isatty():
        yield lambda step: None
        return
    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed} of {task.total}"),
        console=Console(stderr=True),
        transient=True,
    )
    with progress:
        task = progress.add_task("", total=total)
        counter = count()
        with directed(lambda words: progress.update(task, description=words)):
            yield lambda step: progress.update(task, completed=next(counter), description=step)


def plotted(plot: Path | None) -> dict[str, str]:
    """The picture, for JSON; nothing where none was asked for."""
    return {} if plot is None else {"plot": str(plot)}


def print_plot(plot: Path | None) -> None:
    """Where the picture is."""
    if plot is not None:
        console().print(f"drew {plot}", soft_wrap=True)
