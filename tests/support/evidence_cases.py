"""Recorded classifiers made up for the tests of estimates."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

import ttamer
from ttamer import Topology, Traces

Array = npt.NDArray[Any]


def softmax(logits: Array) -> Array:
    exp = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return exp / exp.sum(axis=-1, keepdims=True)


def independent(
    rows: int = 300,
    nodes: int = 3,
    classes: int = 3,
    seed: int = 0,
    *,
    top: int = 8,
    forest: bool = False,
    **options: Any,
) -> Traces:
    """Models that each see the label through noise of their own: several know more than any one of them."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, rows)
    seen = 1.5 * np.eye(classes)[labels][:, None, :] + rng.standard_normal((rows, nodes, classes))
    topology = Topology.forest([-1] * nodes) if forest else Topology.line(nodes)
    topology = options.pop("topology", topology)
    costs = options.pop("costs", np.arange(1.0, 1.0 + len(topology.edges)))
    return Traces.from_probs(softmax(1.5 * seen), labels, costs, topology, top=top, unit="ms", **options)


def nested(rows: int = 300, nodes: int = 3, classes: int = 3, seed: int = 0) -> Traces:
    """Exits that each know all that earlier ones knew: what came before says nothing more."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, rows)
    seen = np.eye(classes)[labels][:, None, :] + rng.standard_normal((rows, nodes, classes))
    return Traces.from_probs(softmax(np.cumsum(seen, axis=1)), labels, np.ones(nodes), unit="ms")


def graded(traces: Traces, scale: float = 1.0) -> Traces:
    """The same requests with losses up to `scale`: large where an answer is wrong, and small, not 0, where it is right.

    How large does not depend on what is seen.
    """
    shares = np.random.default_rng(1).uniform(0.0, 0.3, traces.losses.shape)
    return traces._with(losses=(scale * np.abs(traces.losses - shares)).astype(np.float32))


def posterior(traces: Traces, **options: Any) -> ttamer.CascadeModel:
    return ttamer.fit(traces, 8, "posterior", **options)
