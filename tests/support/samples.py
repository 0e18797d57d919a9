"""Small traces, valid and with one thing changed, for the tests of traces."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from paths import DATA

from ttamer import Traces

FROZEN = DATA / "traces-v1.npz"

Array = npt.NDArray[Any]


def some_probs(rows: int = 12, nodes: int = 3, classes: int = 5, seed: int = 0) -> Array:
    logits = 3.0 * np.random.default_rng(seed).standard_normal((rows, nodes, classes))
    probs = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return probs / probs.sum(axis=-1, keepdims=True)


def some_labels(rows: int = 12, classes: int = 5) -> Array:
    return np.random.default_rng(1).integers(0, classes, rows)


def some_traces(**changes: Any) -> Traces:
    return Traces.from_probs(some_probs(), some_labels(), [1.0, 2.0, 4.0], unit="ms", **changes)


def plain(rows: int = 4, nodes: int = 3) -> dict[str, Any]:
    rng = np.random.default_rng(2)
    return {
        "signals": rng.random((rows, nodes), np.float32),
        "losses": rng.random((rows, nodes), np.float32),
        "costs": np.ones(nodes),
    }


def changed(array: Array, place: tuple[int, ...], value: float) -> Array:
    copy = array.copy()
    copy[place] = value
    return copy


def same(a: Traces, b: Traces) -> None:
    assert (a.topology, a.observed, a.unit, a.signal) == (b.topology, b.observed, b.unit, b.signal)
    for name in ("signals", "losses", "costs", "predictions", "labels"):
        x, y = getattr(a, name), getattr(b, name)
        assert (x is None) == (y is None)
        if x is not None:
            assert x.dtype == y.dtype
            np.testing.assert_array_equal(x, y)
    assert (a.evidence is None) == (b.evidence is None)
    if a.evidence is not None and b.evidence is not None:
        np.testing.assert_array_equal(a.evidence.log_probs, b.evidence.log_probs)
        np.testing.assert_array_equal(a.evidence.classes, b.evidence.classes)
        assert a.evidence.class_count == b.evidence.class_count


def some_evidence(rows: int = 4, nodes: int = 3) -> dict[str, Any]:
    logs = np.log(np.tile(np.array([0.6, 0.3], np.float32), (rows, nodes, 1)))
    return {"log_probs": logs, "classes": np.tile([2, 0], (rows, nodes, 1)), "class_count": 4}
