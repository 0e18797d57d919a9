"""bench/paper.py: its protocol and its verdicts, on made-up exits."""

from __future__ import annotations

import dataclasses
import importlib
import json

import numpy as np
import pytest
from paths import BENCH

import ttamer
from ttamer import compare
from ttamer.compare import Curve

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def paper():
    pytest.importorskip("threadpoolctl", reason="benchmarks need the fit extra")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCH))
        return importlib.import_module("paper")


def exits(rows, seed, nodes=3):
    """Exits of one network of three classes: each is the one before with more evidence."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, rows)
    logits = rng.normal(0, 1, (rows, nodes, 3))
    logits[np.arange(rows)[:, None], np.arange(nodes), labels[:, None]] += 1.0
    logits = np.cumsum(logits, axis=1)
    probs = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    return ttamer.Traces.from_probs(probs, labels, [1.0, 1.0, 2.0], unit="ms")


@pytest.fixture(scope="module")
def study(paper):
    return paper.study("made up", exits(900, 0), exits(600, 1), paper.VISION, [0.3, 0.6, 0.8, 0.95])


def curve(calibration_cost, calibration_error, test_error):
    """A curve whose settings cost and lose the same on all of 100 calibration rows, and 0 or 1 on test rows."""
    cost = np.repeat(np.array(calibration_cost, float)[:, None], 100, axis=1)
    loss = np.repeat(np.array(calibration_error, float)[:, None], 100, axis=1)
    test = (np.arange(100) < 100 * np.array(test_error)[:, None]).astype(float)
    return Curve("made up", tuple(map(str, calibration_cost)), cost, loss, cost, test)


class TestProtocol:
    def test_the_last_exit_is_right_by_definition(self, paper):
        traces = exits(200, 2)
        found = paper.relative(traces)
        assert not found.losses[:, -1].any()
        expected = traces.predictions != traces.predictions[:, -1:]
        np.testing.assert_array_equal(found.losses, expected)
        np.testing.assert_array_equal(found.labels, traces.predictions[:, -1])
        assert found.costs.tolist() == [0.25, 0.25, 0.5]
        labelled = paper.relative(traces, to_labels=True)
        np.testing.assert_array_equal(labelled.losses, traces.losses)
        np.testing.assert_array_equal(labelled.labels, traces.labels)

    def test_predictions_are_needed(self, paper):
        with pytest.raises(ValueError, match="traces: expected predictions"):
            paper.relative(ttamer.Traces(np.ones((2, 2), np.float32), np.ones((2, 2), np.float32), [1.0, 1.0]))

    def test_recall_answers_with_the_most_confident_exit(self, paper):
        traces = paper.relative(exits(300, 3))
        policy = ttamer.solve(ttamer.fit(paper.on_proxy(traces)), 0.8, "observed")
        found = paper.recall(traces, policy)
        assert len(set(found.last_node.tolist())) > 1
        model = ttamer.fit(paper.on_proxy(traces))
        for k in range(0, 300, 11):
            seen = traces.signals[k, : found.last_node[k] + 1]
            # Confidences of one bin are one loss; of equal ones the smaller proxy, and then the earlier exit.
            states = [np.searchsorted(model.bin_edges[j], 1 - x, side="right") for j, x in enumerate(seen)]
            losses = [model.losses[j][state] for j, state in enumerate(states)]
            assert losses[found.answer_node[k]] == pytest.approx(min(losses), abs=1e-9)
            assert found.loss[k] == traces.losses[k, found.answer_node[k]]
        last = paper.recall(traces, policy, recalls=False)
        np.testing.assert_array_equal(last.cost, found.cost)
        np.testing.assert_array_equal(last.answer_node, found.last_node)
        np.testing.assert_array_equal(last.loss, traces.losses[np.arange(300), found.last_node])

    def test_methods(self, study):
        assert list(study.curves) == ["recall", "the same walk, last exit", "threshold", "ttamer"]
        assert list(study.patience) == [1, 2]
        assert study.budgets[0] == pytest.approx(0.375)
        assert study.budgets[-1] == pytest.approx(1.0)
        assert 0.5 < study.first < 1


class TestVerdicts:
    @pytest.mark.parametrize("said", [0.05, 0.95])
    def test_saving(self, paper, study, said):
        claimed = dataclasses.replace(study, claim=paper.Claim("vision", 0.8, said))
        row = paper.saving_row(claimed, compare.resample(600, 50))
        assert row["ours"] == pytest.approx(1 - compare.cost_at_error(study.curves["recall"], 0.2))
        assert row["low"] <= row["ours"] <= row["high"]
        assert row["verdict"] == ("confirmed" if said < 0.5 else "not confirmed")

    def test_saving_where_the_accuracy_is_not_reached(self, paper, study):
        claimed = dataclasses.replace(study, claim=paper.Claim("vision", 1.0, 0.1))
        row = paper.saving_row(claimed, compare.resample(600, 50))
        assert (row["ours"], row["verdict"]) == (None, "not confirmed")

    def test_better(self, paper, study):
        rows = paper.better_rows(study, compare.resample(600, 50))
        assert [row["other"] for row in rows] == [
            "threshold",
            "the same walk, last exit",
            "ttamer",
            "patience 1",
            "patience 2",
        ]
        for row in rows:
            assert row["difference"] == pytest.approx(row["recall 1e-4"] - row["other 1e-4"])
            assert row["low"] <= row["difference"] <= row["high"]
            decided = "recall is better" if row["high"] < 0 else "recall is worse" if row["low"] > 0 else "tie"
            assert row["verdict"] == decided

    def test_rises(self, paper):
        assert paper.rise(curve([1, 2, 3], [0.5, 0.2, 0.1], [0] * 3)) == (0, 0)
        assert paper.rise(curve([3, 1, 4, 2], [0.4, 0.5, 0.1, 0.2], [0] * 4)) == (3, 0)
        assert paper.rise(curve([1, 2, 3, 4], [0.1, 0.15, 0.05, 0.3], [0] * 4)) == (2, 3)

    def test_monotone(self, paper, study):
        weights = compare.resample(100, 200)

        def verdict(calibration_error, test_error):
            made = curve([1, 2, 3], calibration_error, test_error)
            return paper.monotone_row(study, "threshold", "the label", made, weights)

        assert verdict([0.3, 0.2, 0.1], [0.1, 0.2, 0.3])["not monotone"] == "no rise on calibration rows"
        risen = verdict([0.3, 0.1, 0.2], [0.3, 0.1, 0.3])
        assert risen["not monotone"] == "confirmed"
        assert (risen["calibration rise"], risen["test rise"]) == (pytest.approx(1000), pytest.approx(2000))
        assert (risen["from latency"], risen["to latency"]) == (2, 3)
        assert verdict([0.3, 0.1, 0.2], [0.3, 0.1, 0.1])["not monotone"] == "not confirmed"


def test_run_on_rows_of_the_bundled_workload(paper, tmp_path, monkeypatch, capsys):
    parts = tuple(part[:1500] for part in paper.load_recorded(None, "fashion-vgg"))
    monkeypatch.setattr(paper, "load_recorded", lambda folder, name: parts)
    assert paper.main(["--quick", "--output", str(tmp_path)]) == 0
    tables = json.loads((tmp_path / "paper.json").read_text())["tables"]
    assert [row["workload"] for row in tables["saving"]] == ["fashion-vgg"]
    assert [len(rows) for rows in tables.values()] == [1, 5, 4, 6]
    printed = capsys.readouterr().out
    assert "recall saves latency at 95% relative accuracy" in printed
