"""A front of 100 trade-offs; see `ttamer.bench.frontier`."""

from __future__ import annotations

from pathlib import Path

from ttamer import bench

if __name__ == "__main__":
    bench.script("frontier", __doc__ or "", Path(__file__).parent / "results")
