"""What the core's calls cost: `python bench/core.py [NAME ...]`; see `ttamer.bench`."""

from __future__ import annotations

from pathlib import Path

from ttamer import bench

if __name__ == "__main__":
    bench.main(__doc__ or "", Path(__file__).parent / "results")
