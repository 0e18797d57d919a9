"""Recorded workloads as traces, for the benchmarks.

The format is that of ``bundle_workload.py --help``; ``probs`` may be float16 and ``parents`` those of a
forest. Without a folder there is the workload that comes with the package.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ttamer import Topology, Traces, data


def recorded_names(folder: Path | None = None) -> list[str]:
    """Workloads of a folder; without one, that of the package."""
    if folder is None:
        return ["fashion-vgg"]
    return sorted(path.name.removesuffix("-calibration.npz") for path in folder.glob("*-calibration.npz"))


def load_recorded(folder: Path | str | None = None, name: str = "fashion-vgg") -> tuple[Traces, Traces]:
    """Calibration and test traces of a workload; costs in ms.

    Parameters
    ----------
    folder : path, optional
        Where ``<name>-calibration.npz`` and ``<name>-test.npz`` are. Default: the package.
    name : str

    Returns
    -------
    calibration, test : Traces
        On a line where each node follows the one before it, else on the forest of the recorded parents.
    """
    if folder is None:
        workload = data.load(name)
        return workload.calibration, workload.test
    return _recorded(Path(folder) / f"{name}-calibration.npz"), _recorded(Path(folder) / f"{name}-test.npz")


def _recorded(path: Path) -> Traces:
    with np.load(path, allow_pickle=False) as arrays:
        parents = arrays["parents"].tolist()
        is_line = parents == list(range(-1, len(parents) - 1))
        topology = Topology.line(len(parents)) if is_line else Topology.forest(parents)
        return Traces.from_probs(arrays["probs"], arrays["labels"], arrays["edge_cost_ms"], topology, unit="ms")
