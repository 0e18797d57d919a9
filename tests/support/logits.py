"""Policies that decide on logits, and rows of logits that are hard to sum."""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st

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
    # Without the evidence, which would say how many classes logits have to have.
    plain = ttamer.Traces(traces.signals, traces.losses, traces.costs, signal=kind)
    return ttamer.solve(ttamer.fit(plain, bins=32), 0.97, recall)


@st.composite
def tied_rows(draw: st.DrawFn, sizes: st.SearchStrategy[int]) -> npt.NDArray[np.float32]:
    """A row (1, C) whose largest logits, anywhere, are equal or nearly so, above a rest that is flat or not."""
    classes = draw(sizes)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    ramp = np.linspace(-9, 0, classes)
    rests = {
        "flat": np.zeros(classes),
        "random": 3 * rng.standard_normal(classes),
        "rising": ramp,
        "falling": ramp[::-1],
        "rising by steps": np.arange(classes) // 1024 * 0.01,
        "falling by steps": np.arange(classes) // 1024 * -0.01,
    }
    row = rests[draw(st.sampled_from(sorted(rests)))].copy()
    row[rng.random(classes) < draw(st.sampled_from([0.0, 0.0, 0.5]))] = -np.inf
    largest = max(row.max(), 0) + draw(st.sampled_from([0.0, 0.5, 5.0, 12.0, 20.0, 40.0]))
    unit = draw(st.sampled_from([0.0, 1e-6, 1e-3, 0.1, 2.0]))
    for place, below in draw(
        st.lists(st.tuples(st.integers(0, classes - 1), st.integers(0, 3)), min_size=1, max_size=6)
    ):
        row[place] = largest - unit * below
    return row[None].astype(np.float32)
