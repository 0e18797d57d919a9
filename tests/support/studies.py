"""Scripts of bench/ as modules, and traces for them."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
from paths import BENCH

import ttamer


def load(name):
    """A script of bench/, which import each other by name as they do when they are run."""
    pytest.importorskip("threadpoolctl", reason="benchmarks need the fit extra")
    pytest.importorskip("matplotlib", reason="their pictures need the cli extra")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCH))
        return importlib.import_module(name)


def cascade(rows, seed):
    """Three classifiers of three classes on a tree: a cheap root, a good and a poor branch."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, rows)
    logits = rng.normal(0, 1, (rows, 3, 3))
    logits[np.arange(rows)[:, None], np.arange(3), labels[:, None]] += [1.0, 2.5, 1.5]
    probs = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    return ttamer.Traces.from_probs(probs, labels, [1.0, 4.0, 2.0], ttamer.Topology.forest([-1, 0, 0]), unit="ms")


def probabilities(traces):
    """(N, n, C) log-probabilities in the order of the classes."""
    found = np.empty(traces.evidence.log_probs.shape)
    np.put_along_axis(found, traces.evidence.classes.astype(np.intp), traces.evidence.log_probs, axis=2)
    return found
