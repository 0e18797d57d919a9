"""Random Markov cascades, and requests drawn from them; `bench/synthetic.py` says how they are drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

import ttamer

Floats = npt.NDArray[np.float64]
States = npt.NDArray[np.intp]

SHAPES = ("line", "skip", "tree")


@dataclass(frozen=True, eq=False)
class Instance:
    """A cascade whose nodes share one support of losses, so that a state is the rank of its loss.

    Attributes
    ----------
    topology : Topology
    support : (K,) float64
        Losses of the states, rising.
    parents : (n,) intp
        The node each node's state depends on, -1 for none; always a lower number.
    conditionals : tuple of n (1 or K, K) float64
        Distribution of each node's state given its parent's.
    costs : (E,) float64
        In the topology's edge order.
    """

    topology: ttamer.Topology
    support: Floats
    parents: npt.NDArray[np.intp]
    conditionals: tuple[Floats, ...]
    costs: Floats

    def model(self, cost_scale: float | None = None) -> ttamer.CascadeModel:
        """What `ttamer.solve` takes. After a jump the next state depends on the one left by the steps between."""
        edges = self.topology.edges.tolist()
        if self.topology.kind == "skip":
            products = jumps(self.conditionals)
            transitions = [products[i, j] for i, j in edges]
        else:
            transitions = [self.conditionals[j] for _, j in edges]
        losses = [self.support] * self.topology.nodes
        return ttamer.CascadeModel(self.topology, losses, transitions, self.costs, cost_scale=cost_scale)

    def marginals(self) -> Floats:
        """(n, K) float64 : distribution of each node's state."""
        table = np.empty((len(self.parents), len(self.support)))
        for j, parent in enumerate(self.parents.tolist()):
            before = table[parent] if parent >= 0 else np.ones(1)
            table[j] = before @ self.conditionals[j]
        return table

    def correlations(self) -> list[float]:
        """Correlation of the losses of each node and its parent, where it has one."""
        marginals, values = self.marginals(), []
        means = marginals @ self.support
        spreads = np.sqrt(marginals @ self.support**2 - means**2)
        for j, parent in enumerate(self.parents.tolist()):
            if parent >= 0:
                product = (marginals[parent] * self.support) @ self.conditionals[j] @ self.support
                values.append(float((product - means[parent] * means[j]) / (spreads[parent] * spreads[j])))
        return values

    def sample(self, count: int, rng: np.random.Generator) -> States:
        """(count, n) intp : states of requests, each node drawn after its parent."""
        states = np.zeros((count, len(self.parents)), np.intp)
        for j, parent in enumerate(self.parents.tolist()):
            rows = states[:, parent] if parent >= 0 else np.zeros(count, np.intp)
            states[:, j] = draw_states(self.conditionals[j], rows, rng)
        return states

    def traces(self, states: States) -> ttamer.Traces:
        """Recorded form of sampled requests: the signal is the number of the state, as `model` expects."""
        losses = self.support[states].astype(np.float32)
        return ttamer.Traces(states.astype(np.float32), losses, self.costs, self.topology)

    def reach_costs(self) -> Floats:
        """(n,) float64 : cost of the cheapest walk to each node, in units of the costliest walk."""
        row = np.zeros((1, len(self.parents)), np.intp)
        return self.traces(row).reach_costs / self.cost_scale

    @property
    def cost_scale(self) -> float:
        """float : cost of the costliest walk from the root, what costs are divided by."""
        return float(ttamer.reference.costliest_path(self.topology, self.costs))

    def walks(self) -> list[tuple[list[int], Floats]]:
        """Orders in which a rule that only says when to stop may consult nodes, with the cost up to each node.

        Every path from the root to a leaf; on a tree with several also all nodes by number.
        """
        paths = [self._path(leaf) for leaf in range(len(self.parents)) if leaf not in self.parents]
        if len(paths) > 1:
            paths.append(list(range(len(self.parents))))
        edges = {(i, j): cost for (i, j), cost in zip(self.topology.edges.tolist(), self.costs, strict=True)}
        edge_costs = np.array([edges[parent, j] for j, parent in enumerate(self.parents.tolist())]) / self.cost_scale
        return [(path, np.cumsum(edge_costs[path])) for path in paths]

    def _path(self, node: int) -> list[int]:
        path = [node]
        while self.parents[path[0]] >= 0:
            path.insert(0, int(self.parents[path[0]]))
        return path


def draw(shape: str, nodes: int, states: int, seed: int, parents: Sequence[int] | None = None) -> Instance:
    """Instance number `seed` of its size; a line and a skip of one number differ only in the jumps.

    A tree's parents are drawn too unless they are given.
    """
    rng = np.random.default_rng([seed, nodes, states])
    if parents is None:
        parents = [int(rng.integers(-1, j)) if shape == "tree" and j else j - 1 for j in range(nodes)]
    before = np.array(parents)
    depths = np.zeros(nodes)
    for j, parent in enumerate(parents):
        depths[j] = depths[parent] + 1 if parent >= 0 else 0
    support = np.sort(rng.random(states))
    means = 0.5 * 0.85**depths * rng.uniform(0.8, 1.25, nodes)
    conditionals = tuple(_conditional(j, parents[j], means, support, rng) for j in range(nodes))
    segment, ramp = rng.uniform(0.5, 1.5, nodes), 0.5 * rng.uniform(0.5, 1.5, nodes)
    if shape == "skip":
        topology, costs = ttamer.Topology.skip(nodes), ttamer.Topology.skip_costs(segment, ramp)
    else:
        topology = ttamer.Topology.line(nodes) if shape == "line" else ttamer.Topology.forest(parents)
        costs = segment + ramp
    return Instance(topology, support, before, conditionals, costs)


def _conditional(node: int, parent: int, means: Floats, support: Floats, rng: np.random.Generator) -> Floats:
    """Rows (1 or K, K): a band around the parent's loss, mixed with what does not depend on it, made rough."""
    mean = means[node]
    weight, width = rng.uniform(0.4, 0.8), rng.uniform(0.03, 0.1)
    rows = _normal((support ** (3 * mean - 1) * (1 - support) ** (2 - 3 * mean))[None, :])
    if parent >= 0:
        centres = support * mean / means[parent]
        # Less the smallest distance: where all are far, the nearest still has weight.
        distances = np.abs(support[None, :] - centres[:, None])
        band = np.exp(-(distances - distances.min(axis=1, keepdims=True)) / width)
        rows = weight * _normal(band) + (1 - weight) * rows
    return _normal(rows * rng.standard_exponential(rows.shape))


def _normal(rows: Floats) -> Floats:
    normal: Floats = rows / rows.sum(axis=1, keepdims=True)
    return normal


def jumps(conditionals: tuple[Floats, ...]) -> dict[tuple[int, int], Floats]:
    """Transitions of every jump along a line: products of the steps it takes at once."""
    count = len(conditionals)
    transitions: dict[tuple[int, int], Floats] = {}
    for i in range(-1, count - 1):
        transitions[i, i + 1] = conditionals[i + 1]
        for j in range(i + 2, count):
            transitions[i, j] = _normal(transitions[i, j - 1] @ conditionals[j])
    return transitions


def draw_states(conditional: Floats, rows: States, rng: np.random.Generator) -> States:
    """One state for each request from the row of its parent's state: one search in all rows at once."""
    columns = conditional.shape[1]
    cumulative = np.cumsum(conditional, axis=1)
    # Row r covers (r, r + 1]; the last of each row is exact, so that no draw falls into the next row.
    cumulative /= cumulative[:, -1:]
    flat = (cumulative + np.arange(len(conditional))[:, None]).ravel()
    places = np.searchsorted(flat, rows + rng.random(len(rows)), side="right")
    return np.minimum(places - rows * columns, columns - 1)
