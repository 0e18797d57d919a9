"""The code in which the bundled network's probabilities are held: a byte a class, and two for the largest.

The largest probability p of a node is coded by its log-odds ln(p / (1 - p)) in 16 bits, so that the code is
as fine near 1 as elsewhere: the signals of confident nodes lie there. Every other class is coded by the
logarithm of its probability in 8 bits, between 1e-7 (`Traces` keeps no more) and 1/2 (only the largest can be
above).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ttamer._base.types import Floats

TOP = 255
"""Code of the class whose probability is coded apart: the largest, the lowest class among equals."""
BELOW = 0
"""Code of a probability below 1e-7."""
_LOW, _HIGH = np.log(1e-7), np.log(0.5)
_STEP = (_HIGH - _LOW) / (TOP - 2)
_LEVELS = np.iinfo(np.uint16).max
_CAP = 1.0 - 1e-6
"""How near a runner-up may come to the largest, relatively: float32 still tells the two apart."""


def encode(probs: Floats, log_odds_range: tuple[float, float]) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.uint8]]:
    """Code probabilities.

    Parameters
    ----------
    probs : (N, n, C) float64
        Sum to 1 along the last axis.
    log_odds_range : (float, float)
        Smallest and largest log-odds of the largest probabilities, see `log_odds`.

    Returns
    -------
    largest : (N, n) uint16
        Code of the largest probability.
    others : (N, C, n) uint8
        Codes of the other classes, `TOP` where the largest stands. The nodes are the last axis because a
        class has much the same code at neighbouring nodes, which compresses well.
    """
    low, high = log_odds_range
    largest = np.rint((log_odds(probs) - low) / (high - low) * _LEVELS).astype(np.uint16)
    top, runner_up = probs.max(axis=-1), np.partition(probs, -2, axis=-1)[..., -2]
    # Where the largest was rounded down, the runner-up gets what it lost, and may not overtake it by that.
    code_values = _largest_probs(largest, log_odds_range)
    largest += (runner_up + (top - code_values) >= code_values * _CAP) & (code_values < top)
    steps = np.rint((np.log(np.maximum(probs, 1e-300)) - _LOW) / _STEP)
    others = (np.clip(steps, -1, TOP - 2) + 1).astype(np.uint8)
    np.put_along_axis(others, probs.argmax(axis=-1)[..., None], TOP, axis=-1)
    return largest, np.ascontiguousarray(others.transpose(0, 2, 1))


def decode(
    largest: npt.NDArray[np.uint16], others: npt.NDArray[np.uint8], log_odds_range: tuple[float, float]
) -> Floats:
    """Probabilities (N, n, C) from what `encode` returned; each node's sum to 1.

    The other classes are scaled to what the largest leaves, and stay below it: the most probable class is the
    one that was.
    """
    top = _largest_probs(largest, log_odds_range)[..., None]
    # Not 1 - top: near 1 that difference would have few digits left.
    rest = _largest_probs(largest, log_odds_range, -1.0)[..., None]
    codes = others.transpose(0, 2, 1)
    is_top, is_below = codes == TOP, codes == BELOW
    probs = np.exp(_LOW + (codes.astype(np.float64) - 1.0) * _STEP)
    probs[is_top | is_below] = 0.0
    gap = np.maximum(rest - probs.sum(axis=-1, keepdims=True), 0.0)
    share = gap / np.maximum(is_below.sum(axis=-1, keepdims=True), 1)
    probs = np.where(is_below, np.clip(share, 1e-12, 1e-7), probs)
    probs *= rest / probs.sum(axis=-1, keepdims=True)
    # A class that this lifts to the largest is capped, and the others take what it cannot; that may lift another.
    cap = top * _CAP
    while np.any(probs > cap):
        at_cap = probs >= cap
        free = np.where(at_cap, 0.0, probs)
        room = rest - cap * at_cap.sum(axis=-1, keepdims=True)
        scale = room / np.maximum(free.sum(axis=-1, keepdims=True), 1e-300)
        probs = np.where(at_cap, cap, free * scale)
    return np.where(is_top, top, probs)


def _largest_probs(codes: npt.NDArray[np.uint16], log_odds_range: tuple[float, float], sign: float = 1.0) -> Floats:
    """The largest probabilities, or with the other sign what they leave to 1."""
    low, high = log_odds_range
    probs: Floats = 1.0 / (1.0 + np.exp(-sign * (low + codes * ((high - low) / _LEVELS))))
    return probs


def log_odds(probs: Floats) -> Floats:
    """ln(p / (1 - p)) of the largest probabilities, (N, n) from (N, n, C); 1 - p is the sum of the others."""
    largest = probs.max(axis=-1)
    others = probs.copy()
    np.put_along_axis(others, probs.argmax(axis=-1)[..., None], 0.0, axis=-1)
    log_odds: Floats = np.log(largest / others.sum(axis=-1))
    return log_odds
