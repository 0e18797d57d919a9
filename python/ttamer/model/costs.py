"""What edges cost, in one or several units, alike in all states or by state."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ttamer._base import checks
from ttamer._base.types import Floats, freeze
from ttamer._core import Topology
from ttamer.traces.costs import priced as summed
from ttamer.traces.costs import units_of
from ttamer.traces.paths import costliest_path


class EdgeCosts(NamedTuple):
    """Costs of edges in one unit.

    Attributes
    ----------
    mean : (E,) float64
        Of each edge; where it differs by state, the mean.
    states : tuple of E (1 or K_i,) float64, or None
        Of each edge in each state of the node i that it leaves; None where no edge differs.
    """

    mean: Floats
    states: tuple[Floats, ...] | None

    @classmethod
    def of(cls, mean: Floats, states: Sequence[Floats] | None) -> EdgeCosts:
        """Unshared copies that cannot be written to."""
        return cls(freeze(mean.copy()), None if states is None else tuple(freeze(row.copy()) for row in states))

    def by_state(self) -> tuple[Floats, ...]:
        """`states`, or what they are where no edge differs."""
        return tuple(self.mean[e : e + 1] for e in range(len(self.mean))) if self.states is None else self.states

    def scale(self, topology: Topology) -> float:
        """The default of what costs are divided by: the costliest path; 1 where the core will refuse the costs."""
        fits = len(self.mean) == len(topology.edges) and bool(np.all(np.isfinite(self.mean)))
        return costliest_path(topology, self.mean) if fits else 1.0


def priced(costs: Mapping[str, EdgeCosts], prices: Mapping[str, float]) -> EdgeCosts:
    """The sum of costs in several units at these prices."""
    mean = summed({unit: each.mean for unit, each in costs.items()}, prices)
    if all(costs[unit].states is None for unit in prices):
        return EdgeCosts(mean, None)
    tables = {unit: costs[unit].by_state() for unit in prices}
    edges = range(len(mean))
    return EdgeCosts(mean, tuple(summed({unit: rows[e] for unit, rows in tables.items()}, prices) for e in edges))


def one_unit(costs: Mapping[str, EdgeCosts]) -> EdgeCosts:
    """The only costs there are; ValueError if they are in several units."""
    if len(costs) > 1:
        prices = ", ".join(f"{unit!r}: ..." for unit in costs)
        raise ValueError(
            f"model: expected costs in one unit, got {', '.join(costs)}; say what each is worth: "
            f"solve(model, prices={{{prices}}}), or --price of each"
        )
    (found,) = costs.values()
    return found


def same(one: Mapping[str, EdgeCosts], other: Mapping[str, EdgeCosts], but: Sequence[str]) -> bool:
    """Whether the units are the same and, except for those of `but`, the costs too."""
    return sorted(one) == sorted(other) and all(
        unit in but or np.array_equal(one[unit].mean, other[unit].mean) for unit in one
    )


def prefixes(units: Collection[str]) -> list[str]:
    """Of each unit what the names of its arrays in a file begin with; nothing where there is one unit."""
    return [f"units.{k}." for k in range(len(units))] if len(units) > 1 else [""]


def units_in(fields: Mapping[str, Any]) -> list[str]:
    """The units that a file names."""
    names = fields["units"] if "units" in fields else [fields["unit"]]
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"units: expected a list of names, got {checks.quoted(repr(names))}")
    units = [checks.text("unit", name) for name in names]
    if len(set(units)) < len(units) or ("units" in fields and len(units_of(dict.fromkeys(units))) < 2):
        raise ValueError(f"units: expected several that differ, got {units}")
    return units
