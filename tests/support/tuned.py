"""Small traces that the tests of service levels share."""

from __future__ import annotations

import numpy as np

import ttamer

COSTS = [1.0, 2.0, 4.0]
QUICK = {"estimate": "signal", "bins": 8, "tradeoffs": 1 / (1 + np.geomspace(1e-3, 30, 20))}


def make(rows, seed=0, topology=None, costs=COSTS, scale=1.0):
    """Classifiers of three nodes, each better and dearer than the one before, whose confidence says how good."""
    rng = np.random.default_rng(seed)
    quality = rng.random((rows, 1))
    signals = np.clip(quality + 0.2 * rng.normal(size=(rows, 3)), 0, 1).astype(np.float32)
    wrong = rng.random((rows, 3)) > 0.5 + 0.5 * np.maximum(quality, [0.0, 0.5, 0.8])
    predictions = np.where(wrong, 1, 0)
    losses = scale * wrong.astype(np.float32)
    return ttamer.Traces(signals, losses, costs, topology, predictions=predictions, unit="ms")


def parts(rows, seed=0):
    """The held-back half and the other one, as `certify` makes them by default."""
    shuffled = np.random.default_rng(seed).permutation(rows)
    return shuffled[(rows + 1) // 2 :], shuffled[: (rows + 1) // 2]
