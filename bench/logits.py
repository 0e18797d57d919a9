"""From logits to decisions, with `Batch.decide_logits`; see `ttamer.bench.logits`."""

from __future__ import annotations

from pathlib import Path

from ttamer import bench

if __name__ == "__main__":
    bench.script("logits", __doc__ or "", Path(__file__).parent / "results")
