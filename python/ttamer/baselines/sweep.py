"""Every threshold on a score at once: what each costs and loses on calibration rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ttamer._base.hull import representative
from ttamer._base.types import Floats


@dataclass(frozen=True, eq=False)
class Sweep:
    """Outcomes of one threshold on the score of every node of a line, stopping at the first node that reaches it.

    Attributes
    ----------
    values : (T,) float
        Descending thresholds, from infinity, which never stops early, to the first one that all rows reach at node 0.
        No two of them stop the same rows at the same nodes.
    cost, loss : (T,) float64
        Means over the rows.
    """

    values: npt.NDArray[Any]
    cost: Floats
    loss: Floats

    def chosen(self, points: int) -> list[float]:
        """At most `points` thresholds, descending: the ends, the vertices of the hull, and others between them."""
        return self.values[representative(self.cost, self.loss, points)].tolist()  # type: ignore[no-any-return]


def sweep(scores: npt.NDArray[np.floating[Any]], losses: npt.NDArray[np.float32], reach: Floats) -> Sweep:
    """Walk all rows with every threshold that makes a difference.

    Parameters
    ----------
    scores : (N, n - 1) or (N, n) floats
        Larger stops earlier; the last node stops whatever its score. May be infinite.
    losses : (N, n) float32
    reach : (N, n) float64
        Cost of walking to each node.

    Returns
    -------
    Sweep
    """
    rows, nodes = losses.shape
    # A row goes on after node j if no score up to j reaches the threshold.
    highest = np.maximum.accumulate(scores[:, : nodes - 1], axis=1)
    values = np.append(np.unique(highest), highest.dtype.type(np.inf))
    if len(values) > 1 and values[-2] == np.inf:
        values = values[:-1]
    cost = np.full(len(values), reach[:, 0].mean())
    loss = np.full(len(values), losses[:, 0].mean(dtype=np.float64))
    for j in range(nodes - 1):
        order = np.argsort(highest[:, j])
        going_on = np.searchsorted(highest[order, j], values)
        for total, table in ((cost, reach), (loss, losses.astype(np.float64))):
            change = table[order, j + 1] - table[order, j]
            total += np.append(0.0, np.cumsum(change))[going_on] / rows
    return Sweep(values[::-1], cost[::-1], loss[::-1])
