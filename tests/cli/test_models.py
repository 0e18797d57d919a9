"""The command line on several models that may be asked in any order, and what serves their policies."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

import ttamer
from ttamer.cli import main

pytest.importorskip("sklearn", reason="needs the fit extra")


def recorded(rows: int, seed: int) -> ttamer.Traces:
    rng = np.random.default_rng(seed)
    sure = rng.random((rows, 3))
    losses = np.stack([sure[:, 0] < 0.4, sure[:, 1] < 0.3, rng.random(rows) < 0.1], axis=1)
    return ttamer.Traces.from_models(
        losses,
        [1.0, 2.0, 10.0],
        scores=sure,
        answers=np.where(losses, rng.integers(1, 3, (rows, 3)), 0),
        context={"length": rng.random(rows), "language": rng.choice(["en", "de"], rows)},
        unit="usd",
    )


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    recorded(500, 0).save("t.npz")
    recorded(300, 1).save("u.npz")
    return tmp_path


@pytest.mark.parametrize("estimate", ["sets", "chains"])
def test_fit_evaluate_and_show(estimate: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fit = ["fit", "t.npz", "--estimate", estimate, "--output", "m.st", "--policy", "p.st", "--tradeoff", "0.9"]
    for arguments in (fit, ["evaluate", "p.st", "u.npz"], ["show", "p.st"]):
        assert main(arguments) == 0
    text = capsys.readouterr().out
    assert f"it decides on estimates ({estimate}): serve it with decide_answers\n" in text


@pytest.mark.parametrize(
    ("estimate", "states"),
    [
        ("sets", "A state is a group of requests of which the same is expected of every node; state 0 is the worst."),
        ("chains", "A state is a range of scores between the thresholds of the chains; state 0 is the worst."),
    ],
)
def test_states_that_are_leaves_are_not_called_signals(
    estimate: str, states: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    policy = ttamer.solve(ttamer.fit(recorded(500, 0), estimate=estimate), 0.9)
    policy.save("p.st")
    for options in ([], ["--all"]):
        assert main(["show", "p.st", *options]) == 0
        text = capsys.readouterr().out
        assert "signal" not in text
        assert f"\n{states}\n" in text
        assert "\nnode 0 (length), " in text
    assert main(["show", "p.st", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    states_of_nodes = [state for node in shown["nodes"] for state in node["states"]]
    assert {(state["signal_from"], state["signal_below"]) for state in states_of_nodes} == {(None, None)}


def test_nodes_are_called_by_their_names(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Behind a context model k is node k + 1."""

    def call(*arguments: str) -> str:
        assert main(list(arguments)) == 0
        return capsys.readouterr().out

    ttamer.solve(ttamer.fit(recorded(500, 0), estimate="sets"), 0.9).save("p.st")
    text = call("show", "p.st")
    assert "starts at node 0 (length)" in text
    assert re.search(r"^0 \(length\) +100\.0% .*  model [012] \(\d+\), ", text, flags=re.MULTILINE)
    step = re.search(r"^node 0>(\d) \(model (\d)\), \d+ states$", text, flags=re.MULTILINE)
    assert step
    assert int(step[1]) == int(step[2]) + 1
    assert re.search(r"^\d\S* +consult model [012] +cannot answer", text, flags=re.MULTILINE)
    assert json.loads(call("show", "p.st", "--json"))["node_names"] == ["length", "model 0", "model 1", "model 2"]
    assert "3 (model 2)" in call("evaluate", "p.st", "u.npz")
    assert json.loads(call("evaluate", "p.st", "u.npz", "--json"))["nodes"][3] == "model 2"
    assert "  3 (model 2): " in str(ttamer.evaluate(ttamer.Policy.load("p.st"), recorded(300, 1)))
    assert "\n1 (model 0) " in call("fit", "t.npz")
    assert "\n0>1 (model 0) " in call("fit", "t.npz", "--estimate", "sets")
    ttamer.solve(ttamer.fit(recorded(500, 0), 8), 0.9, "observed").save("q.st")
    text = call("show", "q.st")
    assert "\nnode 1 (model 0), 8 states\nstates signal >=" in text
    assert "else model 2" in text or "consult model 2" in text


def test_chains_say_in_which_order(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    sure = rng.random((500, 3))
    losses = sure < [0.6, 0.4, 0.1]
    traces = ttamer.Traces.from_models(losses, [1.0, 2.0, 10.0], scores=sure)
    ttamer.solve(ttamer.fit(traces, estimate="chains"), 0.9).save("p.st")
    assert main(["show", "p.st", "--all"]) == 0
    assert "0,1>2: node 2, consulted after 0 and then 1.\n" in capsys.readouterr().out


def test_compare(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "t.npz", "--test", "u.npz"]) == 0
    text = capsys.readouterr().out
    error = ttamer.Traces.load("u.npz").losses[:, 3].mean()
    assert f"The best model, model 2, costs 10 usd a request; its error is {error:.2%}." in text
    assert "(% of the best model) at matched test error" in text
    assert "\nfixed mixing " in text
    lines = [f"one threshold: on the line {node} (model {node - 1}), " for node in (1, 2)]
    assert any(line in text for line in lines)
    assert main(["compare", "t.npz", "--test", "u.npz", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["nodes"] == ["length", "model 0", "model 1", "model 2"]
    assert figures["full_model"]["name"] == "best model"
    assert figures["mean_errors"][0]["method"] == "fixed mixing"


@pytest.mark.parametrize("estimate", ["sets", "chains"])
def test_a_context_is_served_whether_the_policy_looks_at_it_or_not(estimate: str) -> None:
    traces, requests = recorded(500, 0), recorded(64, 1)
    policy = ttamer.frontier(traces, estimate=estimate)[-1].policy
    shown = policy.context_scores(requests.context)
    assert shown.shape == (64, 2 if estimate == "sets" else 0)
    batch, rows = policy.start(64), np.arange(64)
    node = batch.decide_answers(0, shown)
    assert requests.predictions is not None
    while len(rows):
        scores, answers = requests.signals[rows, node], requests.predictions[rows, node]
        node = batch.decide_answers(node, scores, answers, rows)
        rows, node = rows[node != ttamer.STOP], node[node != ttamer.STOP]
    np.testing.assert_array_equal(batch.answer_node, policy.replay(requests).answer_node)
