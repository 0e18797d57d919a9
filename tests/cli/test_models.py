"""The command line on several models that may be asked in any order, and what serves their policies."""

from __future__ import annotations

import json
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


def test_compare(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "t.npz", "--test", "u.npz"]) == 0
    text = capsys.readouterr().out
    error = ttamer.Traces.load("u.npz").losses[:, 3].mean()
    assert f"The best model, model 2, costs 10 usd a request; its error is {error:.2%}." in text
    assert "(% of the best model) at matched test error" in text
    assert "\nfixed mixing " in text
    assert "one threshold: on the line 1, " in text or "one threshold: on the line 2, " in text
    assert main(["compare", "t.npz", "--test", "u.npz", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
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
