"""Traces of several models on the same requests, any of which may be asked next."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ttamer._base import checks
from ttamer._base.types import ROOT, Floats
from ttamer._core import Topology
from ttamer.traces.arguments import names_of
from ttamer.traces.context import Column, columns_of, signal_of
from ttamer.traces.signals import NOTHING


def fields_of_models(
    losses: npt.ArrayLike,
    costs: npt.ArrayLike | Mapping[str, npt.ArrayLike],
    scores: npt.ArrayLike | None,
    answers: npt.ArrayLike | None,
    classes: bool,
    context: object,
    nodes: Sequence[str] | None,
    unit: str,
) -> dict[str, Any]:
    """What `ttamer.traces.arguments.checked_fields` takes, from what `Traces.from_models` does."""
    judged = _losses(losses)
    models = judged.shape[1]
    by_unit = costs if isinstance(costs, Mapping) else {None: costs}
    by_model = {
        unit: _costs("costs" if unit is None else f"costs[{unit!r}]", each, judged.shape)
        for unit, each in by_unit.items()
    }
    said = None if scores is None else _scores(scores, judged.shape)
    codes = None if answers is None else _answers(answers, judged.shape, classes)
    consulted = np.isfinite(judged)
    if said is not None:
        consulted |= ~np.isnan(said)
    if codes is not None:
        consulted |= codes >= 0
    columns = {} if context is None else columns_of(context, len(judged))
    names = nodes if nodes is None or isinstance(nodes, str) else list(nodes)
    shown = _shown(columns, names, models)
    if names is not None and shown is not None:
        names = names[1:]
    fields: dict[str, Any] = {
        "signals": _signals(said, consulted),
        "losses": judged,
        "predictions": codes,
        "topology": Topology.skip(models),
        "unit": unit,
        "independent": True,
        "answer_classes": checks.flag("classes", classes) and codes is not None,
        "nodes": names_of(names, models, "" if names is None else _hint("nodes", (len(names),), judged.shape)),
    }
    if columns:
        fields |= _behind_context(columns, shown or next(iter(columns)), fields)
    models_of_edges = fields["topology"].edges[:, 1] - bool(columns)
    of_edges = {unit: _of_edges(values, models_of_edges) for unit, values in by_model.items()}
    fields["costs"] = of_edges if isinstance(costs, Mapping) else of_edges[None]
    return fields


def _hint(name: str, shape: tuple[int, ...], losses: tuple[int, ...]) -> str:
    """Said where an argument of this shape would fit if losses had a row a model, not a column."""
    if shape not in (losses[:1], losses[::-1]) or losses[0] == losses[1]:
        return ""
    other = "" if len(shape) == 1 else f" or {name}.T"
    return f"; losses have a row a request and a column a model, here {losses}: if they are turned pass losses.T{other}"


def _shown(columns: Collection[str], nodes: Sequence[str] | None, models: int) -> str | None:
    """The column that the probe shows, if `nodes` are names of all nodes, its own first; None if of models only."""
    if nodes is None or isinstance(nodes, str) or len(nodes) != models + 1 or not isinstance(nodes[0], str):
        return None
    return nodes[0] if nodes[0] in columns else None


def _losses(losses: npt.ArrayLike) -> npt.NDArray[np.float32]:
    expected = "(N, n) numbers, a row a request and a column a model"
    checks.check_readable("losses", losses)
    array = np.asarray(losses)
    array = checks.as_array("losses", array.astype(np.float32) if array.dtype == np.bool_ else losses, expected)
    if array.ndim != 2 or 0 in array.shape:
        raise ValueError(f"losses: expected {expected}, got {checks.describe(array)}")
    return array.astype(np.float32)


def _check_like_losses(name: str, array: npt.NDArray[Any], shape: tuple[int, ...], expected: str) -> None:
    """Raise ValueError unless the array has the shape of the losses."""
    if array.shape != shape:
        hint = _hint(name, array.shape, shape)
        raise ValueError(f"{name}: expected {expected}, got {checks.describe(array)}{hint}")


def _scores(scores: npt.ArrayLike, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    expected = f"{shape} numbers like losses"
    array = checks.as_array("scores", scores, expected)
    if array.ndim == 3 and array.shape[2] > 1:
        raise ValueError(f"scores: expected one a request and model, got {array.shape[2]}; pass scores[:, :, 0], say")
    if array.ndim == 3:
        array = array.reshape(array.shape[:2])
    _check_like_losses("scores", array, shape, expected)
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is refused as that
        values = array.astype(np.float32)
    values = np.where(np.isneginf(array), np.float32(np.nan), values)
    checks.check_recorded("scores", values, axes=("row", "model"))
    return values


def _answers(answers: npt.ArrayLike, shape: tuple[int, ...], classes: bool) -> npt.NDArray[np.int32]:
    expected = f"{shape} integers like losses"
    texts = _texts(answers)
    if texts is not None:
        if classes:
            raise TypeError(
                f"answers: expected {expected}, the numbers of classes, got {checks.describe(texts)}; classes=False "
                "takes texts, which are compared within a request"
            )
        _check_like_losses("answers", texts, shape, f"{shape} texts like losses")
        return _numbered(texts)
    array = checks.as_array("answers", answers, expected)
    if array.dtype.kind == "f":
        raise TypeError(
            f"answers: expected {expected}, codes of which equal ones are equal answers and -1 is none, "
            f"got {checks.describe(array)}"
        )
    codes = checks.integers("answers", array, expected)
    _check_like_losses("answers", codes, shape, expected)
    checks.check_values("answers", codes, -1, ("row", "model"))
    return codes


def _texts(answers: npt.ArrayLike) -> npt.NDArray[Any] | None:
    """Answers that are texts, or none where something else is among them."""
    try:
        array = np.asarray(answers)
        if array.dtype.kind not in "UO":
            return None
        values = np.array(answers, object)  # as they are: NumPy makes texts of numbers that stand beside some
    except (TypeError, ValueError):  # no array at all, which is refused elsewhere
        return None
    return array if all(each is None or isinstance(each, str) for each in values.flat) else None


def _numbered(texts: npt.NDArray[Any]) -> npt.NDArray[np.int32]:
    """A number for each text, -1 for none."""
    numbers = {text: number for number, text in enumerate(sorted({text for text in texts.flat if text}))}
    return np.array([numbers.get(text, -1) for text in texts.flat], np.int32).reshape(texts.shape)


def _signals(scores: npt.NDArray[np.float32] | None, consulted: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
    """The scores, below all others where there is none; also in a table without any, which may be a later part."""
    known = np.full(consulted.shape, np.nan, np.float32) if scores is None else scores
    return np.where(consulted & np.isnan(known), NOTHING, known).astype(np.float32)


def _behind_context(columns: Mapping[str, Column], shown: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that change where a probe that shows a column of the context stands before the models."""
    rows, models = fields["signals"].shape
    for name, column in columns.items():
        if not np.any(column != "" if column.dtype.kind == "U" else ~np.isnan(column)):
            raise ValueError(f"context: expected a value of {name!r} for at least one request, got none")
    signal, categories = signal_of(columns[shown])
    names = fields["nodes"] or tuple(f"model {k}" for k in range(models))
    check_names(columns, names)
    answers = fields["predictions"]

    def behind(first: npt.NDArray[Any], others: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return np.concatenate([first[:, None], others], axis=1, dtype=others.dtype)

    return {
        "signals": behind(signal, fields["signals"]),
        "losses": behind(np.full(rows, np.inf), fields["losses"]),
        "predictions": None if answers is None else behind(np.full(rows, -1), answers),
        "topology": Topology.dag(
            models + 1, [(ROOT, 0), *((i, j) for i in range(models + 1) for j in range(max(i + 1, 1), models + 1))]
        ),
        "nodes": (shown, *names),
        "categories": None if categories is None else {0: categories},
        "context": columns,
    }


def check_names(columns: Mapping[str, object], models: Sequence[str]) -> None:
    """Raise ValueError where a column of the context and a model have one name."""
    for name in models:
        if name in columns:
            raise ValueError(f"context: expected names that no model has, got {name!r}")


def _costs(name: str, costs: npt.ArrayLike, shape: tuple[int, ...]) -> Floats:
    expected = f"({shape[1]},) or {shape} numbers, one a model"
    array = checks.as_array(name, costs, expected)
    if array.shape != shape[1:]:
        _check_like_losses(name, array, shape, expected)
    values = array.astype(np.float64)
    check = checks.check_values if values.ndim == 1 else checks.check_recorded
    check(name, values, 0.0, ("model",) if values.ndim == 1 else ("row", "model"))
    return values


def _of_edges(costs: Floats, models: npt.NDArray[np.int32]) -> Floats:
    """The cost of the model that each edge leads to, nothing where that is the context, -1."""
    return np.where(models < 0, 0.0, costs[..., models])
