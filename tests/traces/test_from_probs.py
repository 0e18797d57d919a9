from __future__ import annotations

import math
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from samples import changed, plain, same, some_labels, some_probs, some_traces

from ttamer import Topology, Traces
from ttamer.traces.signals import SIGNALS, signals_from_evidence, signals_from_probs


def test_from_probs_says_what_a_loop_says():
    probs, labels = some_probs(), some_labels()
    traces = Traces.from_probs(probs, labels, [1, 2, 4], top=3, unit="ms")
    assert traces.evidence is not None
    assert traces.predictions is not None
    for row in range(12):
        for node in range(3):
            order = sorted(range(5), key=lambda c: (-probs[row, node, c], c))
            assert traces.predictions[row, node] == order[0]
            assert traces.losses[row, node] == float(order[0] != labels[row])
            assert traces.signals[row, node] == np.float32(probs[row, node].max())
            assert traces.evidence.classes[row, node].tolist() == order[:3]
            np.testing.assert_allclose(
                traces.evidence.log_probs[row, node], np.log(probs[row, node, order[:3]]), rtol=1e-6
            )
    assert (traces.observed, traces.signal, traces.unit) == (False, "max_prob", "ms")
    np.testing.assert_array_equal(traces.labels, labels)
    assert repr(traces) == "Traces(12 rows, Topology.line(3), signal max_prob, top 3 of 5 classes, costs in ms)"


@pytest.mark.parametrize("signal", SIGNALS)
def test_signals_are_what_they_say(signal):
    probs = some_probs()
    traces = Traces.from_probs(probs, some_labels(), [1, 2, 4], signal=signal)
    ordered = np.sort(probs, axis=-1)
    wanted = {
        "max_prob": ordered[..., -1],
        "margin": ordered[..., -1] - ordered[..., -2],
        "entropy": (probs * np.log(probs)).sum(axis=-1),
        "logit_margin": np.log(ordered[..., -1] / ordered[..., -2]),
    }[signal]
    assert traces.signal == signal
    np.testing.assert_allclose(traces.signals, wanted, rtol=1e-6)


def test_the_extremes_of_signals():
    probs = np.array([[[1.0, 0.0, 0.0], [1 / 3, 1 / 3, 1 / 3]]])
    extremes = [
        ("max_prob", 1, 1 / 3),
        ("margin", 1, 0),
        ("entropy", 0, -math.log(3)),
        ("logit_margin", -math.log(1e-7), 0),
    ]
    for signal, sure, unsure in extremes:
        traces = Traces.from_probs(probs, [0], [1, 1], signal=signal)
        np.testing.assert_allclose(traces.signals, [[sure, unsure]], rtol=1e-6)
        again = signals_from_evidence(traces.evidence, signal)
        np.testing.assert_allclose(again, [[sure, unsure]], rtol=1e-6, atol=1e-6)


def test_equal_probabilities_go_to_the_lowest_class():
    probs = np.array([[[0.2, 0.3, 0.2, 0.3]]])
    traces = Traces.from_probs(probs, [3], [1.0], top=4)
    assert traces.evidence is not None
    assert traces.evidence.classes.tolist() == [[[1, 3, 0, 2]]]
    assert traces.losses.tolist() == [[1.0]]


@pytest.mark.parametrize("kind", ["margin", "logit_margin"])
def test_a_tie_has_no_margin(kind):
    """Exactly: a state may begin at 0, where ties are many. Of any length: vectors and their rests round alike."""
    rng = np.random.default_rng(0)
    for rows in (1, 7, 64, 1001):
        logits = rng.normal(0, 1, (rows, 1, 6))
        logits[..., [1, 4]] = rng.uniform(4, 20, (rows, 1, 1))
        probs = np.exp(logits)
        probs[..., 4] = probs[..., 1]
        probs /= probs.sum(axis=-1, keepdims=True)
        traces = Traces.from_probs(probs, [1] * rows, [1.0], signal=kind)
        assert not traces.signals.any()
        assert not signals_from_evidence(traces.evidence, kind).any()


def test_small_probabilities_are_floored():
    traces = Traces.from_probs(np.array([[[1.0, 0.0, 1e-9]]]), [0], [1.0])
    assert traces.evidence is not None
    np.testing.assert_allclose(traces.evidence.log_probs[0, 0, 1:], math.log(1e-7), rtol=1e-6)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.longdouble])
def test_any_float_dtype_is_renormalised(dtype):
    probs = some_probs().astype(dtype)
    traces = Traces.from_probs(probs, some_labels(), [1, 2, 4])
    wide = probs.astype(np.float64)
    wide /= wide.sum(axis=-1, keepdims=True)
    np.testing.assert_array_equal(traces.signals, wide.max(axis=-1).astype(np.float32))


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.uint32, np.int64, np.uint64])
def test_any_integer_dtype_of_labels(dtype):
    same(
        Traces.from_probs(some_probs(), some_labels().astype(dtype), [1, 2, 4], unit="ms"),
        some_traces(),
    )


def test_many_classes_are_read_in_pieces(monkeypatch):
    whole = some_traces()
    monkeypatch.setattr("ttamer.traces.evidence._CHUNK", 40)
    same(some_traces(), whole)
    probs = some_probs()
    probs[7, 2] *= 1.01
    message = "probs: expected rows that sum to 1 within 0.001, got 1.01 at row 7, node 2"
    with pytest.raises(ValueError, match=re.escape(message)):
        Traces.from_probs(probs, some_labels(), [1, 2, 4])
    probs[7, 2, 4] = np.nan
    message = "probs: expected finite values, got nan at row 7, node 2, class 4"
    with pytest.raises(ValueError, match=re.escape(message)):
        Traces.from_probs(probs, some_labels(), [1, 2, 4])


@pytest.mark.parametrize(
    ("name", "value", "error", "message"),
    [
        (
            "probs",
            np.ones((12, 3, 5), np.int64),
            TypeError,
            "probs: expected (N, n, C) floats, C >= 2, got (12, 3, 5) int64",
        ),
        (
            "probs",
            np.ones((12, 3, 5), ">f8"),
            TypeError,
            "probs: expected (N, n, C) floats, C >= 2, got (12, 3, 5) >f8",
        ),
        ("probs", np.ones((12, 3)), ValueError, "probs: expected (N, n, C) floats, C >= 2, got (12, 3) float64"),
        (
            "probs",
            np.ones((12, 3, 1)),
            ValueError,
            "probs: expected (N, n, C) floats, C >= 2, got (12, 3, 1) float64",
        ),
        ("probs", np.ones((0, 3, 5)), ValueError, "probs: expected at least one row, got (0, 3, 5) float64"),
        ("probs", np.ones((12, 0, 5)), ValueError, "probs: expected at least one node, got (12, 0, 5) float64"),
        (
            "probs",
            changed(some_probs(), (4, 1, 2), -0.1),
            ValueError,
            "probs: expected values >= 0, got -0.1 at row 4, node 1, class 2",
        ),
        (
            "probs",
            some_probs() * 0.998,
            ValueError,
            "probs: expected rows that sum to 1 within 0.001, got 0.998 at row 0, node 0",
        ),
        ("labels", np.zeros(12), TypeError, "labels: expected (12,) integers, got (12,) float64"),
        ("labels", np.zeros(11, np.int64), ValueError, "labels: expected (12,) integers, got (11,) int64"),
        (
            "labels",
            changed(some_labels(), (3,), 5),
            ValueError,
            "labels: expected classes 0..4, got 5 at row 3",
        ),
        (
            "labels",
            changed(some_labels(), (6,), -1),
            ValueError,
            "labels: expected classes 0..4, got -1 at row 6",
        ),
        (
            "labels",
            changed(some_labels(), (2,), 2**32),
            ValueError,
            "labels: expected classes 0..4, got 4294967296 at row 2",
        ),
        (
            "signal",
            "confidence",
            ValueError,
            "signal: expected max_prob, margin, entropy or logit_margin, got 'confidence'",
        ),
        ("top", 0, ValueError, "top: expected at least 1, got 0"),
        ("top", 2.0, TypeError, "top: expected an int, got float"),
        ("unit", 1, TypeError, "unit: expected a str, got int"),
        (
            "topology",
            Topology.line(2),
            ValueError,
            "topology: expected 3 nodes like signals, got Topology.line(2)",
        ),
    ],
)
def test_bad_probabilities(name, value, error, message):
    arguments = {"probs": some_probs(), "labels": some_labels(), "costs": [1, 2, 4], name: value}
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        Traces.from_probs(**arguments)


# ---------------------------------------------------------------- signals from evidence


def distributions(classes: int) -> st.SearchStrategy[np.ndarray]:
    logits = hnp.arrays(np.float64, (1, 1, classes), elements=st.floats(-30, 5))
    return logits.map(lambda x: np.exp(x - x.max())).map(lambda x: x / x.sum())


@settings(max_examples=200)
@given(distributions(6), st.sampled_from(SIGNALS))
def test_all_classes_recorded_give_the_signal_back(probs, kind):
    traces = Traces.from_probs(probs, [0], [1.0], top=6)
    again = signals_from_evidence(traces.evidence, kind)
    np.testing.assert_allclose(again, signals_from_probs(probs, kind), atol=2e-6)


@settings(max_examples=200)
@given(distributions(6), st.integers(1, 5))
def test_unrecorded_classes_share_what_is_left_evenly(probs, top):
    traces = Traces.from_probs(probs, [0], [1.0], top=top)
    ordered = np.sort(probs[0, 0])[::-1]
    completed = np.append(ordered[:top], np.full(6 - top, ordered[top:].sum() / (6 - top)))
    for kind in SIGNALS:
        again = signals_from_evidence(traces.evidence, kind)
        np.testing.assert_allclose(again, signals_from_probs(completed[None, None], kind), atol=2e-5)


def test_confident_rows_stay_apart_in_entropy():
    left = np.array([1e-6, 3e-6, 1e-5, 1e-4])
    probs = np.stack([1 - left, *([left / 9] * 9)], axis=-1)[:, None]
    traces = Traces.from_probs(probs, [0] * 4, [1.0], top=4)
    again = signals_from_evidence(traces.evidence, "entropy")
    np.testing.assert_allclose(again, signals_from_probs(probs, "entropy"), rtol=1e-3)


def test_with_signal():
    traces = some_traces(top=5)
    assert traces.with_signal("max_prob") is traces
    other = traces.with_signal("margin")
    assert other.signal == "margin"
    np.testing.assert_allclose(other.signals, some_traces(signal="margin").signals, atol=1e-6)
    np.testing.assert_allclose(other.with_signal("max_prob").signals, traces.signals, rtol=2e-7)
    assert traces.with_signal("margin").signals is other.signals
    assert not other.signals.flags.writeable
    np.testing.assert_array_equal(other.losses, traces.losses)
    with pytest.raises(ValueError, match="signal: expected max_prob, margin, entropy or logit_margin, got 'x'"):
        traces.with_signal("x")
    message = "signal: margin needs evidence, and these traces have none (Traces.from_probs does)"
    with pytest.raises(ValueError, match=re.escape(message)):
        Traces(**plain()).with_signal("margin")
