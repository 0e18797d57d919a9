"""How sure each node is, for thresholds: functions of recorded rows, fitted on calibration rows."""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from types import ModuleType
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from ttamer._base import checks
from ttamer._base.types import Floats
from ttamer.baselines import Setting
from ttamer.baselines.settings import check_line, setting_of, stopped
from ttamer.baselines.sweep import sweep
from ttamer.policy import Replay
from ttamer.traces import Evidence, Traces
from ttamer.traces.evidence import LOG_FLOOR


class Scores(ABC):
    """Score of every node of a line but the last, for any traces of the topology it was fitted on.

    Scores of the same traces are computed once: a sweep asks for them with every threshold.
    """

    @abstractmethod
    def compute(self, traces: Traces) -> Floats:
        """(N, n - 1) or (N, n) float64: larger stops earlier; no NaN."""

    def __call__(self, traces: Traces) -> Floats:
        """What `compute` returns, remembered for as long as the traces are alive."""
        cache = self.__dict__.setdefault("_cache", WeakKeyDictionary())
        if traces not in cache:
            cache[traces] = self.compute(traces)
        return cache[traces]  # type: ignore[no-any-return]

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_cache"}


def score_thresholds(traces: Traces, scores: Scores, values: npt.ArrayLike) -> Replay:
    """Walk a line and stop at the first node whose score is at least its threshold; the last node always stops.

    Parameters
    ----------
    traces : Traces
        On a line.
    scores : Scores
        Of a curve made from calibration traces, such as `temperature_curve`.
    values : float or (n - 1,) floats
        One for all nodes, or one for every node but the last; infinity never stops.

    Raises
    ------
    ValueError
        If the topology is not a line, or there are not n - 1 values.
    """
    check_line(traces, "score_thresholds")
    count = traces.topology.nodes - 1
    limits = np.asarray(values, np.float64)
    if limits.shape not in ((), (count,)):
        raise ValueError(f"values: expected one number or ({count},), got {checks.describe(limits)}")
    stops = np.ones(traces.signals.shape, np.bool_)
    stops[:, :-1] = scores(traces)[:, :count] >= limits
    return stopped(traces, stops)


def score_curve(name: str, scores: Scores, traces: Traces, points: int) -> list[Setting]:
    """Settings of `score_thresholds` with one value for all nodes, by descending value.

    Parameters
    ----------
    name : str
        Of the method; the value is added to it.
    scores : Scores
    traces : Traces
        Calibration rows, on a line.
    points : int
        At most.
    """
    outcomes = sweep(scores(traces), traces.losses, traces.request_reach_costs)
    return [
        setting_of(f"{name} >= {value:.6g}", score_thresholds, scores=scores, values=value)
        for value in outcomes.chosen(points)
    ]


def extra(module: str, who: str) -> ModuleType:
    """A module of the ``fit`` extra, imported; ImportError names the extra."""
    try:
        return importlib.import_module(module)
    except ImportError:
        package = {"sklearn": "scikit-learn"}.get(module.partition(".")[0], module.partition(".")[0])
        raise ImportError(f'{who} needs {package}: pip install "ttamer[fit]"') from None


def evidence_of(traces: Traces, who: str) -> Evidence:
    """The evidence; ValueError where there is none."""
    if traces.evidence is None:
        raise ValueError(f"traces: {who} needs evidence, and these traces have none (Traces.from_probs does)")
    return traces.evidence


def check_errors(traces: Traces, who: str) -> None:
    """ValueError unless all losses are 0 or 1."""
    bad = (traces.losses != 0) & (traces.losses != 1)
    if bad.any():
        row, node = np.unravel_index(int(bad.argmax()), bad.shape)
        value = traces.losses[row, node]
        raise ValueError(f"losses: {who} needs 0/1 errors, got {value:g} at row {row}, node {node}")


def class_logits(evidence: Evidence) -> tuple[Floats, float]:
    """Log-probabilities of the recorded classes, and that of each class which was not recorded.

    Returns
    -------
    logits : (N, n, top + 1) float64
        The last one is that of every class without a record: what mass is left, spread evenly, at the floor at least
        and at most the smallest one recorded. Minus infinity if all classes are recorded.
    weight : float
        Logarithm of how many classes the last one stands for.
    """
    logs = evidence.log_probs.astype(np.float64)
    others = evidence.class_count - evidence.top
    if others == 0:
        return np.concatenate([logs, np.full_like(logs[..., :1], -np.inf)], axis=-1), 0.0
    mass = np.maximum(1.0 - np.exp(logs).sum(axis=-1, keepdims=True), 0.0) / others
    spread = np.log(np.maximum(mass, np.exp(np.float64(LOG_FLOOR))))
    return np.concatenate([logs, np.minimum(spread, logs[..., -1:])], axis=-1), float(np.log(others))


def top_log_odds(logits: Floats, weight: float) -> Floats:
    """Log-odds of the first class against all others, from `class_logits` or multiples of them.

    Parameters
    ----------
    logits : (..., top + 1) float64
    weight : float

    Returns
    -------
    (...) float64
    """
    second = logits[..., 1:2]
    # Relative to the second largest: one minus a probability near 1 would lose its digits.
    rest = np.exp(logits[..., 1:] - second)
    rest[..., -1] *= np.exp(weight)
    return np.asarray(logits[..., 0] - second[..., 0] - np.log(rest.sum(axis=-1)))
