"""Traces from a log of requests that were served."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ttamer
from ttamer import Topology, Traces

NAN = np.nan


def logged(path: Path, *requests: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps({"visits": visits, "user": "x"}) + "\n" for visits in requests))
    return path


def test_what_visits_say_is_recorded_and_all_else_is_not(tmp_path: Path) -> None:
    path = logged(
        tmp_path / "log.jsonl",
        [{"node": "small", "signal": 0.9, "loss": 0, "cost": 1}],
        [{"node": 0, "signal": 0.2, "cost": 2, "model": "x"}, {"node": "large", "signal": 1, "loss": 1.5, "cost": 30}],
        [{"node": "large", "cost": 25, "loss": None}],
        [],
    )
    traces = Traces.from_log(path, Topology.skip(2), unit="usd", nodes=["small", "large"])
    np.testing.assert_array_equal(traces.signals, np.array([[0.9, NAN], [0.2, 1], [NAN, NAN], [NAN, NAN]], np.float32))
    np.testing.assert_array_equal(traces.losses, [[0, NAN], [NAN, 1.5], [NAN, NAN], [NAN, NAN]])
    np.testing.assert_array_equal(traces.paid_costs, [[1, NAN, NAN], [2, NAN, 30], [NAN, 25, NAN], [NAN] * 3])
    assert (traces.unit, traces.nodes) == ("usd", ("small", "large"))


def test_a_visit_with_an_error_was_paid_and_showed_nothing(tmp_path: Path) -> None:
    path = logged(
        tmp_path / "log.jsonl",
        [{"node": 0, "error": "timeout", "cost": 3, "signal": None}, {"node": 1, "signal": 1, "loss": 0, "cost": 5}],
        [{"node": 0, "error": None, "signal": 0.5, "loss": 0, "cost": 1}],
    )
    traces = Traces.from_log(path, Topology.line(2))
    np.testing.assert_array_equal(traces.signals, [[NAN, 1], [0.5, NAN]])
    np.testing.assert_array_equal(traces.paid_costs, [[3, 5], [1, NAN]])


def test_a_node_that_never_shows_a_signal_was_consulted(tmp_path: Path) -> None:
    person = {"node": 1, "loss": 0, "cost": 5}
    path = logged(
        tmp_path / "log.jsonl",
        *[[{"node": 0, "signal": k / 9, "loss": k < 5, "cost": 1}, person][: 1 if k > 6 else 2] for k in range(9)],
        [{"node": 0, "loss": 0, "cost": 1}],
    )
    traces = Traces.from_log(path, Topology.line(2))
    assert np.isnan(traces.signals[:, 1]).tolist() == [False] * 7 + [True] * 3
    assert np.isnan(traces.signals[9, 0])  # this node has a signal: here it was not recorded
    model = ttamer.fit(traces, bins=3)
    assert model.signal_nodes == (0, 0)


def test_on_a_forest_the_cost_is_that_of_the_node_s_edge(tmp_path: Path) -> None:
    """Nodes 0 and 1 start a branch each, 2 follows 0: the request comes back to it."""
    path = logged(tmp_path / "log.jsonl", [{"node": j, "loss": 0.5, "signal": j, "cost": 1 + j} for j in (0, 1, 2)])
    forest = Topology.forest([-1, -1, 0])
    traces = Traces.from_log(path, forest)
    by_edge = dict(zip(map(tuple, forest.edges.tolist()), traces.paid_costs[0].tolist(), strict=True))
    assert by_edge == {(-1, 0): 1, (-1, 1): 2, (0, 2): 3}


def test_a_node_that_only_loses_infinity_cannot_answer(tmp_path: Path) -> None:
    path = logged(
        tmp_path / "log.jsonl",
        [{"node": 0, "signal": 1, "loss": np.inf, "cost": 0}, {"node": 1, "signal": 1, "loss": 0, "cost": 1}],
        [],
    )
    assert Traces.from_log(path, Topology.line(2)).probes == (0,)


def test_a_log_of_everything_fits_what_a_table_fits(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    signals = rng.random((200, 2)).astype(np.float32)
    losses = (rng.random((200, 2)) > signals).astype(np.float32)
    visits = [
        [{"node": j, "signal": float(signals[k, j]), "loss": float(losses[k, j]), "cost": 1 + j} for j in range(2)]
        for k in range(200)
    ]
    traces = Traces.from_log(logged(tmp_path / "log.jsonl", *visits), Topology.line(2))
    expected = Traces(signals, losses, np.tile([1.0, 2.0], (200, 1)))
    found, model = ttamer.fit(traces), ttamer.fit(expected)
    for one, other in zip(found.losses, model.losses, strict=True):
        np.testing.assert_array_equal(one, other)


def test_truths_are_losses(tmp_path: Path) -> None:
    visits = [{"node": 0, "signal": 1, "cost": 1, "loss": True}], [{"node": 0, "signal": 1, "cost": 1, "loss": False}]
    traces = Traces.from_log(logged(tmp_path / "log.jsonl", *visits), Topology.line(1))
    assert traces.losses.tolist() == [[1], [0]]


def test_costs_in_several_units(tmp_path: Path) -> None:
    path = logged(
        tmp_path / "log.jsonl",
        [{"node": 0, "signal": 0, "loss": 1}],
        [{"node": 0, "signal": 1, "cost": {"usd": 0.5, "ms": 20}}, {"node": 1, "cost": {"ms": 30, "usd": None}}],
        [{"node": 0, "error": "timeout", "cost": {"usd": 0.25, "ms": 70}}],
    )
    traces = Traces.from_log(path, Topology.line(2))
    assert list(traces.unit_costs) == ["usd", "ms"]
    np.testing.assert_array_equal(traces.unit_costs["usd"], [[NAN, NAN], [0.5, NAN], [0.25, NAN]])
    np.testing.assert_array_equal(traces.unit_costs["ms"], [[NAN, NAN], [20, 30], [70, NAN]])


@pytest.mark.parametrize(
    ("costs", "unit", "message"),
    [
        (({"usd": 1}, {"ms": 1}), "", "line 2: visit 0: cost: expected units ['usd'] as before, got ['ms']"),
        (
            ({"usd": 1}, {"usd": 1, "ms": 1}),
            "",
            "line 2: visit 0: cost: expected units ['usd'] as before, got ['usd', ",
        ),
        (({"usd": 1}, 1), "", "line 2: visit 0: cost: expected units ['usd'] as before, got 1"),
        ((1, {"usd": 1}), "", "line 2: visit 0: cost: expected a number as before, got ['usd']"),
        (({"usd": -1},), "", "line 1: visit 0: cost['usd']: expected a finite number >= 0, got -1"),
        (({},), "", "line 1: costs: expected at least one unit, got none"),
        (
            ({"usd": 1},),
            "ms",
            "line 1: unit: expected none with costs in several units, which name their own, got 'ms'",
        ),
    ],
)
def test_costs_in_other_units(costs: tuple[Any, ...], unit: str, message: str, tmp_path: Path) -> None:
    path = logged(tmp_path / "log.jsonl", *([{"node": 0, "signal": 0, "cost": cost}] for cost in costs))
    with pytest.raises(ValueError, match=re.escape(f"{path}: {message}")):
        Traces.from_log(path, Topology.line(1), unit=unit)


def test_signals_that_are_texts_are_categories(tmp_path: Path) -> None:
    path = logged(
        tmp_path / "log.jsonl",
        [{"node": 0, "signal": "law", "loss": np.inf, "cost": 0}, {"node": 1, "signal": 0.5, "loss": 0, "cost": 1}],
        [{"node": 0, "signal": "2026-01-03", "loss": np.inf, "cost": 0}],
        [{"node": 0, "error": "timeout", "cost": 0}, {"node": 1, "signal": 0.75, "loss": 1, "cost": 1}],
        [{"node": 0, "signal": "law", "loss": np.inf, "cost": 0}],
    )
    traces = Traces.from_log(path, Topology.line(2))
    assert traces.categories == {0: ("law", "2026-01-03")}
    np.testing.assert_array_equal(traces.signals, [[0, 0.5], [1, NAN], [NAN, 0.75], [0, NAN]])
    policy = ttamer.solve(ttamer.fit(traces, bins=4), tradeoff=0.5)
    assert policy.codes(0, ["2026-01-03"]).tolist() == [1]


@pytest.mark.parametrize(
    ("signals", "message"),
    [
        (("law", 1), "line 2: visit 0: signal: expected a text as before, got int"),
        ((1, "law"), "line 2: visit 0: signal: expected a number, got str"),
        (("\x1b",), "line 1: visit 0: signal: expected characters that can be shown, got "),
    ],
)
def test_signals_of_two_kinds(signals: tuple[Any, ...], message: str, tmp_path: Path) -> None:
    path = logged(tmp_path / "log.jsonl", *([{"node": 0, "signal": signal, "cost": 1}] for signal in signals))
    with pytest.raises(ValueError, match=re.escape(f"{path}: {message}")):
        Traces.from_log(path, Topology.line(1))


@pytest.mark.parametrize(
    ("visit", "message"),
    [
        ({"score": 1, "cost": 1}, "'signal', got the keys ['node', 'score', 'cost']"),
        ({"signal": 1, "cost_usd": 1}, "'cost', got the keys ['node', 'signal', 'cost_usd']"),
    ],
)
def test_keys_that_no_visit_has(visit: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = logged(tmp_path / "log.jsonl", [{"node": 0, **visit}], [])
    with pytest.raises(ValueError, match=re.escape(f"{path}: expected visits with the key {message}")):
        Traces.from_log(path, Topology.line(1))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{]", "not JSON ("),
        ("[" * 100_000, "not JSON ("),
        ("[]", 'expected {"visits": [...]}'),
        ('{"visits": {}}', 'expected {"visits": [...]}'),
        ('{"visits": [{}]}', 'visit 0: expected {"node": ...}'),
        ('{"visits": [{"node": 2}]}', "visit 0: node: expected 0 to 1, got 2"),
        ('{"visits": [{"node": 0.5}]}', "visit 0: node: expected an int, got float"),
        ('{"visits": [{"node": "b"}]}', "visit 0: node: expected a number or one of ['a', 'c'], got 'b'"),
        ('{"visits": [{"node": 1}]}', "visit 0: expected a node that may follow the root, got 1"),
        ('{"visits": [{"node": 0}, {"node": 0}]}', "visit 1: expected a node that may follow [0], got 0"),
        ('{"visits": [{"node": 0, "signal": ["x"]}]}', "visit 0: signal: expected a number, got list"),
        ('{"visits": [{"node": 0, "signal": true}]}', "visit 0: signal: expected a number, got bool"),
        ('{"visits": [{"node": 0, "signal": ""}]}', "visit 0: signal: expected a text, got none"),
        ('{"visits": [{"node": 0, "node": 1}]}', "not JSON ('node' stands there twice)"),
        ('{"visits": [{"node": 0, "signal": NaN}]}', "visit 0: signal: expected a number, got nan"),
        ('{"visits": [{"node": 0, "signal": 1e39}]}', "visit 0: signal: expected a finite number, got 1e+39"),
        ('{"visits": [{"node": 0, "loss": -1}]}', "visit 0: loss: expected a finite number >= 0, got -1"),
        ('{"visits": [{"node": 0, "cost": true}]}', "visit 0: cost: expected a number, got bool"),
        (
            '{"visits": [{"node": 0, "error": "e", "loss": 1}]}',
            "visit 0: expected no signal and no loss of a visit with an error",
        ),
    ],
)
def test_lines_that_say_something_else(line: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text(f'{{"visits": []}}\n\n{line}\n')
    with pytest.raises(ValueError, match=re.escape(f"{path}: line 3: {message}")):
        Traces.from_log(path, Topology.line(2), nodes=["a", "c"])


def test_other_files(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text("\n")
    with pytest.raises(ValueError, match=re.escape(f"{path}: expected at least one request, got none")):
        Traces.from_log(path, Topology.line(1))
    path.write_bytes(b"\xff\n")
    with pytest.raises(ValueError, match=re.escape(f"{path}: expected UTF-8 (")):
        Traces.from_log(path, Topology.line(1))
    logged(path, [{"node": 0, "signal": 0, "cost": 1, "loss": np.inf}], [{"node": 0, "loss": 1}])
    with pytest.raises(ValueError, match="losses: expected finite values, or inf in every row"):
        Traces.from_log(path, Topology.line(1))


def test_losses_may_come_before_their_request_and_in_other_files(tmp_path: Path) -> None:
    first, second = tmp_path / "monday.jsonl", tmp_path / "tuesday.jsonl"
    visit = {"node": 0, "signal": 0.5, "cost": 1.0}
    first.write_text(
        json.dumps({"request": "b", "losses": {"1": 1.0}}) + "\n"
        + json.dumps({"request": "a", "visits": [visit]}) + "\n"
    )  # fmt: skip
    second.write_text(
        json.dumps({"request": "b", "visits": [visit], "losses": {"0": 0.5}}) + "\n"
        + json.dumps({"request": "a", "losses": {"0": 0.0}}) + "\n"
    )  # fmt: skip
    traces = Traces.from_log([first, second], Topology.line(2))
    np.testing.assert_array_equal(traces.losses, [[0.0, np.nan], [0.5, 1.0]])
    with pytest.raises(
        ValueError, match=r"monday.jsonl: line 1: request: expected losses of requests that were logged, got 'b'"
    ):
        Traces.from_log(first, Topology.line(2))
    with second.open("a") as file:
        file.write(json.dumps({"request": "a", "losses": {"7": 0.0}}) + "\n")
    with pytest.raises(ValueError, match=r"tuesday.jsonl, line 3: losses\['7'\]: expected 0 to 1, got 7$"):
        Traces.from_log([first, second], Topology.line(2))
    with pytest.raises(ValueError, match=r"^path: expected at least one file, got none$"):
        Traces.from_log([], Topology.line(2))
    with pytest.raises(ValueError, match=r"^path: expected each file once, got "):
        Traces.from_log([first, str(first)], Topology.line(2))


def test_a_line_that_was_cut_off_while_it_was_written(tmp_path: Path) -> None:
    path = logged(tmp_path / "log.jsonl", [{"node": 0, "signal": 0.5, "cost": 1.0}])
    whole = path.read_text().rstrip("\n") + "\n"
    path.write_text(whole + whole[:20])
    with pytest.warns(UserWarning, match=r"log.jsonl: line 2 was cut off and is left out"):
        assert len(Traces.from_log(path, Topology.line(2))) == 1
    for cut in range(1, len(whole) - 1):  # and the process began again
        path.write_text(whole + whole[:cut] + "\n" + whole)
        with pytest.warns(UserWarning, match=r"log.jsonl: line 2 was cut off and is left out"):
            assert len(Traces.from_log(path, Topology.line(2))) == 2
    for wrong in (
        '{"visits": []}x',
        '{"visits": []} 5',
        "{]",
        whole[1:].strip(),
        '{"visits": []}}',
        '{"visits": [1,]}',
        "[1",
    ):
        path.write_text(whole + wrong + "\n" + whole)
        with pytest.raises(ValueError, match=r"line 2: not JSON"):
            Traces.from_log(path, Topology.line(2))


def test_like_needs_the_same_units(tmp_path: Path) -> None:
    signals, losses = np.zeros((2, 1), np.float32), np.zeros((2, 1), np.float32)
    several = Traces(signals, losses, {"usd": [1.0], "ms": [2.0]})
    single = Traces(signals, losses, [1.0], unit="usd")
    path = tmp_path / "log.jsonl"
    path.write_text(json.dumps({"unit": "ms", "visits": [{"node": 0, "signal": 0.5, "cost": 1.0}]}) + "\n")
    for traces, expected in ((several, "usd, ms"), (single, "usd")):
        with pytest.raises(ValueError, match=rf"cost: expected {expected}, as before, got ms$"):
            Traces.from_log(path, like=traces)
    path.write_text(json.dumps({"visits": [{"node": 0, "signal": 0.5, "cost": {"usd": 1.0, "ms": 2.0}}]}) + "\n")
    assert set(Traces.from_log(path, like=several).unit_costs) == {"usd", "ms"}
    with pytest.raises(
        ValueError, match=r"line 1: unit: expected none with costs in several units, which name their own"
    ):
        Traces.from_log(path, like=single)
    with pytest.raises(ValueError, match=r"^like: expected no topology, unit or nodes beside it"):
        Traces.from_log(path, Topology.line(1), like=single)
    with pytest.raises(TypeError, match=r"^from_log: expected a topology, or traces of the same cascade"):
        Traces.from_log(path)
    with pytest.raises(ValueError, match=r"expected at least one request that was shown to all nodes, got none$"):
        Traces.from_log(path, like=several, shadowed=True)
