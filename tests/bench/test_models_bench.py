"""bench/models.py: ways on requests for which the right answer is known, and a quick form of its run."""

from __future__ import annotations

import json

import numpy as np
import pytest
from studies import load

pytestmark = pytest.mark.slow

pytest.importorskip("sklearn", reason="needs the fit extra")
model_sets, model_ways, models = load("model_sets"), load("model_ways"), load("models")


def arrays(rows, seed, scored=True):
    """A dear model that is mostly right and a cheap one that is right where its score is high; names in that order."""
    rng = np.random.default_rng(seed)
    sure, label = rng.random(rows), rng.integers(0, 2, rows)
    right = np.stack([rng.random(rows) < 0.95, sure > 0.4], axis=1)
    signal = np.stack([np.full(rows, np.nan), sure], axis=1).astype(np.float32)
    return {
        "quality": right.astype(np.float32),
        "cost": np.array([10.0, 1.0]),
        "signal": signal if scored else np.full_like(signal, np.nan),
        "preds": np.where(right, label[:, None], 1 - label[:, None]).astype(np.int8),
        "context": np.stack([np.where(sure > 0.4, 1.0, 2.0), rng.integers(0, 2, rows)], axis=1),
        "subject_names": np.array(["law", "art"]),
        "source": np.where(sure < 0.1, -1, 3),
        "names": np.array(["dear", "cheap"]),
        "cost_unit": np.array("USD a request, made up"),
    }


@pytest.fixture
def folder(tmp_path):
    """Two sets: one with scores, and one of marks, without scores, in which things are missing."""
    for part, rows in (("calibration", 900), ("test", 300)):
        np.savez(tmp_path / f"sure-{part}.npz", **arrays(rows, rows))
        judged = arrays(rows, rows + 1, scored=False)
        judged = {key: judged[key] for key in ("signal", "names", "cost_unit")} | {
            "quality": 1 + 9 * judged["quality"],
            "cost": np.tile(judged["cost"], (rows, 1)) * np.linspace(1, 2, rows)[:, None],
        }
        judged["quality"][:3, 1], judged["cost"][2:5, 0] = np.nan, np.nan
        np.savez(tmp_path / f"judged-{part}.npz", **judged)
    return tmp_path


def requests(rows=900, seed=0, **changes):
    """Requests of two models, the second ten times as dear."""
    rng = np.random.default_rng(seed)
    sure = rng.random(rows)
    fields = {
        "models": ("cheap", "dear"),
        "losses": np.stack([sure < 0.4, np.zeros(rows)], axis=1).astype(float),
        "costs": np.tile([1.0, 10.0], (rows, 1)),
        "scores": np.stack([sure, np.full(rows, -np.inf)], axis=1),
        "answers": None,
        "has_classes": False,
        "context": {},
        "unit": "USD",
        "left_out": 0,
    }
    return model_sets.Requests(**{**fields, **changes})


class TestSets:
    def test_everything_recorded(self, folder):
        assert model_sets.names_in(folder) == ["judged", "sure"]
        calibration, test = model_sets.load(folder, "sure")
        assert (len(calibration), len(test), calibration.left_out, calibration.unit) == (900, 300, 0, "USD")
        assert calibration.models == ("cheap", "dear")
        recorded = arrays(900, 900)
        assert calibration.losses.tolist() == (1 - recorded["quality"][:, ::-1]).tolist()
        assert calibration.costs[7].tolist() == [1.0, 10.0]
        assert np.isneginf(calibration.scores[:, 1]).all()
        assert calibration.answers.tolist() == recorded["preds"][:, ::-1].tolist()
        assert list(calibration.context) == ["source", "subject", "context 0"]
        assert set(calibration.context["source"]) == {"", "3"}
        assert set(calibration.context["subject"]) == {"law", "art"}
        traces = calibration.traces
        assert traces.nodes == ("source", "cheap", "dear")
        assert traces.costs.ndim == 1

    def test_marks_and_what_is_missing(self, folder):
        calibration, test = model_sets.load(folder, "judged")
        assert (len(calibration), calibration.left_out, test.left_out) == (895, 5, 5)
        assert set(calibration.losses.ravel()) == {0.0, 1.0}
        assert calibration.answers is None
        assert np.ptp(calibration.traces.request_reach_costs, axis=0).min() > 0


class TestWays:
    def test_fixed(self):
        points = model_ways.fixed(requests()).points
        assert [point.cost for point in points] == [1.0, 10.0]
        assert points[0].error == pytest.approx(0.4, abs=0.05)
        assert points[1].error == 0.0

    @pytest.mark.parametrize(
        # Those with a score below 0.4 should ask both. One threshold is at a twelfth of the scores.
        ("way", "expected"),
        [("thresholds", 1 + 10 * 5 / 12), ("two calls", 1 + 10 * 2 / 4), ("cascade routing", 1 + 10 * 0.4)],
    )
    def test_the_unsure_ask_the_dear_model(self, way, expected):
        calibration, test = requests(), requests(seed=1)
        points = model_ways.WAYS[way](calibration).points
        line = models.curve(way, [*points, *model_ways.fixed(calibration).points], test)
        cost, error = line.test_points
        assert cost[error < 0.03].min() == pytest.approx(expected, abs=0.6)

    def test_two_calls_tell_answers_apart(self):
        # Without scores: where the cheap model says 1 it is right.
        rng = np.random.default_rng(3)
        says = rng.integers(0, 2, 500)
        unsure = requests(
            500,
            scores=np.full((500, 2), -np.inf),
            losses=np.stack([says == 0, np.zeros(500)], axis=1).astype(float),
            answers=np.stack([says, np.ones(500, int)], axis=1),
            has_classes=True,
        )
        best = min(model_ways.two_calls(unsure).points, key=lambda point: (point.error, point.cost))
        assert best.error == 0.0
        assert best.cost == pytest.approx(1 + 10 * (says == 0).mean())

    def test_routing_asks_one_model(self):
        calibration, test = (requests(seed=seed) for seed in (0, 1))
        with_context = [
            model_sets.replace(part, context={"kind": np.where(part.losses[:, 0] > 0, "hard", "easy")})
            for part in (calibration, test)
        ]
        points = model_ways.routing(with_context[0]).points
        best = min(points, key=lambda point: (point.error, point.cost))
        cost, loss = best.replay(with_context[1])
        assert set(cost) == {1.0, 10.0}
        assert loss.sum() == 0.0
        unknown = model_sets.replace(test, context={"kind": np.full(900, "new")})
        assert len(set(best.replay(unknown)[0])) == 1

    @pytest.mark.parametrize("way", ["thresholds", "two calls", "routing", "cascade routing"])
    def test_nothing_to_decide_on(self, way):
        assert model_ways.WAYS[way](requests(scores=np.full((900, 2), -np.inf))).points == []

    def test_a_missing_score_asks_the_next_model(self):
        part = requests()
        part.scores[:50, 0] = -np.inf
        for point in model_ways.thresholds(part).points:
            cost, _ = point.replay(part)
            assert (cost[:50] >= 10.0).all()


def test_rows_of_a_study_are_those_of_the_definitions():
    calibration, test = requests(), requests(300, seed=1)
    budgets = models.budgets_of(calibration)
    assert (len(budgets), budgets[0], budgets[-1]) == (25, 1.5, pytest.approx(15.0))
    rows = {row["way"]: row for row in models.study("made up", calibration, test, 50)}
    assert list(rows) == ["ttamer", "fixed", "thresholds", "two calls", "cascade routing", "half the rows"]
    # Always one model: the share of requests that the budget lets ask the dear one.
    cheap = test.losses[:, 0].mean()
    by_hand = [cheap * (1 - min(1.0, (budget - 1) / 9)) for budget in budgets]
    assert rows["fixed"]["loss"] == pytest.approx(np.mean(by_hand))
    assert rows["fixed"]["same loss"] == 1.0
    assert rows["thresholds"]["same loss"] < 0.7
    for row in list(rows.values())[1:]:
        value, low, high = row["ttamer minus it"]
        assert value == pytest.approx(rows["ttamer"]["loss"] - row["loss"])
        assert low <= high
    (against, *_) = models.summary(list(rows.values()))
    assert (against["way"], against["sets"], against["better"]) == ("fixed", 1, 1)


class TestRun:
    def test_quick(self, folder, capsys):
        assert models.main([str(folder), "--quick", "--output", str(folder / "out")]) == 0
        printed = capsys.readouterr().out
        assert "mean loss over 25 budgets" in printed
        tables = json.loads((folder / "out" / "models.json").read_text())["tables"]
        assert [(row["set"], row["calibration"], row["left out"]) for row in tables["sets"]] == [
            ("judged", 400, 10),
            ("sure", 400, 0),
        ]
        assert [row["way"] for row in tables["ways"] if row["set"] == "judged"] == ["ttamer", "fixed", "half the rows"]
        assert [row["way"] for row in tables["ways"] if row["set"] == "sure"] == list(model_ways.WAYS)

    def test_names(self, folder, capsys):
        assert models.main([str(folder), "--quick", "sure"]) == 0
        printed = capsys.readouterr().out
        assert "judged" not in printed
        assert "written" not in printed
        assert models.main([str(folder), "x"]) == 2
        assert capsys.readouterr().err == "names: expected judged or sure, got x\n"

    def test_an_empty_folder(self, tmp_path, capsys):
        assert models.main([str(tmp_path)]) == 2
        assert capsys.readouterr().err == "names: expected a recorded set, got an empty folder\n"
