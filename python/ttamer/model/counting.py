"""Counting what requests recorded, for a fitted model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ttamer._base.numbers import largest_loss
from ttamer._base.types import Floats
from ttamer._core import Counts
from ttamer._core import states as core_states
from ttamer.model.statistics import Gaps, Statistics
from ttamer.traces import Traces
from ttamer.traces.signals import without_nothing

Mask = npt.NDArray[np.bool_]


def counted(
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
    weights = np.ones(len(traces)) if traces.weights is None else traces.weights
    nodes, text = range(traces.topology.nodes), traces._node_text
    sizes = [len(edges[j]) + 1 for j in nodes]
    recorded = ~np.isnan(traces.signals)
    known = [recorded[:, j] & recorded[:, signal_nodes[j]] for j in nodes]
    states = [core_states(edges[j], traces.signals, signal_nodes[j]) for j in nodes]
    judged = [known[j] & ~np.isnan(traces.losses[:, j]) for j in nodes]

    def sums(j: int, values: npt.NDArray[np.float32], rows: Mask) -> Floats:
        return np.bincount(states[j][rows], weights[rows] * values[rows], sizes[j]).astype(np.float64)

    def number(j: int, rows: Mask) -> Floats:
        return np.bincount(states[j][rows], weights[rows], sizes[j]).astype(np.float64)

    def paying(i: int, rows: Mask) -> Floats:
        return weights[rows].sum(keepdims=True) if i < 0 else number(i, rows)

    def losses(j: int) -> Floats:
        cannot_answer = j in traces.probes
        return np.full(sizes[j], np.inf) if cannot_answer else sums(j, traces.losses[:, j], judged[j])

    def between(i: int, j: int) -> Counts:
        rows = known[i] & known[j]
        _require(rows, f"both node {text(i)} and node {text(j)}")
        masses = None if traces.weights is None else weights[rows]
        return Counts.count(states[i][rows], states[j][rows], sizes[i], sizes[j], masses)

    for j in nodes:
        _require(known[j], f"a signal of node {text(j)}")
        _require(judged[j], f"a loss of node {text(j)}, which could not be judged")
    parents = traces.topology.edges[:, 0].tolist()
    paid = {unit: _paid_rows(traces, costs, known) for unit, costs in traces.unit_costs.items() if costs.ndim == 2}
    gaps = None
    if not all(rows.all() for rows in [*judged, *(mask for masks in paid.values() for mask in masks)]):
        gaps = Gaps(
            float(weights.sum()),
            tuple(number(j, judged[j]) for j in nodes),
            {
                unit: tuple(paying(i, mask) for i, mask in zip(parents, masks, strict=True))
                for unit, masks in paid.items()
            },
        )
    return Statistics(
        tuple(number(j, known[j]) for j in nodes),
        tuple(losses(j) for j in nodes),
        tuple(sums(j, without_nothing(traces.signals[:, signal_nodes[j]]), known[j]) for j in nodes),
        tuple(None if i < 0 else between(i, j) for i, j in traces.topology.edges.tolist()),
        smoothing,
        loss_strength,
        transition_strength,
        {
            unit: _sums_of_costs(traces.unit_costs[unit], weights, masks, parents, states, sizes)
            for unit, masks in paid.items()
        },
        gaps,
        largest_loss(traces.losses) if smoothing == "platt" else 1.0,
    )


def _require(rows: Mask, what: str) -> None:
    if not rows.any():
        raise ValueError(f"traces: expected a request that recorded {what}, got none")


def _paid_rows(traces: Traces, costs: Floats, known: Sequence[Mask]) -> list[Mask]:
    """Of each edge the requests whose cost is known, and the state of the node that it leaves."""
    masks = []
    for e, (i, j) in enumerate(traces.topology.edges.tolist()):
        rows = ~np.isnan(costs[:, e])
        masks.append(rows if i < 0 else rows & known[i])
        _require(masks[-1], f"the cost of edge {e} ({i} -> {j})")
    return masks


def _sums_of_costs(
    costs: Floats,
    weights: Floats,
    paid: Sequence[Mask],
    parents: Sequence[int],
    states: Sequence[npt.NDArray[np.int32]],
    sizes: Sequence[int],
) -> tuple[Floats, ...]:
    """Of each edge, the recorded costs of the requests in each state of the node that it leaves."""
    sums: list[Floats] = []
    for column, rows, i in zip(costs.T, paid, parents, strict=True):
        here = weights[rows] * column[rows]
        by_state = here.sum(keepdims=True) if i < 0 else np.bincount(states[i][rows], here, sizes[i])
        sums.append(by_state.astype(np.float64))
    return tuple(sums)
