"""Costs of edges, in one or several units, of all requests or of each; and their sum at given prices.

The sum has a unit of its own that says how it was made: ``{"usd": 1, "ms": 0.002}`` gives "usd + 0.002 ms". Whatever
has costs in both can be put into it, so it is all that models, policies and files have to carry.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import cached_property

import numpy as np
import numpy.typing as npt

from ttamer._base import checks
from ttamer._base.types import Floats, freeze
from ttamer._core import Topology
from ttamer.traces.paths import cheapest_paths


class Costs:
    """What `unit_costs` hold, as those who use costs need it; the part of `Traces` that is about costs."""

    topology: Topology
    unit_costs: Mapping[str, Floats]
    signals: npt.NDArray[np.float32]  # whose rows are the requests

    def __len__(self) -> int:
        return len(self.signals)

    @cached_property
    def unit(self) -> str:
        """str : unit of the costs, those in several units listed."""
        return ", ".join(self.unit_costs)

    @property
    def paid_costs(self) -> Floats:
        """(E,) or (N, E) float64: cost of each edge, of all requests or of each.

        Raises
        ------
        ValueError
            If costs are in several units.
        """
        self._check_one_unit()
        (costs,) = self.unit_costs.values()
        return costs

    def _check_one_unit(self) -> None:
        if len(self.unit_costs) > 1:
            prices = ", ".join(f"{unit!r}: ..." for unit in self.unit_costs)
            raise ValueError(
                f"traces: expected costs in one unit, got {self.unit}; say what each is worth: prices={{{prices}}} "
                "where that is taken (--price), else traces.priced(...)"
            )

    @cached_property
    def costs(self) -> Floats:
        """(E,) float64: cost of each edge; where requests have their own the mean of those that recorded it, or NaN."""
        paid = self.paid_costs
        return paid if paid.ndim == 1 else freeze(recorded_mean(paid))

    @property
    def request_costs(self) -> Floats | None:
        """(N, E) float64 or None: cost of each edge for each request, if that was recorded. Replays pay it."""
        return self.paid_costs if self.paid_costs.ndim == 2 else None

    @cached_property
    def reach_costs(self) -> Floats:
        """(n,) float64: cost of the cheapest path from the root to each node, its own edge included."""
        return freeze(cheapest_paths(self.topology, self.costs)[0])

    @cached_property
    def request_reach_costs(self) -> Floats:
        """(N, n) float64: `reach_costs` of each request, which takes its own cheapest path."""
        if self.request_costs is None:
            return np.broadcast_to(self.reach_costs, (len(self), self.topology.nodes))
        return freeze(cheapest_paths(self.topology, self.request_costs)[0])


def units_of(costs: Mapping[str, object], unit: str = "") -> list[str]:
    """The names of several units, which leave no room for another unit.

    Raises
    ------
    TypeError, ValueError
        If there are none, or one is no name that `prices_in` could read back.
    """
    if checks.text("unit", unit):
        raise ValueError(f"unit: expected none with costs in several units, which name their own, got {unit!r}")
    if not costs:
        raise ValueError("costs: expected at least one unit, got none")
    for name in costs:
        if not checks.text("costs", name) or prices_in(name) != {name: 1.0} or name != name.strip():
            raise ValueError(f"costs: expected units like 'usd' and 'ms', got {name!r}")
    return list(costs)


def same_unit(unit: str, other: str) -> bool:
    """Whether two units are one: that of a sum may list its parts in another order."""
    return unit == other or prices_in(unit) == prices_in(other)


def in_units_of(costs: Mapping[str, Floats], units: Collection[str]) -> dict[str, Floats] | None:
    """The costs by these names of their units and in this order, None if they are in others."""
    if sorted(costs) == sorted(units):
        return {unit: costs[unit] for unit in units}
    if len(costs) == len(units) == 1 and same_unit(next(iter(costs)), next(iter(units))):
        return dict(zip(units, costs.values(), strict=True))
    return None


def priced_unit(prices: Mapping[str, float]) -> str:
    """The unit of a sum at these prices; of a single unit at price 1 the unit itself."""
    return " + ".join(unit if price == 1 else f"{float(price)!r} {unit}" for unit, price in prices.items())


def prices_in(unit: str) -> dict[str, float]:
    """The prices of which `priced_unit` made a unit; those of any other text are 1 of itself."""
    prices: dict[str, float] = {}
    for part in unit.split(" + "):
        number, _, rest = part.partition(" ")
        try:
            price, name = float(number), rest
        except ValueError:
            price, name = 1.0, part
        prices[name] = price
    return prices


def checked_prices(prices: Mapping[str, float], units: list[str]) -> dict[str, float]:
    """A price for each of these units, in their order; a unit without one is free and is left out.

    Raises
    ------
    TypeError, ValueError
        If prices are no mapping, name a unit that there is not, are not finite and positive, or there are none.
    """
    if not isinstance(prices, Mapping):
        raise TypeError(f"prices: expected a mapping of units to numbers, got {type(prices).__name__}")
    for unit in prices:
        if unit not in units:
            raise ValueError(f"prices: expected units of {units}, got {checks.quoted(repr(unit))}")
    values = {unit: checks.real(f"prices[{unit!r}]", prices[unit]) for unit in units if unit in prices}
    for unit, price in values.items():
        if not 0 <= price < np.inf:
            raise ValueError(f"prices[{unit!r}]: expected a finite number >= 0, got {price:g}")
    values = {unit: price for unit, price in values.items() if price > 0}
    if not values:
        raise ValueError(f"prices: expected a price above 0 for one of {units}, got none")
    return values


def priced(costs: Mapping[str, Floats], prices: Mapping[str, float]) -> Floats:
    """The sum of the costs at these prices; costs of each request spread over those that are the same for all."""
    total = sum(price * costs[unit] for unit, price in prices.items())
    return np.asarray(total, np.float64)


def recorded_mean(values: Floats) -> Floats:
    """Mean of each column of what was recorded, NaN where nothing was."""
    recorded = ~np.isnan(values)
    counts = recorded.sum(axis=0)
    sums = np.where(recorded, values, 0).sum(axis=0, dtype=np.float64)
    means: Floats = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
    return means if not recorded.all() else np.asarray(values.mean(axis=0, dtype=np.float64))


def joined_costs(costs: Sequence[Floats], rows: Sequence[int]) -> Floats:
    """Costs of the requests of several traces, which have so many rows.

    Raises
    ------
    ValueError
        If each is one for all requests, and they differ.
    """
    if any(values.ndim == 2 for values in costs):
        edges = costs[0].shape[-1]
        return np.concatenate(
            [np.broadcast_to(values, (count, edges)) for values, count in zip(costs, rows, strict=True)]
        )
    if not all(np.array_equal(costs[0], values) for values in costs):
        raise ValueError("costs: expected the same for all traces, or costs of each request, got others")
    return costs[0]
