"""Soft state aggregation: a transition through a few meta-states."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ttamer.reference.graph import Topology, last_first, successors

Floats = npt.NDArray[np.float64]


def aggregate(transition: Floats, losses: Floats, states: int) -> tuple[Floats, Floats]:
    """P ~ U W through at most `states` meta-states (Singh, Jaakkola and Jordan 1995).

    The rows of P are put in order of the loss they lead to, ``P g``, and cut into groups of equal size; row z of W is
    the mean of group z. A state belongs to the two groups between whose mean ``P g`` its own lies, in proportion, so
    that U W leads to the same loss as P wherever it can.

    Parameters
    ----------
    transition : (K_i, K_j) float64
    losses : (K_j,) float64
        Losses g of the states of j; of a probe's, those of `losses_ahead`. With inf P itself is the answer.
    states : int
        Number of meta-states; with K_i or more, P itself is the answer.

    Returns
    -------
    U : (K_i, q) float64
    W : (q, K_j) float64
    """
    rows = len(transition)
    if states >= rows or np.isinf(losses).any():
        return np.eye(rows), transition
    ahead = transition @ losses
    order = np.argsort(ahead, kind="stable")
    ends = np.arange(states + 1) * rows // states
    groups = [order[ends[z] : ends[z + 1]] for z in range(states)]
    meta = np.array([transition[group].mean(axis=0) for group in groups])
    centres = np.array([ahead[group].mean() for group in groups])
    membership = np.zeros((rows, states))
    for s in range(rows):
        above = int(np.searchsorted(centres, ahead[s], side="right"))
        if above in (0, states):
            membership[s, max(above - 1, 0)] = 1
            continue
        share = (ahead[s] - centres[above - 1]) / (centres[above] - centres[above - 1])
        membership[s, above - 1], membership[s, above] = 1 - share, share
    return membership, meta


def losses_ahead(topology: Topology, losses: Sequence[Floats], transitions: Sequence[Floats]) -> list[Floats]:
    """What the states of each node lead to: its losses, or for a probe's states the least loss expected after it.

    A probe after which no node can answer keeps inf in all of them.
    """
    ahead = [np.array(row) for row in losses]
    for i in last_first(topology):
        if np.isinf(losses[i][0]):
            after = [transitions[e] @ ahead[j] for j, e in successors(topology, i) if np.isfinite(ahead[j][0])]
            for expected in after:
                ahead[i] = np.minimum(ahead[i], expected)
    return ahead
