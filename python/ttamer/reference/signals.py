"""Signals of a softmax."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ttamer.signals import signals_from_probs


def signals_from_logits(logits: npt.ArrayLike, kind: str) -> npt.NDArray[np.float32]:
    """Signals of softmax(logits), computed in float64 and rounded to float32 once.

    Parameters
    ----------
    logits : (..., C) float
        C >= 2; -inf is a probability of 0.
    kind : {"max_prob", "margin", "entropy"}
        See `ttamer.signals.SIGNALS`.

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
    powers = np.exp(np.where(valid, given, 0.0) - np.where(valid, largest, 0.0))
    signals = signals_from_probs(powers / powers.sum(axis=-1, keepdims=True), kind)
    return np.where(valid[..., 0], signals, np.float32(np.nan))
