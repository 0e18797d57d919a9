"""Make the workload that comes with the package from its recording.

The recorded format, one file for each of ``<name>-calibration.npz`` and ``<name>-test.npz``:

  probs         (N, n, C) floats   probabilities of every node
  labels        (N,) integers      the right classes
  edge_cost_ms  (n,) float64       cost of the edge into each node, ms
  edge_flops    (n,) float64       the same in floating-point operations
  parents       (n,) integers      the node before each node, -1 for the root; here a line
  node_names    (n,) str

All rows are kept. The file is written to python/ttamer/data/<name>.npz; what the code loses is printed.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ttamer.data import codec

PARTS = ("calibration", "test")
LIMIT = 1_500_000
DATA = Path(__file__).resolve().parent.parent / "python" / "ttamer" / "data"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder with the recorded files")
    parser.add_argument("--name", default="fashion-vgg", help="workload (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=DATA, help="folder to write to (default: the package's)")
    arguments = parser.parse_args()
    recordings = {part: dict(np.load(arguments.folder / f"{arguments.name}-{part}.npz")) for part in PARTS}
    target = arguments.out / f"{arguments.name}.npz"
    arrays = bundle(recordings)
    with open(target, "wb") as file:
        np.savez_compressed(file, **arrays)
    size = target.stat().st_size
    print(f"{target.name}: {size} bytes")
    for part in PARTS:
        report(part, recordings[part], arrays)
    if size > LIMIT:
        raise SystemExit(f"{target.name}: {size} bytes, at most {LIMIT} are wanted")


def bundle(recordings: dict[str, dict[str, npt.NDArray[Any]]]) -> dict[str, npt.NDArray[Any]]:
    """The bundled file's arrays."""
    first = recordings["calibration"]
    nodes = first["probs"].shape[1]
    if first["parents"].tolist() != list(range(-1, nodes - 1)):
        raise SystemExit("parents: expected a line")
    probabilities = {part: normalised(recordings[part]["probs"]) for part in PARTS}
    odds = [codec.log_odds(probs) for probs in probabilities.values()]
    low, high = min(map(np.min, odds)), max(map(np.max, odds))
    arrays = {
        "log_odds_range": np.array([low, high]),
        "node_names": first["node_names"],
        "costs": first["edge_cost_ms"],
        "flops": first["edge_flops"],
    }
    for part, probs in probabilities.items():
        arrays[f"{part}_largest"], arrays[f"{part}_others"] = codec.encode(probs, (low, high))
        arrays[f"{part}_labels"] = recordings[part]["labels"].astype(np.uint8)
    return arrays


def normalised(probs: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    wide = probs.astype(np.float64)
    return wide / wide.sum(axis=-1, keepdims=True)


def report(part: str, recording: dict[str, npt.NDArray[Any]], arrays: dict[str, npt.NDArray[Any]]) -> None:
    """Print what decoding gives back."""
    before = normalised(recording["probs"])
    low, high = arrays["log_odds_range"].tolist()
    after = codec.decode(arrays[f"{part}_largest"], arrays[f"{part}_others"], (low, high))
    changes = int((before.argmax(-1) != after.argmax(-1)).sum())
    if changes:
        raise SystemExit(f"{part}: {changes} predictions have changed")
    largest = np.abs(before.max(-1) - after.max(-1)).max()
    log_odds = np.abs(codec.log_odds(before) - codec.log_odds(after)).max()
    logs = np.abs(np.log(np.maximum(before, 1e-7)) - np.log(np.maximum(after, 1e-7)))
    print(f"{part}: {len(before)} rows, predictions unchanged; largest errors:")
    print(f"  max_prob {largest:.1e}, its log-odds {log_odds:.1e}, log-probabilities {logs.max():.3f}")
    print(f"  distinct max_prob a node, recorded {distinct(before)}, decoded {distinct(after)}")


def distinct(probs: npt.NDArray[np.float64]) -> list[int]:
    largest = probs.max(axis=-1).astype(np.float32)
    return [len(np.unique(node)) for node in largest.T]


if __name__ == "__main__":
    main()
