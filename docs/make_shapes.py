"""Draws the pictures of shapes.md: runs each of its blocks and draws the policy that it ends with."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ttamer import plots

HERE = Path(__file__).parent


def main() -> None:
    """Write shapes-line.png, shapes-skip.png, shapes-dag.png and shapes-forest.png beside this file."""
    page = (HERE / "shapes.md").read_text(encoding="utf-8")
    for block in re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL):
        names: dict[str, Any] = {"__name__": "shapes"}
        exec(compile(block, "shapes.md", "exec"), names)
        policy = names["policy"]
        path = HERE / f"shapes-{policy.topology.kind}.png"
        plots.topology(policy, path)
        print(f"drew {path.name}")


if __name__ == "__main__":
    main()
