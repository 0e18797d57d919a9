"""The Pareto front of cost and error: one policy for each trade-off."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from ttamer._base import checks
from ttamer.fitting import fit
from ttamer.fitting.budgets import MOST_POINTS, default_tradeoffs
from ttamer.model import CascadeModel
from ttamer.policy import Front, FrontPoint, solve
from ttamer.traces import Traces


def frontier(
    traces: Traces,
    tradeoffs: npt.ArrayLike | None = None,
    estimate: str = "auto",
    *,
    bins: int | str = "auto",
    order: Sequence[int] | str | None = None,
    model: CascadeModel | None = None,
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
) -> Front:
    """Sweep the trade-off and keep the policies on the Pareto front of the given traces.

    Parameters
    ----------
    traces : Traces
        Calibration requests: the model is fitted on them, and the points' cost and error are measured on them (with
        out-of-fold estimates, if the policies estimate). Evaluate the chosen policy on other requests.
    tradeoffs : (T,) float, optional
        Each in (0, 1], at most 120 after repeats are removed; by default `default_tradeoffs`.
    estimate, bins, order, seed, progress
        As for `fit`. By default what does best in cross-validation, see ``docs/estimates.md``; traces without evidence
        have only their signals.
    model : CascadeModel, optional
        Use this model instead of fitting one; `estimate` and the others are then not used.

    Returns
    -------
    Front
        At least one point.

    Raises
    ------
    ValueError
        If a parameter is out of range.
    ImportError
        If scikit-learn is missing and the traces have evidence to estimate from; ``estimate="signal"`` does without.
    """
    checks.instance("traces", traces, Traces)
    grid = default_tradeoffs() if tradeoffs is None else _grid(tradeoffs)
    if model is None:
        model = fit(traces, bins, estimate, order=order, seed=seed, progress=progress)
    points = []
    for tradeoff in grid:
        policy = solve(model, float(tradeoff))
        result = policy.replay(traces)
        points.append(FrontPoint(result.mean_cost, result.error, policy))
    return Front(_undominated(points), traces.unit, model)


def _grid(tradeoffs: npt.ArrayLike) -> npt.NDArray[np.float64]:
    values = checks.as_array("tradeoffs", tradeoffs, "numbers") if np.size(tradeoffs) else np.empty(0)
    grid = np.unique(values.astype(np.float64))
    if values.ndim != 1 or not 1 <= len(grid) <= MOST_POINTS:
        raise ValueError(f"tradeoffs: expected 1 to {MOST_POINTS} numbers, got shape {values.shape}")
    return grid


def _undominated(points: list[FrontPoint]) -> list[FrontPoint]:
    """Points in order of cost, each with a smaller error than all cheaper ones."""
    front: list[FrontPoint] = []
    for point in sorted(points, key=lambda point: (point.cost, point.error)):
        if not front or point.error < front[-1].error:
            front.append(point)
    return front
