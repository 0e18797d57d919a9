"""What one call of `Batch.decide` costs; see `ttamer.bench.call`."""

from __future__ import annotations

from pathlib import Path

from ttamer import bench

if __name__ == "__main__":
    bench.script("call", __doc__ or "", Path(__file__).parent / "results")
