"""Exits scheduled to meet a budget, from learned scores: EENet's scheduler on recorded rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from baselines.features import exit_features
from baselines.logistic import Logistic, fit_logistic
from baselines.scores import Scores, check_errors, score_thresholds
from ttamer._base import checks
from ttamer._base.types import Floats
from ttamer.baselines.settings import Setting, check_line, setting_of
from ttamer.traces import Traces

WHO = "schedule_curve"
RATES = (1e-6, 1e6)
"""Ratios of the geometric distributions that are tried."""


@dataclass(frozen=True, eq=False)
class ExitScores(Scores):
    """Probability that a node's answer is right, given confidences and agreements so far."""

    models: tuple[Logistic, ...]

    def compute(self, traces: Traces) -> Floats:
        """(N, n - 1) float64."""
        features = exit_features(traces, WHO)
        scores = np.empty((len(traces), len(self.models)))
        for j, model in enumerate(self.models):
            scores[:, j] = model(features[j])
        return scores


def schedule_curve(traces: Traces, points: int = 120) -> list[Setting]:
    """Settings of `score_thresholds` that meet budgets, with learned exit scores, after EENet.

    The score of a node is a logistic regression of its answer being right on the confidences and agreements of the
    nodes so far. For a budget, the share of rows that leave at nodes 0..m is geometric with the ratio whose mean cost
    is the budget; from the first node on, those that have not left leave by descending score until the node has its
    share, and the last score is its threshold. Of all m the one with the smallest error on the calibration rows is
    taken. (EENet trains the scores together with the shares, by gradient descent; here they are fitted one after
    the other.)

    Parameters
    ----------
    traces : Traces
        Calibration rows on a line, with 0/1 losses and evidence.
    points : int
        How many budgets, at least 2, from the cost of the first node to that of the last, geometrically spaced.

    Returns
    -------
    list of Setting
        By rising budget.

    Raises
    ------
    ImportError
        If scikit-learn is missing.
    ValueError
        If the topology is not a line, a loss is not 0 or 1, or there is no evidence.

    References
    ----------
    Ilhan, Chow, Hu, Huang, Tekin, Wei, Wu, Lee, Kompella, Latapie, Liu, *EENet: Learning to Early Exit for Adaptive
    Inference*, arXiv 2301.07099.
    """
    check_line(traces, WHO)
    most = checks.whole("points", points, 2)
    check_errors(traces, WHO)
    nodes, reach = traces.topology.nodes, traces.reach_costs
    features = exit_features(traces, WHO)
    scores = ExitScores(tuple(fit_logistic(features[j], traces.losses[:, j] == 0, WHO) for j in range(nodes - 1)))
    scheduler = _Scheduler(scores(traces), traces.losses.astype(np.float64))
    settings = []
    for budget in _budgets(reach, most):
        plans = [scheduler.thresholds(shares) for shares in _distributions(reach, budget)]
        values, _ = min(plans, key=lambda plan: plan[1])
        name = f"schedule of cost {budget:.6g}"
        settings.append(setting_of(name, score_thresholds, scores=scores, values=tuple(values.tolist())))
    return settings


class _Scheduler:
    """Turns the share of rows that leave at each node into thresholds, on the calibration rows."""

    def __init__(self, scores: Floats, losses: Floats) -> None:
        self.scores = scores
        self.losses = losses
        self.orders = np.argsort(-scores, axis=0, kind="stable")

    def thresholds(self, shares: Floats) -> tuple[Floats, float]:
        """Thresholds (n - 1,) for shares (n,), and the mean loss."""
        rows, nodes = self.losses.shape
        has_left = np.zeros(rows, np.bool_)
        values = np.full(nodes - 1, np.inf)
        loss = 0.0
        for j in range(nodes - 1):
            staying = self.orders[:, j][~has_left[self.orders[:, j]]]
            # Counted from the start, so that roundings do not add up.
            count = int(np.rint(shares[: j + 1].sum() * rows)) - (rows - len(staying))
            if count > 0 and len(staying) > 0:
                values[j] = self.scores[staying[min(count, len(staying)) - 1], j]
                leaving = staying[self.scores[staying, j] >= values[j]]
                has_left[leaving] = True
                loss += float(self.losses[leaving, j].sum())
        return values, (loss + float(self.losses[~has_left, -1].sum())) / rows


def _budgets(reach: Floats, points: int) -> list[float]:
    low, high = float(reach[0]), float(reach[-1])
    if high <= low:
        return [high]
    start = low if low > 0 else 1e-3 * high
    return np.geomspace(start, high, points).tolist()  # type: ignore[no-any-return]


def _distributions(reach: Floats, budget: float) -> list[Floats]:
    """For every last node m that the budget allows, the geometric shares on nodes 0..m whose mean cost it is."""
    distributions = []
    for m in range(len(reach)):
        if reach[m] < budget * (1 - 1e-9):
            continue
        shares = np.zeros(len(reach))
        shares[: m + 1] = _geometric(reach[: m + 1], budget)
        distributions.append(shares)
    return distributions


def _geometric(reach: Floats, budget: float) -> Floats:
    """Shares proportional to ratio^j with this mean cost, by bisection: the cost rises with the ratio."""
    nodes = np.arange(len(reach))
    low, high = np.log(RATES)
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _shares(middle, nodes) @ reach < budget else (low, middle)
    return _shares((low + high) / 2, nodes)


def _shares(log_ratio: float, nodes: npt.NDArray[np.intp]) -> Floats:
    powers = np.exp(log_ratio * nodes - max(log_ratio * nodes[-1], 0.0))
    return np.asarray(powers / powers.sum())
