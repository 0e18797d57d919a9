from __future__ import annotations

import re

import numpy as np
import pytest
from samples import changed, plain, same, some_traces

from ttamer import Topology, Traces


def test_a_line_is_the_default_and_everything_is_kept_as_stated():
    given_ = plain()
    given_["signals"] = given_["losses"]
    traces = Traces(**given_, predictions=np.arange(12).reshape(4, 3), labels=[0, 1, 2, 3], observed=True, unit="USD")
    assert traces.topology == Topology.line(3)
    assert len(traces) == 4
    np.testing.assert_array_equal(traces.signals, given_["signals"])
    np.testing.assert_array_equal(traces.losses, given_["losses"])
    assert traces.signals.dtype == traces.losses.dtype == np.float32
    assert traces.costs.dtype == np.float64
    assert traces.predictions is not None
    assert traces.labels is not None
    assert traces.predictions.dtype == traces.labels.dtype == np.int32
    assert traces.observed is True
    assert (traces.unit, traces.signal, traces.evidence) == ("USD", "", None)


def test_arrays_are_copies_and_read_only():
    given_ = plain()
    before = {name: array.copy() for name, array in given_.items()}
    traces = Traces(**given_)
    for name, array in given_.items():
        array[...] = 9
        np.testing.assert_array_equal(getattr(traces, name), before[name])
        with pytest.raises(ValueError, match="read-only"):
            getattr(traces, name)[...] = 9
    with pytest.raises(AttributeError):
        traces.unit = "ms"


def test_arrays_in_any_memory_order_are_taken():
    given_ = plain()
    turned = {name: np.asfortranarray(array) for name, array in given_.items()}
    strided = {**given_, "signals": np.repeat(given_["signals"], 2, axis=1)[:, ::2]}
    for other in (turned, strided):
        traces = Traces(**other)
        same(traces, Traces(**given_))
        assert traces.signals.flags.c_contiguous
        assert traces.losses.flags.c_contiguous


@pytest.mark.parametrize(
    ("name", "value", "error", "message"),
    [
        (
            "signals",
            np.zeros((4, 3)),
            TypeError,
            "signals: expected (N, n) float32, got (4, 3) float64; pass signals.astype(np.float32)",
        ),
        (
            "signals",
            [[0.5, 0.5]],
            TypeError,
            "signals: expected (N, n) float32, got (1, 2) float64; pass signals.astype(np.float32)",
        ),
        ("signals", np.zeros((4, 3), ">f4"), TypeError, "signals: expected (N, n) float32, got (4, 3) >f4"),
        ("signals", "x", TypeError, "signals: expected (N, n) float32, got () text"),
        ("signals", [[1.0], [1.0, 2.0]], TypeError, "signals: expected (N, n) float32, got list"),
        ("signals", np.zeros(64, np.float32), ValueError, "signals: expected (N, n) float32, got (64,) float32"),
        (
            "signals",
            np.zeros((0, 3), np.float32),
            ValueError,
            "signals: expected at least one row, got (0, 3) float32",
        ),
        (
            "signals",
            np.zeros((4, 0), np.float32),
            ValueError,
            "signals: expected at least one node, got (4, 0) float32",
        ),
        (
            "signals",
            changed(plain()["signals"], (3, 1), np.inf),
            ValueError,
            "signals: expected finite values, got inf at row 3, node 1",
        ),
        (
            "signals",
            changed(plain()["signals"], (2, 0), -np.inf),
            ValueError,
            "signals: expected finite values, got -inf at row 2, node 0",
        ),
        (
            "losses",
            np.zeros((4, 3), np.int32),
            TypeError,
            "losses: expected (N, n) float32, got (4, 3) int32; pass losses.astype(np.float32)",
        ),
        (
            "losses",
            np.zeros((4, 3), np.bool_),
            TypeError,
            "losses: expected (N, n) float32, got (4, 3) bool; pass losses.astype(np.float32)",
        ),
        (
            "losses",
            np.zeros((3, 4), np.float32),
            ValueError,
            "losses: expected (4, 3) float32 like signals, got (3, 4) float32",
        ),
        (
            "losses",
            changed(plain()["losses"], (1, 2), np.inf),
            ValueError,
            "losses: expected finite values, or inf in every row of a node that cannot answer, "
            "got inf at row 1, node 2",
        ),
        (
            "losses",
            changed(plain()["losses"], (0, 2), -0.5),
            ValueError,
            "losses: expected values >= 0, got -0.5 at row 0, node 2",
        ),
        (
            "costs",
            [1.0, 2.0],
            ValueError,
            "costs: expected (3,) numbers, one an edge of the line, got (2,) float64",
        ),
        (
            "costs",
            [[1.0, 2.0, 3.0]],
            ValueError,
            "costs: expected (4, 3) numbers, for each request one an edge of the line, got (1, 3) float64",
        ),
        ("costs", [True] * 3, TypeError, "costs: expected (3,) numbers, one an edge of the line, got (3,) bool"),
        ("costs", None, TypeError, "costs: expected (3,) numbers, one an edge of the line, got () object"),
        ("costs", [1.0, np.nan, 3.0], ValueError, "costs: expected finite values, got nan at edge 1"),
        ("costs", [1, 2, -3], ValueError, "costs: expected values >= 0, got -3.0 at edge 2"),
        ("topology", "line", TypeError, "topology: expected a Topology, got str"),
        (
            "topology",
            Topology.line(4),
            ValueError,
            "topology: expected 3 nodes like signals, got Topology.line(4); in signals and probs requests come first, "
            "then nodes",
        ),
        (
            "predictions",
            np.zeros((4, 3), np.float32),
            TypeError,
            "predictions: expected (N, n) integers, got (4, 3) float32",
        ),
        (
            "predictions",
            np.zeros((4, 2), np.int64),
            ValueError,
            "predictions: expected (4, 3) integers like signals, got (4, 2) int32",
        ),
        (
            "predictions",
            np.full((4, 3), 2**31),
            ValueError,
            "predictions: expected values that int32 can hold, got 2147483648 at row 0, node 0",
        ),
        ("labels", np.zeros(4), TypeError, "labels: expected (4,) integers, got (4,) float64"),
        ("labels", np.zeros(4, np.bool_), TypeError, "labels: expected (4,) integers, got (4,) bool"),
        ("labels", [0, 1, 2], ValueError, "labels: expected (4,) integers, got (3,) int64"),
        ("observed", 1, TypeError, "observed: expected a bool, got int"),
        ("unit", None, TypeError, "unit: expected a str, got NoneType"),
        ("signal", "logit", ValueError, "signal: expected max_prob, margin, entropy or logit_margin, got 'logit'"),
        ("evidence", {}, TypeError, "evidence: expected Evidence, got dict"),
    ],
)
def test_bad_arguments(name, value, error, message):
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        Traces(**{**plain(), name: value})


def test_costs_are_counted_by_edges_not_by_nodes():
    given_ = plain()
    given_["costs"] = np.arange(6)
    traces = Traces(**given_, topology=Topology.skip(3))
    np.testing.assert_array_equal(traces.costs, [0.0, 1.0, 2.0, 3.0, 4.0, 5.0])
    message = "costs: expected (3,) numbers, one an edge of the forest, got (6,) int64"
    with pytest.raises(ValueError, match=re.escape(message)):
        Traces(**given_, topology=Topology.forest([-1, 0, 0]))


# ---------------------------------------------------------------- subsets


@pytest.mark.parametrize(
    "rows",
    [
        slice(2, 5),
        slice(None, None, -3),
        np.array([4, 4, 0, 11], np.int32),
        [-1, -12],
        np.array([7], np.uint8),
        np.arange(12) % 3 == 1,
    ],
)
def test_rows(rows):
    traces = some_traces()
    part = traces[rows]
    picked = np.arange(12)[rows]
    assert len(part) == len(picked)
    assert traces.evidence is not None
    assert part.evidence is not None
    for name in ("signals", "losses", "predictions", "labels"):
        np.testing.assert_array_equal(getattr(part, name), getattr(traces, name)[picked])
        assert getattr(part, name).flags.c_contiguous
        assert not getattr(part, name).flags.writeable
    np.testing.assert_array_equal(part.evidence.log_probs, traces.evidence.log_probs[picked])
    np.testing.assert_array_equal(part.evidence.classes, traces.evidence.classes[picked])
    assert (part.topology, part.unit, part.signal) == (traces.topology, "ms", "max_prob")


def test_signals_made_from_evidence_are_those_of_the_rows():
    traces = some_traces()
    whole = traces.with_signal("entropy").signals
    np.testing.assert_array_equal(traces[3:9].with_signal("entropy").signals, whole[3:9])


@pytest.mark.parametrize(
    ("rows", "error", "message"),
    [
        (3, TypeError, "rows: expected a slice, integers or a mask, got 3; for one row take [[3]]"),
        (-1, TypeError, "rows: expected a slice, integers or a mask, got -1; for one row take [[-1]]"),
        (np.int64(3), TypeError, "rows: expected a slice, integers or a mask, got 3; for one row take [[3]]"),
        (([0], 1), TypeError, "rows: expected a slice, integers or a mask, got a tuple; nodes are picked by `path`"),
        ([0.0, 1.0], TypeError, "rows: expected a slice, integers or a mask, got (2,) float64"),
        ([[0, 1]], ValueError, "rows: expected (m,) integers, got (1, 2) int64"),
        ([0, 12], IndexError, "rows: 12 is out of range for 12 rows"),
        ([-13], IndexError, "rows: -13 is out of range for 12 rows"),
        (np.ones(11, np.bool_), ValueError, "rows: expected a mask (12,) bool, got (11,) bool"),
        (slice(5, 5), ValueError, "rows: expected at least one row, got none"),
        ([], ValueError, "rows: expected at least one row, got none"),
        (np.zeros(12, np.bool_), ValueError, "rows: expected at least one row, got none"),
    ],
)
def test_bad_rows(rows, error, message):
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        some_traces()[rows]


def test_path_is_the_line_through_some_nodes():
    traces = some_traces()
    line = traces.path([2, 0], [5.0, 7.0])
    assert line.topology == Topology.line(2)
    assert traces.evidence is not None
    assert line.evidence is not None
    for name in ("signals", "losses", "predictions"):
        np.testing.assert_array_equal(getattr(line, name), getattr(traces, name)[:, [2, 0]])
    np.testing.assert_array_equal(line.evidence.log_probs, traces.evidence.log_probs[:, [2, 0]])
    np.testing.assert_array_equal(line.costs, [5.0, 7.0])
    np.testing.assert_array_equal(line.labels, traces.labels)
    assert line.unit == "ms"


@pytest.mark.parametrize(
    ("nodes", "costs", "error", "message"),
    [
        ([0, 3], [1, 1], IndexError, "nodes: 3 is out of range for 3 nodes"),
        ([-1], [1], IndexError, "nodes: -1 is out of range for 3 nodes"),
        ([1, 1], [1, 1], ValueError, "nodes: expected each node at most once, got [1, 1]"),
        (
            np.empty(0, np.int64),
            [],
            ValueError,
            "nodes: expected (m,) integers, m >= 1, got (0,) int32",
        ),
        ([0.0], [1], TypeError, "nodes: expected (m,) integers, got (1,) float64"),
        (0, [1], ValueError, "nodes: expected (m,) integers, m >= 1, got () int32"),
        ([0, 1], [1], ValueError, "costs: expected (2,) numbers, one an edge of the line, got (1,) int64"),
    ],
)
def test_bad_paths(nodes, costs, error, message):
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        some_traces().path(nodes, costs)


def test_reach_costs():
    signals = {"signals": np.zeros((1, 4), np.float32), "losses": np.zeros((1, 4), np.float32)}

    def reach(topology, costs):
        return Traces(**signals, costs=costs, topology=topology).reach_costs.tolist()

    assert reach(Topology.line(4), [1, 2, 4, 8]) == [1, 3, 7, 15]
    assert reach(Topology.forest([-1, 3, -1, 0]), [1, 2, 4, 8]) == [1, 11, 4, 9]
    # Edges -1->0, -1->1, -1->2, -1->3, 0->1, 0->2, 0->3, 1->2, 1->3, 2->3.
    assert reach(Topology.skip(4), [1, 5, 9, 20, 1, 9, 9, 2, 9, 2]) == [1, 2, 4, 6]
    dag = Topology.dag(4, [(-1, 3), (3, 2), (2, 0), (-1, 0), (0, 1)])
    assert reach(dag, [1, 1, 1, 9, 1]) == [3, 4, 2, 1]


def test_an_observed_signal_is_the_loss():
    given_ = plain()
    place = np.argwhere(given_["signals"] != given_["losses"])[0]
    message = f"expected the losses themselves where these are observed, they differ at row {place[0]}, node {place[1]}"
    with pytest.raises(ValueError, match=f"^signals: {message}$"):
        Traces(**given_, observed=True)
