"""One threshold on probabilities that a temperature for each node has calibrated."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np

from baselines.scores import Scores, class_logits, evidence_of, extra, score_curve, top_log_odds
from ttamer._base import checks
from ttamer._base.types import Floats
from ttamer.baselines.settings import Setting, check_line
from ttamer.traces import Traces

RANGE = (0.05, 20.0)
"""Temperatures that are tried."""


@dataclass(frozen=True, eq=False)
class ScaledLogOdds(Scores):
    """Log-odds of the largest probability after the logits of node j are divided by ``temperatures[j]``.

    They are an increasing function of that probability, and tell apart those that differ from 1 by less than float64
    does.
    """

    temperatures: Floats

    def compute(self, traces: Traces) -> Floats:
        """(N, n) float64."""
        logits, weight = class_logits(evidence_of(traces, "temperature_curve"))
        return top_log_odds(logits / self.temperatures[:, None], weight)


def temperature_curve(traces: Traces, points: int = 120) -> list[Setting]:
    """Settings of one threshold on the largest probability after temperature scaling, one temperature a node.

    A node's temperature minimises the negative log-likelihood of the labels. Where not all classes were recorded, the
    mass that is left is spread evenly over the others.

    Parameters
    ----------
    traces : Traces
        Calibration rows on a line, with labels and evidence.
    points : int
        How many settings at most, at least 2.

    Returns
    -------
    list of Setting
        Of `score_thresholds`, by descending threshold on the log-odds.

    Raises
    ------
    ImportError
        If SciPy is missing.
    ValueError
        If the topology is not a line, or labels or evidence are missing.

    References
    ----------
    Guo, Pleiss, Sun, Weinberger, *On Calibration of Modern Neural Networks*, arXiv 1706.04599.
    """
    check_line(traces, "temperature_curve")
    most = checks.whole("points", points, 2)
    scores = ScaledLogOdds(fit_temperatures(traces))
    return score_curve("scaled log-odds", scores, traces, most)


def fit_temperatures(traces: Traces) -> Floats:
    """Temperature of each node, (n,) float64; errors are those of `temperature_curve`."""
    evidence = evidence_of(traces, "temperature_curve")
    if traces.labels is None:
        raise ValueError("traces: temperature_curve needs labels, and these traces have none")
    optimize = extra("scipy.optimize", "temperature_curve")
    logits, weight = class_logits(evidence)
    is_label = evidence.classes == traces.labels[:, None, None]
    place = np.where(is_label.any(axis=-1), is_label.argmax(axis=-1), evidence.top)
    shift = np.zeros(logits.shape[2])
    shift[-1] = weight
    temperatures = np.ones(logits.shape[1])
    for j in range(len(temperatures)):
        own = logits[:, j]
        target = np.take_along_axis(own, place[:, j, None], axis=1)[:, 0]
        loss = partial(_negative_log_likelihood, own, target, shift)
        optimum = optimize.minimize_scalar(loss, bounds=np.log(RANGE), method="bounded", options={"xatol": 1e-3})
        temperatures[j] = np.exp(optimum.x)
    return temperatures


def _negative_log_likelihood(logits: Floats, target: Floats, shift: Floats, log_temperature: float) -> float:
    """Mean over rows; `shift` is added to scaled logits that stand for several classes."""
    cold = np.exp(-log_temperature)
    # No logit is above the first, so nothing overflows.
    total = np.exp((logits - logits[:, :1]) * cold + shift).sum(axis=1)
    return float(np.mean(np.log(total) + (logits[:, 0] - target) * cold))
