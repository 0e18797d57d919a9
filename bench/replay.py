"""Replaying a policy over recorded requests; see `ttamer.bench.replay`."""

from __future__ import annotations

from pathlib import Path

from ttamer import bench

if __name__ == "__main__":
    bench.script("replay", __doc__ or "", Path(__file__).parent / "results")
