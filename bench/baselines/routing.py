"""Expected-cost search: go on as long as some later set of models is expected to be worth its price."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from baselines.features import exit_features
from baselines.logistic import Logistic, fit_logistic
from baselines.scores import Scores, check_errors, score_curve
from baselines.supermodels import WHO, fit_qualities, route
from ttamer._base import checks
from ttamer._base.types import Floats
from ttamer.baselines.settings import Setting, setting_of
from ttamer.traces import Traces

PRICES = (1e-3, 30.0)
"""Prices of all costs together, in probability of being right."""


@dataclass(frozen=True, eq=False)
class GainForCost(Scores):
    """Minus the most that quality is expected to rise, for each unit of cost, by going on to some later node.

    Attributes
    ----------
    models : tuple of tuple of Logistic
        For node j, the probability that nodes j, j + 1, ... are right, given what nodes 0..j have shown.
    """

    models: tuple[tuple[Logistic, ...], ...]

    def compute(self, traces: Traces) -> Floats:
        """(N, n - 1) float64."""
        reach = traces.reach_costs
        features = exit_features(traces, WHO)
        # Free nodes are as good as certain gains or losses; a bound keeps them finite.
        least = 1e-9 * max(float(reach[-1]), 1e-300)
        scores = np.empty((len(traces), len(self.models)))
        for j, models in enumerate(self.models):
            qualities = np.stack([model(features[j]) for model in models], axis=1)
            gain = qualities[:, 1:] - qualities[:, :1]
            scores[:, j] = -(gain / np.maximum(reach[j + 1 :] - reach[j], least)).max(axis=1)
        return scores


def routing_curve(traces: Traces, points: int = 119) -> list[Setting]:
    """Settings of cascade routing: at each step the search for the set of models with the best quality less its price.

    On a forest in which every node is a root, models may be consulted in any order: see `route`. On a line, the walk
    stops at the first node from which no later node is expected to gain more than its price. Qualities are logistic
    regressions on the confidences and agreements of what was consulted, for consulted models and for others; the answer
    on a line is the last node's.

    Parameters
    ----------
    traces : Traces
        Calibration rows with 0/1 losses and evidence, on a line or on a forest of at most 6 roots.
    points : int
        How many prices at most, at least 2.

    Returns
    -------
    list of Setting
        By rising price on a forest; on a line by falling cost.

    Raises
    ------
    ImportError
        If scikit-learn is missing.
    ValueError
        If the topology is another one, a loss is not 0 or 1, or there is no evidence.

    References
    ----------
    Dekoninck, Baader, Vechev, *A Unified Approach to Routing and Cascading for LLMs*, arXiv 2410.10347.
    """
    most = checks.whole("points", points, 2)
    check_errors(traces, WHO)
    if traces.topology.kind != "line":
        qualities = fit_qualities(traces)
        prices = np.geomspace(*PRICES, most) / max(float(traces.costs.sum()), 1e-300)
        return [setting_of(f"price {price:.6g}", route, qualities=qualities, price=price) for price in prices.tolist()]
    features = exit_features(traces, WHO)
    right = traces.losses == 0
    nodes = traces.topology.nodes
    models = tuple(
        tuple(fit_logistic(features[j], right[:, m], WHO) for m in range(j, nodes)) for j in range(nodes - 1)
    )
    return score_curve("minus gain for cost", GainForCost(models), traces, most)
