"""Passages of pages that quote results: found, compared with the results, and rewritten; see ``bench/figures.txt``."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parent.parent
_SLOT = r"([^|\s](?:[^|\n]{0,30}?[^|\s])??)"
"""A figure: short, within a line and a cell of a table."""
UNITS = ("ns", "us", "ms", "s")


@dataclass(frozen=True)
class Quote:
    """A passage that stands once in a page, and its figures."""

    page: str
    passage: str
    figures: tuple[str, ...]

    @property
    def pattern(self) -> re.Pattern[str]:
        """Finds the passage with any figures, however its lines are broken."""
        parts = [r"\s+".join(map(re.escape, re.split(r"\s+", part))) for part in self.passage.split("{}")]
        return re.compile(_SLOT.join(parts))

    def differences(self, text: str) -> Iterator[str]:
        """What is wrong with the passage in the text of its page."""
        found = list(self.pattern.finditer(text))
        if len(found) != 1:
            yield f"{self.page}: {len(found)} passages like {self.passage!r}, expected one"
            return
        before = self.passage.split("{}")
        for figure, result, words in zip(found[0].groups(), self.figures, before, strict=False):
            if figure != result:
                yield f"{self.page}: {figure} where the result is {result}, after {words[-60:]!r}"

    def rewritten(self, text: str) -> str:
        """The text of the page with the figures of the results."""
        for found in self.pattern.finditer(text):
            for k, result in reversed(list(enumerate(self.figures, 1))):
                text = text[: found.start(k)] + result + text[found.end(k) :]
            return text
        return text


@cache
def result(name: str) -> dict[str, Any]:
    """The contents of bench/results/NAME.json; its tables stand beside its other keys."""
    content: dict[str, Any] = json.loads((REPOSITORY / "bench/results" / f"{name}.json").read_text())
    return {**content, **content.get("tables", {})}


def rows(name: str, table: str = "rows", **where: Any) -> list[dict[str, Any]]:
    """Rows of a table with these values."""
    return [row for row in result(name)[table] if all(row[column] == value for column, value in where.items())]


def row(name: str, table: str = "rows", **where: Any) -> dict[str, Any]:
    """The one row with these values."""
    (only,) = rows(name, table, **where)
    return only


def digits(value: float, count: int) -> str:
    """A number of so many significant digits, without an exponent."""
    places = count - 1 - int(f"{value:.{count - 1}e}".partition("e")[2])
    return f"{round(value, places):,.{max(places, 0)}f}"


def quotes_of(name: str, **names: Any) -> list[Quote]:
    """The passages of a file of bench, whose head says how they are written; `names` are what they may use."""
    quotes: list[Quote] = []
    page, passage, figures = "", "", list[str]()

    def fill(line: str) -> None:
        nonlocal passage
        for k, part in enumerate(re.split(r"\{([^{}]+)\}", line)):
            value, _, form = part.partition(" as ")
            passage += _slots(eval(value, space), form, figures) if k % 2 else part
        passage += "\n"

    space = {"result": result, "rows": rows, "row": row, "fill": fill, **names}
    for block in re.split(r"\n\n+", (REPOSITORY / "bench" / name).read_text(encoding="utf-8").strip()):
        passage, figures, repeat = "", [], ""
        for line in block.splitlines():
            if line.startswith("% for "):
                repeat = f"{line[2:]}: "
            elif line.startswith("% "):
                exec(line[2:], space)
            elif line.startswith("## "):
                page = line[3:]
            elif not line.startswith("#"):
                exec(f"{repeat}fill({line!r})", space)
                repeat = ""
        if passage:
            quotes.append(Quote(page, passage.strip(), tuple(figures)))
    return quotes


def _slots(value: Any, form: str, figures: list[str]) -> str:
    """A slot for a figure, which joins the others; slots for the ends of a list, and for the cells of a tuple."""
    if isinstance(value, tuple):
        return " | ".join(_slots(cell, form, figures) for cell in value)
    if isinstance(value, list):
        return " to ".join(_slots(end, form, figures) for end in (min(value), max(value)))
    if value is None or value == "":
        return ""
    figures.append(_figure(value, form))
    return "{}"


def _figure(value: Any, form: str) -> str:
    """As Python formats it, and so many "digits"; times in "ns" or "us" of 2 digits, of 3 from 100 on or by "3 ns"."""
    count, _, unit = form.rpartition(" ")
    if unit == "digits":
        return digits(value, int(count))
    if unit in UNITS:
        while value >= 999.5:
            value, unit = value / 1000, UNITS[UNITS.index(unit) + 1]
        return f"{digits(value, int(count or (3 if value >= 99.5 else 2)))} {unit}"
    return format(value, form).replace("e-0", "e-")


def text_of(page: str) -> str:
    """A page of the repository."""
    return (REPOSITORY / page).read_text(encoding="utf-8")


def compare(description: str, quotes: Sequence[Quote]) -> int:
    """Say which figures of the pages are not those of the results; 1 if there are any, for the shell."""
    command_line = argparse.ArgumentParser(description=description)
    command_line.add_argument("--write", action="store_true", help="rewrite the pages")
    if command_line.parse_args().write:
        for quote in quotes:
            (REPOSITORY / quote.page).write_text(quote.rewritten(text_of(quote.page)), encoding="utf-8")
    differences = [line for quote in quotes for line in quote.differences(text_of(quote.page))]
    print(*differences, f"{sum(len(quote.figures) for quote in quotes)} figures, {len(differences)} wrong", sep="\n")
    return 1 if differences else 0
