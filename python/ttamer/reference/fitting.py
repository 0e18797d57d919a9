"""From signals to states, and from counts to tables."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


def quantile_edges(signals: npt.NDArray[np.float32], bins: int) -> npt.NDArray[np.float32]:
    """Edges of at most `bins` bins: one for each value if there are no more, else quantiles, of which equal ones merge.

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
    edges = set()
    quantiles = [int(np.floor(k * len(ordered) / bins + 0.5)) for k in range(1, bins)]
    few = len(set(ordered.tolist())) <= bins
    for position in range(len(ordered)) if few else quantiles:
        if position == len(ordered) or ordered[position] == ordered[0]:
            continue
        above = ordered[position]
        below = ordered[ordered < above].max()
        edge = np.float32((float(below) + float(above)) / 2)
        if edge >= above:
            edge = np.nextafter(above, np.float32(-np.inf))
        edges.add(above if edge <= below else edge)
    return np.array(sorted(edges), np.float32)


def signal_nodes(paths: Sequence[Sequence[int]], telling: Sequence[bool]) -> list[int]:
    """The node whose signal tells the state of each node.

    It is the node itself or, where its own signal is the same for every request, the last node that every path to it
    passes and whose signal is not; the node itself if there is none.

    Parameters
    ----------
    paths : sequence of sequences of int
        Every path from the root, to every node.
    telling : sequence of n bool
        Whether the node's signal differs between requests.
    """
    nodes = []
    for node in range(len(telling)):
        before = [list(path[:-1]) for path in paths if path[-1] == node]
        candidates = [j for j in before[0] if telling[j] and all(j in path for path in before)]
        nodes.append(node if telling[node] or not candidates else candidates[-1])
    return nodes


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
    mean = float(sum(sums)) / float(sum(counts))
    losses = []
    for count, total in zip(counts, sums, strict=True):
        weight = count + strength
        losses.append((total + strength * mean) / weight if weight > 0 else mean)
    return np.array(losses)


def platt_losses(counts: Floats, sums: Floats, signals: Floats, largest: float = 1.0) -> Floats:
    """Expected loss of each state from a logistic curve of its mean signal (Platt 1999), fitted to sums per state.

    The curve goes from 0 to the largest loss: it maximises the likelihood of losses divided by that, which may be
    fractions. It is in the log-odds of the mean signal where all of these lie in [0, 1], else in the mean signal
    itself.
    A state without requests takes the loss of its neighbours, linearly between them.

    Parameters
    ----------
    counts, sums, signals : (K,) float64
        Requests in each state, the sum of their losses and of their signals.
    largest : float
        The largest loss, above 0.
    """
    seen = np.flatnonzero(counts > 0)
    n, wrong, x = counts[seen], sums[seen] / largest, signals[seen] / counts[seen]
    if np.all((x >= 0) & (x <= 1)):
        x = np.log(np.clip(x, 1e-7, 1 - 1e-7)) - np.log1p(-np.clip(x, 1e-7, 1 - 1e-7))
    x = (x - x.mean()) / (x.std() or 1.0)

    def objective(a: float, b: float) -> float:
        """Negative log-likelihood with a small ridge, which keeps the curve finite where errors separate perfectly."""
        z = a + b * x
        return float(np.sum(n * np.logaddexp(0, z) - wrong * z) + 0.5e-3 * (a * a + b * b))

    a = b = 0.0
    for _ in range(200):  # Newton's method; a step that does not descend is halved
        p = 1 / (1 + np.exp(-(a + b * x)))
        w = n * p * (1 - p)
        slope_a, slope_b = np.sum(n * p - wrong) + 1e-3 * a, np.sum((n * p - wrong) * x) + 1e-3 * b
        aa, ab, bb = w.sum() + 1e-3, np.sum(w * x), np.sum(w * x * x) + 1e-3
        determinant = aa * bb - ab * ab
        step_a = (bb * slope_a - ab * slope_b) / determinant
        step_b = (aa * slope_b - ab * slope_a) / determinant
        size = 1.0
        while size > 1e-10 and objective(a - size * step_a, b - size * step_b) > objective(a, b):
            size /= 2
        a, b = a - size * step_a, b - size * step_b
    losses: Floats = np.interp(np.arange(len(counts)), seen, largest / (1 + np.exp(-(a + b * x))))
    return losses


def curve_fits(counts: Floats, sums: Floats, losses: Floats) -> bool:
    """Whether a curve of two parameters explains the mean losses: its deviance is within 4 standard deviations.

    The deviance of K binomial counts from a true curve is about chi-squared with K - 2 degrees of freedom, whose mean
    is K - 2 and whose variance is twice that.
    """
    deviance, freedom = 0.0, -2
    for n, wrong, p in zip(counts, sums, losses, strict=True):
        if n == 0:
            continue
        freedom += 1
        if wrong > 0:
            deviance += 2 * wrong * np.log(wrong / (n * p)) if p > 0 else np.inf
        if n > wrong:
            deviance += 2 * (n - wrong) * np.log((n - wrong) / (n * (1 - p))) if p < 1 else np.inf
    return bool(deviance <= max(freedom, 0) + 4 * np.sqrt(2 * max(freedom, 0)))


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
