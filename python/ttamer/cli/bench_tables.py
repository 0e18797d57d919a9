"""What ``bench`` prints."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

from ttamer.bench.harness import Report, machine, machine_line
from ttamer.bench.harness import Table as Figures
from ttamer.cli.output import print_table, table


def bench_dict(reports: dict[str, Report], size: str) -> dict[str, Any]:
    """Everything that was measured, for JSON."""
    benchmarks = {name: {"title": report.title, **report.rows()} for name, report in reports.items()}
    return {"machine": machine(), "size": size, "benchmarks": benchmarks}


def print_bench(console: Console, reports: dict[str, Report]) -> None:
    """The machine, and the tables of each benchmark with how to read them."""
    console.print(f"{machine_line()}\n")
    for report in reports.values():
        for figures in report.tables:
            if not figures.shown:
                continue
            print_table(console, figures.title, _rows(figures))
            console.print()
        for note in report.notes:
            console.print(note, style="dim")
        console.print()


def _rows(figures: Figures) -> Table:
    rows = table(*figures.shown.values(), text=0)
    for column, name in zip(rows.columns, figures.shown, strict=True):
        column.justify = "left" if isinstance(figures.rows[0][name], str) else "right"
    for row in figures.rows:
        rows.add_row(*(_cell(row[name]) for name in figures.shown))
    return rows


def _cell(value: Any) -> str:
    """Three digits, or all before the point."""
    if value is None:
        return "-"
    if not isinstance(value, float):
        return str(value)
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"
