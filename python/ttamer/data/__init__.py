"""Recorded workloads that come with the package, so that a first run needs nothing else.

``fashion-vgg``: a convolutional network with eight exits on Fashion-MNIST. ``ferplus``: four models, three of them
commercial, that name the emotion of a face. What each is, where it comes from and under which licence stands beside it
in ``fashion-vgg.md`` and ``ferplus.md``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any

import numpy as np
import numpy.typing as npt

from ttamer.data.codec import decode
from ttamer.traces import Traces

__all__ = ["NAMES", "Workload", "load"]

NAMES = ("fashion-vgg", "ferplus")
"""Workloads that can be loaded."""


@dataclass(frozen=True, eq=False)
class Workload:
    """A recorded workload.

    Attributes
    ----------
    calibration, test : Traces
        Disjoint requests; losses are 0/1 errors. Signals of exits are the largest probabilities and their costs in ms,
        signals of several models the scores they gave and their costs in USD.
    name : str
    node_names : tuple of str
    flops : (E,) float64 or None
        The same edges' costs in floating-point operations; None where they are not known.
    """

    calibration: Traces
    test: Traces
    name: str
    node_names: tuple[str, ...]
    flops: npt.NDArray[np.float64] | None


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
        traces_of = _exits if "log_odds_range" in arrays else _models
        return Workload(
            calibration=traces_of(arrays, "calibration"),
            test=traces_of(arrays, "test"),
            name=name,
            node_names=tuple(arrays["node_names"].tolist()),
            flops=arrays.get("flops"),
        )


def _exits(arrays: Mapping[str, npt.NDArray[Any]], part: str) -> Traces:
    low, high = arrays["log_odds_range"].tolist()
    probs = decode(arrays[f"{part}_largest"], arrays[f"{part}_others"], (low, high))
    return Traces.from_probs(probs, arrays[f"{part}_labels"], arrays["costs"], unit="ms")


def _models(arrays: Mapping[str, npt.NDArray[Any]], part: str) -> Traces:
    answers = arrays[f"{part}_answers"].astype(np.int32)
    losses = answers != arrays[f"{part}_labels"][:, None]
    return Traces.from_models(
        losses,
        arrays["costs"],
        scores=arrays[f"{part}_scores"],
        answers=answers,
        nodes=arrays["node_names"].tolist(),
        unit="USD",
    )
