"""bench/quality.py: its protocol, that nothing is chosen on test rows, and a quick run on a line and on models."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from studies import cascade, load, probabilities

import ttamer
from ttamer import baselines, compare

pytestmark = pytest.mark.slow

pytest.importorskip("sklearn", reason="needs the fit extra")


@pytest.fixture(scope="module")
def quality():
    return load("quality")


@pytest.fixture(scope="module")
def arms():
    return load("quality_arms")


@pytest.fixture(scope="module")
def workload(quality, arms):
    calibration, test = (quality.as_roots(cascade(rows, seed)) for rows, seed in ((500, 0), (400, 1)))
    return arms.Workload("made up", calibration, test, np.geomspace(1.5, 5.0, 6), 5.0)


@pytest.fixture(scope="module")
def found(quality, arms, workload):
    return quality.study(workload, arms.QUICK)


@pytest.fixture
def recorded(tmp_path):
    """Folder with a recorded line and recorded independent models."""
    for name, parents in (("exits", [-1, 0, 1]), ("models", [-1, 0, 0])):
        for part, rows in (("calibration", 500), ("test", 300)):
            traces = cascade(rows, len(name) + len(part))
            np.savez(
                tmp_path / f"{name}-{part}.npz",
                probs=np.exp(probabilities(traces)),
                labels=traces.labels,
                edge_cost_ms=traces.costs,
                parents=np.array(parents, np.int16),
            )
    return tmp_path


class TestWorkloads:
    def test_the_bundled_line(self, quality):
        assert quality.recorded_names(None) == ["fashion-vgg"]
        line = quality.load(None, "fashion-vgg", rows=100)
        total = line.calibration.costs.sum()
        assert (len(line.calibration), len(line.budgets), line.independent) == (100, 25, False)
        assert line.scale == total
        assert line.budgets[[0, -1]] == pytest.approx([max(0.1 * total, 1.5 * line.calibration.costs[0]), total])

    def test_recorded_trees_are_independent_models(self, quality, recorded):
        assert quality.recorded_names(recorded) == ["exits", "models"]
        models = quality.load(recorded, "models")
        assert models.independent
        assert models.calibration.topology == ttamer.Topology.forest([-1, -1, -1])
        # Node 1 is the most accurate one; recorded after node 0, it costs 1 + 4 to reach.
        assert models.scale == 5.0
        assert models.budgets[[0, -1]] == pytest.approx([1.5, 5.0])


class TestStudy:
    def test_every_arm_is_there_or_refused(self, arms, workload, found):
        names = [arm.name for arm in arms.arms(workload)]
        assert list(found.curves) + list(found.refusals) == [
            *(name for name in names if name in found.curves),
            *(name for name in names if name in found.refusals),
        ]
        assert names[:2] == ["ttamer", "one threshold"]
        assert {"cascade routing", "recall, proxy"} <= set(found.curves)
        assert all(name.startswith("ttamer, ") for name in found.refusals)

    def test_test_rows_choose_nothing(self, quality, arms, workload, found):
        rng = np.random.default_rng(9)
        test = workload.test
        shuffled = ttamer.Traces(
            test.signals,
            rng.permutation(test.losses),
            test.costs,
            test.topology,
            unit=test.unit,
            labels=test.labels,
            evidence=test.evidence,
            signal=test.signal,
        )
        again = quality.study(dataclasses.replace(workload, test=shuffled), arms.QUICK)
        assert again.orders == found.orders
        assert again.best_baseline == found.best_baseline
        for name, curve in found.curves.items():
            assert again.curves[name].settings == curve.settings
            assert again.curves[name].hull.tolist() == curve.hull.tolist()

    def test_methods_for_lines_walk_an_order_of_the_models(self, workload, found):
        assert found.orders["ttamer"] is None
        for name in ("one threshold", "budgeted schedule", "no recall"):
            order = found.orders[name]
            assert 1 <= len(order) == len(set(order)) <= 3
            # "always the first node"
            first = float(found.curves[name].test_cost[-1].mean())
            assert first == workload.test.costs[order[0]]

    def test_errors(self, quality, workload, found):
        rows = quality.error_rows(found, compare.resample(400, 50))
        errors = {row["method"].removesuffix(" *"): row["test"] for row in rows}
        for row, (name, curve) in zip(rows, found.curves.items(), strict=True):
            cost, error = curve.calibration_points[0], curve.test_points[1]
            by_hand = [np.interp(budget, cost, error) if budget >= cost[0] else 1.0 for budget in workload.budgets]
            assert row["test"] == pytest.approx(1e4 * np.mean(by_hand))
            for key, one, other in (
                ("minus one threshold", name, "one threshold"),
                ("ttamer minus it", "ttamer", name),
            ):
                if one == other:
                    assert row[key] is None
                else:
                    assert row[key][0] == pytest.approx(errors[one] - errors[other])
                    assert row[key][1] <= row[key][2]
        (best,) = (row for row in rows if row["method"].endswith(" *"))
        assert best["calibration"] == min(
            row["calibration"] for row in rows if row["method"].rstrip(" *") in found.baselines
        )

    def test_levels(self, quality, workload, found):
        rows = quality.level_rows(found, compare.resample(400, 50))
        assert len(rows) == 4 * len(found.curves)
        full = baselines.fixed_node(workload.test, 1).error
        for row in rows:
            assert row["error"] == pytest.approx(full + row["margin"])
            cost = compare.cost_at_error(found.curves[row["method"]], row["error"])
            assert row["cost"] == (None if cost is None else pytest.approx(cost / 5.0))
        shown = quality.shown_levels(rows)
        assert [row["method"] for row in shown] == list(found.curves)
        assert all(len(row) == 5 for row in shown)


class TestRun:
    def test_quick(self, quality, recorded, tmp_path, capsys):
        arguments = ["--quick", "--output", str(tmp_path), "--figures", str(tmp_path / "f")]
        assert quality.main([str(recorded), *arguments]) == 0
        captured = capsys.readouterr()
        assert "exits: one threshold" in captured.err
        assert "models: mean error over 25 budgets" in captured.out
        text = (tmp_path / "quality.json").read_text()
        assert "Infinity" not in text
        tables = json.loads(text)["tables"]
        assert list(tables) == ["mean error", "levels", "budgets", "refused"]
        assert [row["workload"] for row in tables["budgets"]] == ["exits"] * 25 + ["models"] * 25
        for name in ("exits", "models"):
            assert (tmp_path / "f" / f"quality-{name}.png").stat().st_size > 10_000

    def test_learning(self, quality, recorded, tmp_path):
        arguments = ["--quick", "--learning", "--only", "exits", "--output", str(tmp_path)]
        assert quality.main([str(recorded), *arguments]) == 0
        rows = json.loads((tmp_path / "learning.json").read_text())["tables"]["learning"]
        assert [(row["rows"], row["draws"]) for row in rows] == [(100, 2), (500, 1)]
        assert [len(row["ttamer"]) for row in rows] == [2, 1]

    def test_only_prints_and_keeps_nothing(self, quality, recorded, capsys):
        assert quality.main([str(recorded), "--quick", "--only", "exits"]) == 0
        printed = capsys.readouterr().out
        assert "models" not in printed
        assert "written" not in printed

    def test_unknown_names(self, quality, recorded, capsys):
        assert quality.main([str(recorded), "--only", "x"]) == 2
        assert capsys.readouterr().err == "--only: expected exits or models, got x\n"

    def test_an_empty_folder(self, quality, tmp_path, capsys):
        assert quality.main([str(tmp_path)]) == 2
        assert capsys.readouterr().err == "--only: expected a recorded workload, got an empty folder\n"
