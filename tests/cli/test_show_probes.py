"""The command line on traces with a node that cannot answer: no infinity in a table, none in JSON."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from probed import CASCADES, probed_traces

import ttamer
from ttamer.cli import main
from ttamer.cli.policy_tables import states

FIT = "fit t.npz --bins 8 --output m.st --policy p.st --tradeoff 0.8 --recall {recall}"
OF_ONE_POLICY = (FIT, "show p.st", "show p.st --all", "evaluate p.st u.npz")
OF_TRACES = (
    "show t.npz",
    "frontier t.npz --bins 8 --test u.npz",
    "tune t.npz --max-error 0.35 --policy q.st",
    "compare t.npz --test u.npz",
)
"""The same with any recall, which they are not told."""


def strict(text: str) -> Any:
    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is not JSON")

    return json.loads(text, parse_constant=refuse)


@pytest.mark.parametrize("recall", ["auto", "observed"])
@pytest.mark.parametrize("cascade", CASCADES)
def test_every_command(
    cascade: str, recall: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    probe = CASCADES[cascade][1]
    monkeypatch.chdir(tmp_path)
    probed_traces(cascade, 600).save("t.npz")
    probed_traces(cascade, 400, seed=1).save("u.npz")
    printed = {}
    for command in (*OF_ONE_POLICY, *(OF_TRACES if recall == "auto" else OF_TRACES[:1])):
        arguments = command.format(recall=recall).split()
        assert main(arguments) == 0, capsys.readouterr().err
        printed[command] = capsys.readouterr().out
        if "--all" not in command:
            assert main([*arguments, "--json"]) == 0
            strict(capsys.readouterr().out)
    for command, text in printed.items():
        assert not re.search(r"(?<!-)\b(inf|nan)\b", text), command
    assert re.search(rf"^{probe} +cannot answer", printed["show t.npz"], re.M)
    assert re.search(rf"^{probe} +8 +cannot answer$", printed[FIT], re.M)
    assert f"\nnode {probe} (8 states)\n" in printed["show p.st"]
    assert "cannot answer" in printed["show p.st"].partition(f"\nnode {probe} (8 states)\n")[2].splitlines()[1]


def test_an_index_that_is_infinite_is_never(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for parents, line in (
        ([-1, 0, 0, -1], r"^0\.\.\d+ .*never .*%$"),
        ([-1, -1, 1, -1], r"^index of node 1 +never *$"),
    ):
        traces = probed_traces("leaf")
        losses = traces.losses.copy()
        losses[:, 1 : 1 + (parents[1] < 0) + 1] = np.inf  # the branch has nothing else
        losses[:, 2] = np.inf if parents[1] < 0 else losses[:, 2]
        topology = ttamer.Topology.forest(parents)
        traces = ttamer.Traces(traces.signals, losses, traces.costs, topology)
        ttamer.solve(ttamer.fit(traces, 8), 0.8).save("p.st")
        assert main(["show", "p.st"]) == 0
        assert re.search(line, capsys.readouterr().out, re.M)


def test_a_probe_opens_whatever_is_worth_it() -> None:
    """Nothing has answered: any index is below that."""
    policy = ttamer.solve(ttamer.fit(probed_traces("top"), 8), 0.8)
    for state in states(policy, 0):
        assert state.opens == sorted([1, 2], key=lambda node: state.index[node])


@pytest.mark.parametrize("cascade", ["dag", "skip"])
def test_a_probe_in_front_says_what_to_do_without_an_answer(cascade: str) -> None:
    """With recall there are limits for best losses too, which no request has when it has seen the probe alone."""
    policy = ttamer.solve(ttamer.fit(probed_traces(cascade), 8), 0.8, "observed")
    assert any(len(steps) > 1 for steps in policy.actions(0))
    assert [state.actions for state in states(policy, 0)] == [steps[-1:] for steps in policy.actions(0)]
    assert [state.actions for state in states(policy, 1)] == policy.actions(1)


def test_a_narrow_page_loses_no_figure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    traces = ttamer.Traces(
        np.zeros((50, 2), np.float32),
        np.zeros((50, 2), np.float32),
        {"usd": np.full((50, 2), 0.012345), "ms": np.full((50, 2), 1234.5)},
        nodes=["quick", "thorough"],
    )
    traces.save(tmp_path / "t.npz")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", "30")
        assert ttamer.cli.main(["show", str(tmp_path / "t.npz")]) == 0
    text = capsys.readouterr().out
    assert "(thorough)" in text  # on the next line with Rich 13.0
    rows = [line.replace("(thorough)", "").split() for line in text.splitlines()]
    assert ["1", "0", "0.02469", "0.02469", "2469", "2469"] in rows
