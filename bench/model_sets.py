"""Sets of several models on the same requests, for the benchmark of ways to decide over them.

A set is `NAME-calibration.npz` and `NAME-test.npz` in a folder, with arrays of N requests and n models:

  quality                   (N, n) in [0, 1], or a judge's marks from 1 to 10
  cost                      (n,) or (N, n)
  signal or top5probs       (N, n) how sure each model was, nan for none, or (N, n, 5)
  preds or top5preds        (N, n) the class that each model answered, -1 for none, or (N, n, 5)
  answer_id                 (N, n) equal numbers for equal answers of one request
  context                   (N, d) numbers known before any model is asked
  category, source, cluster (N,) integers, -1 for none
  X_names                   of the categories X; without an array X, this is the last column of the context
  names, cost_unit          of the models, and of the costs
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import ttamer

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]

CATEGORIES = ("category", "source", "cluster", "subject")
MARKS = (1.0, 10.0)
"""The least and the best mark, where quality is not in [0, 1]."""
LEAST_QUALITY = -0.2
"""Some measures of quality in [0, 1] come out slightly below 0."""


@dataclass(frozen=True, eq=False)
class Requests:
    """Requests of one part of a set, and what every model did with each.

    Attributes
    ----------
    models : tuple of n str
        The cheapest first.
    losses : (N, n) float64
        In [0, 1].
    costs : (N, n) float64
    scores : (N, n) float64
        -inf for none.
    answers : (N, n) int or None
        -1 for none.
    has_classes : bool
        Whether equal answers to *different* requests are equal numbers.
    context : dict of str to (N,) array
        Numbers, or texts, which are categories, "" for none.
    unit : str
        Of the costs.
    left_out : int
        Requests that lack a loss or cost, and are not among these.
    """

    models: tuple[str, ...]
    losses: Floats
    costs: Floats
    scores: Floats
    answers: Array | None
    has_classes: bool
    context: Mapping[str, Array]
    unit: str
    left_out: int

    def __len__(self) -> int:
        return len(self.losses)

    def first(self, rows: int | None) -> Requests:
        """At most so many of them."""
        return _rows(self, np.arange(len(self))[:rows])

    def half(self) -> Requests:
        """Every other one."""
        return _rows(self, np.arange(0, len(self), 2))

    def drawn_anew(self, others: Requests, seed: int) -> tuple[Requests, Requests]:
        """As many requests as these, drawn from these and the others, and those that are left."""
        rows = np.random.default_rng(seed).permutation(len(self) + len(others))
        pool = Requests(
            self.models,
            *(
                np.concatenate([getattr(part, name) for part in (self, others)])
                for name in ("losses", "costs", "scores")
            ),
            None if self.answers is None or others.answers is None else np.concatenate([self.answers, others.answers]),
            self.has_classes,
            {name: np.concatenate([column, others.context[name]]) for name, column in self.context.items()},
            self.unit,
            self.left_out + others.left_out,
        )
        return _rows(pool, np.sort(rows[: len(self)])), _rows(pool, np.sort(rows[len(self) :]))

    @cached_property
    def traces(self) -> ttamer.Traces:
        """Traces : the same for ttamer."""
        is_constant = bool(np.all(self.costs == self.costs[0]))
        has_scores = bool(np.isfinite(self.scores).any())
        return ttamer.Traces.from_models(
            self.losses,
            self.costs[0] if is_constant else self.costs,
            scores=np.where(np.isfinite(self.scores), self.scores, np.nan) if has_scores else None,
            answers=self.answers,
            classes=self.has_classes,
            context=self.context or None,
            nodes=self.models,
            unit=self.unit,
        )


def names_in(folder: Path) -> list[str]:
    """The sets of a folder."""
    return sorted(path.name.removesuffix("-calibration.npz") for path in folder.glob("*-calibration.npz"))


def load(folder: Path, name: str) -> tuple[Requests, Requests]:
    """Calibration and test requests of a set; models stand in the order of what they cost the calibration requests."""
    parts = []
    for part in ("calibration", "test"):
        with np.load(folder / f"{name}-{part}.npz", allow_pickle=False) as arrays:
            parts.append(dict(arrays))
    quality = parts[0]["quality"]
    is_share = np.nanmin(quality) >= LEAST_QUALITY and np.nanmax(quality) <= 1
    marks = (0.0, 1.0) if is_share else MARKS
    order = np.argsort(np.nanmean(np.atleast_2d(parts[0]["cost"]), axis=0), kind="stable")
    calibration, test = (_requests(arrays, order, marks) for arrays in parts)
    return calibration, test


def _requests(arrays: Mapping[str, Array], order: Array, marks: tuple[float, float]) -> Requests:
    low, high = marks
    quality = arrays["quality"][:, order].astype(np.float64)
    scores = arrays["top5probs"][..., 0] if "top5probs" in arrays else arrays["signal"]
    scores = scores[:, order].astype(np.float64)
    classes = arrays["top5preds"][..., 0] if "top5preds" in arrays else arrays.get("preds")
    answers = arrays.get("answer_id") if classes is None else classes
    requests = Requests(
        tuple(arrays["names"][order].tolist()),
        1 - np.clip((quality - low) / (high - low), 0, 1),
        np.broadcast_to(arrays["cost"].astype(np.float64)[..., order], quality.shape),
        np.where(np.isfinite(scores), scores, -np.inf),
        None if answers is None else answers[:, order],
        classes is not None,
        _context(arrays),
        str(arrays["cost_unit"]).split(" a ")[0],
        0,
    )
    is_whole = np.isfinite(requests.losses).all(axis=1) & np.isfinite(requests.costs).all(axis=1)
    return replace(_rows(requests, np.flatnonzero(is_whole)), left_out=int((~is_whole).sum()))


def _context(arrays: Mapping[str, Array]) -> dict[str, Array]:
    """Columns of the context by name, categories first."""
    columns = list(arrays["context"].T) if "context" in arrays else []
    codes = {name: arrays[name] for name in CATEGORIES if name in arrays}
    for name in CATEGORIES:
        if f"{name}_names" in arrays and name not in codes:
            codes[name] = columns.pop().astype(int)
    context = {name: _texts(of_rows, arrays.get(f"{name}_names")) for name, of_rows in codes.items()}
    return context | {f"context {k}": column.astype(np.float64) for k, column in enumerate(columns)}


def _texts(codes: Array, names: Array | None) -> Array:
    texts = codes.astype(str) if names is None else names[codes]
    return np.where(codes < 0, "", texts)


def _rows(requests: Requests, rows: Array) -> Requests:
    return replace(
        requests,
        losses=requests.losses[rows],
        costs=requests.costs[rows],
        scores=requests.scores[rows],
        answers=None if requests.answers is None else requests.answers[rows],
        context={name: column[rows] for name, column in requests.context.items()},
    )
