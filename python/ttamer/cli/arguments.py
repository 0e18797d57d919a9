"""What several commands take on the command line, and checks of it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

import ttamer
from ttamer._base import files

TracesFile = Annotated[Path, typer.Argument(metavar="TRACES", help="Traces, as Traces.save writes them (.npz).")]
PolicyFile = Annotated[Path, typer.Argument(metavar="POLICY", help="A policy, as Policy.save writes it.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout, and nothing else.")]
Every = Annotated[bool, typer.Option("--all", help="Print every line of long tables.")]
Bins = Annotated[str, typer.Option("--bins", metavar="N|auto", help="Most states a node may have.")]
Estimate = Annotated[
    str,
    typer.Option(
        "--estimate",
        help="What states are made of: 'signal', 'posterior' (which needs evidence), 'sets', of several "
        "models also 'chains', or 'auto', what does best in cross-validation. All but 'signal' need the extra fit.",
    ),
]
Plot = Annotated[Path | None, typer.Option("--plot", help="Also draw it there (.png, .svg, .pdf).")]
Prices = Annotated[
    list[str] | None,
    typer.Option(
        "--price",
        metavar="UNIT=WORTH",
        help="What one of a unit is worth, where costs are in several units: --price usd=1 --price ms=0.002.",
    ),
]


def prices_of(prices: list[str] | None) -> dict[str, float] | None:
    """The prices of units, None if none was stated."""
    return _by_unit("--price", prices) if prices else None


def bounds_of(option: str, bounds: list[str] | None) -> float | dict[str, float] | None:
    """A number, or one for each unit."""
    if not bounds:
        return None
    if len(bounds) > 1 or "=" in bounds[0]:
        return _by_unit(option, bounds)
    return _number(option, bounds[0], "a number or UNIT=NUMBER")


def quantile_of(
    option: str, quantile: tuple[float, str] | None
) -> tuple[float, float] | dict[str, tuple[float, float]] | None:
    """A share of requests and what they cost at most, also of one unit."""
    if quantile is None:
        return None
    bound = bounds_of(option, [quantile[1]])
    if isinstance(bound, dict):
        return {unit: (quantile[0], value) for unit, value in bound.items()}
    assert bound is not None
    return quantile[0], bound


def _by_unit(option: str, texts: list[str]) -> dict[str, float]:
    pairs = [_pair(option, text) for text in texts]
    if len(dict(pairs)) < len(pairs):
        raise ValueError(f"{option}: expected each unit once, got {' '.join(texts)}")
    return dict(pairs)


def _pair(option: str, text: str) -> tuple[str, float]:
    unit, equals, number = text.rpartition("=")
    if not equals:
        raise ValueError(f"{option}: expected UNIT=NUMBER, got {text!r}")
    return unit, _number(option, number, "UNIT=NUMBER")


def _number(option: str, text: str, expected: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{option}: expected {expected}, got {text!r}") from None


def bins_of(bins: str) -> int | str:
    """A number, or "auto"."""
    if bins == "auto":
        return bins
    try:
        return int(bins)
    except ValueError:
        raise ValueError(f"--bins: expected a number or 'auto', got {bins!r}") from None


def policy_or_front(path: Path) -> ttamer.Policy | ttamer.Front:
    """What a file holds, of the two; errors name a policy where it is neither."""
    kind = ttamer.Front if files.kind_in(*files.read(path)) == "front" else ttamer.Policy
    return kind.load(path)


def check_written(*paths: Path | None, read: Sequence[Path | None] = ()) -> None:
    """Find out before any work that a file cannot be written, or would be in place of one that is read or written."""
    taken = {_file(path): "reads that file" for path in read if path is not None}
    for path in paths:
        if path is None:
            continue
        if not os.access(path.absolute().parent, os.W_OK | os.X_OK):
            raise ValueError(f"{path}: expected a path in an existing folder that can be written to")
        file = _file(path)
        if file in taken:
            raise ValueError(f"{path}: expected another path to write to, the command {taken[file]}")
        taken[file] = "writes another file there"


def _file(path: Path) -> str | tuple[int, int]:
    """What is the same for all paths of one file; of none that is there the path without links."""
    if not path.exists():
        return os.path.realpath(path)
    found = path.stat()
    return found.st_dev, found.st_ino
