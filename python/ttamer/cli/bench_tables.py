"""What ``bench`` prints."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

from ttamer.bench.harness import Report, machine, machine_line
from ttamer.bench.harness import Table as Measured
from ttamer.cli.output import print_table, table


def bench_dict(reports: dict[str, Report], size: str) -> dict[str, Any]:
    """Everything that was measured, for JSON."""
    measured = {name: {"title": report.title, **report.rows()} for name, report in reports.items()}
    return {"machine": machine(), "size": size, "benchmarks": measured}


def print_bench(console: Console, reports: dict[str, Report]) -> None:
    """The machine, and the tables of each benchmark with how to read them."""
    console.print(f"{machine_line()}\n")
    for report in reports.values():
        for shown in report.tables:
            if not shown.shown:
                continue
            print_table(console, shown.title, _rows(shown))
            console.print()
        for note in report.notes:
            console.print(note, style="dim")
        console.print()


def _rows(measured: Measured) -> Table:
    made = table(*measured.shown.values(), text=0)
    for column, name in zip(made.columns, measured.shown, strict=True):
        column.justify = "left" if isinstance(measured.rows[0][name], str) else "right"
    for row in measured.rows:
        made.add_row(*(_cell(row[name]) for name in measured.shown))
    return made


def _cell(value: Any) -> str:
    """Three digits, or all before the point."""
    if value is None:
        return "-"
    if not isinstance(value, float):
        return str(value)
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"
