"""Checks at the boundary: what is wrong with an argument, said in one line.

A wrong dtype is a TypeError, a wrong shape or value a ValueError; the message names the argument, what was
expected and what came.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def describe(value: object) -> str:
    """Shape and dtype of an array, e.g. ``(64,) float64``; the type's name of anything else."""
    if not isinstance(value, np.ndarray):
        return type(value).__name__
    # A dtype's name hides its byte order: `>f4` is called float32 as well.
    return f"{value.shape} {value.dtype.name if value.dtype.isnative else value.dtype.str}"


def as_array(name: str, value: object, expected: str) -> Array:
    """Native array of real numbers, booleans excluded, of whatever NumPy takes for one; no needless copy."""
    try:
        array = np.asarray(value)
    except (TypeError, ValueError):
        array = None
    if array is None or array.dtype.kind not in "iuf" or not array.dtype.isnative:
        raise TypeError(f"{name}: expected {expected}, got {describe(value if array is None else array)}")
    return array


def integers(name: str, value: object, expected: str) -> Array:
    """Array of integers of any width that int32 can hold, as int32."""
    array = as_array(name, value, expected)
    if array.dtype.kind not in "iu":
        raise TypeError(f"{name}: expected {expected}, got {describe(array)}")
    limits = np.iinfo(np.int32)
    outside = (array < limits.min) | (array > limits.max)
    if outside.any():
        raise ValueError(f"{name}: expected values that int32 can hold, got {array[outside][0]}{at(outside)}")
    return array.astype(np.int32)


def whole(name: str, value: object, least: int) -> int:
    """An int, NumPy's included, of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name}: expected an int, got {type(value).__name__}")
    if value < least:
        raise ValueError(f"{name}: expected at least {least}, got {value}")
    return int(value)


def real(name: str, value: object) -> float:
    """A real number, NumPy's included, as a float; infinity passes, NaN does not."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise TypeError(f"{name}: expected a number, got {type(value).__name__}")
    if np.isnan(value):
        raise ValueError(f"{name}: expected a number, got nan")
    return float(value)


def check_shape(name: str, array: Array, shape: tuple[int, ...], expected: str) -> None:
    """Raise ValueError unless the array has exactly this shape."""
    if array.shape != shape:
        raise ValueError(f"{name}: expected {expected}, got {describe(array)}")


def check_values(
    name: str, array: Array, least: float = -np.inf, axes: Sequence[str] = ("row", "node"), first_row: int = 0
) -> None:
    """Raise ValueError at the first value that is not finite or below `least`; `axes` name its place."""
    good = np.isfinite(array)
    if not good.all():
        raise ValueError(f"{name}: expected finite values, got {array[~good][0]}{at(~good, axes, first_row)}")
    low = array < least
    if low.any():
        raise ValueError(f"{name}: expected values >= {least:g}, got {array[low][0]}{at(low, axes, first_row)}")


def at(bad: npt.NDArray[np.bool_], axes: Sequence[str] = ("row", "node"), first_row: int = 0) -> str:
    """Where the first True stands, e.g. `` at row 3, node 1``; axes without a name are left out.

    `first_row` is the number of the array's first row, where the array is a piece of a larger one.
    """
    place = [int(position) for position in np.unravel_index(int(np.argmax(bad)), bad.shape)]
    place[0] += first_row
    return " at " + ", ".join(f"{axis} {position}" for axis, position in zip(axes, place, strict=False))
