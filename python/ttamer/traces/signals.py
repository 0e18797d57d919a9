"""Signals: how confident a node is, as one number, from its probabilities or from the evidence kept of them.

A larger signal is a more confident node. Everything is computed in float64 and rounded to float32 once, at
the end.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from ttamer._base import checks
from ttamer.traces.evidence import LOG_FLOOR, PROB_FLOOR, SUM_TOLERANCE, Evidence

SIGNALS = ("max_prob", "margin", "entropy", "logit_margin")
"""The largest probability; the largest less the second largest; the negative entropy (nats); the logarithm of the
largest less that of the second largest, which is the difference of their logits and takes no softmax."""

NOTHING = np.finfo(np.float32).min
"""The signal of a node that was consulted and has none where others do: below all signals, in the lowest state."""


def without_nothing(signals: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Signals (N,) of a node with the smallest of the others in place of `NOTHING`, so that means stay means."""
    nothing = signals == NOTHING
    if not nothing.any() or nothing[~np.isnan(signals)].all():
        return signals
    return np.where(nothing, signals[~nothing & ~np.isnan(signals)].min(), signals)


def check_signal(kind: str) -> None:
    """Raise unless `kind` is one of `SIGNALS`: TypeError for what is no str, else ValueError."""
    checks.text("signal", kind)
    if kind not in SIGNALS:
        raise ValueError(f"signal: expected {', '.join(SIGNALS[:-1])} or {SIGNALS[-1]}, got {kind!r}")


def signals_in(fields: Mapping[str, Any]) -> tuple[str, str]:
    """Of a saved model or policy the kind that it decides on, and the kind recorded; ValueError unless they are kinds.

    The first is "" in files written before it was kept, the second is the first unless the file says otherwise.
    """
    signal: str = fields.get("signal", "")
    recorded: str = fields.get("recorded_signal", signal)
    for kind in (signal, recorded):
        if kind != "":
            check_signal(kind)
    return signal, recorded


def signals_from_probs(probs: npt.NDArray[np.float64], kind: str) -> npt.NDArray[np.float32]:
    """Signals of full distributions.

    Logarithms are of probabilities not below 1e-7, as in evidence.

    Parameters
    ----------
    probs : (..., C) float64
        Probabilities that sum to 1 along the last axis, C >= 2.
    kind : str
        One of `SIGNALS`.

    Returns
    -------
    (...) float32

    Raises
    ------
    ValueError
        If `kind` is unknown.
    """
    check_signal(kind)
    probs = checks.as_array("probs", probs, "(..., C) floats, C >= 2").astype(np.float64, copy=False)
    if probs.ndim == 0 or probs.shape[-1] < 2:
        raise ValueError(f"probs: expected (..., C) floats, C >= 2, got {checks.describe(probs)}")
    checks.check_values("probs", probs, 0.0, ())
    if probs.max(initial=0.0) > 1.0 + SUM_TOLERANCE:
        raise ValueError(f"probs: expected values <= 1, got {probs.max():g}")
    if kind == "max_prob":
        return _to_float32(probs.max(axis=-1))
    if kind == "entropy":
        return _to_float32(np.sum(_x_log_x(probs), axis=-1))
    largest = np.partition(probs, probs.shape[-1] - 2, axis=-1)[..., -2:]
    if kind == "margin":
        return _to_float32(largest[..., 1] - largest[..., 0])
    # One logarithm: of equal probabilities NumPy may give two, a last bit apart, where a tie is to give 0.
    largest = np.maximum(largest, PROB_FLOOR)
    return _to_float32(np.log(largest[..., 1] / largest[..., 0]))


def signals_from_evidence(evidence: Evidence, kind: str) -> npt.NDArray[np.float32]:
    """Signals from the largest log-probabilities of each node.

    The mass that the recorded probabilities leave is spread evenly over the classes that were not recorded,
    and over those recorded at the floor, whose probability is only known to be below 1e-7. With all classes
    recorded and none at the floor nothing is spread, and the result is that of `signals_from_probs` up to the
    rounding of the log-probabilities to float32 (a last bit of the largest probability).

    Parameters
    ----------
    evidence : Evidence
        Log-probabilities (N, n, top).
    kind : str
        One of `SIGNALS`.

    Returns
    -------
    (N, n) float32

    Raises
    ------
    ValueError
        If `kind` is unknown.
    """
    check_signal(kind)
    logs = checks.instance("evidence", evidence, Evidence).log_probs.astype(np.float64)
    if kind == "max_prob":
        return _to_float32(np.exp(logs[..., 0]))
    at_floor = evidence.log_probs <= LOG_FLOOR
    probs = np.where(at_floor, 0.0, np.exp(logs))
    others = at_floor.sum(axis=-1) + (evidence.class_count - evidence.top)
    # expm1 keeps the digits of 1 - p where p is nearly 1. There rows differ only in the mass that is missing.
    mass = -np.expm1(logs[..., 0]) - probs[..., 1:].sum(axis=-1)
    share = np.where(others > 0, np.maximum(mass, 0.0) / np.maximum(others, 1), 0.0)
    if kind == "margin":
        return _to_float32(probs[..., 0] - np.maximum(probs[..., 1:2].sum(axis=-1), share))
    if kind == "logit_margin":
        # As it was recorded: from exp and log it might come back a last bit off, where a tie is to give 0.
        runner_up = np.log(np.maximum(share, PROB_FLOOR))
        if evidence.top > 1:
            runner_up = np.maximum(runner_up, logs[..., 1])
        return _to_float32(logs[..., 0] - runner_up)
    return _to_float32(np.sum(probs * logs, axis=-1) + others * _x_log_x(share))


def _x_log_x(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """x * log(x), and its limit 0 at 0."""
    return x * np.log(np.where(x > 0, x, 1.0))


def _to_float32(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    return x.astype(np.float32)
