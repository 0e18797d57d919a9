"""Policies that estimate in drawings, tables, pictures, on the command line, and where they cannot be served."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from evidence_cases import independent, nested, posterior
from paths import DATA
from rich.console import Console

import ttamer
from ttamer import plots
from ttamer.cli import main
from ttamer.cli.policy_tables import policy_dict, print_policy
from ttamer.plots import drawing


def policy_of(order: Any) -> ttamer.Policy:
    if order == "any":  # fitted no more, but on file
        return ttamer.Policy.load(DATA / "policy-any-v4.safetensors")
    return ttamer.solve(ttamer.fit(independent(120, forest=True), 3, "posterior", order=order), 0.9)


def shown(policy: ttamer.Policy) -> str:
    console = Console(width=80, markup=False, highlight=False)
    with console.capture() as capture:
        print_policy(console, policy, "p.st", False)
    return capture.get()


def test_steps_of_an_order_are_called_by_their_nodes() -> None:
    policy = policy_of((2, 0))
    rows = drawing.draw(policy).splitlines()
    assert [row.split()[:3] for row in rows[2:]] == [["↓", "2", "3"], ["↓", "0", "1"]]
    text = shown(policy)
    assert "starts at node 2" in text
    assert "posterior: the answer with the least expected loss" in text
    assert text.index("node 2 (3 states)") < text.index("node 0 (3 states)")
    assert "consult 0 " in text
    assert ">2" not in text


def test_open_orders_are_called_by_all_nodes() -> None:
    policy = policy_of("any")
    rows = drawing.draw(policy).splitlines()
    assert [row.split()[0] for row in rows[2:]] == [
        "0", "1", "2", "1>0", "0>1", "2>0", "0>2", "2>1", "1>2", "1,2>0", "0,2>1", "0,1>2",
    ]  # fmt: skip
    assert rows[2].endswith("0>1 (2), 0>2 (3)")
    assert "0,1>2: node 2, consulted after 0 and 1 in either order." in shown(policy)


def test_json_holds_the_walk() -> None:
    held = json.loads(json.dumps(policy_dict(policy_of((2, 0))), default=float))
    assert (held["topology"], held["estimate"], held["walk"]) == ("forest", "posterior", [[2], [2, 0]])
    assert (held["first_node"], len(held["nodes"]), len(held["edges"])) == (2, 2, 2)
    plain = policy_dict(ttamer.solve(ttamer.fit(independent(60), 3), 0.9))
    assert (plain["estimate"], plain["walk"]) == ("signal", None)


@pytest.mark.parametrize(("order", "names"), [((2, 0), ["2", "0"]), ("any", ["0,1>2", "2>0"])])
def test_pictures(order: Any, names: list[str]) -> None:
    written = [text.get_text() for text in plots.topology(policy_of(order)).axes[0].texts]
    assert set(names) <= set(written)


def test_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    independent(120).save("t.npz")

    def call(*arguments: str) -> tuple[int, str, str]:
        code = main(list(arguments))
        out, err = capsys.readouterr()
        return code, out, err

    code, out, _ = call("fit", "t.npz", "--estimate", "posterior", "--bins", "auto", "--policy", "p", "--json")
    assert code == 0
    assert json.loads(out)["walk"] == [[0], [0, 1], [0, 1, 2]]
    assert json.loads(out)["solved"]["estimate"] == "posterior"
    code, out, _ = call("fit", "t.npz", "--estimate", "sets")
    assert "estimate sets" in out
    assert call("show", "p")[0] == 0
    assert call("evaluate", "p", "t.npz")[0] == 0
    code, out, _ = call("frontier", "t.npz", "--estimate", "posterior", "--json")
    assert json.loads(out)["estimate"] == "posterior"
    assert "front of t.npz, estimate posterior" in call("frontier", "t.npz", "--estimate", "posterior")[1]
    assert call("frontier", "t.npz", "--bins", "x") == (2, "", "ttamer: --bins: expected a number or 'auto', got 'x'\n")


def test_command_line_names_the_signal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A policy of a front may decide on another signal than the one recorded."""
    monkeypatch.chdir(tmp_path)
    nested(400).with_signal("margin").save("t.npz")

    def call(*arguments: str) -> str:
        assert main(list(arguments)) == 0
        return capsys.readouterr().out

    both, served = "logit_margin (the traces recorded margin)", ": serve it with decide_logits\n"
    text = call("frontier", "t.npz", "--save", "front")
    assert f"front of t.npz, signal {both}" in text
    assert text.endswith(f"it decides on {both}{served}")
    figures = json.loads(call("frontier", "t.npz", "--json"))
    assert (figures["signal"], figures["recorded_signal"]) == ("logit_margin", "margin")
    shown = call("show", "front/policy-000.safetensors")
    assert re.search(rf"^signal +{re.escape(both)} *$", shown, flags=re.MULTILINE)
    figures = json.loads(call("show", "front/policy-000.safetensors", "--json"))
    assert (figures["signal"], figures["recorded_signal"]) == ("logit_margin", "margin")
    text = call("fit", "t.npz", "--estimate", "posterior", "--policy", "h.st")
    assert "it decides on estimates (posterior): serve it with decide_logits\n" in text
    text = call("fit", "t.npz", "--estimate", "auto", "--bins", "auto", "--policy", "p.st")
    assert f", signal {both}\n" in text
    assert f"it decides on {both}{served}" in text
    plain = call("fit", "t.npz", "--policy", "p.st")
    assert "recorded" not in plain + call("show", "p.st")
    nested(1200).save("many.npz")
    text = call("tune", "many.npz", "--max-error", "0.45")
    assert text.endswith(f"it decides on logit_margin (the traces recorded max_prob){served}")
    figures = json.loads(call("tune", "many.npz", "--max-error", "0.45", "--json"))
    assert (figures["signal"], figures["recorded_signal"]) == ("logit_margin", "max_prob")
    assert call("evaluate", "front/policy-000.safetensors", "t.npz")
    assert "signal margin" in call("fit", "t.npz", "--bins", "4")
    assert json.loads(call("fit", "t.npz", "--bins", "4", "--json"))["signal"] == "margin"


def test_evaluate_refuses_signals_of_another_kind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    traces = nested(100)
    ttamer.solve(ttamer.fit(traces, 4)).save("p.st")
    ttamer.Traces(traces.signals, traces.losses, traces.costs, unit="ms").save("own.npz")
    assert main(["evaluate", "p.st", "own.npz"]) == 2
    error = capsys.readouterr().err
    assert error.startswith(
        "ttamer: traces: expected signal='max_prob' or evidence to make it from, got signals of the"
    )


def test_plain_policies_have_their_walk() -> None:
    line = ttamer.solve(posterior(independent(60)), 0.9)
    assert line.walk == ((0,), (0, 1), (0, 1, 2))
    plain = ttamer.solve(ttamer.fit(independent(60), 3), 0.9)
    assert (plain.walk, plain.estimate, plain.estimator, plain.steps) == (line.walk, "signal", None, plain.topology)
    skip = ttamer.solve(ttamer.fit(independent(60, topology=ttamer.Topology.skip(3)), 3), 0.9)
    assert skip.walk is None
