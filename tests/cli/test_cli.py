"""The command line: what it prints and writes, and one line and exit code 2 for whatever is wrong with the input."""

from __future__ import annotations

import importlib.util
import itertools
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

import ttamer
from ttamer import tuning
from ttamer.cli import main
from ttamer.cli.policy_tables import states


def make_traces(rows, seed, observed=False):
    generator = np.random.default_rng(seed)
    quality = generator.random((rows, 1))
    signals = np.clip(quality + 0.3 * generator.random((rows, 3)) - 0.15, 0, 1).astype(np.float32)
    losses = (generator.random((rows, 3)) > quality * [0.6, 0.8, 1.0]).astype(np.float32)
    if observed:
        signals = losses = (1 - signals).round(2)
    return ttamer.Traces(signals, losses, [1.0, 2.0, 4.0], observed=observed, unit="ms")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Traces, a model and policies."""
    folder = tmp_path_factory.mktemp("files")
    calibration = make_traces(400, 0)
    calibration.save(folder / "cal.npz")
    make_traces(200, 1).save(folder / "test.npz")
    make_traces(200, 2, observed=True).save(folder / "observed.npz")
    calibration.path([0, 2], [1.0, 6.0]).save(folder / "shorter.npz")
    model = ttamer.fit(calibration, bins=16)
    model.save(folder / "model.st")
    ttamer.solve(model, 0.8).save(folder / "none.st")
    ttamer.solve(model, 0.9, recall="observed").save(folder / "recall.st")
    (folder / "truncated.npz").write_bytes((folder / "cal.npz").read_bytes()[:2000])
    (folder / "truncated.st").write_bytes((folder / "none.st").read_bytes()[:2000])
    flipped = bytearray((folder / "none.st").read_bytes())
    flipped[-5] ^= 1
    (folder / "flipped.st").write_bytes(flipped)
    (folder / "text.txt").write_text("not what you think\n")
    (folder / "full").mkdir()
    (folder / "full" / "file").write_text("")
    return folder


@pytest.fixture
def folder(files, tmp_path, monkeypatch):
    """A folder with copies of these, which is the current one."""
    shutil.copytree(files, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    return tmp_path


COMMANDS = [
    "demo",
    "fit",
    "tune",
    "evaluate",
    "frontier",
    "compare",
    "show",
    "import",
    "refit",
    "report",
    "export",
    "bench",
]


def call(capsys, *arguments):
    """Exit code, stdout and stderr."""
    code = main(arguments)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def call_json(capsys, *arguments):
    code, out, err = call(capsys, *arguments, "--json")
    assert (code, err) == (0, "")
    return json.loads(out)


class TestFit:
    def test_model_alone(self, folder, capsys):
        code, out, err = call(capsys, "fit", "cal.npz", "--bins", "8", "--output", "m.st")
        assert (code, err) == (0, "")
        assert "line of 3 nodes, 400 requests" in out
        assert "wrote the model to m.st" in out
        saved = ttamer.CascadeModel.load("m.st")
        assert [len(losses) for losses in saved.losses] == [8, 8, 8]
        assert not (folder / "policy.safetensors").exists()

    def test_policy(self, folder, capsys):
        figures = call_json(capsys, "fit", "cal.npz", "--tradeoff", "0.9", "--policy", "p.st", "--recall", "observed")
        assert figures["files"] == {"model": "model.safetensors", "policy": "p.st"}
        expected = ttamer.solve(ttamer.fit(ttamer.Traces.load("cal.npz")), 0.9, recall="observed")
        assert ttamer.Policy.load("p.st") == expected
        assert figures["solved"]["value"] == expected.value
        assert figures["solved"]["recall"] == "observed"
        assert figures["losses"][1] == pytest.approx(ttamer.CascadeModel.load("model.safetensors").losses[1].tolist())

    def test_defaults_of_the_policy(self, folder, capsys):
        code, out, _ = call(capsys, "fit", "observed.npz", "--policy", "p.st")
        assert code == 0
        assert "ttamer show p.st" in out
        policy = ttamer.Policy.load("p.st")
        assert (policy.tradeoff, policy.recall) == (0.8, "observed")


class TestTune:
    @pytest.fixture(autouse=True)
    def scipy(self):
        pytest.importorskip("scipy", reason="tune needs the fit extra")

    def test_json_is_the_certificate(self, folder, capsys):
        arguments = ("--max-error", "0.7", "--max-cost", "6", "--cost-quantile", "0.5", "5", "--policy", "p.st")
        figures = call_json(capsys, "tune", "cal.npz", *arguments, "--confidence", "0.9", "--seed", "3", "--bins", "8")
        limits = {"max_error": 0.7, "max_cost": 6, "max_cost_quantile": (0.5, 5)}
        traces = ttamer.Traces.load("cal.npz")
        expected = tuning.certify(traces, **limits, confidence=0.9, seed=3, bins=8)
        assert figures == {**expected.as_dict(), "unit": "ms", "policy": "p.st"}
        assert ttamer.Policy.load("p.st") == expected.policy

    def test_table(self, folder, capsys):
        code, out, err = call(capsys, "tune", "cal.npz", "--max-error", "0.75", "--cost-quantile", "0.5", "5")
        expected = tuning.certify(ttamer.Traces.load("cal.npz"), max_error=0.75, max_cost_quantile=(0.5, 5))
        assert (code, err) == (0, "")
        assert "tuned on 200 requests of cal.npz, tested on 200 others" in out
        error, quantile = (line.split() for line in out.splitlines()[2:4])
        observed = [limit.observed(expected.best.outcome) for limit in expected.limits]
        assert error == ["error", "0.75", f"{observed[0]:.4f}", f"{expected.best.p_values[0]:.2g}"]
        assert quantile[-3:] == ["50%", f"{observed[1]:.1%}", f"{expected.best.p_values[1]:.2g}"]
        assert " ".join(quantile[:-3]) == "requests that cost at most 5 ms"
        passed = sum(step.p_value <= 0.05 for step in expected.steps)
        count = f"{len(expected.steps)} of {expected.candidates} policies tested, {passed} passed"
        assert f"all kept with confidence 0.95; {count}" in out
        assert out.endswith("wrote the policy to policy.safetensors\n")
        assert ttamer.Policy.load("policy.safetensors") == expected.policy

    def test_costs_of_each_request(self, folder, capsys):
        traces = ttamer.Traces.load("cal.npz")
        costs = traces.costs * np.random.default_rng(0).uniform(0.5, 1.5, (len(traces), len(traces.costs)))
        ttamer.Traces(traces.signals, traces.losses, costs, unit="ms").save("r.npz")
        most = str(float(costs.sum(axis=1).max()))
        code, _, err = call(capsys, "tune", "r.npz", "--max-cost", "6")
        assert (code, err.startswith("ttamer: max_cost_of_a_request: expected a number")) == (2, True)
        arguments = ("--max-cost", "6", "--max-cost-of-a-request", most, "--cost-quantile", "0.5", "5")
        figures = call_json(capsys, "tune", "r.npz", *arguments)
        assert [limit["name"] for limit in figures["limits"]] == ["max_cost", "max_cost_quantile"]

    def test_relative_to_the_last_node(self, folder, capsys):
        traces = ttamer.Traces.load("cal.npz")
        predictions = traces.losses.astype(np.int32)
        ttamer.Traces(traces.signals, traces.losses, traces.costs, predictions=predictions).save("predicted.npz")
        code, out, _ = call(capsys, "tune", "predicted.npz", "--max-error", "0.2", "--relative-to", "last")
        expected = tuning.certify(ttamer.Traces.load("predicted.npz"), max_error=0.2, relative_to="last")
        assert code == 0
        assert "\nkept with confidence 0.95; " in out
        figures = expected.best.outcome
        assert f"error {figures.error:.4f} relative to the last node, mean cost {figures.cost:.4g}\n" in out


class TestEvaluate:
    def test_json_is_the_evaluation(self, folder, capsys):
        figures = call_json(capsys, "evaluate", "none.st", "test.npz")
        expected = ttamer.evaluate(ttamer.Policy.load("none.st"), ttamer.Traces.load("test.npz"))
        assert figures == expected.as_dict()

    def test_table(self, folder, capsys):
        code, out, err = call(capsys, "evaluate", "recall.st", "test.npz")
        expected = ttamer.evaluate(ttamer.Policy.load("recall.st"), ttamer.Traces.load("test.npz"))
        assert (code, err) == (0, "")
        assert "recall.st on 200 requests of test.npz" in out
        lines = {line[:26].strip(): line[26:].split() for line in out.splitlines()}
        assert lines["error"] == [f"{expected.error:.4f}", f"{expected.full_error:.4f}"]
        assert lines["mean cost, ms"] == [f"{expected.mean_cost:.4g}", "7"]
        assert lines["recalled an earlier answer"] == [f"{expected.recall_rate:.1%}", "0.0%"]


class TestFrontier:
    def test_json_is_the_front(self, folder, capsys):
        figures = call_json(capsys, "frontier", "cal.npz", "--test", "test.npz", "--save", "points", "--plot", "f.png")
        front = ttamer.frontier(ttamer.Traces.load("cal.npz"))
        test = ttamer.Traces.load("test.npz")
        assert (figures["unit"], figures["rows"], figures["plot"]) == ("ms", 400, "f.png")
        assert len(figures["points"]) == len(figures["files"]) == len(front)
        for row, file, point in zip(figures["points"], figures["files"], front, strict=True):
            assert (row["cost"], row["error"]) == (pytest.approx(point.cost), pytest.approx(point.error))
            replay = ttamer.Policy.load(file).replay(test)
            assert (row["test_cost"], row["test_error"]) == (replay.mean_cost, replay.error)
            assert row["tradeoff"] == ttamer.Policy.load(file).tradeoff
        assert (folder / "f.png").read_bytes()[:4] == b"\x89PNG"

    def test_long_tables_are_cut_unless_all_are_asked_for(self, folder, capsys):
        generator = np.random.default_rng(3)
        signals = generator.random((2000, 4), dtype=np.float32)
        losses = (generator.random((2000, 4)) > signals * [0.5, 0.7, 0.9, 1.0]).astype(np.float32)
        ttamer.Traces(signals, losses, np.ones(4)).save("many.npz")
        count = len(call_json(capsys, "frontier", "many.npz")["points"])
        assert count > 12
        _, some, _ = call(capsys, "frontier", "many.npz")
        _, every, _ = call(capsys, "frontier", "many.npz", "--all")
        assert f"front of many.npz, estimate sets (12 of {count} points; --all prints the others)" in some
        assert some.splitlines()[-1].startswith("in cross-validation sets lost 0.4")
        assert len(some.splitlines()) == 12 + 3
        assert len(every.splitlines()) == count + 3
        assert every.splitlines()[-1] == some.splitlines()[-1]

    def test_picture_without_test_traces(self, folder, capsys):
        code, out, _ = call(capsys, "frontier", "cal.npz", "--plot", "f.svg")
        assert code == 0
        assert "drew f.svg" in out
        picture = (folder / "f.svg").read_text()
        assert "calibration rows" in picture
        # Text is drawn as paths, and said in comments.
        for words in ("ttamer", "one threshold", "full model", "Policies of ttamer, 400 requests", "of the full model"):
            assert words in picture


class TestPlot:
    """--plot of what is shown and evaluated."""

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (["evaluate", "recall.st", "test.npz"], "Where 200 requests stop"),
            (["show", "none.st"], "What the policy does in each state, trade-off"),
            (["show", "test.npz"], "What each node costs and loses alone, 200 requests"),
            (["show", "front.st"], "policies, each the best at its trade-off"),
        ],
    )
    def test_picture_says_what_is_shown(self, folder, capsys, arguments, words):
        call(capsys, "frontier", "cal.npz", "--front", "front.st")
        _, plain, _ = call(capsys, *arguments)
        code, out, err = call(capsys, *arguments, "--plot", "p.svg")
        assert (code, out, err) == (0, f"{plain}drew p.svg\n", "")
        assert words in (folder / "p.svg").read_text()
        assert call_json(capsys, *arguments, "--plot", "p.png") == {
            **call_json(capsys, *arguments),
            "plot": "p.png",
        }
        assert (folder / "p.png").read_bytes()[:4] == b"\x89PNG"


class TestShow:
    def test_json_holds_every_state(self, folder, capsys):
        for name in ("none.st", "recall.st"):
            figures = call_json(capsys, "show", name)
            policy = ttamer.Policy.load(name)
            assert (figures["tradeoff"], figures["recall"]) == (policy.tradeoff, policy.recall)
            assert [edge["cost"] for edge in figures["edges"]] == [1.0, 2.0, 4.0]
            for j, node in enumerate(figures["nodes"]):
                table = node["states"]
                assert [row["loss"] for row in table] == policy.losses(j).tolist()
                assert [row["signal_from"] for row in table] == [None, *policy.bin_edges(j).tolist()]
                assert [row["signal_below"] for row in table] == [*policy.bin_edges(j).tolist(), None]
                actions = [[(step["best_loss_up_to"], step["next"]) for step in row["actions"]] for row in table]
                assert actions == policy.actions(j)
                assert node["visits"] == pytest.approx(policy.expected_visits[j].sum())

    def test_index_stands_beside_the_state_it_belongs_to(self, folder, capsys):
        figures = call_json(capsys, "show", "recall.st")
        policy = ttamer.Policy.load("recall.st")
        assert figures["first_index"] == {"0": policy.index(0)[0]}
        for parent in (0, 1):
            shown = [row["index"][str(parent + 1)] for row in figures["nodes"][parent]["states"]]
            assert shown == policy.index(parent + 1).tolist()
        assert figures["nodes"][2]["states"][0]["index"] == {}
        assert call_json(capsys, "show", "none.st")["first_index"] == {}

    @pytest.mark.parametrize("name", ["none.st", "recall.st"])
    def test_states_that_act_alike_share_a_line(self, name, folder, capsys):
        policy = ttamer.Policy.load(name)
        code, out, err = call(capsys, "show", name)
        assert (code, err) == (0, "")
        assert "--all prints each" in out
        _, every, _ = call(capsys, "show", name, "--all")
        assert "--all" not in every
        for node in range(3):
            kinds = [[action[1] for action in actions] for actions in policy.actions(node)]
            runs = 1 + sum(a != b for a, b in itertools.pairwise(kinds))
            assert len(self.rows(out, node)) == runs
            assert len(self.rows(every, node)) == len(kinds)

    def rows(self, text, node):
        """Lines of a node's table that begin a row: they begin with the number of a state."""
        block = text.partition(f"\nnode {node} (")[2].partition("\n\n")[0]
        return [line for line in block.splitlines()[2:] if line[:1].isdigit()]

    def test_what_a_state_does(self, folder, capsys):
        _, out, _ = call(capsys, "show", "none.st", "--all")
        policy = ttamer.Policy.load("none.st")
        lines = self.rows(out, 0)
        for line, state in zip(lines, states(policy, 0), strict=True):
            ((_, following),) = state.actions
            assert ("stop" if following == ttamer.STOP else f"consult {following}") in line
            assert f"{state.loss:.3g}" in line
            assert f"{state.low:.7g}" in line

        _, out, _ = call(capsys, "show", "recall.st", "--all")
        conditions = [line for line in self.rows(out, 0) if "stop <= index, else 1" in line]
        assert len(conditions) == sum(len(actions) == 2 for actions in ttamer.Policy.load("recall.st").actions(0))
        assert "stop <= x: stop if the expected loss of the best answer so far is at most x." in out

    def test_walks_with_several_successors(self, folder, capsys):
        topology = ttamer.Topology.dag(3, [(-1, 0), (0, 1), (0, 2), (1, 2)])
        # In its first state node 0 has a loss of 0.4; node 1 is cheap and as good, node 2 dear and perfect.
        model = ttamer.CascadeModel(
            topology,
            [[0.4, 0.0], [0.0, 0.5], [0.0]],
            [[[0.5, 0.5]], [[0.5, 0.5], [0.5, 0.5]], [[1.0]], [[1.0]]],
            [0.0, 0.05, 0.3, 0.3],
            cost_scale=1.0,
        )
        ttamer.solve(model, 0.5).save("walk.st")
        code, out, _ = call(capsys, "show", "walk.st")
        assert code == 0
        assert "dag of 3 nodes, starts at node 0" in out
        assert "stop <= 0, else 1" in out
        assert "index of" not in out
        # Two edges lead to node 2.
        assert [edge["to"] for edge in call_json(capsys, "show", "walk.st")["edges"]] == [0, 1, 2, 2]


class TestImport:
    """A table of what two models answered becomes traces."""

    @pytest.fixture
    def table(self, folder):
        rows = [
            {"id": k, "model": model, "wrong": wrong, "cost_usd": cost, "topic": topic, "prompt": f"number {k}"}
            for k, topic in enumerate(["law", "law", "art"])
            for model, cost, wrong in (("large", 3.0, 0), ("small", 1.0, k % 2))
        ]
        (folder / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        return folder / "a.jsonl"

    OPTIONS = ("--column", "request=id", "--column", "loss=wrong", "--ignore", "prompt")

    def test_says_what_it_took_and_what_is_in_it(self, table, capsys):
        code, out, err = call(capsys, "import", "a.jsonl", "new.npz", *self.OPTIONS)
        assert (code, err) == (0, "")
        for text in (
            "best alone: node 2 (large)",
            "context: topic",
            "categories of node 0 (topic): law 2, art 1",
            "id as request, wrong as loss, model as model, cost_usd as cost_usd, topic as context",
            "wrote the traces to new.npz",
        ):
            assert text in out
        traces = ttamer.Traces.load("new.npz")
        assert traces.nodes == ("topic", "small", "large")
        code, out, _ = call(capsys, "show", "new.npz")
        assert "categories of node 0 (topic): law 2, art 1" in out

    def test_json(self, table, capsys):
        figures = call_json(capsys, "import", "a.jsonl", "new.npz", *self.OPTIONS)
        assert figures["columns"]["context"] == ["topic"]
        assert figures["categories"] == {"topic": {"law": 2, "art": 1}}
        assert figures["traces"] == "new.npz"

    def test_complete_requests_alone(self, table, capsys):
        lines = table.read_text().splitlines(keepends=True)
        table.write_text("".join(lines[:2] + lines[3:]))  # one model of the second request
        figures = call_json(capsys, "import", "a.jsonl", "new.npz", *self.OPTIONS, "--complete")
        assert figures["left_out"] == 1
        traces = ttamer.Traces.load("new.npz")
        assert (len(traces), traces.complete.all()) == (2, True)
        assert traces.losses[:, 1:].tolist() == [[0, 0], [0, 0]]
        _, out, _ = call(capsys, "import", "a.jsonl", "new.npz", *self.OPTIONS, "--complete")
        assert "left out 1 of 3 requests, of which something was not recorded" in out
        call(capsys, "import", "a.jsonl", "new.npz", *self.OPTIONS)
        assert len(ttamer.Traces.load("new.npz")) == 3
        code, _, err = call(capsys, "frontier", "new.npz")
        assert (code, "take traces[traces.complete], or import --complete, if these are like the rest" in err) == (
            2,
            True,
        )
        table.write_text("".join(lines[2:3] + lines[5:]))
        code, _, err = call(capsys, "import", "a.jsonl", "no.npz", *self.OPTIONS, "--complete")
        assert (code, os.path.exists("no.npz")) == (2, False)
        assert "a.jsonl: --complete: expected requests of which everything was recorded, got none" in err

    def test_models_in_the_order_of_other_traces(self, table, capsys):
        call(capsys, "import", "a.jsonl", "first.npz", *self.OPTIONS)
        text = table.read_text().replace('"cost_usd": 1.0', '"cost_usd": 9.0')
        table.write_text(text)
        call(capsys, "import", "a.jsonl", "alone.npz", *self.OPTIONS)
        call(capsys, "import", "a.jsonl", "alike.npz", *self.OPTIONS, "--like", "first.npz")
        assert ttamer.Traces.load("alone.npz").nodes == ("topic", "large", "small")
        assert ttamer.Traces.load("alike.npz").nodes == ("topic", "small", "large")

    def test_the_probe_of_other_traces_is_theirs(self, table, capsys):
        table.write_text(table.read_text().replace('"prompt"', '"size": 7, "prompt"'))
        call(capsys, "import", "a.jsonl", "first.npz", *self.OPTIONS, "--context", "size")
        call(capsys, "import", "a.jsonl", "alike.npz", *self.OPTIONS, "--like", "first.npz")
        assert ttamer.Traces.load("alike.npz").nodes == ("size", "small", "large")
        arguments = ("--like", "first.npz", "--ignore", "size")
        code, _, err = call(capsys, "import", "a.jsonl", "new.npz", *self.OPTIONS, *arguments)
        assert code == 2
        assert (
            "--like: expected the models of the file, ['large', 'small'], got ['size', 'small', 'large']: 'size' "
            in err
        )

    def test_several_columns_of_context(self, table, capsys):
        """The command says which one the probe shows, and takes another."""
        table.write_text(table.read_text().replace('"prompt"', '"size": 7, "prompt"'))
        code, out, _ = call(capsys, "import", "a.jsonl", "new.npz", *self.OPTIONS)
        assert code == 0
        assert "topic, size as context" in out
        assert "of the context the probe shows topic; --context COLUMN chooses another" in out
        code, out, _ = call(capsys, "import", "a.jsonl", "new.npz", *self.OPTIONS, "--context", "size")
        assert code == 0
        assert "of the context the probe shows size;" in out
        traces = ttamer.Traces.load("new.npz")
        assert traces.nodes == ("size", "small", "large")
        assert traces.categories == {}
        figures = call_json(capsys, "import", "a.jsonl", "new.npz", *self.OPTIONS, "--context", "size")
        assert figures["probe"] == "size"

    def test_numbers_that_are_categories(self, table, capsys):
        table.write_text(table.read_text().replace('"law"', "7"))
        call(capsys, "import", "a.jsonl", "new.npz", *self.OPTIONS, "--category", "topic")
        assert ttamer.Traces.load("new.npz").categories == {0: ("7", "art")}

    def test_a_label_beside_a_loss_is_not_taken(self, table, capsys):
        table.write_text(table.read_text().replace('"prompt"', '"label": "x", "prompt"'))
        code, out, _ = call(capsys, "import", "a.jsonl", "new.npz", *self.OPTIONS)
        assert code == 0
        assert "label" not in out
        assert "label" not in call_json(capsys, "import", "a.jsonl", "new.npz", *self.OPTIONS)["columns"]

    def test_messages_speak_of_options(self, table, capsys):
        rows = [{**json.loads(line), "how sure": k} for k, line in enumerate(table.read_text().splitlines())]
        table.write_text("".join(json.dumps(row) + "\n" for row in rows))
        code, _, err = call(capsys, "import", "a.jsonl", "new.npz", *self.OPTIONS)
        assert code == 2
        assert (
            "column 'how sure', row 2: expected one value a request; if it says how sure a model was pass "
            "--column 'score=how sure', else --ignore 'how sure', got '1' after '0'"
        ) in err

    def test_a_table_is_no_traces(self, table, capsys):
        code, _, err = call(capsys, "evaluate", "none.st", "a.jsonl")
        assert code == 2
        assert "a.jsonl: expected traces, got a table by its name: make traces of it with Traces.read or ttamer" in err

    def test_a_policy_shows_its_categories(self, table, capsys):
        call(capsys, "import", "a.jsonl", "new.npz", *self.OPTIONS)
        call(capsys, "fit", "new.npz", "--bins", "4", "--policy", "p.st")
        code, out, _ = call(capsys, "show", "p.st")
        assert code == 0
        assert "0 law, 1 art, 2 any other" in " ".join(out.split())
        assert call_json(capsys, "show", "p.st")["categories"] == {"0": ["law", "art"]}

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["a.jsonl", "new.npz"], "a.jsonl: expected columns request, loss (or correct, or label and answer), got"),
            (["a.jsonl", "no/new.npz"], "no/new.npz: expected a path in an existing folder"),
            (["a.jsonl", "new.npz", "--column", "loss"], "--column: expected NAME=COLUMN, got 'loss'"),
            (["text.txt", "new.npz"], "text.txt: expected a name that ends in .csv"),
            (["none.csv", "new.npz"], "none.csv: No such file"),
            (
                ["a.jsonl", "new.npz", *OPTIONS, "--like", "cal.npz"],
                "--like: expected traces whose nodes have names, got",
            ),
            (
                ["a.jsonl", "new.npz", *OPTIONS, "--context", "size"],
                "a.jsonl: --context: expected one of ['topic'], got 'size'",
            ),
            (
                ["a.jsonl", "new.npz", *OPTIONS, "--category", "wrong"],
                "a.jsonl: --category: expected columns of the context, ['topic'], got 'wrong'",
            ),
            (
                ["a.jsonl", "new.npz", *OPTIONS[2:]],
                "--column request=NAME says which is which",
            ),
            (["a.jsonl", "new.npz", *OPTIONS, "--ignore", "x"], "--ignore: expected columns of the file, ['id', "),
            (["a.jsonl", "new.npz", "--column", "loss=x"], "--column: expected columns of the file, ['id', "),
            (["a.jsonl", "new.npz", "--column", "x=id"], "--column: expected names of request, model, "),
        ],
    )
    def test_what_is_refused(self, arguments, message, table, capsys):
        code, out, err = call(capsys, "import", *arguments)
        assert (code, out) == (2, "")
        assert message in err
        assert err.count("\n") == 1


BAD = {
    "missing traces": (["fit", "nowhere.npz"], "nowhere.npz: No such file"),
    "missing policy": (["show", "nowhere.st"], "nowhere.st: No such file"),
    "a folder": (["show", "full"], "full: Is a directory"),
    "output to a device": (["fit", "cal.npz", "--output", os.devnull], f"{os.devnull}: not a regular file"),
    "truncated traces": (["frontier", "truncated.npz"], "truncated.npz: not readable as traces"),
    "truncated policy": (["show", "truncated.st"], "truncated.st: not a readable safetensors file"),
    "damaged policy": (["evaluate", "flipped.st", "test.npz"], "flipped.st: damaged"),
    "text for traces": (["fit", "text.txt"], "text.txt: not readable as traces"),
    "text for a policy": (["show", "text.txt"], "text.txt: not a readable safetensors file"),
    "model for a policy": (["show", "model.st"], "model.st: expected a policy file, got a model file"),
    "traces for a policy": (["evaluate", "cal.npz", "cal.npz"], "cal.npz: expected a policy file, got a zip archive"),
    "policy for traces": (["evaluate", "none.st", "none.st"], "none.st: not readable as traces"),
    "other topology": (
        ["evaluate", "none.st", "shorter.npz"],
        "traces: expected Topology.line(3), got Topology.line(2)",
    ),
    "other test topology": (["frontier", "cal.npz", "--test", "shorter.npz"], "got Topology.line(2)"),
    "tradeoff above 1": (
        ["fit", "cal.npz", "--policy", "p.st", "--tradeoff", "1.5"],
        "tradeoff: expected a number in (0, 1]",
    ),
    "tradeoff 0": (["fit", "cal.npz", "--policy", "p.st", "--tradeoff", "0"], "tradeoff: expected a number in (0, 1]"),
    "tradeoff nan": (
        ["fit", "cal.npz", "--policy", "p.st", "--tradeoff", "nan"],
        "tradeoff: expected a number in (0, 1]",
    ),
    "tradeoff no number": (["fit", "cal.npz", "--policy", "p.st", "--tradeoff", "much"], "--tradeoff"),
    "tradeoff alone": (["fit", "cal.npz", "--tradeoff", "0.5"], "--tradeoff: expected together with --policy FILE"),
    "recall alone": (["fit", "cal.npz", "--recall", "none"], "--recall: expected together with --policy FILE"),
    "unknown recall": (
        ["fit", "cal.npz", "--policy", "p.st", "--recall", "all"],
        "recall: expected 'auto', 'observed' or 'none'",
    ),
    "no limit": (["tune", "cal.npz"], "limits: expected at least one of max_error"),
    "limit out of reach": (["tune", "cal.npz", "--max-error", "0.1"], "can be"),
    "too few rows": (["tune", "cal.npz", "--max-error", "0.001"], "needs at least 5989 rows, 2995 of them held back"),
    "no predictions": (
        ["tune", "cal.npz", "--max-error", "0.5", "--relative-to", "last"],
        "relative_to: 'last' needs predictions",
    ),
    "half a quantile": (["tune", "cal.npz", "--cost-quantile", "0.9"], "--cost-quantile"),
    "confidence in percent": (
        ["tune", "cal.npz", "--max-error", "0.5", "--confidence", "95"],
        "confidence: expected a number in (0, 1), got 95",
    ),
    "tuned policy without folder": (
        ["tune", "cal.npz", "--max-error", "0.5", "--policy", "no/p.st"],
        "no/p.st: expected a path in an existing folder",
    ),
    "no bins": (["fit", "cal.npz", "--bins", "0"], "bins: expected at least 1, got 0"),
    "bins no number": (["frontier", "cal.npz", "--bins", "few"], "--bins"),
    "output without folder": (
        ["fit", "cal.npz", "--output", "no/m.st"],
        "no/m.st: expected a path in an existing folder",
    ),
    "picture without folder": (
        ["frontier", "cal.npz", "--plot", "no/f.png"],
        "no/f.png: expected a path in an existing folder",
    ),
    "evaluated picture without folder": (
        ["evaluate", "none.st", "test.npz", "--plot", "no/f.png"],
        "no/f.png: expected a path in an existing folder",
    ),
    "shown picture without folder": (
        ["show", "none.st", "--plot", "no/f.png"],
        "no/f.png: expected a path in an existing folder",
    ),
    "unknown format": (
        ["frontier", "cal.npz", "--plot", "f.xyz", "--save", "new"],
        "f.xyz: Format 'xyz' is not supported",
    ),
    "folder in use": (["frontier", "cal.npz", "--save", "full"], "--save: expected a new or empty folder, got full"),
    "folder is a file": (["frontier", "cal.npz", "--save", "text.txt"], "--save: expected a new or empty folder"),
    "no argument": (["fit"], "Missing argument"),
    "unknown command": (["serve"], "No such command 'serve'"),
    "unknown option": (["show", "none.st", "--much"], "No such option ... --much"),
    "one argument too many": (["demo", "fashion-vgg"], "unexpected extra argument"),
}


@pytest.mark.parametrize("case", BAD)
@pytest.mark.parametrize("json_too", [False, True], ids=["", "json"])
def test_bad_input(case, json_too, folder, capsys):
    arguments, message = BAD[case]
    before = sorted(folder.rglob("*"))
    code, out, err = call(capsys, *arguments, *(["--json"] if json_too else []))
    assert (code, out) == (2, "")
    assert err.startswith("ttamer: ")
    assert all(part in err for part in message.split(" ... "))  # versions of Click differ in what stands between
    assert err.count("\n") == 1
    assert err.endswith("\n")
    assert sorted(folder.rglob("*")) == before


class TestMain:
    def test_as_a_module(self):
        done = subprocess.run([sys.executable, "-m", "ttamer", "--version"], capture_output=True, text=True, check=True)
        assert done.stdout.split()[-1] == ttamer.__version__

    def test_version(self, capsys):
        assert call(capsys, "--version") == (0, f"ttamer {ttamer.__version__}\n", "")

    @pytest.mark.parametrize("command", COMMANDS)
    def test_every_command_has_help_with_an_example(self, command, capsys):
        code, out, err = call(capsys, command, "--help")
        assert (code, err) == (0, "")
        assert f"Example: ttamer {command}" in out
        assert ("--format" if command == "export" else "--json") in out

    @pytest.mark.parametrize(("command", "default"), [("export", "standard output"), ("import", "the first")])
    def test_help_in_brackets_is_no_markup(self, command, default, capsys, monkeypatch):
        monkeypatch.setenv("COLUMNS", "120")
        assert f"[default: {default}]" in call(capsys, command, "--help")[1]

    def test_paragraphs_of_help_fill_the_line(self, capsys, monkeypatch):
        """They do not break where the docstring does."""
        monkeypatch.setenv("COLUMNS", "76")
        _, out, _ = call(capsys, "report", "--help")
        lines = [line.strip() for line in out.splitlines()]
        first = next(k for k, line in enumerate(lines) if line.startswith("Why requests stopped"))
        paragraph = lines[first : lines.index("", first)]
        assert len(paragraph) >= 4
        for line, following in itertools.pairwise(paragraph):
            assert len(f"{line} {following.split()[0]}") > 74  # the next word had no room

    def test_without_arguments_it_lists_the_commands(self, capsys):
        code, out, err = call(capsys)
        assert (code, err) == (0, "")
        assert all(command in out for command in COMMANDS)

    def test_names_with_brackets_are_printed_as_they_are(self, folder, capsys):
        ttamer.Policy.load("none.st").save("[bold]x.st")
        code, out, _ = call(capsys, "show", "[bold]x.st")
        assert (code, out.splitlines()[0]) == (0, "[bold]x.st")

    def test_missing_extra_is_one_line(self, monkeypatch, capsys):
        find_spec = importlib.util.find_spec
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "rich" else find_spec(name))
        code, out, err = call(capsys, "demo")
        assert (code, out, err) == (2, "", 'ttamer: the command line needs rich: pip install "ttamer[cli]"\n')

    def test_importing_it_needs_none_of_the_extra(self):
        program = "import sys, ttamer.cli; print([n for n in ('typer', 'rich', 'matplotlib') if n in sys.modules])"
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        assert done.stdout == "[]\n"

    def test_as_a_program(self, folder):
        program = "import sys; from ttamer.cli import main; sys.exit(main())"
        for arguments, code, lines in ((["show", "none.st", "--json"], 0, 0), (["show", "text.txt"], 2, 1)):
            done = subprocess.run(
                [sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False
            )
            assert done.returncode == code
            assert done.stderr.count("\n") == lines
            assert json.loads(done.stdout)["nodes"] if code == 0 else done.stdout == ""
