"""One threshold whose risk is certified by learn-then-test."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from baselines.scores import check_errors, extra
from ttamer._base import checks
from ttamer._base.hull import representative
from ttamer._base.types import Floats
from ttamer.baselines.settings import Setting, check_line, setting_of, signals_of, threshold
from ttamer.baselines.sweep import sweep
from ttamer.traces import Traces
from ttamer.traces.signals import SIGNALS

THRESHOLDS = 2000
"""Thresholds that are tested, one after the other."""
LEVELS = 400
"""Risk levels that are tried."""
LARGEST_ENTROPY = 20.0
"""Nats, above the entropy of any vocabulary."""
LARGEST_LOGIT_MARGIN = 16.2
"""Above the logarithm of 1 / 1e-7: recorded probabilities are not below 1e-7."""


def certified_curve(
    traces: Traces, signal: str | None = None, confidence: float = 0.9, points: int = 120
) -> list[Setting]:
    """Settings of one `threshold`, each the smallest whose error rate is certified to be at most some level.

    For a level, thresholds are tested from never stopping early downwards: the hypothesis "the error rate is above
    the level" is rejected if the binomial probability of as few errors as were seen is at most 1 - `confidence`. The
    last threshold before the first one that is not rejected is taken; with probability `confidence` all rejected
    ones keep the level. Levels go from the error of the last node to that of the first; those that not even
    the last node is certified for bring nothing.

    Parameters
    ----------
    traces : Traces
        Calibration rows on a line, with 0/1 losses. The guarantee is for each level by itself.
    signal : str, optional
        One of `ttamer.traces.signals.SIGNALS`; default: the traces' own, which has to be one of these, because the
        thresholds that are tested may not depend on the rows.
    confidence : float
        In (0, 1).
    points : int
        How many settings at most, at least 2.

    Returns
    -------
    list of Setting
        By descending threshold, at least one: never stopping early. Names say the level.

    Raises
    ------
    ImportError
        If SciPy is missing.
    ValueError
        If the topology is not a line, a loss is not 0 or 1, or a parameter is out of range.

    References
    ----------
    Angelopoulos, Bates, Candès, Jordan, Lei, *Learn then Test: Calibrating Predictive Algorithms to Achieve Risk
    Control*, arXiv 2110.01052.
    """
    check_line(traces, "certified_curve")
    most = checks.whole("points", points, 2)
    delta = 1.0 - checks.real("confidence", confidence)
    if not 0.0 < delta < 1.0:
        raise ValueError(f"confidence: expected a number in (0, 1), got {confidence}")
    check_errors(traces, "certified_curve")
    stats = extra("scipy.stats", "certified_curve")
    thresholds = _fixed_thresholds(signal or traces.signal)
    outcomes = sweep(signals_of(traces, signal), traces.losses, traces.request_reach_costs)
    # A threshold between two of the sweep's stops the same rows as the larger of the two.
    cost, loss = (_at(thresholds, outcomes.values, outcome) for outcome in (outcomes.cost, outcomes.loss))
    errors = np.rint(loss * len(traces))
    low, high = traces.losses[:, [-1, 0]].mean(axis=0, dtype=np.float64)
    levels = np.unique(np.linspace(min(low, high), min(1.2 * max(low, high) + 1e-3, 1.0), LEVELS))
    # The most errors at which a level is certified, found once a level: the smallest count of that probability or more,
    # less one unless it is met exactly.
    most_errors = stats.binom.ppf(delta, len(traces), levels)
    most_errors -= stats.binom.cdf(most_errors, len(traces), levels) > delta
    verdicts = errors[None, :] <= most_errors[:, None]
    last = np.where(verdicts.all(axis=1), len(thresholds), verdicts.argmin(axis=1)) - 1
    places, first = np.unique(last[last >= 0], return_index=True)
    if len(places) == 0:
        return [setting_of("threshold inf, no level certified", threshold, value=np.inf, signal=signal)]
    names = levels[last >= 0][first]
    vertices = representative(cost[places], loss[places], most)
    settings = []
    for k in vertices.tolist():
        value = float(thresholds[places[k]])
        name = f"threshold {value:.6g}, error <= {names[k]:.4f}"
        settings.append(setting_of(name, threshold, value=value, signal=signal))
    return settings


def _fixed_thresholds(kind: str) -> npt.NDArray[np.float32]:
    """Descending, from infinity, and dense where confident rows crowd: near the largest probability, say."""
    if kind not in SIGNALS:
        raise ValueError(f"signal: certified_curve needs one of {', '.join(SIGNALS)}, got {kind!r}")
    if kind == "logit_margin":
        return np.append(np.float32(np.inf), np.linspace(LARGEST_LOGIT_MARGIN, 0.0, THRESHOLDS, dtype=np.float32))
    top, span = (0.0, LARGEST_ENTROPY) if kind == "entropy" else (1.0, 1.0)
    grid = np.unique((top - span * np.geomspace(1e-8, 1.0, THRESHOLDS)).astype(np.float32))
    return np.append(np.float32(np.inf), grid[::-1])


def _at(thresholds: npt.NDArray[np.float32], values: npt.NDArray[np.float32], outcome: Floats) -> Floats:
    """Outcome of each threshold: that of the smallest of the descending `values` which is not below it."""
    place = np.searchsorted(values[::-1], thresholds, side="left")
    return outcome[::-1][np.minimum(place, len(values) - 1)]
