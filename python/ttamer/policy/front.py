"""Pareto fronts of cost and error, one policy a point, and mixtures of two of their policies."""

from __future__ import annotations

import os
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from ttamer._base import files
from ttamer._base.checks import as_array, at, brief, check_same_unit, describe, instance, instances, real, text, whole
from ttamer._base.hull import lower_hull
from ttamer._base.numbers import number
from ttamer._base.types import Floats
from ttamer._core import Batch
from ttamer.model import CascadeModel
from ttamer.policy import front_file
from ttamer.policy.policy import MOST_ROWS, Policy
from ttamer.policy.replay import Replay
from ttamer.traces import Traces


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

    Raises
    ------
    ValueError
        If there are no points.
    """

    def __init__(self, points: Sequence[FrontPoint], unit: str = "", model: CascadeModel | None = None) -> None:
        self.points = instances("points", points, FrontPoint)
        if not self.points:
            raise ValueError("points: expected at least one, got none")
        self.unit = text("unit", unit)
        for k, point in enumerate(self.points):
            check_same_unit(f"points[{k}]", point.policy.unit, self.unit)
            first, own = self.points[0].policy, point.policy
            if (own.topology, own.nodes) != (first.topology, first.nodes):
                raise ValueError(f"points[{k}]: expected a policy of {first.topology!r}, as the first, got {own!r}")
        steps = [point.policy.steps for point in self.points]
        if model is not None and instance("model", model, CascadeModel).topology not in steps:
            raise ValueError(f"model: expected the one that the policies were solved for, got {model!r}")
        self.model = model

    @property
    def estimate(self) -> str:
        """str : 'signal', 'history', 'posterior', 'sets' or 'chains': what the states of the policies are made of."""
        return self.points[0].policy.estimate

    @property
    def choice(self) -> tuple[Any, ...]:
        """Tuple of Candidate : what ``estimate="auto"`` compared, the chosen one first; empty where nothing was.

        Each has a `name`, its mean `loss` over a range of mean costs in cross-validation, how far it is `behind` the
        chosen one and the standard `error` of this difference.
        """
        return () if self.model is None else self.model.choice

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
            f"Front({len(self)} points, cost {number(first.cost)} to {number(last.cost)}{unit}, "
            f"error {number(first.error)} to {number(last.error)}, estimate={self.estimate!r})"
        )

    def cheapest(self, max_error: float) -> FrontPoint:
        """The cheapest point with at most this error.

        Raises
        ------
        ValueError
            If no point reaches it; the smallest error is named.
        """
        most = real("max_error", max_error)
        for point in self.points:
            if point.error <= most:
                return point
        raise ValueError(f"max_error: no point reaches {most:g}, the smallest error is {self.points[-1].error:g}")

    def best(self, max_cost: float) -> FrontPoint:
        """The most accurate point with at most this mean cost.

        Raises
        ------
        ValueError
            If no point is that cheap; the smallest cost is named.
        """
        most = real("max_cost", max_cost)
        affordable = [point for point in self.points if point.cost <= most]
        if not affordable:
            raise ValueError(f"max_cost: no point costs at most {most:g}, the cheapest costs {self.points[0].cost:g}")
        return affordable[-1]

    def at(self, tradeoff: float) -> FrontPoint:
        """The point that was solved for the trade-off nearest to this one, by the ratio of the prices of costs.

        Raises
        ------
        ValueError
            If it is not in (0, 1].
        """
        if not 0 < real("tradeoff", tradeoff) <= 1:
            raise ValueError(f"tradeoff: expected a number in (0, 1], got {tradeoff}")
        return self.points[self.place((1 - tradeoff) / tradeoff)]

    def place(self, price: float) -> int:
        """Place of the point that is nearest to a price of costs, in units of loss: (1 - tradeoff) / tradeoff."""
        places, borders = self._by_price
        return places[bisect_left(borders, price)]

    def places(self, tradeoff: npt.ArrayLike, weight: npt.ArrayLike = 1.0) -> npt.NDArray[np.int32]:
        """Places of the points for many requests, as `Batch.enter` takes them.

        Parameters
        ----------
        tradeoff : float or (B,)
            That of a request of weight 1; or of each, as that of its tier.
        weight : float or (B,)
            How many times as much the costs of each request matter.

        Returns
        -------
        (B,) int32
            As `place` finds them; of one number where both are numbers.

        Raises
        ------
        TypeError, ValueError
            If they are no numbers, or of different lengths, a trade-off is not in (0, 1] or a weight not above 0.
        """
        with np.errstate(over="ignore"):  # what is infinite is nearest to the highest price
            tradeoffs, weights = _numbers("tradeoff", tradeoff), _numbers("weight", weight)
            _check_all("tradeoff", tradeoffs, (tradeoffs > 0) & (tradeoffs <= 1), "numbers in (0, 1]")
            _check_all("weight", weights, (weights > 0) & (weights < np.inf), "numbers above 0")
            if len(weights) != len(tradeoffs) and 1 not in (len(weights), len(tradeoffs)):
                raise ValueError(f"weight: expected one for each of {len(tradeoffs)} trade-offs, got {len(weights)}")
            prices = (1 - tradeoffs) / tradeoffs * weights
        places, borders = self._by_price
        return np.array(places, np.int32)[np.searchsorted(borders, prices)]

    def start(self, capacity: int = 64, nan: str = "error", signal: str | None = None) -> Batch:
        """Open a batch in which each row has a policy of its own: that of a point of this front.

        `Batch.enter` says which, and where the row's request starts; before, a row refuses to decide. Every row is
        decided exactly as a batch of its policy would.

        Parameters
        ----------
        capacity, nan, signal
            As for `Policy.start`.

        Returns
        -------
        Batch

        Raises
        ------
        ValueError
            If the points are not of one model, which the first that differs is named for, or an argument is wrong as
            for `Policy.start`.
        """
        first = self.points[0].policy
        for k, point in enumerate(self.points):
            own = point.policy
            for what in ("estimate", "signal", "recorded_signal", "categories", "estimator"):
                if getattr(own, what) != getattr(first, what):
                    raise ValueError(f"points[{k}]: expected a policy of the first one's model, got another {what}")
        return first._start(tuple(point.policy._core for point in self.points), capacity, nan, signal)

    @cached_property
    def _by_price(self) -> tuple[list[int], list[float]]:
        """Places of the points by rising price, and the borders half way, geometrically, between these prices."""
        prices = [(1 - point.policy.tradeoff) / point.policy.tradeoff for point in self.points]
        places = sorted(range(len(prices)), key=lambda place: prices[place])
        return places, [(prices[low] * prices[high]) ** 0.5 for low, high in pairwise(places)]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write all points and the model into one safetensors file; what was compared (`choice`) is not kept."""
        points = [(point.cost, point.error, point.policy) for point in self.points]
        files.write(path, front_file.to_bytes(points, self.unit, self.model))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Front:
        """Read a file that `save` wrote.

        Raises
        ------
        ValueError
            If the file is damaged, of another kind or another format version, or its parts do not fit together.
        """

        def build(points: list[tuple[float, float, Policy]], unit: str, model: CascadeModel | None) -> Front:
            return cls([FrontPoint(*point) for point in points], unit, model)

        return front_file.from_bytes(*files.read(path), build)

    def mix(self, max_cost: float) -> Mixture:
        """The most accurate mixture of two points with at most this mean cost.

        Two neighbours on the lower convex hull of the points, mixed request by request so that the mean cost, on the
        rows that the points were measured on, is the budget; the last point alone where the budget exceeds its cost.

        Raises
        ------
        ValueError
            If no point is that cheap; the smallest cost is named.
        """
        return _mix(self, max_cost)


@dataclass(frozen=True)
class Mixture:
    """Each request is served by the second policy with a probability, else by the first; made by `Front.mix`.

    Attributes
    ----------
    policies : (Policy, Policy)
        The cheaper one first; twice the same where one alone is best.
    probability : float
        Of the second policy, in [0, 1].
    cost, error : float
        Expected mean cost and mean loss on the rows that the front was measured on.
    unit : str
        Unit of the cost.
    """

    policies: tuple[Policy, Policy]
    probability: float
    cost: float
    error: float
    unit: str = ""

    def choose(self, count: int, rng: np.random.Generator) -> npt.NDArray[np.int8]:
        """Draw which policy serves each of `count` requests.

        Returns
        -------
        (count,) int8
            0 or 1, a place in `policies`; independent draws.
        """
        if not isinstance(rng, np.random.Generator):
            raise TypeError(f"rng: expected a numpy.random.Generator, got {type(rng).__name__}")
        draws = whole("count", count, least=0)
        if draws > MOST_ROWS:
            raise ValueError(f"count: expected at most {MOST_ROWS}, got {brief(draws)}")
        return (rng.random(draws) < self.probability).astype(np.int8)

    def replay(self, traces: Traces, seed: int = 0) -> Replay:
        """Run the mixture over recorded traces, each row with the policy drawn for it.

        Parameters and errors are those of `Policy.replay`; `seed` is that of the draws.
        """
        first, second = (policy.replay(traces) for policy in self.policies)
        draws = self.choose(len(traces), np.random.default_rng(whole("seed", seed, least=0))).astype(np.bool_)
        return Replay(
            np.where(draws, second.last_node, first.last_node),
            np.where(draws, second.answer_node, first.answer_node),
            np.where(draws, second.cost, first.cost),
            np.where(draws, second.loss, first.loss),
            {unit: np.where(draws, second.unit_costs[unit], first.unit_costs[unit]) for unit in first.unit_costs},
        )

    def __repr__(self) -> str:
        unit = f" {self.unit}" if self.unit else ""
        first, second = (f"{policy.tradeoff:.6g}" for policy in self.policies)
        return (
            f"Mixture(tradeoff {first} or, with probability {self.probability:.4g}, {second}; "
            f"cost {number(self.cost)}{unit}, error {number(self.error)})"
        )


def _numbers(name: str, value: npt.ArrayLike) -> Floats:
    expected = "a number or (B,) numbers"
    numbers = as_array(name, value, expected).astype(np.float64)
    if numbers.ndim > 1:
        raise ValueError(f"{name}: expected {expected}, got {describe(numbers)}")
    return np.atleast_1d(numbers)


def _check_all(name: str, values: Floats, good: npt.NDArray[np.bool_], expected: str) -> None:
    if not good.all():
        raise ValueError(f"{name}: expected {expected}, got {values[~good][0]:g}{at(~good)}")


def _mix(front: Front, max_cost: float) -> Mixture:
    budget = real("max_cost", max_cost)
    cost, error = (np.array([getattr(point, name) for point in front]) for name in ("cost", "error"))
    hull = lower_hull(cost, error)
    after = int(np.searchsorted(cost[hull], budget, side="right"))
    if after == 0:
        raise ValueError(f"max_cost: no point costs at most {budget:g}, the cheapest costs {cost[0]:g}")
    first = int(hull[after - 1])
    if after == len(hull):
        return Mixture((front[first].policy,) * 2, 0.0, float(cost[first]), float(error[first]), front.unit)
    second = int(hull[after])
    share = float((budget - cost[first]) / (cost[second] - cost[first]))
    loss = (1 - share) * error[first] + share * error[second]
    return Mixture((front[first].policy, front[second].policy), share, budget, float(loss), front.unit)
