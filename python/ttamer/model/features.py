"""Features of estimates: what is seen of a request, as numbers; the core computes the same when it serves."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ttamer._base.types import Floats
from ttamer.traces.evidence import LOG_FLOOR

LEAST_DOUBT = 1e-6
"""A node's own probability of being wrong counts as at least this."""


def assemble(odds: Floats, agree: npt.NDArray[np.bool_], doubts: Floats) -> Floats:
    """The features (N, d) of kinds "history" and "posterior" from their parts.

    Parameters
    ----------
    odds : (N, S) float64
        Of the candidate's answer according to each node consulted.
    agree : (N, S) bool
        Whether the node's own answer is the candidate's.
    doubts : (N, 2) float64
        What `doubts` gives of the node consulted last.
    """
    if odds.shape[1] == 1:
        return np.hstack([odds, doubts])
    several = np.stack([odds.min(axis=1), odds.max(axis=1), agree.mean(axis=1)], axis=1)
    return np.hstack([odds, several, doubts])


def odds(
    log_probs: npt.NDArray[np.float32],
    classes: npt.NDArray[np.int32],
    class_count: int,
    answer: npt.NDArray[np.int32],
) -> Floats:
    """Log-odds (N,) of answers (N,) against their best rival, according to one node's (N, top) log-probabilities."""
    logs = log_probs.astype(np.float64)
    _, other = _rest(log_probs, class_count)
    second = logs[:, 1] if logs.shape[1] > 1 else other
    is_answer = classes == answer[:, None]
    place = is_answer.argmax(axis=1)[:, None]
    own = np.where(is_answer.any(axis=1), np.take_along_axis(logs, place, axis=1)[:, 0], other)
    against: Floats = own - np.where(is_answer[:, 0], second, logs[:, 0])
    return against


def doubts(log_probs: npt.NDArray[np.float32], class_count: int) -> Floats:
    """Entropy, and log-probability of all but the answer, (N, 2), of one node's (N, top) log-probabilities."""
    logs = log_probs.astype(np.float64)
    mass, _ = _rest(log_probs, class_count)
    each = mass / max(class_count - logs.shape[1], 1)
    entropy = -(np.exp(logs) * logs).sum(axis=1) - mass * np.log(np.where(each > 0, each, 1.0))
    doubt = np.log(np.clip(np.exp(logs[:, 1:]).sum(axis=1) + mass, LEAST_DOUBT, 1.0))
    return np.stack([entropy, doubt], axis=1)


def _rest(log_probs: npt.NDArray[np.float32], class_count: int) -> tuple[Floats, Floats]:
    """Mass of the classes that were not recorded, (N,), and the log-probability of one of them, (N,)."""
    others = class_count - log_probs.shape[-1]
    mass = np.maximum(0.0, 1 - np.exp(log_probs.astype(np.float64)).sum(axis=-1))
    if others == 0:
        return np.zeros(len(log_probs)), np.full(len(log_probs), float(LOG_FLOOR))
    with np.errstate(divide="ignore"):
        each = np.log(mass / others)
    return mass, np.clip(each, float(LOG_FLOOR), log_probs[..., -1].astype(np.float64))
