"""Draws the pictures of plots.md: runs each of its blocks in this folder, where they leave their pictures."""

from __future__ import annotations

import os
import re
from pathlib import Path

HERE = Path(__file__).parent


def main() -> None:
    """Write plots-*.png beside this file."""
    os.chdir(HERE)
    page = (HERE / "plots.md").read_text(encoding="utf-8")
    for block in re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL):
        exec(compile(block, "plots.md", "exec"), {"__name__": "plots"})


if __name__ == "__main__":
    main()
