"""Lower convex hulls of (mean cost, error), and what mixing two neighbours on them costs."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ttamer._base.types import Floats


def lower_hull(cost: Floats, error: Floats) -> npt.NDArray[np.intp]:
    """Vertices of the lower convex hull, from the cheapest point to the most accurate.

    Parameters
    ----------
    cost, error : (P,) float64

    Returns
    -------
    (V,) intp
        Cost rises and error falls strictly; of equal points the first, and none between two others on a line.
    """
    kept: list[int] = []
    for point in np.lexsort((error, cost)).tolist():
        if kept and error[point] >= error[kept[-1]]:
            continue
        while len(kept) > 1:
            before, last = kept[-2], kept[-1]
            fall = (error[last] - error[before]) * (cost[point] - cost[before])
            if fall < (error[point] - error[before]) * (cost[last] - cost[before]):
                break
            kept.pop()
        # A cheaper point of the same cost was sorted first, so only a rise of cost remains.
        kept.append(point)
    return np.array(kept, dtype=np.intp)


def mixing_shares(cost: Floats, budgets: Floats) -> Floats:
    """How much of each vertex of a hull a mean cost of each budget mixes: (V, L), columns sum to 1.

    Two neighbours are mixed so that their mean cost is the budget; beyond the last one it is used alone, below the
    first one that.
    """
    return np.array([np.interp(budgets, cost, only) for only in np.eye(len(cost))])


def spending(cost: Floats, error: Floats, budgets: Floats) -> Floats:
    """Share (P,) of requests that each of P policies serves, averaged over budgets, mixed along their lower hull.

    Parameters
    ----------
    cost, error : (P,) float64
        Of each policy.
    budgets : (L,) float64
        Mean costs to spend, none below the cheapest policy's.
    """
    hull = lower_hull(cost, error)
    shares = np.zeros(len(cost))
    shares[hull] = mixing_shares(cost[hull], budgets).mean(axis=1)
    return shares


def evenly_spread(cost: Floats, error: Floats, points: int) -> npt.NDArray[np.intp]:
    """At most `points` numbers of a path's points, evenly spread along it in cost and error; its ends are kept.

    Parameters
    ----------
    cost, error : (P,) float64
        The path, in its order.
    points : int
        At least 2.

    Returns
    -------
    (Q,) intp
        Ascending.
    """
    if len(cost) <= points:
        return np.arange(len(cost))
    places = np.stack([cost, error], axis=1)
    extent = np.ptp(places, axis=0)
    moved = np.abs(np.diff(places, axis=0)) / np.where(extent > 0, extent, 1.0)
    length = np.append(0.0, np.cumsum(moved.sum(axis=1)))
    wanted = np.linspace(0.0, length[-1], points)
    return np.unique(np.append(np.searchsorted(length, wanted[:-1]), len(cost) - 1))


def representative(cost: Floats, error: Floats, points: int) -> npt.NDArray[np.intp]:
    """At most `points` numbers of a path's points: its ends, the vertices of its lower hull, and others between them.

    Parameters and result are those of `evenly_spread`.
    """
    if len(cost) <= points:
        return np.arange(len(cost))
    needed = np.unique(np.append(lower_hull(cost, error), [0, len(cost) - 1]))
    if len(needed) >= points:
        return needed[np.unique(np.rint(np.linspace(0, len(needed) - 1, points)).astype(np.intp))]
    room = points - len(needed)
    return np.union1d(needed, evenly_spread(cost, error, room)) if room >= 2 else needed
