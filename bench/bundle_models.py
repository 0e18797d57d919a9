"""Make the workload of several models that comes with the package from its recording.

The format is that of ``bench/model_sets.py``: classifiers that all gave a score, with the right class of each request
(``label``) beside their answers, and one cost a model. The file is written to python/ttamer/data/<name>.npz; nothing is
lost.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

PARTS = ("calibration", "test")
LIMIT = 150_000
DATA = Path(__file__).resolve().parent.parent / "python" / "ttamer" / "data"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder with the recorded files")
    parser.add_argument("--set", default="frugalml_ferplus", help="the recorded set (default: %(default)s)")
    parser.add_argument("--name", default="ferplus", help="workload (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=DATA, help="folder to write to (default: the package's)")
    arguments = parser.parse_args()
    recordings = {part: dict(np.load(arguments.folder / f"{arguments.set}-{part}.npz")) for part in PARTS}
    target = arguments.out / f"{arguments.name}.npz"
    with open(target, "wb") as file:
        np.savez_compressed(file, **bundle(recordings))
    size = target.stat().st_size
    print(f"{target.name}: {size} bytes")
    if size > LIMIT:
        raise SystemExit(f"{target.name}: {size} bytes, at most {LIMIT} are wanted")


def bundle(recordings: dict[str, dict[str, npt.NDArray[Any]]]) -> dict[str, npt.NDArray[Any]]:
    """The bundled file's arrays."""
    first = recordings["calibration"]
    if first["cost"].ndim != 1:
        raise SystemExit(f"cost: expected one a model, got {first['cost'].shape}")
    arrays = {"node_names": first["names"], "costs": first["cost"].astype(np.float64)}
    for part, recording in recordings.items():
        answers, labels = recording["preds"], recording["label"]
        if not np.array_equal(answers == labels[:, None], recording["quality"] == 1):
            raise SystemExit(f"{part}: expected a quality of 1 where the answer is the label, and 0 elsewhere")
        if answers.min() < 0 or not np.isfinite(recording["signal"]).all():
            raise SystemExit(f"{part}: expected an answer and a score of every model for every request")
        arrays[f"{part}_scores"] = recording["signal"].astype(np.float32)
        arrays[f"{part}_answers"] = answers.astype(np.uint8)
        arrays[f"{part}_labels"] = labels.astype(np.uint8)
    return arrays


if __name__ == "__main__":
    main()
