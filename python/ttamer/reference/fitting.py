"""From signals to states, and from counts to tables."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


def quantile_edges(signals: npt.NDArray[np.float32], bins: int) -> npt.NDArray[np.float32]:
    """Edges of at most `bins` quantile bins; equal quantiles are merged.

    Edge k belongs below the sorted signal at position ``round(k * N / bins)`` and above the next smaller recorded
    value, strictly between the two where float32 has a number there: then a last-bit difference of a signal, as
    another batch size may cause, does not change its state.

    Parameters
    ----------
    signals : (N,) float32
        Recorded signals of one node, finite.
    bins : int
        Number of bins asked for, at least 1.

    Returns
    -------
    (K - 1,) float32
        Strictly increasing edges, K <= bins.
    """
    ordered = np.sort(signals)
    positions = (2 * np.arange(1, bins) * len(ordered) + bins) // (2 * bins)
    above = np.unique(ordered[positions[positions < len(ordered)]])
    above = above[above > ordered[0]]
    below = ordered[np.searchsorted(ordered, above, side="left") - 1]
    middle: Floats = (below.astype(np.float64) + above.astype(np.float64)) / 2
    edges: npt.NDArray[np.float32] = middle.astype(np.float32)
    edges = np.where(edges >= above, np.nextafter(above, np.float32(-np.inf)), edges)
    edges = np.where(edges <= below, above, edges).astype(np.float32)
    return edges


def states(signals: npt.NDArray[np.float32], edges: npt.NDArray[np.float32]) -> Integers:
    """State of each signal: the number of edges <= signal, compared in float32."""
    return np.searchsorted(edges, signals, side="right").astype(np.int64)


def worst_state(losses: Floats) -> int:
    """State that a NaN signal counts as under ``nan="worst"``: the largest loss, the lowest state among equals."""
    return int(np.argmax(losses))


def state_losses(counts: Floats, sums: Floats, strength: float) -> Floats:
    """Expected loss of each state: its mean loss, shrunk to the node's mean.

    Parameters
    ----------
    counts, sums : (K,) float64
        Requests in each state and the sum of their losses.
    strength : float
        The node's mean weighs as much as this many requests.
    """
    mean = sums.sum() / counts.sum()
    weight = counts + strength
    losses: Floats = np.where(weight > 0, (sums + strength * mean) / np.where(weight > 0, weight, 1), mean)
    return losses


def transition(counts: Floats, marginal: Floats, strength: float) -> Floats:
    """P = D F + (I - D) 1 marginal^T: row frequencies shrunk to the node's marginal.

    Parameters
    ----------
    counts : (K_i, K_j) float64
        How many requests went from state s of i to state r of j.
    marginal : (K_j,) float64
        How many requests were in each state of j.
    strength : float
        D = diag(row count / (row count + strength)); a row without requests is the marginal.
    """
    rows = counts.sum(axis=1, keepdims=True)
    kept = np.where(rows + strength > 0, rows / np.where(rows + strength > 0, rows + strength, 1), 0.0)
    frequencies = counts / np.where(rows > 0, rows, 1)
    shrunk: Floats = kept * frequencies + (1 - kept) * (marginal / marginal.sum())
    return shrunk
