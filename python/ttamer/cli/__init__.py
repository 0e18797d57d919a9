"""The command line: ``ttamer`` and its commands, from ``demo`` to ``bench``."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    arguments : sequence of str, optional
        Default: those of the process.

    Returns
    -------
    int
        Exit code: 0, or 2 after one line on stderr that says what was wrong with the input.
    """
    missing = [name for name in ("typer", "rich", "matplotlib") if importlib.util.find_spec(name) is None]
    if missing:
        names = ", ".join(missing)
        print(f'ttamer: the command line needs {names}: pip install "ttamer[cli]"', file=sys.stderr)
        return 2
    from ttamer.cli.app import run

    return run(sys.argv[1:] if arguments is None else list(arguments))
