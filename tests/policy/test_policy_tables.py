"""Policy files whose digest is right and whose tables are not: each check of the core says which table and why."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers import f32, i32

import ttamer
from ttamer._base import files

INF, NAN = float("inf"), float("nan")


def line_policy() -> ttamer.Policy:
    """Two nodes of two states: rank 1 of three levels goes on, rank 2 may."""
    model = ttamer.CascadeModel(
        ttamer.Topology.line(2),
        [[0.25, 0.75], [0.0, 0.5]],
        [[[0.5, 0.5]], [[0.25, 0.75], [0.75, 0.25]]],
        [0.125, 0.125],
        cost_scale=1,
    )
    return ttamer.solve(model, 0.5, "observed")


FIELDS, ARRAYS = files.from_bytes(line_policy()._to_bytes(), "policy", 1, "")


def load(fields: dict[str, Any] | None = None, arrays: dict[str, Any] | None = None) -> ttamer.Policy:
    """The policy's file with other contents and the digest of those; None leaves an entry out."""
    new_fields = {k: v for k, v in {**FIELDS, **(fields or {})}.items() if v is not None}
    new_arrays = {k: v for k, v in {**ARRAYS, **(arrays or {})}.items() if v is not None}
    del new_fields["kind"], new_fields["version"]
    return ttamer.Policy._from_bytes(files.to_bytes("policy", 1, new_fields, new_arrays), "f")


def refused(message: str, fields: dict[str, Any] | None = None, arrays: dict[str, Any] | None = None) -> None:
    with pytest.raises(ValueError, match=f"^f: not a valid policy .*{message}") as caught:
        load(fields, arrays)
    assert "\n" not in str(caught.value)


def put(name: str, place: int, value: float) -> dict[str, Any]:
    """One entry of a table replaced."""
    table = ARRAYS[name].copy()
    table[place] = value
    return {name: table}


def test_the_tables_that_are_changed_below() -> None:
    """Should this fail, the tests below no longer change what they mean to."""
    assert load().value == line_policy().value
    assert ARRAYS["levels"].tolist() == [0.0, 0.25, 0.5, 0.75]
    assert ARRAYS["state_offsets"].tolist() == [0, 2, 4]
    assert ARRAYS["bin_edges"].tolist() == [1.0, 1.0]
    assert ARRAYS["ranks"].tolist() == [1, 3, 0, 2]
    assert ARRAYS["interval_offsets"].tolist() == [0, 1, 3, 4, 5]
    assert ARRAYS["interval_upper"].tolist() == [1, 0, 3, 0, 2]
    assert ARRAYS["interval_next"].tolist() == [-1, -1, 1, -1, -1]
    assert [len(ARRAYS[f"index.{j}"]) for j in range(2)] == [1, 2]


@pytest.mark.parametrize("name", sorted(set(ARRAYS)))
def test_a_missing_table(name: str) -> None:
    refused(name, arrays={name: None})


@pytest.mark.parametrize("name", sorted(set(FIELDS) - {"kind", "version", "signal"}))
def test_a_missing_field(name: str) -> None:
    refused(name, fields={name: None})


@pytest.mark.parametrize("name", sorted(set(ARRAYS) - {"edges", "visits", "stops", "index.0", "index.1"}))
def test_a_table_of_another_type(name: str) -> None:
    expected = rf"{name}: expected \(\*,\) {ARRAYS[name].dtype}"
    other = {"float64": np.float32, "float32": np.float64, "int32": np.int64}[ARRAYS[name].dtype.name]
    refused(expected, arrays={name: ARRAYS[name].astype(other)})
    refused(expected, arrays={name: ARRAYS[name][None, :]})


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("tradeoff", 0.0, r"tradeoff: expected a number in \(0, 1\]"),
        ("tradeoff", -0.5, r"tradeoff: expected a number in \(0, 1\]"),
        ("tradeoff", 1.5, r"tradeoff: expected a number in \(0, 1\]"),
        ("tradeoff", NAN, r"tradeoff: expected a number in \(0, 1\]"),
        ("value", -0.25, "value: expected a finite number >= 0"),
        ("value", NAN, "value: expected a finite number >= 0"),
        ("value", INF, "value: expected a finite number >= 0"),
        ("cost_scale", 0.0, "cost_scale: expected a finite number > 0"),
        ("cost_scale", -1.0, "cost_scale: expected a finite number > 0"),
        ("cost_scale", INF, "cost_scale: expected a finite number > 0"),
        ("cost_scale", NAN, "cost_scale: expected a finite number > 0"),
        ("first_node", 1, "first_node: 1 does not follow the root"),
        ("first_node", -1, "first_node: -1 does not follow the root"),
        ("first_node", 2, "first_node: 2 does not follow the root"),
        ("first_node", 2**40, ""),
        ("first_node", 0.5, ""),
        ("recall", "yes", ""),
        ("observed", [], ""),
        ("topology", "ring", "kind: expected line, skip, forest or dag, got ring"),
        ("topology", "skip", "edges: not those of a skip of 2 nodes"),
        ("topology", 3, ""),
        ("nodes", 0, "nodes: expected 1 to 1024, got 0"),
        ("nodes", -1, "nodes: expected 1 to 1024, got -1"),
        ("nodes", 3, ""),
        ("nodes", 1, ""),
        ("nodes", 2**62, "nodes: expected 1 to 1024"),
        ("nodes", 2**70, ""),
        ("nodes", "2", ""),
        ("expected_cost", NAN, "expected_cost"),
        ("expected_cost", INF, "expected_cost"),
        ("expected_cost", -1.0, "expected_cost"),
        ("expected_cost", "free", ""),
        ("unit", 3, "unit"),
    ],
)
def test_a_bad_field(name: str, value: Any, message: str) -> None:
    refused(message, fields={name: value})


EDGES = np.array([[-1, 0], [0, 1]], np.int32)
LEVELS = len(ARRAYS["levels"])


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"edges": EDGES[::-1].copy()}, "edges: not those of a line of 2 nodes"),
        ({"edges": EDGES[:1]}, "edges: node 1 cannot be reached"),
        ({"edges": EDGES.astype(np.float64)}, ""),
        ({"edges": EDGES.ravel()}, ""),
        ({"edges": np.array([[-1, 0], [1, 1]], np.int32)}, r"edges: edge 1 \(1 -> 1\) is a self-loop"),
        ({"edges": np.array([[-1, 0], [2**40, 1]])}, r"edges: edge 1 .* out of range"),
        ({"costs": np.zeros(1)}, "costs: expected one for each edge"),
        (put("costs", 1, NAN), "costs: expected finite values >= 0"),
        (put("costs", 1, INF), "costs: expected finite values >= 0"),
        (put("costs", 1, -1), "costs: expected finite values >= 0"),
        ({"levels": np.zeros(0)}, "levels: expected finite, strictly increasing values >= 0"),
        ({"levels": ARRAYS["levels"][::-1].copy()}, "levels: expected finite, strictly increasing values >= 0"),
        ({"levels": np.zeros(LEVELS)}, "levels: expected finite, strictly increasing values >= 0"),
        (put("levels", 0, -1), "levels: expected finite, strictly increasing values >= 0"),
        (put("levels", 1, NAN), "levels: expected finite, strictly increasing values >= 0"),
        (put("levels", -2, INF), "levels: expected finite, strictly increasing values >= 0"),
        (put("levels", -1, INF), "ranks: expected a loss of inf in every state or none at node 0"),
        (put("state_offsets", 0, 1), "state_offsets: expected 3 increasing offsets into ranks"),
        (put("state_offsets", 1, 0), "state_offsets: expected 3 increasing offsets into ranks"),
        (put("state_offsets", 1, 9), "state_offsets: expected 3 increasing offsets into ranks"),
        (put("state_offsets", 2, 3), "state_offsets: expected 3 increasing offsets into ranks"),
        ({"state_offsets": i32(0, 4)}, "state_offsets: expected 3 increasing offsets into ranks"),
        ({"state_offsets": i32()}, "state_offsets: expected 3 increasing offsets into ranks"),
        ({"bin_edges": f32(1)}, "bin_edges: expected one less than states for each node"),
        (put("bin_edges", 1, NAN), "bin_edges: expected finite, strictly increasing values at node 1"),
        (put("bin_edges", 0, INF), "bin_edges: expected finite, strictly increasing values at node 0"),
        ({"state_offsets": i32(0, 3, 4), "bin_edges": f32(1, 1)}, "bin_edges: expected .* increasing values at node 0"),
        (put("ranks", 0, -1), "ranks: expected positions in levels"),
        (put("ranks", 3, LEVELS), "ranks: expected positions in levels"),
        ({"interval_next": ARRAYS["interval_next"][:-1]}, "interval_next: expected one for each interval_upper"),
        (put("interval_offsets", 0, 1), "interval_offsets: expected increasing offsets into interval_upper"),
        (put("interval_offsets", 1, 0), "interval_offsets: expected increasing offsets into interval_upper"),
        (put("interval_offsets", -1, 99), "interval_offsets: expected increasing offsets into interval_upper"),
        ({"interval_offsets": ARRAYS["interval_offsets"][:-1]}, "interval_offsets: expected increasing offsets"),
        (put("interval_upper", 0, -1), "interval_upper: expected increasing ranks that cover the state at node 0"),
        (put("interval_upper", -1, -5), "interval_upper: expected increasing ranks that cover the state at node 1"),
        (put("interval_upper", -1, 0), "interval_upper: expected increasing ranks that cover the state at node 1"),
        (put("interval_upper", -1, LEVELS), "interval_upper: .* at node 1"),
        (put("interval_next", 0, 0), "interval_next: 0 does not follow at node 0"),
        (put("interval_next", 0, 2), "interval_next: 2 does not follow at node 0"),
        (put("interval_next", -1, 1), "interval_next: 1 does not follow at node 1"),
        (put("interval_next", -1, -2), "interval_next: -2 does not follow at node 1"),
        (put("index.0", 0, NAN), "index.0: expected"),
        (put("index.1", 1, INF), "index.1: expected"),
        (put("index.1", 1, -1), "index.1: expected"),
        ({"index.0": np.ones(2)}, "index.0: expected"),  # the root has one state
        ({"index.1": np.ones(3)}, "index.1: expected"),
        ({"index.1": np.ones((2, 1))}, "index.1: expected"),
        ({"index.1": np.ones(2, np.float32)}, "index.1: expected"),
        (put("visits", 0, NAN), "visits: expected"),
        (put("visits", 0, INF), "visits: expected"),
        (put("visits", 0, -0.5), r"visits: expected \(4,\) finite float64 >= 0"),
        ({"visits": np.zeros(3)}, r"visits: expected \(4,\) finite float64 >= 0"),
        ({"visits": np.zeros(4, np.float32)}, r"visits: expected \(4,\) finite float64 >= 0"),
        (put("stops", 0, NAN), "stops: expected"),
        (put("stops", 0, 2.0), "stops: expected"),
        ({"stops": np.zeros((4, 1))}, r"stops: expected \(4,\) finite float64 >= 0"),
    ],
)
def test_a_bad_table(arrays: dict[str, Any], message: str) -> None:
    refused(message, arrays=arrays)


def test_intervals_of_a_dag_are_checked_too() -> None:
    model = ttamer.CascadeModel(
        ttamer.Topology.dag(3, [(-1, 0), (0, 1), (0, 2)]),
        [[0.5], [0.25, 0.5], [0.0, 0.5]],
        [[[1.0]], [[0.5, 0.5]], [[0.5, 0.5]]],
        [0.0, 0.0, 0.0],
    )
    policy = ttamer.solve(model, 0.5, "observed")
    fields, arrays = files.from_bytes(policy._to_bytes(), "policy", 1, "")
    del fields["kind"], fields["version"]
    assert not any(name.startswith("index.") for name in arrays)
    upper = arrays["interval_upper"].copy()
    assert arrays["interval_offsets"][1] == 2  # two intervals for the first node's only state
    upper[:2] = upper[0]
    with pytest.raises(ValueError, match="interval_upper: expected increasing ranks that cover the state at node 0"):
        ttamer.Policy._from_bytes(files.to_bytes("policy", 1, fields, {**arrays, "interval_upper": upper}), "f")


def test_what_loads_can_be_looked_at() -> None:
    """Whatever passes the checks must not fail later: every property of every node can be read."""
    policy = load()
    for node in range(2):
        for values in (policy.index(node), policy.losses(node), policy.bin_edges(node)):
            assert np.all(np.isfinite(values))
        assert len(policy.actions(node)) == len(policy.losses(node))
