"""The Pareto front of cost and error: one policy for each trade-off."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, overload

import numpy as np
import numpy.typing as npt

from ttamer._checks import as_array
from ttamer.budgets import MOST_POINTS, default_tradeoffs
from ttamer.fit import fit
from ttamer.model import CascadeModel
from ttamer.policy import Policy
from ttamer.solve import solve
from ttamer.traces import Traces

if TYPE_CHECKING:
    from ttamer.mixture import Mixture


@dataclass(frozen=True)
class FrontPoint:
    """One policy and what it did on the traces it was chosen on.

    Attributes
    ----------
    cost : float
        Mean cost, in the traces' unit.
    error : float
        Mean loss of the answers.
    policy : Policy
    """

    cost: float
    error: float
    policy: Policy


class Front(Sequence[FrontPoint]):
    """Points of rising cost and falling error, none of which another one dominates.

    Attributes
    ----------
    points : tuple of FrontPoint
    unit : str
        Unit of the costs.
    model : CascadeModel or None
        What the policies were solved for.
    """

    def __init__(self, points: Sequence[FrontPoint], unit: str = "", model: CascadeModel | None = None) -> None:
        self.points = tuple(points)
        self.unit = unit
        self.model = model

    @property
    def estimate(self) -> str:
        """str : 'signal', 'history' or 'posterior': what the states of the policies are made of."""
        return self.points[0].policy.estimate

    def __len__(self) -> int:
        return len(self.points)

    @overload
    def __getitem__(self, item: int) -> FrontPoint: ...
    @overload
    def __getitem__(self, item: slice) -> tuple[FrontPoint, ...]: ...
    def __getitem__(self, item: int | slice) -> FrontPoint | tuple[FrontPoint, ...]:
        return self.points[item]

    def __iter__(self) -> Iterator[FrontPoint]:
        return iter(self.points)

    def __repr__(self) -> str:
        first, last = self.points[0], self.points[-1]
        unit = f" {self.unit}" if self.unit else ""
        return (
            f"Front({len(self)} points, cost {first.cost:.4g} to {last.cost:.4g}{unit}, "
            f"error {first.error:.4f} to {last.error:.4f}, estimate={self.estimate!r})"
        )

    def cheapest(self, max_error: float) -> FrontPoint:
        """The cheapest point with at most this error.

        Raises
        ------
        ValueError
            If no point reaches it; the smallest error is named.
        """
        for point in self.points:
            if point.error <= max_error:
                return point
        raise ValueError(f"max_error: no point reaches {max_error:g}, the smallest error is {self.points[-1].error:g}")

    def best(self, max_cost: float) -> FrontPoint:
        """The most accurate point with at most this mean cost.

        Raises
        ------
        ValueError
            If no point is that cheap; the smallest cost is named.
        """
        affordable = [point for point in self.points if point.cost <= max_cost]
        if not affordable:
            raise ValueError(
                f"max_cost: no point costs at most {max_cost:g}, the cheapest costs {self.points[0].cost:g}"
            )
        return affordable[-1]

    def mix(self, max_cost: float) -> Mixture:
        """The most accurate mixture of two points with at most this mean cost.

        Two neighbours on the lower convex hull of the points, mixed request by request so that the mean cost, on the
        rows that the points were measured on, is the budget; the last point alone where the budget exceeds its cost.

        Raises
        ------
        ValueError
            If no point is that cheap; the smallest cost is named.
        """
        from ttamer.mixture import mix  # which uses the points defined above

        return mix(self, max_cost)


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
    if not isinstance(traces, Traces):
        raise TypeError(f"traces: expected Traces, got {type(traces).__name__}")
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
    given = as_array("tradeoffs", tradeoffs, "numbers") if np.size(tradeoffs) else np.empty(0)
    grid = np.unique(given.astype(np.float64))
    if given.ndim != 1 or not 1 <= len(grid) <= MOST_POINTS:
        raise ValueError(f"tradeoffs: expected 1 to {MOST_POINTS} numbers, got shape {given.shape}")
    return grid


def _undominated(points: list[FrontPoint]) -> list[FrontPoint]:
    """Points in order of cost, each with a smaller error than all cheaper ones."""
    kept: list[FrontPoint] = []
    for point in sorted(points, key=lambda point: (point.cost, point.error)):
        if not kept or point.error < kept[-1].error:
            kept.append(point)
    return kept
