"""What it costs to walk from the root to a node."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ttamer._core import Topology


def reach_costs(topology: Topology, costs: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Cost of the cheapest walk from the root to each node, the edge into the node included.

    Parameters
    ----------
    topology : Topology
    costs : (E,) float64
        In the topology's edge order, not negative.

    Returns
    -------
    (n,) float64
    """
    sources, targets = topology.edges[:, 0], topology.edges[:, 1]
    # The root, -1, is the last element.
    reached = np.full(topology.nodes + 1, np.inf)
    reached[-1] = 0.0
    # Bellman's relaxation settles after as many rounds as the longest of the cheapest walks has edges.
    while True:
        further = reached.copy()
        np.minimum.at(further, targets, reached[sources] + costs)
        if np.array_equal(further, reached):
            return reached[:-1]
        reached = further
