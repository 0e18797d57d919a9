"""Where the repository's files are, for tests of what stands beside the package."""

from __future__ import annotations

from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
BENCH = REPOSITORY / "bench"
DATA = REPOSITORY / "tests" / "data"
EXAMPLES = REPOSITORY / "examples"
