"""What `CascadeModel` accepts: each function checks one argument and returns it in the dtype it is kept in."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ttamer._base import checks
from ttamer._base.types import Floats
from ttamer.model.costs import EdgeCosts


def floats(values: object, name: str, rank: int) -> Floats:
    """Numbers in an array of so many dimensions, as float64."""
    checks.check_readable(name, values)
    try:
        array = np.asarray(values)
    except ValueError:  # rows of different lengths
        array = np.empty(0, dtype=object)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{name}: expected numbers, got {type(values).__name__}")
    if array.ndim != rank:
        raise ValueError(f"{name}: expected {rank} dimensions, got shape {array.shape}")
    return np.ascontiguousarray(array, dtype=np.float64)


def each(name: str, values: Any) -> list[Any]:
    """The items of a sequence of arrays."""
    try:
        return list(values)
    except TypeError:
        raise TypeError(f"{name}: expected a sequence of arrays, got {type(values).__name__}") from None


def edge_costs(name: str, costs: Any) -> EdgeCosts:
    """Stated costs: (E,) numbers, or a sequence of E numbers and (K_i,) numbers."""
    is_table = isinstance(costs, np.ndarray) and costs.dtype != object
    if is_table or not np.iterable(costs) or not any(np.ndim(cost) for cost in costs):
        return EdgeCosts.of(floats(costs, name, 1), None)
    rows = [floats(np.atleast_1d(row), f"{name}[{e}]", 1) for e, row in enumerate(each(name, costs))]
    for e, row in enumerate(rows):
        if len(row) == 0:
            raise ValueError(f"{name}[{e}]: expected a number, or one for each state, got none")
    with np.errstate(over="ignore"):  # an infinite one is refused as that
        return EdgeCosts.of(np.array([row.mean() for row in rows]), rows)


def bin_edges_of(values: npt.ArrayLike, name: str) -> npt.NDArray[np.float32]:
    """Edges of bins as float32."""
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is refused as that
        return floats(values, name, 1).astype(np.float32)


def stochastic(matrix: Floats, name: str) -> Floats:
    """Rows that sum to 1 within 1e-6, normalised; those that already do stay as they are, bit for bit."""
    if not np.all(matrix >= 0):
        row, column = np.argwhere(~(matrix >= 0))[0]
        raise ValueError(f"{name}: expected probabilities, got {matrix[row, column]:g} in row {row}")
    with np.errstate(over="ignore"):
        sums = matrix.sum(axis=1)
    if not np.all(np.abs(sums - 1) <= 1e-6):
        row = int(np.argmax(~(np.abs(sums - 1) <= 1e-6)))
        raise ValueError(f"{name}: expected probabilities that sum to 1 within 1e-6, row {row} sums to {sums[row]:g}")
    normal: Floats = np.where(np.abs(sums - 1)[:, None] <= 1e-14, matrix, matrix / sums[:, None])
    return normal
