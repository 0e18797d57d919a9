"""The dynamic index on lines and forests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ttamer.reference.graph import ROOT, Topology, broadcast_rows, last_first

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Steps:
    """Right-continuous step functions, one a row: ``heights[:, k]`` on ``[breaks[k], breaks[k + 1])``, 0 before."""

    breaks: Floats
    heights: Floats

    def at(self, x: Floats) -> Floats:
        """Heights at the points x, one row a function."""
        piece = np.searchsorted(self.breaks, x, side="right") - 1
        return np.where(piece >= 0, self.heights[:, np.maximum(piece, 0)], 0.0)


def surrogates(
    topology: Topology,
    losses: Sequence[Floats],
    transitions: Sequence[Floats],
    costs: Sequence[Floats],
    outside: float = np.inf,
) -> tuple[list[Floats], float]:
    """Dynamic index of every node of a forest, and the value, from the distributions of surrogate losses.

    For node v, given its parent's state s (T-Tamer, section 3; Kleinberg, Waggoner and Weyl 2016)::

        Y_v(s)     = min(R_v, min over children u of kappa_u(R_v's state))
        sigma_v(s) = the largest x with E[(x - Y_v(s))_+] <= c_v
        kappa_v(s) = max(sigma_v(s), Y_v(s))

    The distribution functions are steps whose breaks are losses and indices of the subtree, so everything is exact.
    Distribution functions, not survival functions, are kept: a probability of 0 stays exactly 0, and a cost of 0
    gives exactly the smallest value that Y can take.

    A probe, a node that cannot answer, has loss inf in every state: R_v falls out of the minimum. Below a node without
    a single node that can answer Y is inf, and so is the index: consulting the node is never worth it.

    Parameters
    ----------
    topology : Topology
        A line or a forest.
    losses : n arrays (K_j,)
        inf in every state of a probe; some node can answer.
    transitions : E arrays (K_i or 1, K_j)
    costs : E numbers, or arrays (K_i,) with one for each state of the node that the edge leaves
        In units of loss.
    outside : float
        Loss of an option that is always there. With the default, at least one node is consulted.

    Returns
    -------
    index : n arrays (K_parent or 1,)
    value : float
        E[min(outside, min over roots of kappa)].
    """
    parents = topology.edges[:, 0]
    index: list[Floats] = [np.empty(0)] * topology.nodes
    kappa: list[Steps] = [Steps(np.empty(0), np.empty((1, 0)))] * topology.nodes
    for v in last_first(topology):
        children = [u for u in np.flatnonzero(parents == v) if len(kappa[u].breaks) > 0]
        finite = losses[v][np.isfinite(losses[v])]
        breaks = np.unique(np.concatenate([finite, *(kappa[u].breaks for u in children)]))
        if len(breaks) == 0:
            index[v] = np.full(max(len(transitions[v]), np.size(costs[v])), np.inf)
            continue
        lowest_child = _minimum([broadcast_rows(kappa[u].at(breaks), len(losses[v])) for u in children], breaks)
        reached = np.where(losses[v][:, None] <= breaks, 1.0, lowest_child)
        below = broadcast_rows(transitions[v] @ reached, max(len(transitions[v]), np.size(costs[v])))
        index[v] = _largest_with_gain(breaks, below, costs[v])
        wider = np.unique(np.concatenate([breaks, index[v]]))
        held = np.where(wider < index[v][:, None], 0.0, Steps(breaks, below).at(wider))
        kappa[v] = Steps(wider, held)
    roots = [v for v in np.flatnonzero(parents == ROOT) if len(kappa[v].breaks) > 0]
    breaks = np.unique(np.concatenate([kappa[v].breaks for v in roots]))
    lowest = _minimum([kappa[v].at(breaks) for v in roots], breaks)[0]
    # E[min(outside, Z)] is the integral of P(Z > x) from 0 to outside.
    ends = np.minimum(np.concatenate([breaks, breaks[-1:]]), outside)
    value = ends[0] + np.sum((1 - lowest) * np.diff(ends))
    return index, float(value)


def _minimum(distributions: Sequence[Floats], breaks: Floats) -> Floats:
    """Distribution function of the minimum of independent variables; 0 for none."""
    total: Floats = np.zeros((1, len(breaks)))
    for one in distributions:
        total = total + one - total * one
    return total


def _largest_with_gain(breaks: Floats, below: Floats, costs: Floats) -> Floats:
    """The largest x with E[(x - Y)_+] <= cost, for every row of P(Y <= x), each of which may have its own cost."""
    cost = np.broadcast_to(costs, len(below))
    steps = below[:, :-1] * np.diff(breaks)
    gain = np.concatenate([np.zeros((len(below), 1)), np.cumsum(steps, axis=1)], axis=1)
    last = np.sum(gain <= cost[:, None], axis=1) - 1
    rows = np.arange(len(below))
    index: Floats = breaks[last] + (cost - gain[rows, last]) / below[rows, last]
    return index
