"""What is known of a policy besides its decisions: where requests are expected to go, and the dynamic index."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ttamer._base import checks, files
from ttamer._base.types import Floats, freeze
from ttamer._core import Model, Policy, expect, solve, surrogates

MOST_FINITE = float(np.finfo(np.float64).max)


@dataclass(frozen=True)
class Aggregation:
    """What soft state aggregation did to a policy.

    Attributes
    ----------
    states : int
        Most meta-states of a transition.
    value_error : float
        The value the aggregated solve gave, minus the exact one.
    regret : float
        Value of the policy under the exact model, minus that of the exact policy: on walks >= 0, up to rounding. On
        forests both values are simulated on the same requests, and noise may turn a regret near 0 negative.
    """

    states: int
    value_error: float
    regret: float

    @classmethod
    def from_list(cls, values: list[Any]) -> Aggregation:
        """What a file holds, checked; ValueError names the number that does not fit."""
        types = {"states": int, "value_error": float, "regret": float}
        fields = dict(zip(types, values, strict=True))
        files.check_fields(fields, types)
        if fields["states"] < 1 or not np.isfinite([fields["value_error"], fields["regret"]]).all():
            raise ValueError(f"aggregation: expected states >= 1 and finite numbers, got {values}")
        return cls(fields["states"], float(fields["value_error"]), float(fields["regret"]))


@dataclass(frozen=True)
class Analysis:
    """Expectations under the model a policy was solved for: exact on walks, simulated on forests.

    Attributes
    ----------
    visits, stops : (S,) float64
        Probability that each state is visited, and that a request stops in it; states of all nodes numbered through.
    cost : float
        Mean cost of a request, in the unit of the costs.
    loss : float
        Mean loss of the answers.
    index : tuple of n (K_parent or 1,) float64, or None
        The dynamic index in units of loss, where it is defined; inf where the node is never worth it.
    """

    visits: Floats
    stops: Floats
    cost: float
    loss: float
    index: tuple[Floats, ...] | None
    aggregation: Aggregation | None = None

    @classmethod
    def from_arrays(cls, core: Policy, fields: dict[str, Any], arrays: files.Arrays) -> Analysis:
        """What a file holds, checked against the policy's tables.

        Raises
        ------
        ValueError, KeyError
            If an array is missing or does not fit; it is named.
        """
        states = len(arrays["ranks"])
        visits = _checked(arrays, "visits", (states,))
        stops = _checked(arrays, "stops", (states,))
        for name, table in (("visits", visits), ("stops", stops)):
            if np.any(table > 1 + 1e-9):
                raise ValueError(f"{name}: expected probabilities, got {table.max():g}")
        cost, loss = float(fields["expected_cost"]), float(fields["expected_loss"])
        for name, value in (("expected_cost", cost), ("expected_loss", loss)):
            if not 0 <= value < np.inf:
                raise ValueError(f"{name}: expected a finite number >= 0, got {value}")
        aggregation = None
        if "aggregation" in fields:
            aggregation = Aggregation.from_list(fields["aggregation"])
        if not _has_index(core):
            return cls(visits, stops, cost, loss, None, aggregation)
        sizes = np.diff(arrays["state_offsets"])
        index = []
        most = np.inf if np.isinf(arrays["levels"][-1]) else MOST_FINITE  # inf takes probes
        for j, parent in enumerate(core.topology.edges[:, 0].tolist()):
            single = parent < 0 or len(arrays[f"index.{j}"]) == 1
            index.append(_checked(arrays, f"index.{j}", (1 if single else int(sizes[parent]),), most))
        return cls(visits, stops, cost, loss, tuple(index), aggregation)


def analyse(model: Model, policy: Policy, aggregate: int = 0) -> Analysis:
    """Compute the analysis; the model is the one the policy was solved for, `aggregate` is as in `ttamer.solve`."""
    visits, stops, cost, loss = expect(model, policy)
    index: tuple[Floats, ...] | None = None
    if _has_index(policy):
        index = tuple(freeze(row) for row in surrogates(model, policy.tradeoff, np.inf, aggregate)[0])
    aggregation = None
    if aggregate:
        exact = solve(model, policy.tradeoff, policy.recall)
        _, _, exact_cost, exact_loss = expect(model, exact)
        regret = policy.tradeoff * (loss - exact_loss) + (1 - policy.tradeoff) * (cost - exact_cost) / policy.cost_scale
        aggregation = Aggregation(aggregate, policy.value - exact.value, regret)
    return Analysis(freeze(visits), freeze(stops), cost, loss, index, aggregation)


def _has_index(policy: Policy) -> bool:
    return policy.recall and policy.topology.kind in ("line", "forest")


def _checked(arrays: files.Arrays, name: str, shape: tuple[int, ...], most: float = MOST_FINITE) -> Floats:
    array = arrays[name]
    if array.dtype != np.float64 or array.shape != shape or not np.all((array >= 0) & (array <= most)):
        kind = "finite float64" if most < np.inf else "float64"
        raise ValueError(f"{name}: expected {shape} {kind} >= 0, got {checks.describe(array)}")
    return freeze(array)


def snap_tolerance(largest_loss: float) -> float:
    """Distance below which the solver takes two values for one: 1e-12 of the largest loss."""
    return 1e-12 * largest_loss if largest_loss > 0 else 1e-12
