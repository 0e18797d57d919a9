"""Recorded workloads that come with the package, so that a first run needs nothing else.

``fashion-vgg``: a convolutional network with eight exits on Fashion-MNIST. What it is, where it comes from
and under which licence stands beside it in ``fashion-vgg.md``.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources

import numpy as np
import numpy.typing as npt

from ttamer.data.codec import decode
from ttamer.traces import Traces

__all__ = ["NAMES", "Workload", "load"]

NAMES = ("fashion-vgg",)
"""Workloads that can be loaded."""


@dataclass(frozen=True, eq=False)
class Workload:
    """A recorded workload.

    Attributes
    ----------
    calibration, test : Traces
        Disjoint requests; signals are the largest probabilities, losses the 0/1 errors, costs are in ms.
    name : str
    node_names : tuple of str
    flops : (E,) float64
        The same edges' costs in floating-point operations.
    """

    calibration: Traces
    test: Traces
    name: str
    node_names: tuple[str, ...]
    flops: npt.NDArray[np.float64]


def load(name: str = "fashion-vgg") -> Workload:
    """Load a bundled workload.

    Parameters
    ----------
    name : str
        One of `NAMES`.

    Raises
    ------
    ValueError
        If there is no workload of this name.
    """
    if name not in NAMES:
        raise ValueError(f"name: expected one of {', '.join(NAMES)}, got {name!r}")
    with (
        resources.files(__name__).joinpath(f"{name}.npz").open("rb") as file,
        np.load(file, allow_pickle=False) as arrays,
    ):
        low, high = arrays["log_odds_range"].tolist()

        def traces(part: str) -> Traces:
            probs = decode(arrays[f"{part}_largest"], arrays[f"{part}_others"], (low, high))
            return Traces.from_probs(probs, arrays[f"{part}_labels"], arrays["costs"], unit="ms")

        return Workload(
            calibration=traces("calibration"),
            test=traces("test"),
            name=name,
            node_names=tuple(arrays["node_names"].tolist()),
            flops=arrays["flops"],
        )
