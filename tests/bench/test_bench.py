"""The studies in bench/: their pure functions, and quick forms of their runs."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from paths import BENCH
from studies import cascade, load, probabilities

import ttamer
from ttamer import compare
from ttamer.bench import harness

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def instances():
    return load("instances")


@pytest.fixture(scope="module")
def synthetic():
    return load("synthetic")


@pytest.fixture(scope="module")
def tree():
    return load("tree")


class TestInstances:
    """What is drawn is what the docstring of bench/synthetic.py says, and requests follow it."""

    @pytest.mark.parametrize("shape", ["line", "skip", "tree"])
    def test_same_seed_same_instance(self, instances, shape):
        first, again, other = (instances.draw(shape, 4, 12, seed) for seed in (3, 3, 4))
        for name in ("support", "parents", "costs"):
            np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
        for a, b in zip(first.conditionals, again.conditionals, strict=True):
            np.testing.assert_array_equal(a, b)
        assert not np.array_equal(first.support, other.support)

    def test_losses_fall_and_neighbours_correlate(self, instances):
        drawn = [instances.draw("line", 10, 40, seed) for seed in range(8)]
        means = np.mean([each.marginals() @ each.support for each in drawn], axis=0)
        assert means[-1] < 0.7 * means[0]
        assert np.polyfit(np.arange(10), means, 1)[0] < 0
        assert min(np.mean(each.correlations()) for each in drawn) > 0.2

    def test_parents_of_trees_come_first(self, instances):
        roots = set()
        for seed in range(20):
            parents = instances.draw("tree", 7, 5, seed).parents
            assert parents[0] == -1
            assert np.all((parents < np.arange(7)) & (parents >= -1))
            roots.add(int((parents == -1).sum()))
        assert len(roots) > 1

    def test_a_skip_is_its_line_with_jumps(self, instances):
        line, skip = (instances.draw(shape, 4, 6, 1) for shape in ("line", "skip"))
        model = skip.model()
        edges = [tuple(edge) for edge in skip.topology.edges.tolist()]
        two_steps = line.conditionals[1] @ line.conditionals[2] @ line.conditionals[3]
        np.testing.assert_allclose(model.transitions[edges.index((0, 3))], two_steps, atol=1e-12)
        np.testing.assert_allclose(model.transitions[edges.index((-1, 2))][0], line.marginals()[2], atol=1e-12)
        steps = [skip.costs[edges.index((j - 1, j))] for j in range(4)]
        np.testing.assert_allclose(steps, line.costs)
        # A jump saves ramps, never more than all of them.
        assert line.costs.sum() - 3 * 0.75 < skip.costs[edges.index((-1, 3))] < line.costs.sum()
        assert ttamer.solve(model, 0.8).value <= ttamer.solve(line.model(), 0.8).value + 1e-12

    @pytest.mark.parametrize("shape", ["line", "tree"])
    def test_samples_follow_the_transitions(self, instances, shape):
        instance = instances.draw(shape, 3, 5, 6)
        states = instance.sample(200_000, np.random.default_rng(0))
        assert (instance.parents >= 0).any()
        for j, parent in enumerate(instance.parents.tolist()):
            before = states[:, parent] if parent >= 0 else np.zeros(len(states), int)
            for s, expected in enumerate(instance.conditionals[j]):
                chosen = states[before == s, j]
                found = np.bincount(chosen, minlength=5) / len(chosen)
                np.testing.assert_allclose(found, expected, atol=5 * 0.5 / np.sqrt(len(chosen)))
        marginals = [np.bincount(states[:, j], minlength=5) / len(states) for j in range(3)]
        np.testing.assert_allclose(marginals, instance.marginals(), atol=5 * 0.5 / np.sqrt(len(states)))

    def test_states_without_probability_are_never_drawn(self, instances):
        table = np.array([[0.0, 1.0, 0.0], [0.5, 0.0, 0.5], [0.0, 0.0, 1.0]])
        rows = np.repeat([0, 1, 2], 1000)
        drawn = instances.draw_states(table, rows, np.random.default_rng(0)).reshape(3, 1000)
        assert [sorted(set(row.tolist())) for row in drawn] == [[1], [0, 2], [2]]

    @pytest.mark.parametrize("shape", ["line", "skip", "tree"])
    def test_a_policy_is_worth_its_value_on_samples(self, instances, shape):
        instance = instances.draw(shape, 5, 20, 2)
        policy = ttamer.solve(instance.model(), 0.8, "observed")
        replay = policy.replay(instance.traces(instance.sample(40_000, np.random.default_rng(1))))
        paid = 0.8 * replay.loss + 0.2 * replay.cost / instance.cost_scale
        assert abs(paid.mean() - policy.value) < 5 * paid.std() / np.sqrt(len(paid))


class TestThresholds:
    def test_against_walking_each_request(self, synthetic):
        rng = np.random.default_rng(0)
        states, support, costs = rng.integers(0, 6, (50, 4)), np.sort(rng.random(6)), np.cumsum(rng.random(4))
        for recall in (False, True):
            found = synthetic.threshold_values(states, support, costs, recall)
            assert len(found) == 7
            for threshold, value in enumerate(found):
                paid = []
                for row in states.tolist():
                    stop = next((j for j in range(4) if row[j] < threshold), 3)
                    answer = min(row[: stop + 1]) if recall else row[stop]
                    paid.append(0.8 * support[answer] + 0.2 * costs[stop])
                assert value == pytest.approx(np.mean(paid), abs=1e-12)

    def test_one_node(self, synthetic):
        states = np.array([[0], [2], [2]])
        found = synthetic.threshold_values(states, np.array([0.1, 0.2, 0.4]), np.array([1.0]), False)
        np.testing.assert_allclose(found, 0.8 * 0.3 + 0.2)


def test_quick_results_are_not_kept_unless_sent_somewhere(tmp_path):
    made = harness.parser("", BENCH / "results")
    kept = [
        harness.is_kept(made.parse_args(line)) for line in ([], ["--quick"], ["--quick", "--output", str(tmp_path)])
    ]
    assert kept == [True, False, True]


V3 = "fpu avx2 bmi2 fma"


@pytest.mark.parametrize(
    ("cpuinfo", "said"),
    [
        (f"model\t\t: 2\nmodel name\t: AMD EPYC\nflags\t\t: {V3}\n\nmodel name\t: other\n", "AMD EPYC (x86-64-v3)"),
        (f"flags : {V3} avx512f avx512bw avx512cd avx512dq avx512vl\nmodel name : A: B\n", "A: B (x86-64-v4)"),
        (f"model name : some\nflags : {V3} avx512f\n", "some (x86-64-v3)"),
        ("model name : old\nflags : fpu sse2\n", "old"),
        (f"flags : {V3}\n", ""),
        ("processor\t: 0\nFeatures\t: fp asimd\n", ""),
    ],
)
def test_the_processor_in_general_words(cpuinfo: str, said: str) -> None:
    """Its name, and which of the core's loops it takes."""
    assert harness.cpu_of(cpuinfo) == said


@pytest.mark.parametrize("exponent", [1.0, 2.0, 2.5])
def test_exponents_of_power_laws(exponent):
    sizes = [2, 3, 7, 20]
    assert harness.power(sizes, [0.3 * size**exponent for size in sizes]) == pytest.approx(exponent, abs=1e-12)


def test_exponents_of_a_table(synthetic):
    def row(swept, n, states):
        return {
            "shape": "line",
            "swept": swept,
            "n": n,
            "K": states,
            "transitions": n - 1,
            "recall ms": 2.0 * (n - 1) * states**2,
            "recall us/column": 5.0 * (n - 1) * states,
            "no recall ms": None,
        }

    times = [*(row("n", n, 10) for n in (1, 3, 5)), *(row("K", 4, states) for states in (10, 20, 40))]
    times[0]["recall ms"] = 1.0  # one node has no (K, K) transition, and is left out of their exponent
    (found,) = synthetic.exponent_rows(times)
    assert (found["shape"], found["answer"]) == ("line", "recall")
    assert [found[f"in {what}"] for what in ("transitions", "K", "K, a column")] == pytest.approx([1.0, 2.0, 1.0])


@pytest.fixture(scope="module")
def tables(synthetic):
    plan = dataclasses.replace(
        synthetic.QUICK,
        ratios=((1, 8, 1), (4, 16, 2)),
        aggregation=(3, 40, 1),
        groups=(5, 40),
        over_nodes=((2, 4), 10),
        over_states=(3, (10, 20)),
        repeats=1,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("builtins.print", lambda *values, **options: None)
        return synthetic.run(plan)


class TestSyntheticRun:
    def test_no_policy_beats_those_that_may_do_more(self, tables):
        assert [row["shape"] for row in tables["ratios"]] == ["line", "line", "skip", "skip", "tree", "tree"]
        for row in tables["ratios"]:
            slack = 0.01  # of two samples
            best = row["recall"][0]
            assert best >= 1 - slack
            assert (row["no recall"] is None) == (row["shape"] == "tree")
            others = [
                row[name][0] for name in ("no recall", "best node", "threshold", "threshold, recall") if row[name]
            ]
            assert all(other >= best - slack for other in others)
            if row["n"] == 1:
                assert all(other == pytest.approx(best, abs=slack) for other in others)

    def test_as_many_meta_states_as_states_are_exact(self, tables):
        exact = [row["largest |error|"] for row in tables["aggregation"] if row["q"] == 40]
        coarse = [row["largest |error|"] for row in tables["aggregation"] if row["q"] == 5]
        assert exact == pytest.approx([0.0] * 3, abs=1e-12)
        assert all(0 < error < 0.02 for error in coarse)

    def test_columns(self, tables):
        for row in tables["times"]:
            edges = {"line": row["n"] - 1, "skip": row["n"] * (row["n"] - 1) // 2, "tree": row["n"] - 1}
            assert row["transitions"] == edges[row["shape"]]
            assert row["columns"] >= row["K"] if row["shape"] == "tree" else row["columns"] == row["K"]

    def test_pictures_and_json(self, synthetic, tables, tmp_path):
        written = synthetic.synthetic_figures.draw(tables, synthetic.METHODS, tmp_path / "docs")
        names = ["synthetic-ratio.png", "synthetic-aggregation.png", "synthetic-time.png"]
        assert [path.name for path in written] == names
        assert all(path.read_bytes().startswith(b"\x89PNG") for path in written)
        synthetic.write("synthetic", {"tables": tables}, tmp_path / "results")
        read = json.loads((tmp_path / "results" / "synthetic.json").read_text())
        assert read["tables"]["ratios"][1]["recall"] == pytest.approx(tables["ratios"][1]["recall"])


@pytest.fixture(scope="module")
def study(tree):
    return tree.study("made up", cascade(1500, 0), cascade(1000, 1), [0.5, 0.8, 0.95])


class TestTree:
    def test_paths(self, tree):
        assert tree.paths(ttamer.Topology.forest([-1, 0, 1, 0, 3])) == [[0, 1, 2], [0, 3, 4]]
        assert tree.paths(ttamer.Topology.forest([-1, -1, 0])) == [[1], [0, 2]]

    def test_budgets(self, tree):
        reach, errors = np.array([0.1, 1.0, 5.0]), np.array([0.3, 0.1, 0.2])
        found = tree.budgets_for(reach, errors)
        assert len(found) == 25
        assert (found[0], found[-1]) == (pytest.approx(0.15), pytest.approx(1.0))
        np.testing.assert_allclose(found[1:] / found[:-1], found[1] / found[0])
        assert tree.budgets_for(np.array([0.001, 1.0]), np.array([0.3, 0.1]))[0] == pytest.approx(0.02)

    def test_all_nodes_answers_with_the_smallest_estimate(self, tree):
        traces = cascade(400, 2)
        model = ttamer.fit(traces, bins=8)
        found = tree.all_nodes(traces, model)
        assert set(found.cost) == {7.0}
        for k in range(0, 400, 7):
            states = [int((model.bin_edges[j] <= traces.signals[k, j]).sum()) for j in range(3)]
            estimates = [model.losses[j][state] for j, state in enumerate(states)]
            assert found.answer_node[k] == int(np.argmin(estimates))
            assert found.loss[k] == traces.losses[k, found.answer_node[k]]

    def test_methods(self, study):
        assert [curve.name for curve in study.curves] == ["forest", "line 0-1", "line 0-2", "fixed nodes"]
        assert [point.name for point in study.points] == ["node 0", "node 1", "node 2", "all nodes"]
        assert study.best_node == 1
        assert study.points[1].test_points[0] == pytest.approx(5.0)

    def test_mean_errors_are_those_of_the_budgets(self, tree, study):
        weights = compare.resample(1000, 50)
        rows = tree.mean_error_rows(study, weights)
        for row, curve in zip(rows, study.curves, strict=True):
            cost, chosen = curve.calibration_points[0], curve.test_points[1]
            errors = [np.interp(budget, cost, chosen) if budget >= cost[0] else 1.0 for budget in study.budgets]
            assert row["mean error 1e-4"] == pytest.approx(1e4 * np.mean(errors))
        assert rows[0]["better"] is None
        for row in rows[1:]:
            assert row["forest minus it"] == pytest.approx(rows[0]["mean error 1e-4"] - row["mean error 1e-4"])
            decided = "forest" if row["high"] < 0 else row["method"] if row["low"] > 0 else "tie"
            assert row["better"] == decided

    def test_levels_name_who_reaches_them(self, tree, study):
        rows = tree.level_rows(study, compare.resample(1000, 50))
        assert len(rows) == 3 * 4
        for first in range(0, len(rows), 4):
            forest = rows[first]
            for row in rows[first + 1 : first + 4]:
                reached = {
                    name for name, cost in ((row["method"], row["cost ms"]), ("forest", forest["cost ms"])) if cost
                }
                if not reached:
                    assert row["better"] == "neither reaches it"
                elif len(reached) == 1:
                    assert {row["better"]} == reached
                else:
                    assert row["forest minus it"] == pytest.approx(forest["cost ms"] - row["cost ms"])

    def test_without_a_folder(self, tree, capsys):
        assert tree.main([]) == 2
        printed = capsys.readouterr()
        assert printed.out == ""
        assert printed.err.count("\n") == 1
        assert "line" in printed.err

    def test_run_on_recorded_files(self, tree, tmp_path, capsys):
        for k, name in enumerate(tree.WORKLOADS):
            for part, rows in (("calibration", 900), ("test", 500)):
                traces = cascade(rows, 10 * k + len(part))
                np.savez(
                    tmp_path / f"{name}-{part}.npz",
                    probs=np.exp(probabilities(traces)),
                    labels=traces.labels,
                    edge_cost_ms=traces.costs,
                    parents=np.array([-1, 0, 0], np.int16),
                )
        assert tree.main([str(tmp_path), "--quick", "--output", str(tmp_path)]) == 0
        printed = capsys.readouterr().out
        read = json.loads((tmp_path / "tree.json").read_text())
        assert list(read["tables"]) == ["mean error", "points", "levels", "promises"]
        for name in tree.WORKLOADS:
            methods = [row["method"] for row in read["tables"]["mean error"] if row["workload"] == name]
            assert methods == ["forest", "line 0-1", "line 0-2", "fixed nodes"]
            assert name in printed


def test_deciding_from_logits_quickly():
    torch = pytest.importorskip("torch", reason="needs the torch extra")
    torch_decide = load("torch_decide")
    row = torch_decide.cpu_row(64, 10, 1)
    assert (row["device"], row["C"], row["B"]) == ("cpu", 10, 64)
    assert 0.3 < row["go on"] < 0.7
    assert torch_decide.eager(torch.tensor([[0.0, 0.0], [9.0, 0.0]]), torch.tensor([7, 8]), 0.9).tolist() == [7]
