"""The Pareto front of cost and error: one policy for each trade-off."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from ttamer._base import checks
from ttamer._base.progress import reporting
from ttamer.fitting import fit
from ttamer.fitting.budgets import MOST_POINTS, default_tradeoffs, loss_scale
from ttamer.model import CascadeModel
from ttamer.policy import Front, FrontPoint, Policy, solve
from ttamer.traces import Traces, complete_traces
from ttamer.traces.costs import prices_in

TOLERANCE = 0.05
"""Share of the whole range of errors, or costs, that may lie beyond an end of a front without a warning."""
CHEAP = 1e-12
"""A trade-off at which costs alone count, of losses up to about 1."""


def frontier(
    traces: Traces,
    tradeoffs: npt.ArrayLike | None = None,
    estimate: str = "auto",
    *,
    bins: int | str = "auto",
    order: Sequence[int] | None = None,
    model: CascadeModel | None = None,
    prices: Mapping[str, float] | None = None,
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
        Each in (0, 1], at most 120 after repeats are removed; by default 119 that suit the size of the losses.
    estimate, bins, order, seed, progress
        As for `fit`. By default what does best in cross-validation, see ``docs/estimates.md`` and
        `Front.choice`.
    model : CascadeModel, optional
        Use this model instead of fitting one; `estimate` and the others are then not used.
    prices : mapping of str to float, optional
        What one of each unit of the costs is worth, as for `Traces.priced`; needed where they are in several units.

    Returns
    -------
    Front
        At least one point.

    Raises
    ------
    ValueError
        If a parameter is out of range, something was not recorded, or costs are in several units without prices.
    ImportError
        If scikit-learn is missing and the traces have evidence to estimate from; ``estimate="signal"`` does without.
    """
    traces = complete_traces(traces)._at_prices(prices)
    scale = loss_scale(traces.losses)
    grid = default_tradeoffs(scale) if tradeoffs is None else _grid(tradeoffs)
    if model is None:
        model = fit(traces, bins, estimate, order=order, seed=seed, progress=progress)
    checks.instance("model", model, CascadeModel)
    model_prices = prices_in(traces.unit) if len(model.unit_costs) > 1 else None
    points = []
    with reporting(progress) as begin:
        for k, tradeoff in enumerate(grid):
            begin(f"solve trade-off {k + 1} of {len(grid)}")
            policy = solve(model, float(tradeoff), prices=model_prices)
            result = policy.replay(traces)
            points.append(FrontPoint(result.mean_cost, result.error, policy))
    front = undominated(points)
    cheap = CHEAP / max(scale, 1.0)
    if tradeoffs is None and scale != 1 and np.isfinite(1 / cheap / policy.cost_scale):  # else no solve weighs them
        _warn_of_ends(front, [solve(model, tradeoff, prices=model_prices) for tradeoff in (1.0, cheap)], traces)
    return Front(front, traces.unit, model)


def _warn_of_ends(front: list[FrontPoint], ends: Sequence[Policy], traces: Traces) -> None:
    """Say where losses of very different sizes leave an end of the front out of the default trade-offs."""
    accurate, cheap = (policy.replay(traces) for policy in ends)
    span_error, span_cost = front[0].error - accurate.error, front[-1].cost - cheap.mean_cost
    if front[-1].error - accurate.error > TOLERANCE * span_error or front[0].cost - cheap.mean_cost > (
        TOLERANCE * span_cost
    ):
        warnings.warn(
            f"frontier: the default trade-offs reach losses down to {front[-1].error:.4g} and costs down to "
            f"{front[0].cost:.4g}, where policies reach {accurate.error:.4g} and {cheap.mean_cost:.4g}; pass tradeoffs",
            stacklevel=3,
        )


def _grid(tradeoffs: npt.ArrayLike) -> npt.NDArray[np.float64]:
    values = checks.as_array("tradeoffs", tradeoffs, "numbers") if np.size(tradeoffs) else np.empty(0)
    grid = np.unique(values.astype(np.float64))
    if values.ndim != 1 or not 1 <= len(grid) <= MOST_POINTS:
        raise ValueError(f"tradeoffs: expected 1 to {MOST_POINTS} numbers, got shape {values.shape}")
    return grid


def undominated(points: list[FrontPoint]) -> list[FrontPoint]:
    """Points in order of cost, each with a smaller error than all cheaper ones."""
    front: list[FrontPoint] = []
    for point in sorted(points, key=lambda point: (point.cost, point.error)):
        if not front or point.error < front[-1].error:
            front.append(point)
    return front
