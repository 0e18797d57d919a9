"""What choices are judged by: the error at a range of mean costs, trade-offs swept and neighbours mixed."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ttamer._base.types import Floats
from ttamer.traces import Traces
from ttamer.traces.paths import costliest_path

MOST_POINTS = 120
BUDGETS = 25
CHEAPEST, LEAST, LEAST_ON_FORESTS, LEAST_OF_BEST = 1.5, 0.1, 0.01, 0.02


def default_tradeoffs(scale: float = 1.0) -> Floats:
    """Trade-offs from loss alone to cost alone, evenly spaced in log((1 - tradeoff) / tradeoff).

    Parameters
    ----------
    scale : float
        How large losses are, see `loss_scale`: costs weigh so many times as much.

    Returns
    -------
    (119,) float64
    """
    return 1 / (1 + scale * np.geomspace(1e-3, 30, MOST_POINTS - 1))


def loss_scale(losses: npt.NDArray[np.float32]) -> float:
    """Mean of the recorded losses that are not 0: 1 for errors, whatever their rate; 1 if all are 0."""
    wrong = losses[(losses > 0) & np.isfinite(losses)]
    return float(wrong.mean(dtype=np.float64)) if len(wrong) else 1.0


def cheapest_answer(traces: Traces) -> int:
    """The node that is cheapest to reach, of those that can answer."""
    return min(traces._answering, key=lambda node: float(traces.reach_costs[node]))


def default_budgets(traces: Traces, most: float | None = None) -> Floats:
    """Mean costs (25,), evenly spaced in their logarithm, at which estimates and orders are compared.

    Of independent models from half as much again as the cheapest costs, but at least a fiftieth of what the most
    accurate one does, to half as much again as that. Else from half as much again as the cheapest answer costs, but at
    least a tenth of `most` (on a forest, whose models may differ in cost by orders of magnitude, a hundredth), up to
    `most`: by default the cost of the costliest path.
    """
    if traces.independent and most is None:
        models = traces._answering
        best = float(traces.reach_costs[models[int(traces.losses[:, models].mean(axis=0, dtype=np.float64).argmin())]])
        least = max(CHEAPEST * float(traces.reach_costs[models].min()), LEAST_OF_BEST * best)
        return np.geomspace(least, max(least, CHEAPEST * best), BUDGETS) if least > 0 else np.zeros(BUDGETS)
    if most is None:
        most = costliest_path(traces.topology, traces.costs)
    floor = LEAST_ON_FORESTS if traces.topology.kind == "forest" else LEAST
    least = max(floor * most, CHEAPEST * float(traces.reach_costs[cheapest_answer(traces)]))
    return np.geomspace(least, max(least, most), BUDGETS)
