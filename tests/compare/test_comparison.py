"""ttamer against the baselines on any traces: what is compared, on which lines, and what the command prints."""

from __future__ import annotations

import json

import numpy as np
import pytest
from helpers import random_traces

import ttamer
from ttamer import baselines, compare
from ttamer.cli import main
from ttamer.compare import COVERAGE, OURS, comparison
from ttamer.compare.lines import lines_through

SHAPES = {
    "line": ttamer.Topology.line(3),
    "skip": ttamer.Topology.skip(3),
    "forest": ttamer.Topology.forest([-1, 0, 0, -1]),
    "dag": ttamer.Topology.dag(3, [(-1, 0), (-1, 1), (0, 2), (1, 2)]),
}


def cascade(rows, seed, topology=None, scale=1.0):
    """Classifiers of four classes, the later the better; the costs double."""
    topology = topology or ttamer.Topology.line(3)
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, rows)
    logits = rng.normal(0, 1, (rows, topology.nodes, 4))
    logits[np.arange(rows)[:, None], np.arange(topology.nodes), labels[:, None]] += np.arange(1, topology.nodes + 1)
    probs = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    costs = scale * 2.0 ** topology.edges[:, 1]
    return ttamer.Traces.from_probs(probs, labels, costs, topology, unit="ms")


@pytest.fixture(scope="module")
def rows():
    return cascade(900, 0), cascade(600, 1)


@pytest.fixture(scope="module")
def found(rows):
    return compare.run(*rows)


class TestRun:
    def test_methods(self, found, rows):
        names = ["full model", "fixed mixing", "one threshold", "patience", "tuned thresholds", "ttamer"]
        assert [curve.name for curve in found.curves] == names
        assert [mean.name for mean in found.means] == names[1:]
        assert (found.calibration_rows, found.test_rows, found.unit) == (900, 600, "ms")
        assert (found.paths, found.left_out, found.are_rates) == ({}, (), True)
        assert found.full_cost == 7.0
        assert found.full_error == baselines.last_node(rows[1]).error

    def test_ttamer_is_its_default_front(self, found, rows):
        expected = compare.curve_of_front(ttamer.frontier(rows[0]), *rows)
        np.testing.assert_array_equal(found.curves[-1].test_loss, expected.test_loss)

    def test_budgets(self, found):
        assert len(found.budgets) == 25
        assert (found.budgets[0], found.budgets[-1]) == (pytest.approx(1.5), pytest.approx(7.0))

    def test_mean_errors_worked_out_again(self, found):
        weights = compare.resample(600, 1000, 0)
        ours = found.curves[-1]
        means = {mean.name: mean for mean in found.means}
        for curve in found.curves[1:]:
            errors = [compare.error_at_cost(curve, budget) for budget in found.budgets]
            assert means[curve.name].error == pytest.approx(np.mean(errors))
            if curve is ours:
                assert (means[OURS].difference, means[OURS].winner) == (None, None)
                continue
            gaps = np.mean(
                compare.resampled_errors(ours, found.budgets, weights)
                - compare.resampled_errors(curve, found.budgets, weights),
                axis=1,
            )
            gap = means[curve.name].difference
            assert gap.value == pytest.approx(means[OURS].error - means[curve.name].error)
            tail = (1 - COVERAGE) / 2
            assert gap.low == pytest.approx(np.quantile(gaps, tail, method="inverted_cdf"))
            assert gap.high == pytest.approx(np.quantile(gaps, 1 - tail, method="inverted_cdf"))
            decided = OURS if gap.high < 0 else curve.name if gap.low > 0 else "tie"
            assert means[curve.name].winner == decided

    def test_levels_start_at_the_full_model(self, found):
        assert [level.margin for level in found.levels] == [0.0, 0.005, 0.01, 0.02]
        for level in found.levels:
            assert level.error == pytest.approx(found.full_error + level.margin)
            assert list(level.costs) == [curve.name for curve in found.curves]

    def test_nothing_is_chosen_on_test_rows(self, rows):
        calibration, test = rows
        swapped = compare.run(calibration, cascade(600, 7))
        for one, other in zip(compare.run(calibration, test).curves, swapped.curves, strict=True):
            assert one.settings == other.settings
            np.testing.assert_array_equal(one.calibration_loss, other.calibration_loss)

    def test_the_same_seed_says_the_same(self, rows):
        one, same, other = (compare.run(rows[0], seed=seed).as_dict() for seed in (0, 0, 1))
        assert one == same
        assert one["mean_errors"] != other["mean_errors"]
        json.dumps(one, allow_nan=False)

    def test_halves_share_no_row(self):
        numbers = np.arange(101, dtype=np.float32)
        signals = np.stack([numbers, numbers], axis=1) / 101
        traces = ttamer.Traces(signals, (signals > 0.5).astype(np.float32), [1.0, 1.0])
        here, there = comparison._parts(traces, None, 0)
        assert (len(here), len(there)) == (51, 50)
        both = np.concatenate([here.signals[:, 0], there.signals[:, 0]])
        np.testing.assert_array_equal(np.sort(both), signals[:, 0])
        assert not np.array_equal(here.signals[:, 0], signals[:51, 0])

    def test_steps(self, rows):
        seen = []
        compare.run(rows[0][:100], progress=seen.append)
        assert tuple(seen) == compare.STEPS

    @pytest.mark.parametrize("shape", ["skip", "forest", "dag"])
    def test_other_shapes(self, shape):
        result = compare.run(cascade(400, 0, SHAPES[shape]), cascade(300, 1, SHAPES[shape]))
        best = int(cascade(400, 0, SHAPES[shape]).losses.mean(axis=0).argmin())
        assert result.curves[0].name == f"node {best}"
        assert set(result.paths) == {"one threshold", "patience", "tuned thresholds"}
        walks = [nodes for nodes, _ in lines_through(cascade(400, 0, SHAPES[shape]))]
        assert all(path in walks for path in result.paths.values())

    def test_observed_losses(self):
        traces = random_traces(SHAPES["line"], 700, 0, observed=True)
        result = compare.run(traces[:400], traces[400:])
        assert not result.are_rates
        assert len(result.left_out) == 1
        assert result.left_out[0].startswith("patience: needs predictions")
        # Small losses stop: a threshold does better than stopping at the large ones.
        one = next(curve for curve in result.curves if curve.name == "one threshold")
        assert one.test_points[1][-1] < traces.losses.mean(axis=0).min() - 0.1
        assert [level.margin for level in result.levels] == pytest.approx(
            [share * traces.losses[:400, 2].mean() for share in comparison.RELATIVE_MARGINS]
        )

    @pytest.mark.parametrize("scale", [2.0**-40, 2.0**13])
    def test_the_unit_of_losses_does_not_matter(self, scale):
        """On a forest, where some lines begin with a node that a small budget does not afford."""
        unit, scaled = (
            [part._with(losses=part.losses * np.float32(0.75 * each)) for part in rows_of_a_forest()]
            for each in (1.0, scale)
        )
        one, other = compare.run(*unit), compare.run(*scaled)
        assert other.paths == one.paths
        for found, expected in zip(other.means, one.means, strict=True):
            assert (found.name, found.winner) == (expected.name, expected.winner)
            assert found.error / scale == pytest.approx(expected.error, rel=1e-6)
        for found, expected in zip(other.levels, one.levels, strict=True):
            assert (found.winner, found.best_baseline) == (expected.winner, expected.best_baseline)
            costs = [[np.nan if cost is None else cost for cost in level.costs.values()] for level in (found, expected)]
            assert costs[0] == pytest.approx(costs[1], rel=1e-6, nan_ok=True)


def rows_of_a_forest():
    return cascade(400, 0, SHAPES["forest"]), cascade(300, 1, SHAPES["forest"])


class TestLines:
    def lines(self, topology, costs=None):
        traces = random_traces(topology, 3, 0)
        if costs is not None:
            traces = ttamer.Traces(traces.signals, traces.losses, costs, topology)
        return [(nodes, traces.costs[edges].tolist()) for nodes, edges in lines_through(traces)]

    def test_a_line_is_itself(self):
        ((nodes, _),) = self.lines(SHAPES["line"])
        assert nodes == list(range(3))

    def test_a_skip_is_walked_through(self):
        # Edges: (-1, 0), (-1, 1), (-1, 2), (0, 1), (0, 2), (1, 2).
        assert self.lines(SHAPES["skip"], [1, 2, 3, 4, 5, 6]) == [([0, 1, 2], [1.0, 4.0, 6.0])]

    def test_a_forest_has_its_paths_and_all_nodes(self):
        assert self.lines(SHAPES["forest"], [2.0, 5.0, 3.0, 4.0]) == [
            ([0, 1], [2.0, 5.0]),
            ([0, 2], [2.0, 3.0]),
            ([3], [4.0]),
            ([0, 2, 3, 1], [2.0, 3.0, 4.0, 5.0]),
        ]
        one_path = ttamer.Topology.forest([-1, 0])
        assert self.lines(one_path, [1.0, 2.0]) == [([0, 1], [1.0, 2.0])]

    def test_a_dag_has_its_cheapest_paths(self):
        # Edges: (-1, 0), (-1, 1), (0, 2), (1, 2).
        assert self.lines(SHAPES["dag"], [1.0, 2.0, 5.0, 1.0]) == [([0], [1.0]), ([1, 2], [2.0, 1.0])]
        # Node 0 is reached through 2, so that its path ends at no node that has successors on it.
        backwards = ttamer.Topology.dag(4, [(-1, 3), (3, 2), (2, 0), (-1, 0), (0, 1)])
        costs = dict(zip([(-1, 3), (3, 2), (2, 0), (-1, 0), (0, 1)], [1.0, 2.0, 4.0, 9.0, 8.0], strict=True))
        in_order = [costs[i, j] for i, j in backwards.edges.tolist()]
        assert self.lines(backwards, in_order) == [([3, 2, 0, 1], [1.0, 2.0, 4.0, 8.0])]


class TestErrors:
    def test_bad_arguments(self, rows):
        with pytest.raises(TypeError, match="calibration: expected Traces, got int"):
            compare.run(3)
        with pytest.raises(TypeError, match="test: expected Traces, got str"):
            compare.run(rows[0], "test.npz")
        with pytest.raises(ValueError, match="test: expected traces like"):
            compare.run(rows[0], rows[1].path([0, 1], [1.0, 1.0]))
        with pytest.raises(ValueError, match="^test: expected other rows than calibration has, got the same$"):
            compare.run(rows[0], rows[0][:])
        with pytest.raises(ValueError, match="traces: expected at least 2 rows"):
            compare.run(rows[0][:1])
        with pytest.raises(ValueError, match="traces: nothing to compare where consulting costs nothing"):
            compare.run(cascade(20, 0, scale=0.0))


class TestCommand:
    @pytest.fixture
    def folder(self, tmp_path, monkeypatch, rows):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("COLUMNS", "80")
        rows[0].save("cal.npz")
        rows[1].save("test.npz")
        rows[1].path([0, 2], [1.0, 6.0]).save("shorter.npz")
        return tmp_path

    def call(self, capsys, *arguments):
        code = main(["compare", *arguments])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    def test_json_is_the_comparison(self, folder, capsys, found):
        code, out, err = self.call(capsys, "cal.npz", "--test", "test.npz", "--plot", "f.svg", "--json")
        assert (code, err) == (0, "")
        assert json.loads(out) == json.loads(json.dumps({**found.as_dict(), "plot": "f.svg"}))
        text = (folder / "f.svg").read_text()
        assert "<svg" in text

    def test_tables(self, folder, capsys, found):
        code, out, err = self.call(capsys, "cal.npz", "--test", "test.npz")
        assert (code, err) == (0, "")
        assert "cal.npz, test.npz: everything chosen on 900 rows, measured on 600 others." in out
        assert f"The full model costs 7 ms a request; its error is {found.full_error:.2%}." in out
        means = out.partition("over 25 budgets")[2]
        for mean in found.means:
            line = next(line for line in means.splitlines() if line.startswith(mean.name))
            assert f"{1e4 * mean.error:.0f}" in line
            assert mean.winner is None or line.split()[-1] == mean.winner.split()[-1]
        assert max(map(len, out.splitlines())) <= 80
        assert "ties" in out.splitlines()[-2] + out.splitlines()[-1]

    def test_without_test_traces_half_is_kept_back(self, folder, capsys):
        _, out, _ = self.call(capsys, "cal.npz", "--seed", "3", "--json")
        figures = json.loads(out)
        assert (figures["calibration_rows"], figures["test_rows"]) == (450, 450)
        assert figures["mean_errors"] == compare.run(ttamer.Traces.load("cal.npz"), seed=3).as_dict()["mean_errors"]

    def test_other_shapes_and_losses(self, folder, capsys):
        cascade(300, 0, SHAPES["forest"]).save("forest.npz")
        code, out, _ = self.call(capsys, "forest.npz")
        assert code == 0
        assert "one threshold: on the line " in out
        random_traces(SHAPES["line"], 200, 0, observed=True).save("observed.npz")
        code, out, _ = self.call(capsys, "observed.npz")
        assert code == 0
        assert "left out patience: needs predictions" in out
        assert "its mean loss is " in out

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["nowhere.npz"], "nowhere.npz: No such file"),
            (["cal.npz", "--test", "shorter.npz"], "test: expected traces like"),
            (["cal.npz", "--plot", "no/f.png"], "no/f.png: expected a path in an existing folder"),
            (["cal.npz", "--plot", "f.xyz"], "f.xyz: Format 'xyz' is not supported"),
            (["cal.npz", "--seed", "-1"], "--seed"),
            ([], "Missing argument"),
        ],
    )
    def test_bad_input(self, arguments, message, folder, capsys):
        before = sorted(folder.iterdir())
        code, out, err = self.call(capsys, *arguments)
        assert (code, out) == (2, "")
        assert err.startswith("ttamer: ")
        assert message in err
        assert err.count("\n") == 1
        assert sorted(folder.iterdir()) == before
