"""Logits of every dtype, with ties, -inf and NaN: the core's signals against a softmax in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from fuzzers.runner import Case, Fuzzer
from ttamer import reference
from ttamer._core import logit_signals
from ttamer.traces.signals import SIGNALS

MOST_CLASSES = 70_000
MOST_ROWS = 6
RELATIVE, ABSOLUTE = 2e-6, 1e-6

Floats = npt.NDArray[np.float64]


def start() -> Callable[[np.random.Generator], Case]:
    def make(rng: np.random.Generator) -> Case:
        logits, values, text = _logits(rng)
        kind = str(rng.choice(SIGNALS))

        def call() -> object:
            expected = reference.signals_from_logits(values, kind) if values.shape[1] > 1 else np.empty(0)
            bad = np.isnan(expected)
            if bad.any():
                _check_refused(logits, kind, int(bad.argmax()))
            found = logit_signals(logits[~bad] if bad.any() else logits, kind)
            _compare(found, expected[~bad].astype(np.float64), kind)
            return found

        return Case(f"{kind} of {text}", call)

    return make


def _check_refused(logits: npt.NDArray[Any], kind: str, row: int) -> None:
    """Raise AssertionError unless the core refuses the first row without a softmax by its number."""
    try:
        found = logit_signals(logits, kind)
    except ValueError as error:
        if f"(row {row})" not in str(error) and "C-contiguous" not in str(error):
            raise AssertionError(f"expected row {row} to be refused, got {error}") from error
    else:
        raise AssertionError(f"expected row {row} to be refused, got {found}")


def _compare(found: npt.NDArray[np.float32], expected: Floats, kind: str) -> None:
    """Raise AssertionError unless these are the signals; the difference of two logits is exact."""
    exact = found == expected
    with np.errstate(invalid="ignore"):  # of infinities that are equal
        error = np.where(exact, 0.0, np.abs(found - expected))
    bound = 0.0 if kind == "logit_margin" else np.maximum(RELATIVE * np.abs(expected), ABSOLUTE)
    assert np.all(error <= bound), f"expected {expected}, got {found}"


def _logits(rng: np.random.Generator) -> tuple[npt.NDArray[Any], Floats, str]:
    """Logits as an array that the core takes or refuses, what they are in float64, and how they were made."""
    classes = round(np.exp(rng.uniform(np.log(2), np.log(MOST_CLASSES))))
    if rng.random() < 0.03:
        classes = int(rng.choice([0, 1, MOST_CLASSES]))
    rows = int(rng.integers(0, MOST_ROWS + 1))
    scale = float(rng.choice([0.0, 1e-3, 1.0, 4.0, 30.0, 1e4, 1e30]))
    rest = str(rng.choice(["normal", "flat", "rising", "falling", "steps"]))
    table = {
        "normal": lambda: rng.standard_normal((rows, classes)),
        "flat": lambda: np.zeros((rows, classes)),
        "rising": lambda: np.linspace(np.full(rows, -1.0), 0.0, classes, axis=1),
        "falling": lambda: np.linspace(np.zeros(rows), -1.0, classes, axis=1),
        "steps": lambda: np.broadcast_to(np.arange(classes) // 1024 * 0.01, (rows, classes)),
    }[rest]()
    logits = np.ascontiguousarray(scale * table, np.float32)
    holes, peaks, spoilt = float(rng.choice([0.0, 0.0, 0.3, 1.0])), int(rng.integers(0, 6)), float(rng.random())
    logits[rng.random(logits.shape) < holes] = -np.inf
    for row in logits[:, :classes] if classes else ():
        _raise_some(rng, row, peaks)
        if spoilt < 0.15 and rng.random() < 0.5:
            row[rng.integers(classes)] = rng.choice([np.nan, np.inf, -np.inf, 3.4e38, -3.4e38])
    dtype = str(rng.choice(["float32", "float16", "bfloat16"]))
    text = f"{dtype} ({rows}, {classes}): {rest} * {scale:g}, {holes:g} holes, {peaks} peaks"
    given, values = _as(dtype, logits)
    if rng.random() < 0.02:
        return given[:, ::2], values[:, ::2], f"{text}, every other column"
    return given, values, text


def _raise_some(rng: np.random.Generator, row: npt.NDArray[np.float32], peaks: int) -> None:
    """Some places, all equal or nearly so, above the rest by little or much."""
    finite = row[np.isfinite(row)]
    top = float(finite.max(initial=0.0)) + float(rng.choice([0.0, 0.5, 5.0, 12.0, 17.0, 40.0, 88.0]))
    unit = float(rng.choice([0.0, 0.0, 1e-6, 1e-3, 0.1, 2.0]))
    for place in rng.integers(0, len(row), peaks).tolist():
        row[place] = top - unit * int(rng.integers(0, 4))


def _as(dtype: str, logits: npt.NDArray[np.float32]) -> tuple[npt.NDArray[Any], Floats]:
    """In a dtype, and what it holds exactly; bfloat16 is the upper half of float32."""
    if dtype == "bfloat16":
        bits = (logits.view(np.uint32) >> 16).astype(np.uint16)
        return bits, (bits.astype(np.uint32) << 16).view(np.float32).astype(np.float64)
    with np.errstate(over="ignore"):
        narrow = logits.astype(dtype)
    return narrow, narrow.astype(np.float64)


FUZZER = Fuzzer(start, (ValueError,), memory=1 << 30)
