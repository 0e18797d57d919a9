"""``python -m ttamer``: the command line."""

from __future__ import annotations

from ttamer.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
