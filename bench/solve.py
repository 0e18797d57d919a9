"""Solving a line exactly, and how its time grows; see `ttamer.bench.solve`."""

from __future__ import annotations

from pathlib import Path

from ttamer import bench

if __name__ == "__main__":
    bench.script("solve", __doc__ or "", Path(__file__).parent / "results")
