"""Two threads on one policy, and two processes; see `ttamer.bench.threads`."""

from __future__ import annotations

from pathlib import Path

from ttamer import bench

if __name__ == "__main__":
    bench.script("threads", __doc__ or "", Path(__file__).parent / "results")
