"""Sums over requests from which a fitted model is made."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ttamer._base import checks, files
from ttamer._base.types import Floats
from ttamer._core import Counts, Topology
from ttamer.model.costs import EdgeCosts, prefixes
from ttamer.model.losses import curve_fits, platt_losses, state_losses

SMOOTHINGS = ("auto", "platt", "mean")
_PARTS = ("offsets", "indices", "values")

ROUNDING = 1e-9
"""Share of a sum that rounding may have made."""
APART = 1e-6
"""Share by which two sums of the same weights may differ; less than one request, so that whole numbers do not."""


class Gaps(NamedTuple):
    """How many requests recorded what, where that is not all of them; those of shards add. Weights as in `Statistics`.

    ``requests`` is the number of all. ``losses`` holds one (K_j,) array a node: requests in each state whose loss is
    known. ``costs`` holds of each unit in which costs were recorded one (K_i,) array an edge: requests in each state of
    the node that it leaves whose cost is, (1,) for the root.
    """

    requests: float
    losses: tuple[Floats, ...]
    costs: Mapping[str, tuple[Floats, ...]]


@dataclass(frozen=True)
class Statistics:
    """Sums over requests, from which a fitted model is made; those of shards add. A request of weight 2 is two of them.

    ``counts``, ``losses`` and ``signals`` hold one (K_j,) array a node: requests in each state, the sum of their losses
    (inf of a node that cannot answer) and of their signals. ``smoothing`` says how losses come from them, see `fit`.
    ``transitions`` holds one `Counts` for each edge between nodes, None for an edge that leaves the root.
    ``costs`` holds, of each unit in which the costs of requests were recorded, one (K_i,) array an edge: their sum in
    each state of the node i that it leaves, (1,) for the root.
    ``gaps`` is None where every request recorded everything. Each sum is over the requests that recorded what it is of.
    ``largest`` is the largest loss, which curves go up to; 1 where losses are means, or errors.
    """

    counts: tuple[Floats, ...]
    losses: tuple[Floats, ...]
    signals: tuple[Floats, ...]
    transitions: tuple[Counts | None, ...]
    smoothing: str
    loss_strength: float
    transition_strength: float
    costs: Mapping[str, tuple[Floats, ...]] = field(default_factory=dict)
    gaps: Gaps | None = None
    largest: float = 1.0

    @property
    def settings(self) -> tuple[str, float, float]:
        """What two of these must have in common to be added."""
        return self.smoothing, self.loss_strength, self.transition_strength

    @property
    def requests(self) -> float:
        """How many requests there were, an int where that is a whole number: the sum of their weights."""
        requests = float(self.counts[0].sum()) if self.gaps is None else self.gaps.requests
        return int(requests) if requests == int(requests) else requests

    def _as_gaps(self, parents: Sequence[int]) -> Gaps:
        """`gaps`, or what they are where there are none."""
        if self.gaps is not None:
            return self.gaps
        requests = np.array([self.requests], np.float64)
        counts = tuple(requests if i < 0 else self.counts[i] for i in parents)
        return Gaps(self.requests, self.counts, dict.fromkeys(self.costs, counts))

    def plus(self, other: Statistics, parents: Sequence[int]) -> Statistics:
        """The sums of both; `parents` are the nodes that the edges leave."""

        def both(a: Sequence[Any], b: Sequence[Any]) -> tuple[Any, ...]:
            return tuple(None if x is None else x + y for x, y in zip(a, b, strict=True))

        def of_units(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, Any]:
            return {unit: both(a[unit], b[unit]) for unit in a}

        gaps = None
        if self.gaps is not None or other.gaps is not None:
            mine, others = self._as_gaps(parents), other._as_gaps(parents)
            requests = mine.requests + others.requests
            gaps = Gaps(requests, both(mine.losses, others.losses), of_units(mine.costs, others.costs))
        return Statistics(
            both(self.counts, other.counts),
            both(self.losses, other.losses),
            both(self.signals, other.signals),
            both(self.transitions, other.transitions),
            self.smoothing,
            self.loss_strength,
            self.transition_strength,
            of_units(self.costs, other.costs),
            gaps,
            max(self.largest, other.largest),
        )

    def minus(self, other: Statistics, topology: Topology) -> Statistics:
        """The sums of the requests that are left when those of `other` leave.

        Raises
        ------
        ValueError
            If these were not part of it, or none would be left; the node or edge is named.
        """
        if other.requests > self.requests:
            raise ValueError(
                f"shard: expected at most the {self.requests:.10g} requests of the model, got {other.requests:.10g}"
            )
        nodes, edges = range(topology.nodes), topology.edges.tolist()
        parents = [i for i, _ in edges]
        places = [f"edge {e} ({i} -> {j})" for e, (i, j) in enumerate(edges)]
        mine, others = self._as_gaps(parents), other._as_gaps(parents)
        (requests,) = _numbers_left(np.array([mine.requests]), np.array([others.requests]), "all nodes").tolist()
        counts = [_numbers_left(self.counts[j], other.counts[j], f"node {j}") for j in nodes]
        judged = [_numbers_left(mine.losses[j], others.losses[j], f"the losses of node {j}") for j in nodes]
        losses = [
            _sums_left(self.losses[j], other.losses[j], judged[j], f"the losses of node {j}", self._most) for j in nodes
        ]
        signals = [np.where(counts[j] > 0, self.signals[j] - other.signals[j], 0.0) for j in nodes]
        transitions = [
            None if a is None or b is None else _transitions_left(a, b, place)
            for a, b, place in zip(self.transitions, other.transitions, places, strict=True)
        ]
        names = [f"the costs of {place}" for place in places]
        paid = {unit: tuple(map(_numbers_left, mine.costs[unit], others.costs[unit], names)) for unit in self.costs}
        costs = {
            unit: tuple(map(_sums_left, self.costs[unit], other.costs[unit], paid[unit], names)) for unit in self.costs
        }
        whole = [np.array([requests]) if i < 0 else counts[i] for i in parents]
        complete = (
            all(row.sum() == requests for row in counts)
            and all(map(np.array_equal, judged, counts))
            and all(all(map(np.array_equal, numbers, whole)) for numbers in paid.values())
        )
        rest = replace(
            self,
            counts=tuple(counts),
            losses=tuple(losses),
            signals=tuple(signals),
            transitions=tuple(transitions),
            costs=costs,
            gaps=None if complete else Gaps(requests, tuple(judged), paid),
        )
        try:  # what a file may hold: sums that fit together
            units = list(self.costs) or [""]
            Statistics.from_arrays(topology, self.smoothing, self.settings[1:], units, rest.to_arrays(units))
        except ValueError as error:
            raise ValueError(f"shard: expected a part of the model's requests, what is left is none: {error}") from None
        return rest

    @property
    def _most(self) -> float:
        """The largest loss, where that is known."""
        return np.inf if self.smoothing == "mean" else self.largest

    def edge_costs(self, unit: str, parents: Sequence[int]) -> EdgeCosts:
        """Mean recorded costs of a unit, in each state shrunk to the edge's mean as transitions are."""
        counts = self._as_gaps(parents).costs[unit]
        recorded = list(zip(parents, self.costs[unit], counts, strict=True))
        return EdgeCosts.of(
            np.array([sums.sum() / number.sum() for _, sums, number in recorded]),
            [
                sums / number if i < 0 else state_losses(number, sums, self.transition_strength)
                for i, sums, number in recorded
            ],
        )

    def state_losses(self, node: int, ordered: bool = True) -> Floats:
        """(K,) float64 : expected loss of each state of a node, always its mean where states have no order.

        inf if the node cannot answer.
        """
        sums = self.losses[node]
        if np.isinf(sums).any():
            return np.full(len(sums), np.inf)
        counts = (self.counts if self.gaps is None else self.gaps.losses)[node]
        if self.smoothing != "mean" and ordered:
            curve = platt_losses(counts, sums, self._judged_signals(node), self.largest)
            if self.smoothing == "platt" or curve_fits(counts, sums, curve):
                return curve
        return state_losses(counts, sums, self.loss_strength)

    def _judged_signals(self, node: int) -> Floats:
        """Sums of signals over as many requests as have a loss: in a state these have its mean signal."""
        if self.gaps is None:
            return self.signals[node]
        sums: Floats = (
            self.signals[node] * self.gaps.losses[node] / np.where(self.counts[node] > 0, self.counts[node], 1)
        )
        return sums

    def to_arrays(self, units: Collection[str]) -> files.Arrays:
        """What a file holds, `units` being all units there are.

        Counts of transitions stay sparse, and those that are whole numbers are integers.
        """
        arrays: files.Arrays = {}
        for j, counts in enumerate(self.counts):
            arrays[f"counts.{j}"] = _as_whole(counts)
            arrays[f"loss_sums.{j}"], arrays[f"signal_sums.{j}"] = self.losses[j], self.signals[j]
        for e, transitions in enumerate(self.transitions):
            if transitions is not None:
                for part in _PARTS:
                    arrays[f"transitions.{e}.{part}"] = getattr(transitions, part)
                arrays[f"transitions.{e}.values"] = _as_whole(transitions.values)
        if self.gaps is not None:
            arrays["requests"] = _as_whole(np.array([self.gaps.requests]))
            arrays.update({f"loss_counts.{j}": _as_whole(counts) for j, counts in enumerate(self.gaps.losses)})
        for prefix, unit in zip(prefixes(units), units, strict=True):
            arrays.update({f"{prefix}cost_sums.{e}": sums for e, sums in enumerate(self.costs.get(unit, ()))})
            counts_of = {} if self.gaps is None else self.gaps.costs
            for e, counts in enumerate(counts_of.get(unit, ())):
                arrays[f"{prefix}cost_counts.{e}"] = _as_whole(counts)
        if self.largest != 1:
            arrays["largest_loss"] = np.array([self.largest])
        return arrays

    @classmethod
    def from_arrays(
        cls,
        topology: Topology,
        smoothing: str,
        strengths: Sequence[float],
        units: Collection[str],
        arrays: files.Arrays,
    ) -> Statistics:
        """What `to_arrays` gave, checked.

        Raises
        ------
        ValueError, KeyError
            If an array is missing or does not fit; it is named.
        """
        nodes = range(topology.nodes)
        counts = tuple(_numbers(arrays, f"counts.{j}") for j in nodes)
        requests = float(counts[0].sum())
        if "requests" in arrays:
            (requests,) = _numbers(arrays, "requests", shape=(1,)).tolist()
        for j in nodes:
            number = counts[j].sum()
            fits = number > 0 and _at_most(number, requests) and ("requests" in arrays or _at_most(requests, number))
            if not fits:
                raise ValueError(f"counts.{j}: expected the same number of requests at every node, above 0")

        def sums(name: str) -> tuple[Floats, ...]:
            most = np.inf if name == "loss_sums" else np.finfo(np.float64).max  # inf of a node that cannot answer
            values = tuple(_checked(arrays[f"{name}.{j}"], f"{name}.{j}", np.float64, most) for j in nodes)
            for j in nodes:
                if values[j].shape != counts[j].shape:
                    raise ValueError(f"{name}.{j}: expected {counts[j].shape}, got {values[j].shape}")
            return values

        losses = sums("loss_sums")
        for j in nodes:
            if not (np.isposinf(losses[j]).all() or np.all((losses[j] >= 0) & (losses[j] < np.inf))):
                raise ValueError(f"loss_sums.{j}: expected values >= 0, or inf alone, got {losses[j].min():g}")
        parents = topology.edges[:, 0].tolist()
        recorded = {
            unit: prefix
            for unit, prefix in zip(units, prefixes(units), strict=True)
            if any(name.startswith(f"{prefix}cost_sums.") for name in arrays)
        }
        costs = {
            unit: tuple(
                _costs_of(arrays, f"{prefix}cost_sums.{e}", 1 if i < 0 else len(counts[i]))
                for e, i in enumerate(parents)
            )
            for unit, prefix in recorded.items()
        }
        gaps, judged = None, counts
        if "requests" in arrays:
            judged = tuple(_numbers(arrays, f"loss_counts.{j}", counts[j]) for j in nodes)
            most = [np.array([requests], np.float64) if i < 0 else counts[i] for i in parents]
            paid = {
                unit: tuple(_numbers(arrays, f"{prefix}cost_counts.{e}", numbers) for e, numbers in enumerate(most))
                for unit, prefix in recorded.items()
            }
            gaps = Gaps(requests, judged, paid)
        transitions = tuple(
            None if i < 0 else _counts_between(arrays, e, counts[i], counts[j], gaps is not None)
            for e, (i, j) in enumerate(topology.edges.tolist())
        )
        try:
            loss_strength, transition_strength = (float(strength) for strength in strengths)
        except OverflowError:
            raise ValueError("strengths: too large for a float") from None
        if not (0 <= loss_strength < np.inf and 0 <= transition_strength < np.inf):
            raise ValueError(f"strengths: expected two finite numbers >= 0, got {strengths}")
        if smoothing not in SMOOTHINGS:
            raise ValueError(f"smoothing: expected one of {SMOOTHINGS}, got {smoothing!r}")
        losses = sums("loss_sums")
        return cls(
            counts,
            losses,
            sums("signal_sums"),
            transitions,
            smoothing,
            loss_strength,
            transition_strength,
            costs,
            gaps,
            _largest_of(arrays, judged, losses) if "largest_loss" in arrays else 1.0,
        )


def _numbers_left(numbers: Floats, leaving: Floats, place: str) -> Floats:
    """Numbers of requests when some leave. What is left but for rounding is none."""
    rest = numbers - leaving
    rounding = np.minimum(ROUNDING * numbers, 0.5)  # whole numbers stay exact
    if np.any(rest < -rounding):
        raise ValueError(_not_part(place))
    left = np.where(rest > rounding, rest, 0.0)
    if not left.any():
        raise ValueError(f"shard: expected requests of {place} to stay, the last one cannot leave")
    return left


def _sums_left(sums: Floats, leaving: Floats, numbers: Floats, place: str, most: float = np.inf) -> Floats:
    """Sums of losses or costs over so many requests that are left, each at most `most`."""
    if np.isinf(sums).any():  # of a node that cannot answer
        return sums
    rest = sums - leaving
    left = np.where(numbers > 0, np.maximum(rest, 0.0), 0.0)
    rounding = ROUNDING * sums
    above = left > most * numbers + rounding if np.isfinite(most) else False
    if np.any((rest < -rounding) | (rest > left + rounding) | above):
        raise ValueError(_not_part(place))
    return left


def _transitions_left(counts: Counts, leaving: Counts, place: str) -> Counts:
    try:
        return counts - leaving
    except ValueError:
        raise ValueError(_not_part(place)) from None


def _not_part(place: str) -> str:
    return f"shard: expected a part of the model's requests, what it has of {place} was not part of it"


def are_whole(arrays: files.Arrays) -> bool:
    """Whether all numbers of requests among the arrays of a file are integers: weights may be fractions."""
    numbers = ("counts.", "loss_counts.", "cost_counts.", "requests", "transitions.")
    return not any(array.dtype == np.float64 for name, array in arrays.items() if name.startswith(numbers))


def _as_whole(numbers: Floats) -> npt.NDArray[Any]:
    """Numbers of requests as a file holds them: integers if they are."""
    whole = numbers.astype(np.int64)
    return whole if np.array_equal(whole, numbers) else numbers


def _at_most(numbers: Floats | float, most: Floats | float) -> bool:
    """Whether sums of weights are at most others, but for rounding."""
    return bool(np.all(numbers <= most + np.minimum(APART * most, 0.5)))


def _costs_of(arrays: files.Arrays, name: str, states: int) -> Floats:
    """Sums of an edge's recorded costs in so many states of the node that it leaves."""
    sums: Floats = _checked(arrays[name], name, np.float64)
    if len(sums) != states or np.any(sums < 0):
        raise ValueError(f"{name}: expected ({states},) values >= 0, got {sums.shape}")
    return sums


def _numbers(
    arrays: files.Arrays, name: str, most: Floats | None = None, shape: tuple[int, ...] | None = None
) -> Floats:
    """Numbers of requests, at most those of `most`, and of its shape."""
    kind = np.float64 if arrays[name].dtype == np.float64 else np.int64
    numbers: Floats = _checked(arrays[name], name, kind).astype(np.float64)
    if most is not None and (numbers.shape != most.shape or not _at_most(numbers, most)):
        raise ValueError(f"{name}: expected {most.shape} numbers, at most those of the state, got {numbers.shape}")
    if np.any(numbers < 0) or (shape is not None and numbers.shape != shape):
        raise ValueError(f"{name}: expected numbers of requests, got {numbers.shape} from {numbers.min(initial=0)}")
    return numbers


def _largest_of(arrays: files.Arrays, counts: Sequence[Floats], losses: Sequence[Floats]) -> float:
    """The largest loss; no state's mean is above it, but of a node that cannot answer."""
    values = _checked(arrays["largest_loss"], "largest_loss", np.float64)
    above = [
        len(values) != 1 or bool(np.any((sums > values[0] * number * (1 + 1e-9)) & (sums < np.inf)))
        for sums, number in zip(losses, counts, strict=True)
    ]
    if any(above):
        raise ValueError(f"largest_loss: expected a bound on every state's mean loss, got {values}")
    return float(values[0])


def _counts_between(arrays: files.Arrays, edge: int, before: Floats, after: Floats, gaps: bool) -> Counts:
    offsets, indices, values = (arrays[f"transitions.{edge}.{part}"] for part in _PARTS)
    counts = Counts(len(after), offsets, indices, _numbers({"values": values}, "values"))
    if counts.rows != len(before):
        raise ValueError(f"transitions.{edge}: expected {len(before)} rows, got {counts.rows}")
    rows = np.repeat(np.arange(counts.rows), np.diff(counts.offsets))
    departures: Floats = np.bincount(rows, counts.values, len(before)).astype(np.float64)
    arrivals: Floats = np.bincount(counts.indices, counts.values, len(after)).astype(np.float64)
    # Where not every request recorded both nodes, fewer passed than were seen in the states.
    fits = _at_most(departures, before) and _at_most(arrivals, after)
    if not fits or not (gaps or _at_most(before.sum(), departures.sum())):
        raise ValueError(f"transitions.{edge}: expected counts that add up to those of the states")
    return counts


def _checked(
    array: npt.NDArray[Any], name: str, dtype: type, most: float = np.finfo(np.float64).max
) -> npt.NDArray[Any]:
    if array.dtype != dtype or array.ndim != 1 or not np.all(np.abs(array) <= most):
        raise ValueError(f"{name}: expected (K,) finite {np.dtype(dtype)}, got {checks.describe(array)}")
    return array
