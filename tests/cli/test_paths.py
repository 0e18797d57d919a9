"""No command writes over a file that it reads, or two files to one path."""

from __future__ import annotations

import json
import os
import warnings
from pathlib import Path

import pytest
from helpers import random_traces

import ttamer
from ttamer.cli import main
from ttamer.serve import Dispatcher, Log

READS = "expected another path to write to, the command reads that file"
TWICE = "expected another path to write to, the command writes another file there"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """With traces, a policy, a table and a log."""
    monkeypatch.chdir(tmp_path)
    traces = random_traces(ttamer.Topology.line(3), 300, seed=0)
    traces.save("t.npz")
    traces.save("u.npz")
    policy = ttamer.solve(ttamer.fit(traces, 8), 0.9)
    policy.save("p.st")
    rows = [{"request": k, "model": m, "loss": 0, "cost": 1} for k in range(3) for m in "ab"]
    Path("a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with Log("log.jsonl") as log:
        flight = Dispatcher(policy).enter()
        while flight.node != ttamer.STOP:
            flight.consulted("yes", 0.5)
        log.write(flight)
    return tmp_path


@pytest.mark.parametrize(
    "command",
    [
        "fit t.npz --output t.npz",
        "fit t.npz --policy t.npz",
        "fit t.npz --output link.npz",
        "fit t.npz --output hard.npz",
        "fit t.npz --output ../{folder}/t.npz",
        "tune t.npz --max-error 0.9 --policy t.npz",
        "evaluate p.st t.npz --plot p.st",
        "evaluate p.st t.npz --plot t.npz",
        "frontier t.npz --front t.npz",
        "frontier t.npz --test u.npz --plot u.npz",
        "compare t.npz --test u.npz --plot u.npz",
        "show p.st --plot p.st",
        "import a.jsonl u.npz --like u.npz",
        "import a.jsonl table.npz",
        "refit log.jsonl --traces t.npz --policy p.st --output t.npz",
        "refit log.jsonl --traces t.npz --policy p.st --output log.jsonl",
        "report log.jsonl --output log.jsonl",
        "report log.jsonl --policy p.st --output p.st",
        "report log.jsonl --policy p.st --traces t.npz --output t.npz",
        "export p.st --output p.st",
    ],
)
def test_what_is_read_stays(command: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, target in (("link.npz", "t.npz"), ("table.npz", "a.jsonl")):
        os.symlink(target, name)
    os.link("t.npz", "hard.npz")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    arguments = command.format(folder=folder.name).split()
    assert main(arguments) == 2
    assert capsys.readouterr() == ("", f"ttamer: {arguments[-3 if '--like' in command else -1]}: {READS}\n")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize(
    "command", ["fit t.npz --output new.st --policy new.st", "frontier t.npz --plot new.svg --front ./new.svg"]
)
def test_each_file_has_a_path(command: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command.split()) == 2
    assert capsys.readouterr().err.endswith(f": {TWICE}\n")
    assert not list(folder.glob("new.*"))


def test_the_folder_of_a_front_is_for_its_policies(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "out").mkdir()
    for option in ("--front", "--plot"):
        assert main(["frontier", "t.npz", "--save", "out", option, "./out/policy-000.safetensors"]) == 2
        message = "expected a path outside the folder of --save, which is for policies alone\n"
        assert capsys.readouterr().err == f"ttamer: out/policy-000.safetensors: {message}"
    assert not list((folder / "out").iterdir())


def test_a_refit_may_replace_the_old_policy(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["refit", "log.jsonl", "--traces", "t.npz", "--policy", "p.st", "--output", "p.st"]) == 2
    assert READS not in capsys.readouterr().err  # one request, none of which was a shadow


def test_warnings_are_lines_too(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Path("log.jsonl").open("a") as file:
        file.write('{"visits": [')
    with pytest.warns(UserWarning, match="cut off"):
        ttamer.Traces.from_log("log.jsonl", like=ttamer.Traces.load("t.npz"))
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        assert main(["refit", "log.jsonl", "--traces", "t.npz", "--policy", "p.st", "--output", "q.st"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "ttamer: warning: log.jsonl: line 2 was cut off and is left out"
    assert len(lines) == 2


def test_a_report_says_which_lines_were_cut_off(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Path("log.jsonl").open("a") as file:
        file.write('{"visits": [')
    assert main(["report", "log.jsonl"]) == 0
    assert capsys.readouterr().out.startswith("log.jsonl: line 2 was cut off and is left out\n")
