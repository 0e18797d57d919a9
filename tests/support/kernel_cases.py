"""Policies and signals that the tests of kernels share, and the loop that compares two flights."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st
from strategies import cascades, tradeoffs

import ttamer

Floats32 = npt.NDArray[np.float32]
SHAPES = ("line", "skip", "dag", "forest")
TINY = np.float32(1e-45)  # the least denormal
_EDGES = np.unique(np.array([-np.float32(3e38), -1, -TINY, 0, TINY, 1e-38, 0.5, 1 - 2**-24, 1, 3e38], np.float32))


def around(values: Floats32) -> Floats32:
    """The values, their neighbours, and what else comparisons may stumble over; NaN excluded."""
    one = np.array([0.0, -0.0, np.inf, -np.inf, TINY, -TINY], np.float32)
    below, above = (np.nextafter(values, np.float32(end)) for end in (-np.inf, np.inf))
    return np.concatenate([values, below, above, one])


@st.composite
def hard_policies(draw: st.DrawFn, kind: str) -> ttamer.Policy:
    """Small policies with ties among losses, whose bin edges lie where floats are odd."""
    cascade = draw(cascades(kind, nodes=4, states=5, probes=True))
    edges = [
        np.sort(draw(st.permutations(_EDGES.tolist()))[: len(losses) - 1]).astype(np.float32)
        for losses in cascade.losses
    ]
    model = cascade.model(bin_edges=edges, observed=draw(st.booleans()))
    recall = "observed" if kind == "forest" else draw(st.sampled_from(["observed", "none"]))
    return ttamer.solve(model, draw(tradeoffs), recall)


@functools.cache
def policy_for(kind: str, recall: str = "observed") -> ttamer.Policy:
    """A line of three nodes for softmaxes of any number of classes."""
    rng = np.random.default_rng(7)
    logits = rng.normal(0, 3, (400, 3, 4))
    probs = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    traces = ttamer.Traces.from_probs(probs, logits.sum(axis=1).argmax(axis=-1), np.full(3, 0.1), signal=kind)
    # Without the evidence, which would say how many classes logits have to have.
    plain = ttamer.Traces(traces.signals, traces.losses, traces.costs, signal=kind)
    return ttamer.solve(ttamer.fit(plain, bins=12), 0.9, recall)


@dataclass
class Requests:
    """Rows in flight: what each may consult next, whether recommended or not."""

    policy: ttamer.Policy
    count: int
    rng: np.random.Generator
    ahead: npt.NDArray[np.int32] = field(init=False)
    seen: list[set[int]] = field(init=False)
    last: npt.NDArray[np.int32] = field(init=False)

    def __post_init__(self) -> None:
        self.ahead = np.full(self.count, self.policy.first_node, np.int32)
        self.last = np.full(self.count, -1, np.int32)
        self.seen = [set() for _ in range(self.count)]

    def call(self) -> tuple[int, npt.NDArray[np.int64]] | None:
        """A node and rows in any order that may consult it; None once all have stopped."""
        active = np.flatnonzero(self.ahead >= 0)
        if not len(active):
            return None
        some = int(self.rng.choice(active))
        node = int(self.ahead[some])
        if self.rng.random() < 0.3:
            node = int(self.rng.choice(self._open(some)))
        rows = [row for row in active.tolist() if node in self._open(row)]
        most = int(self.rng.integers((len(rows) + 1) // 2, len(rows) + 1))
        return node, self.rng.permutation(rows)[:most].astype(np.int64)

    def took(self, node: int, rows: npt.NDArray[np.int64], ahead: npt.NDArray[np.int32]) -> None:
        self.ahead[rows] = ahead
        self.last[rows] = node
        for row in rows.tolist():
            self.seen[row].add(node)

    def _open(self, row: int) -> list[int]:
        edges: Any = self.policy.topology.edges.tolist()
        if self.policy.topology.kind == "forest":
            return [j for i, j in edges if (i == -1 or i in self.seen[row]) and j not in self.seen[row]]
        return [j for i, j in edges if i == self.last[row]]
