"""What is known of requests before any model is asked: columns of numbers or of categories."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from ttamer._base import checks
from ttamer._base.types import Floats
from ttamer.traces.categories import Names, coded
from ttamer.traces.signals import NOTHING

Column: TypeAlias = "Floats | npt.NDArray[np.str_]"
"""(N,) float64, NaN where it is missing, or (N,) str, "" where it is."""
NAME = "context"
"""Of a column that has none of its own."""


def columns_of(context: object, rows: int) -> dict[str, Column]:
    """Columns by name, from a column, a table of them or a mapping; unshared.

    Raises
    ------
    TypeError, ValueError
        If it is none of these, a column has another length, or mixes texts and numbers.
    """
    if isinstance(context, Mapping):
        if not context:
            raise ValueError("context: expected at least one column, got none")
        return {checks.text("context", name): _column(f"context[{name!r}]", context[name], rows) for name in context}
    table = _array("context", context)
    if table.ndim == 2 and table.shape[1] > 1:
        return {f"{NAME} {k}": _column(f"{NAME} {k}", table[:, k], rows) for k in range(table.shape[1])}
    return {NAME: _column(NAME, table[:, 0] if table.ndim == 2 and table.shape[1] else table, rows)}


def rows_of(context: Mapping[str, object]) -> int:
    """How many requests a context is of, by its first column.

    Raises
    ------
    ValueError
        If there is no column, or it is no sequence.
    """
    if not context:
        raise ValueError("context: expected at least one column, got none")
    name, values = next(iter(context.items()))
    array = _array(f"context[{name!r}]", values)
    if array.ndim == 0:
        raise ValueError(
            f"context[{name!r}]: expected (B,) numbers or texts, one a request, got {checks.describe(values)}"
        )
    return len(array)


def signal_of(column: Column) -> tuple[npt.NDArray[np.float32], Names | None]:
    """The signal of a probe that shows the column; and the names that it codes, if it is of categories."""
    if column.dtype.kind == "U":
        return coded(column.tolist())
    return np.where(np.isnan(column), NOTHING, column).astype(np.float32), None


def joined_columns(parts: Sequence[Mapping[str, Column]]) -> dict[str, Column]:
    """The columns of the requests of all parts; ValueError unless they have the same ones."""
    kinds = [{name: column.dtype.kind for name, column in part.items()} for part in parts]
    for part, kind in zip(parts, kinds, strict=True):
        if kind != kinds[0]:
            raise ValueError(f"context: expected the same columns in all traces, got {list(parts[0])} and {list(part)}")
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _array(name: str, values: object) -> npt.NDArray[Any]:
    checks.check_readable(name, values)
    if hasattr(values, "__array__"):
        return np.asarray(values)
    # Asked for an array of a number and a text, NumPy would write the number as a text, and None too.
    try:
        return np.array(values, dtype=object)
    except ValueError:
        raise ValueError(f"{name}: expected rows of one length") from None


def _column(name: str, values: object, rows: int) -> Column:
    array = _array(name, values)
    if array.shape != (rows,):
        raise ValueError(f"{name}: expected ({rows},) numbers or texts, one a request, got {checks.describe(array)}")
    column: Column
    if array.dtype.kind == "U":
        column = array.astype(np.str_)
    else:
        column = array.astype(np.float64) if array.dtype.kind in "biuf" else _of_objects(name, array.tolist())
    if column.dtype.kind == "U":
        for text in np.unique(column).tolist():
            checks.text(name, text)
    else:
        checks.check_recorded(name, column, axes=("row",))
        with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is refused as that
            checks.check_recorded(name, column.astype(np.float32), axes=("row",))
    return column


def _of_objects(name: str, values: list[Any]) -> Column:
    missing = [_is_missing(value) for value in values]
    kinds = {_kind(name, row, value) for row, value in enumerate(values) if not missing[row]}
    if len(kinds) > 1:
        row = next(k for k, value in enumerate(values) if not missing[k] and not isinstance(value, str))
        raise TypeError(f"{name}: expected numbers or texts, got both, {checks.quoted(repr(values[row]))} at row {row}")
    if kinds == {"text"}:
        return np.array(["" if gone else value for gone, value in zip(missing, values, strict=True)], np.str_)
    try:
        return np.array([np.nan if gone else value for gone, value in zip(missing, values, strict=True)], np.float64)
    except OverflowError:
        raise ValueError(f"{name}: expected numbers that a float can hold") from None


def _is_missing(value: object) -> bool:
    return value is None or value == "" or (isinstance(value, (float, np.floating)) and bool(np.isnan(value)))


def _kind(name: str, row: int, value: object) -> str:
    if isinstance(value, str):
        return "text"
    if isinstance(value, (bool, int, float, np.bool_, np.integer, np.floating)):
        return "number"
    raise TypeError(f"{name}: expected numbers or texts, got {type(value).__name__} at row {row}")
