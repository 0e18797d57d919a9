"""Losses that are no errors, such as squared errors: what every command calls them, and how it writes them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

import ttamer
from ttamer import plots
from ttamer.cli import main


def squared_errors(rows: int, seed: int) -> ttamer.Traces:
    """Three regressors of mean squared error 5574, 1688 and 362, and a signal that tells hard requests."""
    rng = np.random.default_rng(seed)
    hard = rng.gamma(2.0, 1.0, (rows, 1))
    losses = (hard * rng.normal(0, np.sqrt(np.array([5574, 1688, 362]) / 6), (rows, 3))) ** 2
    signals = -hard + rng.normal(0, 0.3, (rows, 3))
    return ttamer.Traces(signals.astype(np.float32), losses.astype(np.float32), [1, 2, 4], unit="ms")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Traces, and a policy, in the current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    calibration = squared_errors(1500, 0)
    calibration.save("cal.npz")
    squared_errors(1000, 1).save("test.npz")
    ttamer.solve(ttamer.fit(calibration, 16), 0.001).save("p.st")
    return tmp_path


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What a command prints, which has to fit, to be written without needless exponents, and to speak of losses."""
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    assert "error" not in out
    assert not re.search(r"\de\+0[345]", out)
    return out


def test_tables_of_every_command(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    policy, test = ttamer.Policy.load("p.st"), ttamer.Traces.load("test.npz")
    report = ttamer.evaluate(policy, test)
    assert not report.are_rates
    out = printed(capsys, "evaluate", "p.st", "test.npz")
    assert re.search(rf"^loss +{report.error:.4g} +{report.full_error:.4g}$", out, re.MULTILINE)
    assert str(report).splitlines()[1] == f"loss       {report.error:.4g}  (full model {report.full_error:.4g})"

    front = ttamer.frontier(ttamer.Traces.load("cal.npz"))
    lines = printed(capsys, "frontier", "cal.npz", "--test", "test.npz", "--plot", "f.svg").splitlines()
    assert lines[1].split() == ["point", "tradeoff", "cost,", "ms", "loss", "test", "cost,", "ms", "test", "loss"]
    first, held = front[0], front[0].policy.replay(test)
    numbers = (first.policy.tradeoff, first.cost, first.error, held.mean_cost, held.error)
    assert lines[2].split() == ["0", *(f"{value:.4g}" for value in numbers)]
    assert "mean loss of the answers" in Path("f.svg").read_text()
    assert f"error {first.error:.4g} to {front[-1].error:.4g}, " in repr(front)

    out = printed(capsys, "compare", "cal.npz", "--test", "test.npz")
    assert f"its mean loss is {report.full_error:.4g}." in out
    assert "at matched test loss\n" in out
    assert re.search("^loss +cheapest baseline", out, re.MULTILINE)
    assert re.search("^ +mean loss +difference", out, re.MULTILINE)

    assert "mean loss" in printed(capsys, "show", "cal.npz")
    assert "expected loss" in printed(capsys, "show", "p.st")
    assert "expected loss" in printed(capsys, "fit", "cal.npz")


def test_service_levels(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("scipy")
    arguments = ("tune", "cal.npz", "--max-error", "5000", "--max-loss", "500000")
    out = printed(capsys, *arguments)
    assert re.search(r"^loss +5000 +\d+(\.\d)? ", out, re.MULTILINE)
    assert re.search(r"^on the held-back rows: loss \d+(\.\d)?, mean cost ", out, re.MULTILINE)
    certificate = ttamer.tuning.certify(ttamer.Traces.load("cal.npz"), max_error=5000, max_loss=500000)
    text = r"^a mean loss of at most 5000, with .* held-back rows a loss of \d+(\.\d)? and a mean cost of "
    assert re.match(text, str(certificate))
    assert main(["tune", "cal.npz", "--max-error", "5000"]) == 2
    assert re.match(
        r"ttamer: max_loss: expected a bound on every loss, got 1 and a loss of \d", capsys.readouterr().err
    )
    assert main([*arguments[:3], "10", *arguments[4:]]) == 2
    assert re.match(r"ttamer: max_error: a mean loss of at most 10 ", capsys.readouterr().err)


def test_json_says_whether_losses_are_errors(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["evaluate", "p.st", "test.npz"], ["frontier", "cal.npz"], ["compare", "cal.npz"]):
        assert main([*arguments, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["are_rates"] is False


def test_a_reliability_diagram_of_scores() -> None:
    rng = np.random.default_rng(0)
    signals = rng.random((200, 1), dtype=np.float32)
    losses = (0.5 * (1 - signals)).astype(np.float32)
    axes = plots.reliability(ttamer.Traces(signals, losses, [1])).axes[0]
    assert axes.get_ylabel() == "1 - loss"
    errors = (losses > 0.3).astype(np.float32)
    assert plots.reliability(ttamer.Traces(signals, errors, [1])).axes[0].get_ylabel() == "accuracy"
