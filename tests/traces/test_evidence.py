from __future__ import annotations

import math
import re

import numpy as np
import pytest
from samples import changed, plain, some_evidence

from ttamer import Evidence, Traces


def test_evidence_is_kept_and_gives_predictions():
    evidence = Evidence(**some_evidence())
    traces = Traces(**plain(), evidence=evidence)
    assert traces.evidence is evidence
    np.testing.assert_array_equal(traces.predictions, np.full((4, 3), 2))
    assert evidence.classes.dtype == np.int32
    assert (evidence.top, evidence.class_count) == (2, 4)
    assert not evidence.log_probs.flags.writeable
    assert repr(evidence) == "Evidence(4 rows, 3 nodes, top 2 of 4 classes)"


def test_evidence_below_the_floor_is_raised_to_it():
    given_ = some_evidence()
    given_["log_probs"][..., 1] = -40.0
    evidence = Evidence(**given_)
    assert float(evidence.log_probs[0, 0, 1]) == pytest.approx(math.log(1e-7))


@pytest.mark.parametrize(
    ("name", "value", "error", "message"),
    [
        (
            "log_probs",
            np.zeros((4, 3, 2)),
            TypeError,
            "log_probs: expected (N, n, top) float32, got (4, 3, 2) float64",
        ),
        (
            "log_probs",
            np.zeros((4, 3), np.float32),
            ValueError,
            "log_probs: expected (N, n, top) float32, got (4, 3) float32",
        ),
        (
            "log_probs",
            np.zeros((4, 3, 0), np.float32),
            ValueError,
            "log_probs: expected (N, n, top) float32, got (4, 3, 0) float32",
        ),
        (
            "log_probs",
            changed(some_evidence()["log_probs"], (1, 2, 0), -3.0),
            ValueError,
            "log_probs: expected a descending order at row 1, node 2",
        ),
        (
            "log_probs",
            changed(some_evidence()["log_probs"], (1, 2, 0), np.nan),
            ValueError,
            "log_probs: expected finite values, got nan at row 1, node 2",
        ),
        (
            "log_probs",
            changed(some_evidence()["log_probs"], (0, 1, 0), 0.0),
            ValueError,
            "log_probs: expected probabilities that sum to at most 1, got 1.3 at row 0, node 1",
        ),
        (
            "classes",
            np.zeros((4, 3, 3), np.int32),
            ValueError,
            "classes: expected (4, 3, 2) like log_probs, got (4, 3, 3) int32",
        ),
        (
            "classes",
            np.zeros((4, 3, 2)),
            TypeError,
            "classes: expected (N, n, top) integers, got (4, 3, 2) float64",
        ),
        (
            "classes",
            changed(some_evidence()["classes"], (2, 0, 1), 4),
            ValueError,
            "classes: expected 0..3, got 4 at row 2, node 0",
        ),
        (
            "classes",
            changed(some_evidence()["classes"], (2, 1, 1), 2),
            ValueError,
            "classes: 2 is listed twice at row 2, node 1",
        ),
        ("class_count", 1, ValueError, "class_count: expected at least 2, got 1"),
        ("class_count", 4.0, TypeError, "class_count: expected an int, got float"),
    ],
)
def test_bad_evidence(name, value, error, message):
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        Evidence(**{**some_evidence(), name: value})


def test_evidence_has_to_fit_the_traces():
    message = "evidence: expected (4, 3) rows and nodes like signals, got Evidence(5 rows, 3 nodes, top 2 of 4 classes)"
    with pytest.raises(ValueError, match=re.escape(message)):
        Traces(**plain(), evidence=Evidence(**some_evidence(rows=5)))
    predictions = np.full((4, 3), 2)
    predictions[3, 1] = 0
    message = "predictions: expected the most probable class of the evidence, 2, got 0 at row 3, node 1"
    with pytest.raises(ValueError, match=re.escape(message)):
        Traces(**plain(), predictions=predictions, evidence=Evidence(**some_evidence()))
    with pytest.raises(ValueError, match=re.escape("labels: expected classes 0..3, got 4 at row 2")):
        Traces(**plain(), labels=[0, 3, 4, 0], evidence=Evidence(**some_evidence()))


def test_logarithms_of_no_probability():
    with pytest.raises(ValueError, match="^log_probs: expected probabilities that sum to at most 1, got inf at row 0"):
        Evidence(np.full((1, 1, 1), 1e30, np.float32), np.zeros((1, 1, 1), np.int32), 2)
