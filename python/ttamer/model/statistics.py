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
    """

    counts: tuple[npt.NDArray[np.int64], ...]
    losses: tuple[Floats, ...]
    signals: tuple[Floats, ...]
    transitions: tuple[Counts | None, ...]
    smoothing: str
    loss_strength: float
    transition_strength: float

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
        )

    def state_losses(self, node: int) -> Floats:
        """(K,) float64 : expected loss of each state of a node."""
        counts = self.counts[node].astype(np.float64)
        if self.smoothing != "mean":
            curve = platt_losses(counts, self.losses[node], self.signals[node])
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
        return cls(
            counts,
            sums("loss_sums"),
            sums("signal_sums"),
            transitions,
            smoothing,
            loss_strength,
            transition_strength,
        )


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
