"""Checks at the boundary: what is wrong with an argument, said in one line.

A wrong dtype is a TypeError, a wrong shape or value a ValueError; the message names the argument, what was
expected and what came.
"""

from __future__ import annotations

import math
import os
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
T = TypeVar("T")

MOST_TEXT = 200
"""Characters of a name, and of what a message quotes of a file."""
_WORDS = {"U": "text", "T": "text", "S": "bytes"}
# Control characters, those that change the direction of text, halves of characters, ends of lines and paragraphs: a
# terminal obeys some of them.
_UNPRINTABLE = ("Cc", "Cf", "Cs", "Zl", "Zp")


def describe(value: object) -> str:
    """Shape and dtype of an array, e.g. ``(64,) float64`` or ``(64,) text``; the type's name of anything else."""
    if not isinstance(value, np.ndarray):
        return type(value).__name__
    if value.dtype.kind in _WORDS:  # their dtypes count characters
        return f"{value.shape} {_WORDS[value.dtype.kind]}"
    # A dtype's name hides its byte order: `>f4` is called float32 as well.
    return f"{value.shape} {value.dtype.name if value.dtype.isnative else value.dtype.str}"


def as_array(name: str, value: object, expected: str) -> Array:
    """Native array of real numbers, booleans excluded, of whatever NumPy takes for one; no needless copy."""
    check_readable(name, value)
    try:
        array = np.asarray(value)
    except (TypeError, ValueError):
        array = None
    if array is None or array.dtype.kind not in "iuf" or not array.dtype.isnative:
        raise TypeError(f"{name}: expected {expected}, got {describe(value if array is None else array)}")
    return array


def check_readable(name: str, value: object) -> None:
    """Raise for an array, or one in a list, of which NumPy would lose or refuse a part: masks and gradients."""
    for part in value if isinstance(value, (list, tuple)) else (value,):
        if isinstance(part, np.ma.MaskedArray) and np.ma.is_masked(part):
            count = int(np.ma.getmaskarray(part).sum())
            raise ValueError(f"{name}: expected values everywhere, got a masked array with {count} masked")
        if getattr(part, "requires_grad", False) is True:
            raise TypeError(f"{name}: expected values, got a tensor that requires gradients; pass .detach() of it")


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
        raise ValueError(f"{name}: expected at least {least}, got {brief(value)}")
    return int(value)


def place(name: str, value: object, count: int) -> int:
    """The number of one of `count` things; IndexError if there is none of that number."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name}: expected an int, got {type(value).__name__}")
    if not 0 <= value < count:
        raise IndexError(f"{name}: expected 0 to {count - 1}, got {brief(value)}")
    return int(value)


def real(name: str, value: object) -> float:
    """A real number, NumPy's included, as a float; infinity passes, NaN does not."""
    found = number(name, value)
    if math.isnan(found):
        raise ValueError(f"{name}: expected a number, got nan")
    return found


def number(name: str, value: object) -> float:
    """A number, NumPy's included, as a float; NaN passes too."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise TypeError(f"{name}: expected a number, got {type(value).__name__}")
    try:
        return float(value)
    except OverflowError:
        raise ValueError(f"{name}: expected a number that a float can hold, got {brief(value)}") from None


def flag(name: str, value: object) -> bool:
    """A bool, NumPy's included."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name}: expected a bool, got {type(value).__name__}")
    return bool(value)


def text(name: str, value: object) -> str:
    """A str that can be shown: at most 200 characters, and none that a terminal may obey."""
    if not isinstance(value, str):
        raise TypeError(f"{name}: expected a str, got {type(value).__name__}")
    if len(value) > MOST_TEXT:
        raise ValueError(f"{name}: expected at most {MOST_TEXT} characters, got {len(value)}")
    if any(unicodedata.category(character) in _UNPRINTABLE for character in value):
        raise ValueError(f"{name}: expected characters that can be shown, got {value!a}")
    return value


def path(name: str, value: object) -> str:
    """The name of a file. A number would be taken for a file that is open, and be closed."""
    if not isinstance(value, (str, os.PathLike)):
        raise TypeError(f"{name}: expected a str or os.PathLike, got {type(value).__name__}")
    file = os.fspath(value)
    if not isinstance(file, str):
        raise TypeError(f"{name}: expected a str or os.PathLike of one, got one of {type(file).__name__}")
    if not file or "\0" in file:
        raise ValueError(f"{name}: expected the name of a file, got {file!r}")
    return file


def check_same_unit(name: str, unit: str, expected: str) -> None:
    """Raise ValueError if costs are in two different units; an empty one may be any."""
    if unit and expected and unit != expected:
        raise ValueError(f"{name}: expected costs in {expected!r}, got {unit!r}")


def instance(name: str, value: object, kind: type[T]) -> T:
    """The value, if it is of this class."""
    if not isinstance(value, kind):
        raise TypeError(f"{name}: expected {_articled(kind.__name__)}, got {type(value).__name__}")
    return value


def quoted(message: object) -> str:
    """What is said of a file, where it may quote the file: at most 200 characters, all of which can be shown."""
    shown = printable(str(message)[: MOST_TEXT + 1])
    return shown if len(shown) <= MOST_TEXT else shown[:MOST_TEXT] + "..."


def printable(text: str) -> str:
    """The text with escapes for what cannot be shown."""
    return "".join(
        ascii(character)[1:-1] if unicodedata.category(character) in _UNPRINTABLE else character for character in text
    )


def instances(name: str, values: Iterable[object], kind: type[T]) -> tuple[T, ...]:
    """The values as a tuple, if each is of this class."""
    try:
        items = tuple(values)
    except TypeError:
        raise TypeError(f"{name}: expected a sequence of {kind.__name__}, got {type(values).__name__}") from None
    return tuple(instance(f"{name}[{k}]", item, kind) for k, item in enumerate(items))


def _articled(name: str) -> str:
    """``a Topology``; Traces and Evidence take no article."""
    return name if name in ("Traces", "Evidence") else f"an {name}" if name[0] in "AEIO" else f"a {name}"


def brief(value: object) -> str:
    """A number as text; Python refuses to write out integers of thousands of digits."""
    if isinstance(value, int) and value.bit_length() > 128:
        return f"an int of {value.bit_length()} bits"
    return str(value)


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


def check_recorded(name: str, array: Array, least: float = -np.inf, axes: Sequence[str] = ("row", "node")) -> None:
    """As `check_values`, but NaN passes: it stands for what was not recorded."""
    check_values(name, np.where(np.isnan(array), max(least, 0.0), array), least, axes)


def at(bad: npt.NDArray[np.bool_], axes: Sequence[str] = ("row", "node"), first_row: int = 0) -> str:
    """Where the first True stands, e.g. `` at row 3, node 1``; axes without a name are left out.

    `first_row` is the number of the array's first row, where the array is a piece of a larger one.
    """
    if bad.ndim == 0:
        return ""
    place = [int(position) for position in np.unravel_index(int(np.argmax(bad)), bad.shape)]
    place[0] += first_row
    return " at " + ", ".join(f"{axis} {position}" for axis, position in zip(axes, place, strict=False))
