"""Thresholds on errors that isotonic regression has calibrated."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from baselines.scores import Scores, extra, score_curve
from ttamer._base import checks
from ttamer._base.types import Floats
from ttamer.baselines.settings import Setting, check_line, signals_of
from ttamer.traces import Traces

RULES = ("error", "cost")


@dataclass(frozen=True, eq=False)
class CalibratedErrors(Scores):
    """Minus the expected loss of each node's answer, divided by a weight of the node.

    Attributes
    ----------
    signal : str or None
        As in `ttamer.baselines.threshold`.
    knots : tuple of two (P_j,) float64 for each node
        Signals, ascending, and the losses expected there; linear in between.
    weights : (n - 1,) float64
        Positive.
    """

    signal: str | None
    knots: tuple[tuple[Floats, Floats], ...]
    weights: Floats

    def compute(self, traces: Traces) -> Floats:
        """(N, n - 1) float64."""
        signals = signals_of(traces, self.signal).astype(np.float64)
        estimates = np.empty((len(traces), len(self.knots)))
        for j, (places, losses) in enumerate(self.knots):
            estimates[:, j] = np.interp(signals[:, j], places, losses)
        return -estimates / self.weights


def isotonic_curve(traces: Traces, signal: str | None = None, rule: str = "error", points: int = 120) -> list[Setting]:
    """Settings of a cascade that goes on where the calibrated error is above a threshold.

    The loss of each node's answer is regressed on its signal, never increasing. The walk stops at the first node whose
    expected loss is at most the threshold, or at most the threshold times the cost of the next node.

    Parameters
    ----------
    traces : Traces
        Calibration rows, on a line.
    signal : str, optional
        As in `ttamer.baselines.threshold`.
    rule : {"error", "cost"}
        "error": one threshold on the expected loss. "cost": one on the expected loss for each unit of the next cost,
        so that a cheap next node is consulted sooner.
    points : int
        How many settings at most, at least 2.

    Returns
    -------
    list of Setting
        Of `score_thresholds`, by rising threshold.

    Raises
    ------
    ImportError
        If scikit-learn is missing.
    ValueError
        If the topology is not a line, the rule is unknown, or the signal needs evidence that is not there.

    References
    ----------
    Kotte, *UCCI: Calibrated Uncertainty for Cost-Optimal LLM Cascade Routing*, arXiv 2605.18796, for two models; here
    every node of a line has its own regression.
    """
    check_line(traces, "isotonic_curve")
    most = checks.whole("points", points, 2)
    if rule not in RULES:
        raise ValueError(f"rule: expected 'error' or 'cost', got {rule!r}")
    isotonic = extra("sklearn.isotonic", "isotonic_curve")
    signals = signals_of(traces, signal).astype(np.float64)
    knots = []
    for j in range(traces.topology.nodes - 1):
        regression = isotonic.IsotonicRegression(increasing=False).fit(signals[:, j], traces.losses[:, j])
        knots.append((np.asarray(regression.X_thresholds_), np.asarray(regression.y_thresholds_)))
    following = traces.costs[1:]
    # A next node that costs nothing is always worth consulting; the smallest weight says so without dividing by 0.
    weights = (
        np.maximum(following, 1e-9 * max(following.max(initial=0.0), 1.0)) if rule == "cost" else np.ones(len(knots))
    )
    name = "calibrated error" if rule == "error" else "calibrated error / next cost"
    return score_curve(f"minus {name}", CalibratedErrors(signal, tuple(knots), weights), traces, most)
