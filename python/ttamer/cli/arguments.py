"""What several commands take on the command line, and checks of it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

TracesFile = Annotated[Path, typer.Argument(metavar="TRACES", help="Traces, as Traces.save writes them (.npz).")]
PolicyFile = Annotated[Path, typer.Argument(metavar="POLICY", help="A policy, as Policy.save writes it.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout, and nothing else.")]
Every = Annotated[bool, typer.Option("--all", help="Print every line of long tables.")]
Bins = Annotated[str, typer.Option("--bins", metavar="N|auto", help="Most states a node may have.")]
Estimate = Annotated[
    str,
    typer.Option(
        "--estimate",
        help="What states are made of: 'signal', 'history' or 'posterior' (the last two need evidence and the extra "
        "fit), or 'auto', what does best in cross-validation.",
    ),
]


def bins_of(bins: str) -> int | str:
    """A number, or "auto"."""
    if bins == "auto":
        return bins
    try:
        return int(bins)
    except ValueError:
        raise ValueError(f"--bins: expected a number or 'auto', got {bins!r}") from None


def check_folders(*paths: Path | None) -> None:
    """Find out before any work that a file cannot be written."""
    for path in paths:
        if path is not None and not os.access(path.absolute().parent, os.W_OK | os.X_OK):
            raise ValueError(f"{path}: expected a path in an existing folder that can be written to")
