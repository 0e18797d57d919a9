"""Sums over requests from which a fitted model is made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ttamer._base import files
from ttamer._base.types import Floats
from ttamer._core import Counts, Topology
from ttamer._core import states as core_states
from ttamer.model.losses import curve_fits, platt_losses, state_losses
from ttamer.traces import Traces

SMOOTHINGS = ("auto", "platt", "mean")
_PARTS = ("offsets", "indices", "values")


@dataclass(frozen=True)
class Statistics:
    """Sums over requests, from which a fitted model is made; those of shards add.

    ``counts``, ``losses`` and ``signals`` hold one (K_j,) array a node: requests in each state, the sum of their losses
    and of their signals. ``smoothing`` says how losses come from them, see `fit`.
    ``transitions`` holds one `Counts` for each edge between nodes, None for an edge that leaves the root.
    ``costs`` holds, where the costs of each request were recorded, one (K_i,) array an edge: their sum in each state of
    the node i that it leaves, (1,) for the root. Else it is None.
    ``largest`` is the largest loss, which curves go up to; 1 where losses are means, or errors.
    """

    counts: tuple[npt.NDArray[np.int64], ...]
    losses: tuple[Floats, ...]
    signals: tuple[Floats, ...]
    transitions: tuple[Counts | None, ...]
    smoothing: str
    loss_strength: float
    transition_strength: float
    costs: tuple[Floats, ...] | None = None
    largest: float = 1.0

    @property
    def settings(self) -> tuple[str, float, float]:
        """What two of these must have in common to be added."""
        return self.smoothing, self.loss_strength, self.transition_strength

    def __add__(self, other: Statistics) -> Statistics:
        def both(a: Sequence[Any], b: Sequence[Any]) -> tuple[Any, ...]:
            return tuple(None if x is None else x + y for x, y in zip(a, b, strict=True))

        return Statistics(
            both(self.counts, other.counts),
            both(self.losses, other.losses),
            both(self.signals, other.signals),
            both(self.transitions, other.transitions),
            self.smoothing,
            self.loss_strength,
            self.transition_strength,
            None if self.costs is None or other.costs is None else both(self.costs, other.costs),
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
        """
        nodes = range(traces.topology.nodes)
        states = [core_states(edges[j], traces.signals, signal_nodes[j]) for j in nodes]
        sizes = [len(edges[j]) + 1 for j in nodes]

        def sums(j: int, values: npt.NDArray[np.float32]) -> Floats:
            return np.bincount(states[j], weights=values, minlength=sizes[j]).astype(np.float64)

        return cls(
            tuple(np.bincount(states[j], minlength=sizes[j]).astype(np.int64) for j in nodes),
            tuple(sums(j, traces.losses[:, j]) for j in nodes),
            tuple(sums(j, traces.signals[:, signal_nodes[j]]) for j in nodes),
            tuple(
                None if i < 0 else Counts.count(states[i], states[j], sizes[i], sizes[j])
                for i, j in traces.topology.edges.tolist()
            ),
            smoothing,
            loss_strength,
            transition_strength,
            _sums_of_costs(traces, states, sizes),
            float(traces.losses.max()) if smoothing == "platt" else 1.0,
        )

    def state_costs(self, parents: Sequence[int]) -> list[Floats] | None:
        """One (K_i or 1,) float64 an edge: mean cost in each state, shrunk to the edge's mean as transitions are."""
        if self.costs is None:
            return None
        requests = self.counts[0].sum()
        return [
            sums / requests
            if i < 0
            else state_losses(self.counts[i].astype(np.float64), sums, self.transition_strength)
            for i, sums in zip(parents, self.costs, strict=True)
        ]

    def state_losses(self, node: int) -> Floats:
        """(K,) float64 : expected loss of each state of a node."""
        counts = self.counts[node].astype(np.float64)
        if self.smoothing != "mean":
            curve = platt_losses(counts, self.losses[node], self.signals[node], self.largest or 1.0)
            if self.smoothing == "platt" or curve_fits(counts, self.losses[node], curve):
                return curve
        return state_losses(counts, self.losses[node], self.loss_strength)

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
        counts = tuple(_checked(arrays[f"counts.{j}"], f"counts.{j}", np.int64) for j in nodes)
        for j in nodes:
            if np.any(counts[j] < 0) or counts[j].sum() != counts[0].sum() or counts[0].sum() < 1:
                raise ValueError(f"counts.{j}: expected the same number of requests at every node, at least 1")

        def sums(name: str) -> tuple[Floats, ...]:
            values = tuple(_checked(arrays[f"{name}.{j}"], f"{name}.{j}", np.float64) for j in nodes)
            for j in nodes:
                if values[j].shape != counts[j].shape:
                    raise ValueError(f"{name}.{j}: expected {counts[j].shape}, got {values[j].shape}")
                if name == "loss_sums" and np.any(values[j] < 0):
                    raise ValueError(f"{name}.{j}: expected values >= 0, got {values[j].min():g}")
            return values

        transitions = tuple(
            None if i < 0 else _counts_between(arrays, e, counts[i], counts[j])
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
            _costs_of(topology, arrays, counts) if any(name.startswith("cost_sums.") for name in arrays) else None,
            _largest_of(arrays, counts, losses) if "largest_loss" in arrays else 1.0,
        )


def _sums_of_costs(
    traces: Traces, states: Sequence[npt.NDArray[np.int32]], sizes: Sequence[int]
) -> tuple[Floats, ...] | None:
    """Of each edge, the recorded costs of the requests in each state of the node that it leaves."""
    if traces.request_costs is None:
        return None
    sums: list[Floats] = []
    for costs, i in zip(traces.request_costs.T, traces.topology.edges[:, 0].tolist(), strict=True):
        by_state = costs.sum(keepdims=True) if i < 0 else np.bincount(states[i], costs, sizes[i])
        sums.append(by_state.astype(np.float64))
    return tuple(sums)


def _costs_of(topology: Topology, arrays: files.Arrays, counts: Sequence[npt.NDArray[np.int64]]) -> tuple[Floats, ...]:
    """Sums of recorded costs, of each edge and state of the node that it leaves."""
    costs = []
    for e, i in enumerate(topology.edges[:, 0].tolist()):
        sums = _checked(arrays[f"cost_sums.{e}"], f"cost_sums.{e}", np.float64)
        states = 1 if i < 0 else len(counts[i])
        if len(sums) != states or np.any(sums < 0):
            raise ValueError(f"cost_sums.{e}: expected ({states},) values >= 0, got {sums.shape}")
        costs.append(sums)
    return tuple(costs)


def _largest_of(arrays: files.Arrays, counts: Sequence[npt.NDArray[np.int64]], losses: Sequence[Floats]) -> float:
    """The largest loss; no state's mean is above it."""
    values = _checked(arrays["largest_loss"], "largest_loss", np.float64)
    if len(values) != 1 or any(np.any(a > values[0] * n * (1 + 1e-9)) for a, n in zip(losses, counts, strict=True)):
        raise ValueError(f"largest_loss: expected a bound on every state's mean loss, got {values}")
    return float(values[0])


def _counts_between(
    arrays: files.Arrays, edge: int, before: npt.NDArray[np.int64], after: npt.NDArray[np.int64]
) -> Counts:
    counts = Counts(len(after), *(arrays[f"transitions.{edge}.{part}"] for part in _PARTS))
    if counts.rows != len(before):
        raise ValueError(f"transitions.{edge}: expected {len(before)} rows, got {counts.rows}")
    rows = np.repeat(np.arange(counts.rows), np.diff(counts.offsets))
    departures = np.bincount(rows, weights=counts.values, minlength=len(before))
    arrivals = np.bincount(counts.indices, weights=counts.values, minlength=len(after))
    if not (np.array_equal(departures, before) and np.array_equal(arrivals, after)):
        raise ValueError(f"transitions.{edge}: expected counts that add up to those of the states")
    return counts


def _checked(array: npt.NDArray[Any], name: str, dtype: type) -> npt.NDArray[Any]:
    if array.dtype != dtype or array.ndim != 1 or not np.all(np.isfinite(array)):
        raise ValueError(f"{name}: expected (K,) finite {np.dtype(dtype)}, got {array.shape} {array.dtype}")
    return array
