"""Sums over requests from which a fitted model is made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ttamer._base import files
from ttamer._base.numbers import largest_loss
from ttamer._base.types import Floats
from ttamer._core import Counts, Topology
from ttamer._core import states as core_states
from ttamer.model.losses import curve_fits, platt_losses, state_losses
from ttamer.traces import Traces
from ttamer.traces.signals import without_nothing

SMOOTHINGS = ("auto", "platt", "mean")
_PARTS = ("offsets", "indices", "values")

Whole = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


class Gaps(NamedTuple):
    """How many requests recorded what, where that is not all of them; those of shards add.

    ``requests`` is the number of all. ``losses`` holds one (K_j,) array a node: requests in each state whose loss is
    known. ``costs``, where costs were recorded, one (K_i,) array an edge: requests in each state of the node that it
    leaves whose cost is, (1,) for the root.
    """

    requests: int
    losses: tuple[Whole, ...]
    costs: tuple[Whole, ...] | None


@dataclass(frozen=True)
class Statistics:
    """Sums over requests, from which a fitted model is made; those of shards add.

    ``counts``, ``losses`` and ``signals`` hold one (K_j,) array a node: requests in each state, the sum of their losses
    (inf of a node that cannot answer) and of their signals. ``smoothing`` says how losses come from them, see `fit`.
    ``transitions`` holds one `Counts` for each edge between nodes, None for an edge that leaves the root.
    ``costs`` holds, where the costs of each request were recorded, one (K_i,) array an edge: their sum in each state of
    the node i that it leaves, (1,) for the root. Else it is None.
    ``gaps`` is None where every request recorded everything. Each sum is over the requests that recorded what it is of.
    ``largest`` is the largest loss, which curves go up to; 1 where losses are means, or errors.
    """

    counts: tuple[Whole, ...]
    losses: tuple[Floats, ...]
    signals: tuple[Floats, ...]
    transitions: tuple[Counts | None, ...]
    smoothing: str
    loss_strength: float
    transition_strength: float
    costs: tuple[Floats, ...] | None = None
    gaps: Gaps | None = None
    largest: float = 1.0

    @property
    def settings(self) -> tuple[str, float, float]:
        """What two of these must have in common to be added."""
        return self.smoothing, self.loss_strength, self.transition_strength

    @property
    def requests(self) -> int:
        """How many requests there were."""
        return int(self.counts[0].sum()) if self.gaps is None else self.gaps.requests

    def _as_gaps(self, parents: Sequence[int]) -> Gaps:
        """`gaps`, or what they are where there are none."""
        if self.gaps is not None:
            return self.gaps
        requests = np.array([self.requests])
        costs = None if self.costs is None else tuple(requests if i < 0 else self.counts[i] for i in parents)
        return Gaps(self.requests, self.counts, costs)

    def plus(self, other: Statistics, parents: Sequence[int]) -> Statistics:
        """The sums of both; `parents` are the nodes that the edges leave."""

        def both(a: Sequence[Any] | None, b: Sequence[Any] | None) -> Any:
            if a is None or b is None:
                return None
            return tuple(None if x is None else x + y for x, y in zip(a, b, strict=True))

        gaps = None
        if self.gaps is not None or other.gaps is not None:
            mine, others = self._as_gaps(parents), other._as_gaps(parents)
            requests = mine.requests + others.requests
            gaps = Gaps(requests, both(mine.losses, others.losses), both(mine.costs, others.costs))
        return Statistics(
            both(self.counts, other.counts),
            both(self.losses, other.losses),
            both(self.signals, other.signals),
            both(self.transitions, other.transitions),
            self.smoothing,
            self.loss_strength,
            self.transition_strength,
            both(self.costs, other.costs),
            gaps,
            max(self.largest, other.largest),
        )

    @classmethod
    def count(
        cls,
        traces: Traces,
        edges: Sequence[npt.NDArray[np.float32]],
        signal_nodes: Sequence[int],
        smoothing: str,
        loss_strength: float,
        transition_strength: float,
    ) -> Statistics:
        """Sums per state and transition counts per edge, for the states that the bin edges of each node make.

        `signal_nodes` names the node whose signal tells each node's state.

        Raises
        ------
        ValueError
            If no request recorded something that the model needs; it is named.
        """
        nodes = range(traces.topology.nodes)
        sizes = [len(edges[j]) + 1 for j in nodes]
        recorded = ~np.isnan(traces.signals)
        known = [recorded[:, j] & recorded[:, signal_nodes[j]] for j in nodes]
        states = [core_states(edges[j], traces.signals, signal_nodes[j]) for j in nodes]
        judged = [known[j] & ~np.isnan(traces.losses[:, j]) for j in nodes]

        def sums(j: int, values: npt.NDArray[np.float32], rows: Mask) -> Floats:
            by_state = np.bincount(states[j][rows], weights=values[rows], minlength=sizes[j]).astype(np.float64)
            # Of a node that cannot answer, also in states without a request.
            return np.full(sizes[j], np.inf) if np.isinf(by_state).any() else by_state

        def number(j: int, rows: Mask) -> Whole:
            return np.bincount(states[j][rows], minlength=sizes[j]).astype(np.int64)

        def between(i: int, j: int) -> Counts:
            rows = known[i] & known[j]
            _require(rows, f"both node {i} and node {j}")
            return Counts.count(states[i][rows], states[j][rows], sizes[i], sizes[j])

        for j in nodes:
            _require(known[j], f"a signal of node {j}")
            _require(judged[j], f"a loss of node {j}, which could not be judged")
        costs, paid = _sums_of_costs(traces, known, states, sizes)
        complete = all(rows.all() for rows in judged) and all(np.array_equal(rows, known[i]) for i, rows in paid)
        gaps = Gaps(
            len(traces),
            tuple(number(j, judged[j]) for j in nodes),
            None if costs is None else tuple(np.array([rows.sum()]) if i < 0 else number(i, rows) for i, rows in paid),
        )
        return cls(
            tuple(number(j, known[j]) for j in nodes),
            tuple(sums(j, traces.losses[:, j], judged[j]) for j in nodes),
            tuple(sums(j, without_nothing(traces.signals[:, signal_nodes[j]]), known[j]) for j in nodes),
            tuple(None if i < 0 else between(i, j) for i, j in traces.topology.edges.tolist()),
            smoothing,
            loss_strength,
            transition_strength,
            costs,
            None if complete else gaps,
            largest_loss(traces.losses) if smoothing == "platt" else 1.0,
        )

    def edge_costs(self, parents: Sequence[int]) -> Floats | None:
        """(E,) float64: mean recorded cost of each edge; None if the costs of requests were not recorded."""
        counts = self._as_gaps(parents).costs
        if self.costs is None or counts is None:
            return None
        return np.array([sums.sum() / number.sum() for sums, number in zip(self.costs, counts, strict=True)])

    def state_costs(self, parents: Sequence[int]) -> list[Floats] | None:
        """One (K_i or 1,) float64 an edge: mean cost in each state, shrunk to the edge's mean as transitions are."""
        counts = self._as_gaps(parents).costs
        if self.costs is None or counts is None:
            return None
        return [
            sums / number if i < 0 else state_losses(number.astype(np.float64), sums, self.transition_strength)
            for i, sums, number in zip(parents, self.costs, counts, strict=True)
        ]

    def state_losses(self, node: int, ordered: bool = True) -> Floats:
        """(K,) float64 : expected loss of each state of a node, always its mean where states have no order.

        inf if the node cannot answer.
        """
        sums = self.losses[node]
        if np.isinf(sums).any():
            return np.full(len(sums), np.inf)
        counts = (self.counts if self.gaps is None else self.gaps.losses)[node].astype(np.float64)
        if self.smoothing != "mean" and ordered:
            curve = platt_losses(counts, sums, self._judged_signals(node), self.largest)
            if self.smoothing == "platt" or curve_fits(counts, sums, curve):
                return curve
        return state_losses(counts, sums, self.loss_strength)

    def _judged_signals(self, node: int) -> Floats:
        """Sums of signals over as many requests as have a loss: in a state these have its mean signal."""
        if self.gaps is None:
            return self.signals[node]
        sums: Floats = self.signals[node] * self.gaps.losses[node] / np.maximum(self.counts[node], 1)
        return sums

    def to_arrays(self) -> files.Arrays:
        """What a file holds; counts of transitions stay sparse."""
        arrays: files.Arrays = {}
        for j, counts in enumerate(self.counts):
            arrays[f"counts.{j}"] = counts
            arrays[f"loss_sums.{j}"], arrays[f"signal_sums.{j}"] = self.losses[j], self.signals[j]
        for e, transitions in enumerate(self.transitions):
            if transitions is not None:
                for part in _PARTS:
                    arrays[f"transitions.{e}.{part}"] = getattr(transitions, part)
        if self.costs is not None:
            arrays.update({f"cost_sums.{e}": sums for e, sums in enumerate(self.costs)})
        if self.gaps is not None:
            arrays["requests"] = np.array([self.gaps.requests])
            arrays.update({f"loss_counts.{j}": counts for j, counts in enumerate(self.gaps.losses)})
            arrays.update({f"cost_counts.{e}": counts for e, counts in enumerate(self.gaps.costs or ())})
        if self.largest != 1:
            arrays["largest_loss"] = np.array([self.largest])
        return arrays

    @classmethod
    def from_arrays(
        cls, topology: Topology, smoothing: str, strengths: Sequence[float], arrays: files.Arrays
    ) -> Statistics:
        """What `to_arrays` gave, checked.

        Raises
        ------
        ValueError, KeyError
            If an array is missing or does not fit; it is named.
        """
        nodes = range(topology.nodes)
        counts = tuple(_numbers(arrays, f"counts.{j}") for j in nodes)
        requests = int(counts[0].sum())
        if "requests" in arrays:
            (requests,) = _numbers(arrays, "requests", shape=(1,)).tolist()
        for j in nodes:
            if not 1 <= counts[j].sum() <= requests or ("requests" not in arrays and counts[j].sum() != requests):
                raise ValueError(f"counts.{j}: expected the same number of requests at every node, at least 1")

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
        costs, gaps, judged = None, None, counts
        if any(name.startswith("cost_sums.") for name in arrays):
            costs = tuple(_costs_of(arrays, e, 1 if i < 0 else len(counts[i])) for e, i in enumerate(parents))
        if "requests" in arrays:
            judged = tuple(_numbers(arrays, f"loss_counts.{j}", counts[j]) for j in nodes)
            paid = [np.array([requests]) if i < 0 else counts[i] for i in parents]
            paid = [_numbers(arrays, f"cost_counts.{e}", most) for e, most in enumerate(paid if costs else [])]
            gaps = Gaps(requests, judged, tuple(paid) if costs else None)
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


def _require(rows: Mask, what: str) -> None:
    if not rows.any():
        raise ValueError(f"traces: expected a request that recorded {what}, got none")


def _sums_of_costs(
    traces: Traces, known: Sequence[Mask], states: Sequence[npt.NDArray[np.int32]], sizes: Sequence[int]
) -> tuple[tuple[Floats, ...] | None, list[tuple[int, Mask]]]:
    """Of each edge, the recorded costs of the requests in each state of the node that it leaves.

    Also that node, and the requests whose cost and state are known; both empty where costs are not of requests.
    """
    if traces.request_costs is None:
        return None, []
    sums: list[Floats] = []
    paid = []
    for e, (i, j) in enumerate(traces.topology.edges.tolist()):
        costs = traces.request_costs[:, e]
        rows = ~np.isnan(costs) if i < 0 else ~np.isnan(costs) & known[i]
        _require(rows, f"the cost of edge {e} ({i} -> {j})")
        by_state = costs[rows].sum(keepdims=True) if i < 0 else np.bincount(states[i][rows], costs[rows], sizes[i])
        sums.append(by_state.astype(np.float64))
        paid.append((i, rows))
    return tuple(sums), paid


def _costs_of(arrays: files.Arrays, edge: int, states: int) -> Floats:
    """Sums of an edge's recorded costs in so many states of the node that it leaves."""
    sums: Floats = _checked(arrays[f"cost_sums.{edge}"], f"cost_sums.{edge}", np.float64)
    if len(sums) != states or np.any(sums < 0):
        raise ValueError(f"cost_sums.{edge}: expected ({states},) values >= 0, got {sums.shape}")
    return sums


def _numbers(arrays: files.Arrays, name: str, most: Whole | None = None, shape: tuple[int, ...] | None = None) -> Whole:
    """Numbers of requests, at most those of `most`, and of its shape."""
    numbers: Whole = _checked(arrays[name], name, np.int64)
    if most is not None and (numbers.shape != most.shape or np.any(numbers > most)):
        raise ValueError(f"{name}: expected {most.shape} numbers, at most those of the state, got {numbers.shape}")
    if np.any(numbers < 0) or (shape is not None and numbers.shape != shape):
        raise ValueError(f"{name}: expected numbers of requests, got {numbers.shape} from {numbers.min(initial=0)}")
    return numbers


def _largest_of(arrays: files.Arrays, counts: Sequence[Whole], losses: Sequence[Floats]) -> float:
    """The largest loss; no state's mean is above it, but of a node that cannot answer."""
    values = _checked(arrays["largest_loss"], "largest_loss", np.float64)
    above = [
        len(values) != 1 or bool(np.any((sums > values[0] * number * (1 + 1e-9)) & (sums < np.inf)))
        for sums, number in zip(losses, counts, strict=True)
    ]
    if any(above):
        raise ValueError(f"largest_loss: expected a bound on every state's mean loss, got {values}")
    return float(values[0])


def _counts_between(arrays: files.Arrays, edge: int, before: Whole, after: Whole, gaps: bool) -> Counts:
    counts = Counts(len(after), *(arrays[f"transitions.{edge}.{part}"] for part in _PARTS))
    if counts.rows != len(before):
        raise ValueError(f"transitions.{edge}: expected {len(before)} rows, got {counts.rows}")
    rows = np.repeat(np.arange(counts.rows), np.diff(counts.offsets))
    departures = np.bincount(rows, weights=counts.values, minlength=len(before))
    arrivals = np.bincount(counts.indices, weights=counts.values, minlength=len(after))
    # Where not every request recorded both nodes, fewer passed than were seen in the states.
    fits = (departures <= before).all() and (arrivals <= after).all()
    if not fits or (not gaps and departures.sum() != before.sum()):
        raise ValueError(f"transitions.{edge}: expected counts that add up to those of the states")
    return counts


def _checked(
    array: npt.NDArray[Any], name: str, dtype: type, most: float = np.finfo(np.float64).max
) -> npt.NDArray[Any]:
    if array.dtype != dtype or array.ndim != 1 or not np.all(np.abs(array) <= most):
        raise ValueError(f"{name}: expected (K,) finite {np.dtype(dtype)}, got {array.shape} {array.dtype}")
    return array
