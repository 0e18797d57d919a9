"""Signals of a softmax."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

PROB_FLOOR = 1e-7
"""Logarithms of probabilities are floored at that of this one."""


def signals_from_probs(probs: npt.NDArray[np.float64], kind: str) -> npt.NDArray[np.float32]:
    """Signals (...) of distributions (..., C) in float64, rounded once; kinds as for `signals_from_logits`."""
    ordered = np.sort(probs, axis=-1)
    first, second = ordered[..., -1], ordered[..., -2]
    if kind == "max_prob":
        signals = first
    elif kind == "margin":
        signals = first - second
    elif kind == "entropy":
        signals = np.sum(probs * np.log(np.where(probs > 0, probs, 1.0)), axis=-1)
    elif kind == "logit_margin":
        signals = np.log(np.maximum(first, PROB_FLOOR) / np.maximum(second, PROB_FLOOR))
    else:
        raise ValueError(f"signal: expected max_prob, margin, entropy or logit_margin, got {kind!r}")
    return signals.astype(np.float32)


def signals_from_logits(logits: npt.ArrayLike, kind: str) -> npt.NDArray[np.float32]:
    """Signals of softmax(logits), computed in float64 and rounded to float32 once.

    The difference of two logits is not floored, as logarithms of recorded probabilities are at that of 1e-7. That moves
    no state: where the second probability is below 1e-7 the first is within 1e-7 C of 1, and the recorded signal within
    as much of the largest that can be recorded.

    Parameters
    ----------
    logits : (..., C) float
        C >= 2; -inf is a probability of 0.
    kind : {"max_prob", "margin", "entropy", "logit_margin"}
        See `ttamer.traces.signals.SIGNALS`.

    Returns
    -------
    (...) float32
        NaN where there is no softmax: a NaN or +inf among the logits, or nothing but -inf.

    Raises
    ------
    ValueError
        If `kind` is unknown.
    """
    given = np.asarray(logits, np.float64)
    largest = given.max(axis=-1, keepdims=True)
    valid = np.isfinite(largest)  # the largest of values with a NaN is NaN
    if kind == "logit_margin":
        return _logit_margins(np.where(valid, given, 0.0), valid[..., 0])
    powers = np.exp(np.where(valid, given, 0.0) - np.where(valid, largest, 0.0))
    signals = signals_from_probs(powers / powers.sum(axis=-1, keepdims=True), kind)
    return np.where(valid[..., 0], signals, np.float32(np.nan))


def _logit_margins(logits: npt.NDArray[np.float64], valid: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
    largest = np.partition(logits, logits.shape[-1] - 2, axis=-1)[..., -2:]
    with np.errstate(over="ignore"):  # two logits may be further apart than float32 reaches
        margins = (largest[..., 1] - largest[..., 0]).astype(np.float32)
    return np.where(valid, margins, np.float32(np.nan))
