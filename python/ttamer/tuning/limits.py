"""Service levels: what a policy may lose or cost, as a mean in [0, 1] that must not exceed a level."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ttamer._base.checks import at, quoted, real
from ttamer._base.numbers import are_rates
from ttamer.policy import Replay
from ttamer.policy.guarantee import ServiceLevel
from ttamer.traces import Traces
from ttamer.traces.paths import costliest_path, costliest_paths
from ttamer.tuning import pvalues

ROUNDING = 1e-12
"""Costs this close, relative to the costliest walk, are equal: sums of the same edges differ in their last bits."""


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a policy did on some rows, as far as limits look at it.

    Attributes
    ----------
    rows : int
    error : float
        Mean loss of the answers.
    cost : float
        Mean cost.
    costs : (C,) float64
        The different costs of rows, rising.
    counts : (C,) int64
        Rows of each.
    units : dict of str to Outcome
        The same with the costs of each unit, where these are in several; else empty.
    """

    rows: int
    error: float
    cost: float
    costs: npt.NDArray[np.float64]
    counts: npt.NDArray[np.intp]
    units: Mapping[str, Outcome] = field(default_factory=dict)

    @classmethod
    def of(cls, replay: Replay) -> Outcome:
        """The summary of a replay."""
        costs, counts = np.unique(replay.cost, return_counts=True)
        units = {unit: cls.of(replace(replay, cost=cost, unit_costs={})) for unit, cost in replay.unit_costs.items()}
        return cls(len(replay), replay.error, replay.mean_cost, costs, counts, units)


@dataclass(frozen=True)
class Limit(ServiceLevel):
    """A service level that policies are tested for."""

    @property
    def level(self) -> float:
        """float : the largest mean that is within the limit, after scaling the quantity's range to [0, 1].

        At least 1 where every policy keeps the limit, at most 0 where none can be shown to.
        """
        if self.bound >= self.high:
            return 1.0
        if self.quantile is not None:
            return 1.0 - self.quantile
        if self.bound <= self.low:
            return 0.0
        return (self.bound - self.low) / (self.high - self.low)

    def at(self, bound: float) -> Limit:
        """The same limit with another bound."""
        return replace(self, bound=bound)

    def mean(self, outcome: Outcome) -> float:
        """Mean over the rows of the scaled quantity, in [0, 1]; that of a quantile is the share of rows above it."""
        outcome = outcome.units.get(self.unit, outcome)
        if self.quantile is not None:
            above = outcome.costs > self.bound + ROUNDING * (self.high if np.isfinite(self.high) else self.bound)
            return float(outcome.counts[above].sum()) / outcome.rows
        value = outcome.error if self.name == "max_error" else outcome.cost
        return min(max((value - self.low) / (self.high - self.low), 0.0), 1.0) if self.high > self.low else 0.0

    def observed(self, outcome: Outcome) -> float:
        """The error or mean cost on the rows; for a quantile the share of rows that cost at most the bound."""
        if self.quantile is not None:
            return 1.0 - self.mean(outcome)
        return outcome.error if self.name == "max_error" else outcome.units.get(self.unit, outcome).cost

    def margin(self, outcome: Outcome) -> float:
        """How far a policy is within the limit: `ttamer.tuning.pvalues.exponent`, of one scale for all limits."""
        return pvalues.exponent(self.mean(outcome), self.level)

    def p_value(self, outcome: Outcome) -> float:
        """P-value of the hypothesis that the policy breaks the limit on all requests."""
        if self.level >= 1 or self.level <= 0:
            return 0.0 if self.level >= 1 else 1.0
        mean = self.mean(outcome)
        if self.exact:
            return pvalues.binomial(round(mean * outcome.rows), outcome.rows, self.level)
        return pvalues.hoeffding_bentkus(mean, outcome.rows, self.level)


def stated(
    traces: Traces,
    max_error: float | None,
    max_cost: float | Mapping[str, float] | None,
    max_cost_quantile: tuple[float, float] | Mapping[str, tuple[float, float]] | None,
    max_loss: float,
    max_cost_of_a_request: float | Mapping[str, float] | None = None,
) -> tuple[Limit, ...]:
    """The limits that are not None; arguments as those of `ttamer.tune`.

    Raises
    ------
    TypeError, ValueError
        If there is none, one is no number or out of range or in another unit than the traces', or a loss exceeds
        `max_loss`.
    """
    limits = []
    if max_error is not None:
        limits.append(_error_limit(traces, max_error, max_loss))
    means = by_unit("max_cost", max_cost, traces)
    quantiles = by_unit("max_cost_quantile", max_cost_quantile, traces)
    largest = by_unit("max_cost_of_a_request", max_cost_of_a_request, traces)
    for unit in {**means, **quantiles, **largest}:
        low, high = _cost_range(traces.priced({unit: 1}) if unit else traces, largest.get(unit))
        if unit in means:
            bound = _finite("max_cost", means[unit])
            if not np.isfinite(high):
                raise ValueError(
                    "max_cost_of_a_request: expected a number, the most that any request can cost: the mean of costs "
                    "that differ by request has no limit to certify without one"
                )
            limits.append(Limit("max_cost", bound, low, high, exact=False, unit=unit))
        if unit in quantiles:
            quantile, bound = _pair(quantiles[unit])
            limits.append(Limit("max_cost_quantile", bound, low, high, exact=True, quantile=quantile, unit=unit))
    if not limits:
        raise ValueError("limits: expected at least one of max_error, max_cost and max_cost_quantile, got none")
    return tuple(limits)


def by_unit(name: str, values: Any, traces: Traces) -> dict[str, Any]:
    """What is stated of each unit: of the only one unless it is a mapping."""
    if values is None:
        return {}
    if not isinstance(values, Mapping):
        if len(traces.unit_costs) > 1:
            raise ValueError(f"{name}: expected a mapping of units, these traces have costs in {traces.unit}")
        return {traces.unit: values}
    for unit in values:
        if unit not in traces.unit_costs:
            raise ValueError(f"{name}: expected units of {list(traces.unit_costs)}, got {quoted(repr(unit))}")
    return dict(values)


def _cost_range(traces: Traces, most: float | None) -> tuple[float, float]:
    """The least and the most that a request can cost."""
    costs, forest = traces.costs, traces.topology.kind == "forest"
    if traces.request_costs is None:
        if most is not None:
            raise ValueError("max_cost_of_a_request: expected None, all requests of these traces cost the same")
        low = float(costs[traces.topology.edges[:, 0] < 0].min())
        # A forest's requests may consult every node; the others walk one path.
        high = float(costs.sum()) if forest else costliest_path(traces.topology, costs)
        return low, max(low, high if costs.any() else 0.0)
    if most is None:
        return 0.0, np.inf
    high = _finite("max_cost_of_a_request", most)
    paid = traces.request_costs
    largest = float((paid.sum(axis=1) if forest else costliest_paths(traces.topology, paid)).max())
    if largest > high:
        raise ValueError(
            f"max_cost_of_a_request: expected a bound on the cost of every request, got {high:g} and one that can cost "
            f"{largest:g}"
        )
    return 0.0, high


def _error_limit(traces: Traces, max_error: float, max_loss: float) -> Limit:
    largest = real("max_loss", max_loss)
    if not 0 < largest < np.inf:
        raise ValueError(f"max_loss: expected a finite number above 0, got {largest:g}")
    # Losses are float32: the two ends are compared in it, and one that it cannot hold is above all losses.
    with np.errstate(over="ignore"):
        ends = np.array([0.0, largest]).astype(np.float32)
    beyond = (traces.losses > ends[1]) & np.isfinite(traces.losses)
    if beyond.any():
        found = float(traces.losses[beyond][0])
        raise ValueError(
            f"max_loss: expected a bound on every loss, got {largest:g} and a loss of {found:g}{at(beyond)}"
        )
    bound = real("max_error", max_error)
    if not 0 < bound < largest:
        raise ValueError(f"max_error: expected a number in (0, {largest:g}), got {bound:g}")
    two_valued = bool((np.isin(traces.losses, ends) | np.isinf(traces.losses)).all())
    return Limit("max_error", bound, 0.0, largest, exact=two_valued, graded=not are_rates(traces.losses))


def _finite(name: str, value: float) -> float:
    cost = real(name, value)
    if not 0 <= cost < np.inf:
        raise ValueError(f"{name}: expected a finite cost >= 0, got {cost:g}")
    return cost


def _pair(value: object) -> tuple[float, float]:
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        raise TypeError(f"max_cost_quantile: expected a pair (quantile, cost), got {value!r}")
    quantile = real("max_cost_quantile", value[0])
    if not 0 < quantile < 1:
        raise ValueError(f"max_cost_quantile: expected a quantile in (0, 1), got {quantile:g}")
    return quantile, _finite("max_cost_quantile", value[1])
