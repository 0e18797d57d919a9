"""The demo on the bundled workload: its figures, its files, and the program it prints."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import ttamer
import ttamer.data
from ttamer import baselines, compare
from ttamer.cli import demo, main
from ttamer.compare import Curve, matched_levels


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="module")
def runs():
    """The one run of the demo, which takes seconds: what it found, and the steps that it told."""
    return []


@pytest.fixture(scope="module")
def output(folder, runs):
    """What ``ttamer demo --json`` prints over files of an earlier run, and ``ttamer demo`` of what that found."""
    run = demo.run

    def first(progress):
        told = []
        runs.append((run(progress=lambda step: (told.append(step), progress(step))), told))
        return runs[0][0]

    for name in (demo.PICTURE, demo.POLICY):
        (folder / name).write_text("of an earlier run")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("COLUMNS", "80")
        printed = []
        for arguments in (["demo", "--json"], ["demo"]):
            patch.setattr(demo, "run", first if "--json" in arguments else lambda progress: runs[0][0])
            with pytest.MonkeyPatch.context() as streams:
                out, err = folder / "stdout", folder / "stderr"
                with out.open("w") as stdout, err.open("w") as stderr:
                    streams.setattr(sys, "stdout", stdout)
                    streams.setattr(sys, "stderr", stderr)
                    assert main(arguments) == 0
                printed.append((out.read_text(), err.read_text()))
                out.unlink()
                err.unlink()
    return printed


@pytest.fixture(scope="module")
def figures(output):
    return json.loads(output[0][0])


@pytest.fixture(scope="module")
def workload():
    return ttamer.data.load("fashion-vgg")


@pytest.fixture(scope="module")
def front(workload):
    return ttamer.frontier(workload.calibration)


def crossing(points, level):
    """Cost at which a polyline of (calibration cost, calibration error, cost, error) comes down to a level."""
    points = sorted(points)
    # Usable: not above any mixture of two others on the calibration rows, and more accurate than all cheaper ones.
    usable = [
        (x, y, cost, error)
        for x, y, cost, error in points
        if all(y < b for a, b, _, _ in points if a < x)
        and all(y * (c - a) < b * (c - x) + d * (x - a) for a, b, _, _ in points for c, d, _, _ in points if a < x < c)
    ]
    if usable[0][3] <= level:
        return usable[0][2]
    for (_, _, cost, error), (_, _, further, lower) in itertools.pairwise(usable):
        if lower <= level:
            return cost + (further - cost) * (error - level) / (error - lower)
    return None


def test_costs_of_ttamer_are_those_worked_out_again(figures, workload, front):
    calibration, test = workload.calibration, workload.test
    points = [(*_mean(baselines.fixed_node(calibration, 0)), *_mean(baselines.fixed_node(test, 0)))]
    for point in front:
        points.append((*_mean(point.policy.replay(calibration)), *_mean(point.policy.replay(test))))
    for level in figures["levels"]:
        expected = crossing(points, level["error"] + 1e-12)
        assert level["costs"]["ttamer"] == (None if expected is None else pytest.approx(expected, rel=1e-9))


def _mean(replay):
    return replay.mean_cost, replay.error


def test_figures_agree_with_each_other(figures, workload):
    full = baselines.last_node(workload.test)
    assert figures["full_model"] == {"cost": pytest.approx(full.mean_cost), "error": pytest.approx(full.error)}
    assert (figures["calibration_rows"], figures["test_rows"], figures["unit"]) == (10000, 5000, "ms")
    assert [level["margin"] for level in figures["levels"]] == [0.0, 0.005, 0.01, 0.02]
    for level in figures["levels"]:
        costs = level["costs"]
        assert list(costs) == ["full model", "one threshold", "patience", "tuned thresholds", "ttamer"]
        assert level["error"] == pytest.approx(full.error + level["margin"])
        assert costs["full model"] == pytest.approx(full.mean_cost)
        others = {name: cost for name, cost in costs.items() if name != "ttamer" and cost is not None}
        assert costs[level["best_baseline"]] == min(others.values())
        low, high = level["interval"]
        if costs["ttamer"] is None:
            assert level["difference"] is None
            assert level["winner"] == level["best_baseline"]
        else:
            assert level["difference"] == pytest.approx(costs["ttamer"] - min(others.values()))
            decided = low is not None and high is not None and (low > 0 or high < 0)
            expected = ("ttamer" if level["difference"] < 0 else level["best_baseline"]) if decided else "tie"
            assert level["winner"] == expected


def test_ttamer_costs_less_than_the_full_model_and_one_threshold(figures):
    for level in figures["levels"][1:]:
        costs = level["costs"]
        assert costs["ttamer"] < costs["one threshold"] < costs["full model"]


def test_files(figures, folder, workload, front):
    assert sorted(path.name for path in folder.iterdir()) == ["front.png", "policy.safetensors"]
    assert figures["files"] == ["front.png", "policy.safetensors"]
    policy = ttamer.Policy.load(folder / "policy.safetensors")
    assert policy.tradeoff == figures["policy"]["tradeoff"]
    on_test = policy.replay(workload.test)
    assert figures["policy"]["cost"] == pytest.approx(on_test.mean_cost)
    assert figures["policy"]["error"] == pytest.approx(on_test.error)
    # The cheapest within half a point of the full model on the calibration rows.
    limit = baselines.last_node(workload.calibration).error + 0.005
    on_calibration = policy.replay(workload.calibration)
    assert on_calibration.error <= limit
    for point in front:
        assert point.error > limit or point.cost >= on_calibration.mean_cost


def test_text(output, figures):
    text, errors = output[1]
    assert errors == ""
    for level in figures["levels"]:
        assert f"{level['error']:.2%}" in text
        for cost in level["costs"].values():
            assert ("not reached" if cost is None else f"{cost:.3f} (") in text
        line = next(line for line in text.splitlines() if line.startswith(f"{level['error']:.2%}  "))
        assert level["winner"] in line
        assert ("not reached" if level["difference"] is None else f"{level['difference']:+.4f}") in line
    assert "Wrote front.png and policy.safetensors" in text
    assert max(map(len, text.split("import numpy")[0].splitlines())) <= 80


def test_several_models(figures):
    """The figures are those of the comparison, worked out again."""
    models = dict(figures["models"])
    assert models.pop("workload") == "ferplus"
    parts = ttamer.data.load("ferplus")
    assert models == json.loads(json.dumps(compare.run(parts.calibration, parts.test).as_dict()))
    for level in models["levels"]:
        costs = level["costs"]
        assert level["winner"] == "ttamer"
        assert costs["ttamer"] < 0.8 * costs["one threshold"] < 0.8 * costs["fixed mixing"]
        assert costs["fixed mixing"] <= costs["best model"] == pytest.approx(0.001)


def test_text_of_several_models(output, figures):
    page = output[1][0].partition("ferplus: ")[2].partition("Wrote ")[0]
    assert "chosen on 3179 calibration rows" in page
    assert "The best model, Microsoft, costs 0.001 USD a request; its error is 18.25%." in page
    levels = [level for level in figures["models"]["levels"] if level["margin"] != 0.005]
    assert len(levels) == 3
    for level in levels:
        for cost in level["costs"].values():
            assert f"{cost:.6f} (" in page
        line = next(line for line in page.splitlines() if line.startswith(f"{level['error']:.2%}  "))
        assert level["winner"] in line
        assert f"{level['difference']:+.7f}" in line
        assert f"{level['interval'][0]:+.7f} to {level['interval'][1]:+.7f}" in line
    assert "it wins 3 of 3 levels, ties 0 and loses 0" in " ".join(page.split())


def test_the_printed_program_runs(output, folder, workload):
    program = output[1][0].partition("These lines serve it:")[2].strip() + "\n"
    assert program == demo.SERVE
    assert len(program.strip().splitlines()) <= 15
    done = subprocess.run([sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, check=True)
    replay = ttamer.Policy.load(folder / "policy.safetensors").replay(workload.test[:64])
    right = f"{1 - replay.error:.1%}"
    assert done.stdout == f"{right} right, answered by node {replay.answer_node.tolist()}\n"
    assert done.stderr == ""


def test_it_says_what_it_does(output, runs):
    ((result, told),) = runs
    assert tuple(told) == demo.STEPS
    assert result.files == (Path("front.png"), Path("policy.safetensors"))


class TestWinner:
    """Levels of two made-up methods against the full model, 200 rows: who is named, and when it is a tie."""

    def levels(self, ours, theirs):
        rows = np.arange(200)

        def one(name, cost, wrong):
            loss = (rows < wrong).astype(float)[None, :]
            costs = np.where(rows % 2, cost * 0.9, cost * 1.1)[None, :]
            return Curve(name, ("only",), costs, loss, costs, loss)

        full = one("full model", 10.0, 20)
        return matched_levels((full, one("baseline", *theirs), one("ttamer", *ours)))

    def test_cheaper_beyond_doubt(self):
        level = self.levels(ours=(2.0, 20), theirs=(4.0, 20))[0]
        assert (level.winner, level.best_baseline) == ("ttamer", "baseline")
        assert level.difference.value == pytest.approx(-2.0)
        assert level.difference.high < -1.5

    def test_dearer_beyond_doubt(self):
        assert self.levels(ours=(4.0, 20), theirs=(2.0, 20))[0].winner == "baseline"

    def test_the_same_is_a_tie(self):
        assert self.levels(ours=(4.0, 20), theirs=(4.0, 20))[0].winner == "tie"

    def test_not_reached(self):
        first, *_, last = self.levels(ours=(1.0, 24), theirs=(4.0, 22))
        assert first.costs == {"full model": pytest.approx(10.0), "baseline": None, "ttamer": None}
        assert (first.best_baseline, first.winner, first.difference.value) == ("full model", "full model", None)
        # At two points more both are there, ttamer just so: in some resamples it is not, so nothing is decided.
        assert last.costs["ttamer"] == pytest.approx(1.0)
        assert (last.winner, last.difference.high) == ("tie", np.inf)
