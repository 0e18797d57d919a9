"""Traces of cascades with a node that cannot answer: a context probe in front, in the middle, or on a branch."""

from __future__ import annotations

import numpy as np

from ttamer import Topology, Traces

CASCADES: dict[str, tuple[Topology, int]] = {
    "line": (Topology.line(4), 0),
    "middle": (Topology.line(4), 2),
    "end": (Topology.line(4), 3),
    "skip": (Topology.skip(4), 0),
    "dag": (Topology.dag(4, [(-1, 0), (0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]), 0),
    "top": (Topology.forest([-1, 0, 0, -1]), 0),
    "leaf": (Topology.forest([-1, 0, 0, -1]), 1),
}
"""The topology, and the probe."""


def probed_traces(name: str, rows: int = 1000, seed: int = 0, *, request_costs: bool = False) -> Traces:
    """Later nodes are better and dearer; the probe costs little, and tells how hard a request is."""
    topology, probe = CASCADES[name]
    rng = np.random.default_rng(seed)
    hard = rng.random(rows)
    right = np.clip(np.linspace(0.6, 0.95, 4) + 0.5 * (0.5 - hard)[:, None], 0.02, 0.99)
    losses = (rng.random((rows, 4)) > right).astype(np.float32)
    signals = np.clip(right + 0.1 * rng.standard_normal((rows, 4)), 0, 1).astype(np.float32)
    signals[:, probe], losses[:, probe] = 1 - hard, np.inf
    costs = np.array([0.125 if j == probe else 2.0**j for j in topology.edges[:, 1].tolist()])
    if request_costs:
        costs = costs * rng.integers(1, 4, (rows, 1))
    return Traces(signals, losses, costs, topology, unit="ms")
