"""Thresholds on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from evidence_cases import independent, posterior
from helpers import random_traces

import ttamer
from ttamer import Topology
from ttamer.cli import main


@pytest.fixture
def policy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ttamer.Policy:
    monkeypatch.chdir(tmp_path)
    traces = random_traces(Topology.line(2), 300, 0)._with(nodes=("small", 'the "large" one'))
    made = ttamer.solve(ttamer.fit(traces, 6, smoothing="platt"), 0.9)
    made.save("p.st")
    return made


def test_yaml_and_json_say_the_same(policy: ttamer.Policy, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "p.st", "--format", "json"]) == 0
    content = json.loads(capsys.readouterr().out)
    first, last = policy.thresholds()
    assert content["first"] == "small"
    assert content["nodes"][0] == {"node": "small", "stops_from": first.stops_from, "goes_on_to": 'the "large" one'}
    assert content["nodes"][1] == {"node": 'the "large" one', "stops_from": "always", "goes_on_to": None}
    assert last.following == ttamer.STOP
    assert main(["export", "p.st"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        'signal: "own"',
        'unit: "ms"',
        'first: "small"',
        "nodes:",
        '- node: "small"',
        f"  stops_from: {first.stops_from}",
        r'  goes_on_to: "the \"large\" one"',
        r'- node: "the \"large\" one"',
        '  stops_from: "always"',
        "  goes_on_to: null",
    ]


def test_into_a_file(policy: ttamer.Policy, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "p.st", "--output", "t.yaml"]) == 0
    assert capsys.readouterr().out == ""
    assert Path("t.yaml").read_text().startswith('signal: "own"\n')
    assert main(["export", "p.st", "--output", "no/t.yaml"]) == 2
    assert "no" in capsys.readouterr().err
    ttamer.solve(posterior(independent(60))).save("e.st")
    assert main(["export", "e.st"]) == 2
    assert "thresholds: expected a line, skip or dag of plain signals" in capsys.readouterr().err
