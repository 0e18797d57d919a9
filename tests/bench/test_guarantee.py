"""bench/guarantee.py: what it asks, what it counts, and a quick form of its run."""

from __future__ import annotations

import importlib
import json

import numpy as np
import pytest
from paths import BENCH

import ttamer
from ttamer import tuning

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def guarantee():
    pytest.importorskip("scipy", reason="tune needs the fit extra")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCH))
        return importlib.import_module("guarantee")


@pytest.fixture(scope="module")
def parts():
    rng = np.random.default_rng(0)
    probs = rng.dirichlet([3.0, 0.6, 0.3], size=(900, 3))
    labels = np.where(rng.random(900) < 0.85, probs[:, -1].argmax(axis=1), rng.integers(0, 3, 900))
    traces = ttamer.Traces.from_probs(probs, labels, [1.0, 2.0, 4.0], unit="ms")
    return traces[:600], traces[600:]


def test_pool_is_both_parts(guarantee, parts):
    pool = guarantee.pooled(*parts)
    assert (len(pool), pool.unit, pool.signal) == (900, "ms", "max_prob")
    for name in ("signals", "losses", "predictions", "labels"):
        np.testing.assert_array_equal(getattr(pool[600:], name), getattr(parts[1], name), strict=True)
    np.testing.assert_array_equal(pool.evidence.log_probs[:600], parts[0].evidence.log_probs)


def test_questions(guarantee, parts):
    pool = guarantee.pooled(*parts)
    asked = guarantee.questions(pool)
    assert len({question.name for question in asked}) == len(asked)
    assert {limit.name for question in asked for limit in question.limits} == {
        "max_error",
        "max_cost",
        "max_cost_quantile",
    }
    lowest = pool.losses.mean(axis=0).min()
    assert asked[0].limits[0].bound == pytest.approx(lowest + 0.005, abs=1e-6)
    assert [question.by_cost for question in asked] == [True] * 6 + [False] * 3 + [True]


def test_a_draw_finds_what_its_parts_say(guarantee, parts):
    pool = guarantee.pooled(*parts)
    rows = np.random.default_rng(1).permutation(900)[:450]
    draw = guarantee.Draw(pool, rows)
    question = next(each for each in guarantee.questions(pool) if each.name.startswith("cost 40%"))
    front = ttamer.frontier(pool[rows])
    assert draw.naive(question).error == front.best(2.8).policy.replay(pool).error
    kept = [point.policy.replay(pool) for point in front if point.policy.replay(pool).mean_cost <= 2.8]
    assert draw.oracle(question).error == min(each.error for each in kept)
    steps = tuning.Trial(ttamer.frontier(pool[rows[225:]]), pool[rows[225:]], pool[rows[:225]]).certify(
        question.limits, guarantee.CONFIDENCE
    )
    best = [step.policy for step in steps if step.p_value <= 0.05][-1]
    assert draw.tuned(question).error == best.replay(pool).error


def test_counts_of_a_row(guarantee, parts):
    pool = guarantee.pooled(*parts)
    question = guarantee.questions(pool)[3]
    bound = question.limits[0].bound

    def outcome(error, cost):
        return guarantee.Outcome(900, error, cost, np.array([cost]), np.array([900]))

    good, bad, dear = outcome(bound, 2.0), outcome(bound + 0.001, 1.0), outcome(bound - 0.01, 3.0)
    found = [(good, good, good), (bad, bad, good), (None, bad, good), (dear, good, good)]
    row = guarantee._row("w", "split", question, found)
    assert (row["draws"], row["violations"], row["infeasible"], row["naive violations"]) == (4, 1, 1, 2)
    assert (row["tuned"], row["naive"], row["oracle"]) == pytest.approx((2.0, 5 / 3, 2.0))
    assert row["kept"] == (row["violations"] <= row["allowed"])


def test_quick_run(guarantee, parts, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(guarantee, "load_recorded", lambda folder, name: parts)
    assert guarantee.main(["--quick", "--draws", "1", "--output", str(tmp_path)]) == 0
    written = json.loads((tmp_path / "guarantee.json").read_text())
    assert [row["drawn"] for row in written["rows"]] == ["split"] * 10 + ["bootstrap"] * 10
    assert {row["draws"] for row in written["rows"]} == {1}
    printed = capsys.readouterr().out
    assert "fashion-vgg: 900 rows pooled, 450 drawn, 1 times each way" in printed
