"""What is kept of every node's distribution: its largest log-probabilities and their classes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ttamer._base import checks
from ttamer._base.types import freeze

PROB_FLOOR = 1e-7
"""Logarithms of probabilities are floored at that of this one."""
LOG_FLOOR = np.float32(np.log(PROB_FLOOR))
SUM_TOLERANCE = 1e-3
"""How far from 1 the probabilities of a node may sum."""
TOP = 8
"""How many log-probabilities of a node are kept unless another number is asked for."""
_CHUNK = 1 << 22
"""How many probabilities are widened to float64 at a time; all at once could take four times the caller's memory."""


@dataclass(frozen=True, eq=False)
class Evidence:
    """The largest log-probabilities of each node and their classes; fitting and serving use them in the same way.

    Parameters
    ----------
    log_probs : (N, n, top) float32
        Natural logarithms, finite, descending along the last axis. Those below ln(1e-7) are raised to it.
    classes : (N, n, top) integers
        The class of each; the first is the node's prediction. Kept as int32.
    class_count : int
        Number of classes C, at least 2 and at least `top`.

    Raises
    ------
    TypeError
        If an array has the wrong dtype.
    ValueError
        If a shape or a value is wrong, the order is not descending or a class is listed twice.
    """

    log_probs: npt.NDArray[np.float32]
    classes: npt.NDArray[np.int32]
    class_count: int

    def __post_init__(self) -> None:
        expected = "(N, n, top) float32"
        log_probs = checks.as_array("log_probs", self.log_probs, expected)
        if log_probs.dtype != np.float32:
            raise TypeError(f"log_probs: expected {expected}, got {checks.describe(log_probs)}")
        if log_probs.ndim != 3 or log_probs.shape[2] == 0:
            raise ValueError(f"log_probs: expected {expected}, got {checks.describe(log_probs)}")
        classes = checks.integers("classes", self.classes, "(N, n, top) integers")
        checks.check_shape("classes", classes, log_probs.shape, f"{log_probs.shape} like log_probs")
        count = checks.whole("class_count", self.class_count, max(2, log_probs.shape[2]))
        _check_log_probs(log_probs)
        _check_classes(classes, count)
        object.__setattr__(self, "log_probs", freeze(np.maximum(log_probs, LOG_FLOOR)))
        object.__setattr__(self, "classes", freeze(classes))
        object.__setattr__(self, "class_count", count)

    @property
    def top(self) -> int:
        """Number of classes kept a node."""
        return int(self.log_probs.shape[2])

    def __getitem__(self, index: Any) -> Evidence:
        """Evidence of some rows, or of some rows and nodes; trusts the index, which `Traces` has checked."""
        return trusted(self.log_probs[index], self.classes[index], self.class_count)

    def __repr__(self) -> str:
        rows, nodes, top = self.log_probs.shape
        return f"Evidence({rows} rows, {nodes} nodes, top {top} of {self.class_count} classes)"


def class_count_of(evidence: Evidence | None) -> int | None:
    """How many classes evidence is of; None if there is none."""
    return None if evidence is None else evidence.class_count


def trusted(log_probs: npt.NDArray[np.float32], classes: npt.NDArray[np.int32], class_count: int) -> Evidence:
    """Evidence of arrays that are already known to be valid and unshared."""
    evidence = object.__new__(Evidence)
    object.__setattr__(evidence, "log_probs", freeze(log_probs))
    object.__setattr__(evidence, "classes", freeze(classes))
    object.__setattr__(evidence, "class_count", class_count)
    return evidence


def joined_evidence(parts: Sequence[Evidence]) -> Evidence:
    """The rows of all parts; ValueError unless they are of one form."""
    forms = {(one.top, one.class_count) for one in parts}
    if len(forms) > 1:
        raise ValueError(f"evidence: expected as many classes and as many kept in all traces, got {sorted(forms)}")
    log_probs = np.concatenate([one.log_probs for one in parts])
    return trusted(log_probs, np.concatenate([one.classes for one in parts]), parts[0].class_count)


def normalised_chunks(probs: npt.NDArray[Any]) -> Iterator[tuple[slice, npt.NDArray[np.float64]]]:
    """Pieces of `probs` (N, n, C), widened and divided by their sums, each with the rows it covers.

    Raises
    ------
    ValueError
        If a probability is negative, NaN or infinite, or a node's do not sum to 1 within `SUM_TOLERANCE`.
    """
    rows = max(1, _CHUNK // (probs.shape[1] * probs.shape[2]))
    for start in range(0, len(probs), rows):
        part = slice(start, min(start + rows, len(probs)))
        chunk = probs[part].astype(np.float64)
        checks.check_values("probs", chunk, 0.0, ("row", "node", "class"), start)
        with np.errstate(over="ignore"):
            sums = chunk.sum(axis=-1)
        off = np.abs(sums - 1.0) > SUM_TOLERANCE
        if off.any():
            place = checks.at(off, first_row=start)
            raise ValueError(
                f"probs: expected rows that sum to 1 within {SUM_TOLERANCE:g}, got {sums[off][0]:.6g}{place}"
            )
        chunk /= sums[..., None]
        yield part, chunk


def largest(probs: npt.NDArray[np.float64], top: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int32]]:
    """The `top` largest log-probabilities, descending, and their classes; equal ones by ascending class.

    Repeated argmax: it costs top * C, keeps ties in order, and needs no full sort of a large vocabulary.
    """
    rest = probs.copy()
    classes = np.empty((*probs.shape[:-1], top), np.int32)
    values = np.empty((*probs.shape[:-1], top))
    for k in range(top):
        best = rest.argmax(axis=-1)[..., None]
        classes[..., k : k + 1] = best
        values[..., k : k + 1] = np.take_along_axis(rest, best, axis=-1)
        np.put_along_axis(rest, best, -1.0, axis=-1)
    return np.log(np.maximum(values, PROB_FLOOR)).astype(np.float32), classes


def _check_log_probs(log_probs: npt.NDArray[np.float32]) -> None:
    checks.check_values("log_probs", log_probs)
    rising = log_probs[..., 1:] > log_probs[..., :-1]
    if rising.any():
        raise ValueError(f"log_probs: expected a descending order{checks.at(rising)}")
    with np.errstate(over="ignore"):
        totals = np.exp(log_probs.astype(np.float64)).sum(axis=-1)
    over = totals > 1.0 + SUM_TOLERANCE
    if over.any():
        place = checks.at(over)
        raise ValueError(f"log_probs: expected probabilities that sum to at most 1, got {totals[over][0]:.6g}{place}")


def _check_classes(classes: npt.NDArray[np.int32], count: int) -> None:
    outside = (classes < 0) | (classes >= count)
    if outside.any():
        value = classes[outside][0]
        raise ValueError(f"classes: expected 0..{count - 1}, got {value}{checks.at(outside)}")
    sorted_classes = np.sort(classes, axis=-1)
    twice = sorted_classes[..., 1:] == sorted_classes[..., :-1]
    if twice.any():
        raise ValueError(f"classes: {sorted_classes[..., 1:][twice][0]} is listed twice{checks.at(twice)}")
