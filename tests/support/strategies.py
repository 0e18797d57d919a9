"""Hypothesis strategies: small random cascades, with ties and zeros wherever they hurt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import ttamer

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Cascade:
    """Tables of a small cascade, ready for every solver."""

    topology: ttamer.Topology
    losses: list[Floats]
    transitions: list[Floats]
    costs: Any
    """(E,) float64, or an array of objects that holds one (K_i,) array an edge."""

    def model(self, **options: Any) -> ttamer.CascadeModel:
        return ttamer.CascadeModel(self.topology, self.losses, self.transitions, self.costs, **options)


@st.composite
def cascades(draw: st.DrawFn, kind: str, nodes: int, states: int, probes: bool = False) -> Cascade:
    """A cascade of at most so many nodes with at most so many states each.

    Losses and costs lie on coarse grids, so that losses, indices and values of different actions tie; probabilities
    are ratios of small integers with zeros among them, so that states may be out of reach; some nodes have one
    state, and some edges one row. Half of them have costs that differ by state and, with `probes`, half have nodes
    that cannot answer.
    """
    topology = draw(_topologies(kind, nodes))
    sizes = draw(st.lists(st.integers(1, states), min_size=topology.nodes, max_size=topology.nodes))
    losses = [draw(_grid((size,), 4)) for size in sizes]
    transitions = []
    for i, j in topology.edges.tolist():
        rows = 1 if i < 0 or draw(st.booleans()) else sizes[i]
        transitions.append(_distributions(draw(arrays.arrays(np.int64, (rows, sizes[j]), elements=_weights))))
    costs = draw(_grid((len(topology.edges),), 8))
    if draw(st.booleans()):
        rows = [draw(_grid((1 if i < 0 else sizes[i],), 8)) for i in topology.edges[:, 0].tolist()]
        costs = np.array([*rows, None], dtype=object)[:-1]  # an array of arrays, also where all are equally long
    if probes and draw(st.booleans()):
        drawn = draw(st.lists(st.booleans(), min_size=topology.nodes, max_size=topology.nodes))
        losses = with_probes(topology, losses, {j for j in range(topology.nodes) if drawn[j]})
    return Cascade(topology, losses, transitions, costs)


def with_probes(topology: ttamer.Topology, losses: list[Floats], probes: set[int]) -> list[Floats]:
    """The losses where these nodes cannot answer, but for those that have to."""
    edges = topology.edges.tolist()
    if topology.kind == "forest":
        answering = {min(probes)} if len(probes) == topology.nodes else set()
    else:
        unanswered = {-1}  # what paths through probes alone lead to
        for _ in range(topology.nodes):
            unanswered |= {j for i, j in edges if i in unanswered and (i == -1 or i in probes)}
        answering = unanswered - {i for i, _ in edges}
    return [np.full(len(row), np.inf) if j in probes - answering else row for j, row in enumerate(losses)]


tradeoffs = st.sampled_from([0.5, 1.0, 0.75, 1 / 3, 0.9, 0.01])
"""One half with a cost_scale of 1 keeps costs on their grid, so that they tie with losses."""

_weights = st.sampled_from([1, 0, 2, 3])


def _grid(shape: tuple[int, ...], steps: int) -> st.SearchStrategy[Floats]:
    """Multiples of 1 / steps from 0 to 1."""
    return arrays.arrays(np.int64, shape, elements=st.integers(0, steps)).map(lambda whole: whole / steps)


def _distributions(weights: npt.NDArray[np.int64]) -> Floats:
    """Rows that sum to 1; a row of zeros puts everything on its first state."""
    filled = weights.astype(np.float64)
    filled[:, 0] += filled.sum(axis=1) == 0
    return filled / filled.sum(axis=1, keepdims=True)


@st.composite
def _topologies(draw: st.DrawFn, kind: str, nodes: int) -> ttamer.Topology:
    count = draw(st.integers(1, nodes))
    if kind in ("line", "skip"):
        return getattr(ttamer.Topology, kind)(count)
    # Drawn in an order that cannot have cycles, then the nodes are given other numbers.
    names = [-1, *draw(st.permutations(range(count)))]
    edges = []
    for place in range(1, count + 1):
        before = st.lists(st.integers(0, place - 1), min_size=1, max_size=1 if kind == "forest" else 3, unique=True)
        edges += [(names[i], names[place]) for i in draw(before)]
    if kind == "dag":
        return ttamer.Topology.dag(count, draw(st.permutations(edges)))
    return ttamer.Topology.forest([i for i, _ in sorted(edges, key=lambda edge: edge[1])])
