"""Policies that decide on logits."""

from __future__ import annotations

import functools

import numpy as np

import ttamer
from ttamer.traces.signals import SIGNALS

KINDS = list(SIGNALS)


@functools.cache
def policy_for(kind: str, recall: str = "observed", nodes: int = 3) -> ttamer.Policy:
    rng = np.random.default_rng(3)
    logits = rng.normal(size=(600, nodes, 4)) * rng.choice([0.5, 3.0, 8.0], (600, 1, 1))
    probs = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    labels = np.where(rng.random(600) < 0.8, logits.sum(axis=1).argmax(axis=-1), rng.integers(0, 4, 600))
    traces = ttamer.Traces.from_probs(probs, labels, np.full(nodes, 0.002), signal=kind)
    return ttamer.solve(ttamer.fit(traces, bins=32), 0.97, recall)
