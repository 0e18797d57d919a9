"""The benchmarks of the package: what they compare agrees, their tables are whole, and the scripts and command run."""

from __future__ import annotations

import json
import math
import runpy
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
from paths import BENCH

import ttamer
from ttamer import bench
from ttamer.bench import call, frontier, harness, logits, replay, solve, threads
from ttamer.cli import main

pytestmark = pytest.mark.slow


def consulted_nodes(policy, traces):
    """How many nodes each request consults, by calls of decide."""
    batch = policy.start(len(traces))
    counts = np.zeros(len(traces), int)
    where = np.full(len(traces), policy.first_node, np.int32)
    while len(rows := np.flatnonzero(where != ttamer.STOP)) > 0:
        counts[rows] += 1
        where[rows] = batch.decide(where[rows], traces.signals[rows, where[rows]], rows=rows)
    return counts


@pytest.fixture(scope="module")
def reports():
    return {name: bench.run(name, "tiny") for name in bench.NAMES}


@pytest.mark.parametrize("name", bench.NAMES)
class TestEveryBenchmark:
    def test_tables_are_whole(self, reports, name):
        assert reports[name].tables[0].name == "rows"
        for table in reports[name].tables:
            assert len({tuple(row) for row in table.rows}) == 1
            assert set(table.shown) <= set(table.rows[0])
            for row in table.rows:
                assert all(math.isfinite(value) for value in row.values() if isinstance(value, float))

    def test_a_terminal_of_80_columns_shows_every_heading(self, reports, name):
        for table in reports[name].tables:
            widths = [max(len(head), 5) for head in table.shown.values()]
            assert sum(widths) + 2 * (len(widths) - 1) <= 80

    def test_sizes(self, name):
        plans = sys.modules[f"ttamer.bench.{name}"].PLANS
        assert tuple(plans) == bench.SIZES

    def test_script_writes_what_it_measured(self, name, tmp_path, monkeypatch, capsys):
        script = BENCH / "core.py"
        monkeypatch.setattr(sys, "argv", [str(script), name, "--tiny", "--output", str(tmp_path)])
        runpy.run_path(str(script), run_name="__main__")
        (path,) = tmp_path.iterdir()
        written = json.loads(path.read_text())
        assert set(written["machine"]) == {"cpu", "cores", "python", "numpy", "ttamer"}
        printed = capsys.readouterr().out
        assert written["title"] in printed
        assert all(column in printed for column in written["rows"][0])


class TestWhatIsCompared:
    def test_the_reference_of_call_decides_alike(self):
        rng = np.random.default_rng(3)
        policy = call.make_front(rng)[0].policy
        plain, batch = call.NumpyReference(policy, 4000), policy.start(4000)
        signals = rng.random(4000, dtype=np.float32)
        following = batch.decide(0, signals)
        np.testing.assert_array_equal(plain.decide(signals), np.flatnonzero(following != ttamer.STOP))
        assert 0 < (following == ttamer.STOP).sum() < 4000

    def test_the_thresholds_of_logits_are_alike(self):
        rng = np.random.default_rng(4)
        values = rng.normal(0, 3, (500, 7)).astype(np.float32)
        full = logits.numpy_max_prob(values, 0.5)
        np.testing.assert_array_equal(logits.lean_max_prob(values, 0.5), full)
        assert 0 < len(full) < 500

    @pytest.mark.parametrize("kind", solve.KINDS)
    @pytest.mark.parametrize("recall", ["observed", "none"])
    def test_both_solve_the_same(self, kind, recall):
        model = solve.make_model(kind, 12, np.random.default_rng(5), nodes=3)
        plain = solve.checked(model, 0.9, recall)
        assert plain.run() == pytest.approx(ttamer.solve(model, 0.9, recall).value / 0.9, abs=1e-12)

    def test_another_value_is_an_error(self, monkeypatch):
        monkeypatch.setattr(solve.NumpySolve, "run", lambda self: 0.5)
        with pytest.raises(RuntimeError, match="NumPy's value is 0.5, ttamer's"):
            solve.checked(solve.counted_model(4, np.random.default_rng(6)), 0.8, "none")

    def test_another_replay_is_an_error(self, monkeypatch):
        model, traces = replay.make(4, 100, np.random.default_rng(7))
        empty = np.empty(0)
        monkeypatch.setattr(replay.NumpyReplay, "run", lambda self, traces: (empty, empty, empty))
        with pytest.raises(RuntimeError, match="another one"):
            replay.checked(model, traces, 0.9, "none")

    def test_rows_of_replays_hold_their_own_seconds(self, monkeypatch):
        now = [0.0]
        monkeypatch.setattr(harness.time, "perf_counter", lambda: now[0])
        last = [""]

        def arm(name, seconds):
            now[0] += seconds + (0 if last[0] == name else 0.5)  # half a second more after another one
            last[0] = name

        def case(k, seconds):
            names = ("core", "numpy after core", "replay", "numpy after replay")
            arms = {name: partial(arm, f"{k} {name}", each) for name, each in zip(names, seconds, strict=True)}
            return replay.Case({"K": k, "nodes/request": 2.0}, arms, 100)

        one, other = replay.measure([case(1, (1, 3, 2, 8)), case(2, (4, 4, 4, 4))], 3)
        assert one == {
            "K": 1,
            "nodes/request": 2.0,
            "core ns/request": 1e7,
            "core ns/node": 5e6,
            "core first ns/request": 1.5e7,
            "numpy/core": 3,
            "replay ns/request": 2e7,
            "replay ns/node": 1e7,
            "replay first ns/request": 2.5e7,
            "numpy/replay": 4,
        }
        assert (other["K"], other["core ns/request"], other["numpy/replay"]) == (2, 4e7, 1)

    @pytest.mark.parametrize("recall", ["observed", "none"])
    def test_numpy_replays_skips(self, recall):
        model, traces = replay.make(6, 400, np.random.default_rng(9), "skip")
        case = replay.checked(model, traces, 0.95, recall)
        policy = ttamer.solve(model, 0.95, recall)
        assert case.head["shape"] == "skip"
        assert case.head["nodes/request"] == pytest.approx(consulted_nodes(policy, traces).mean())

    @pytest.mark.parametrize("recall", ["observed", "none"])
    def test_a_front_is_solved_with_the_recall_that_is_named(self, recall):
        traces = frontier.make_traces(recall, np.random.default_rng(8))
        front = ttamer.frontier(traces, [0.5, 0.9], model=ttamer.fit(traces, bins=4))
        assert {point.policy.recall for point in front} == {recall}


class TestHarness:
    def test_arms_take_turns(self):
        order = []
        arms = {name: lambda name=name: order.append(name) for name in "ab"}
        seconds = harness.median_times(arms, 2)
        assert order == ["a", "b"] * 3
        assert min(seconds.values()) >= 0

    def test_runs_in_a_row_are_told_apart(self, monkeypatch):
        order, now = [], [0.0]

        def arm(name):
            now[0] += 1 if order[-1:] == [name] else 5  # less where it follows itself
            order.append(name)

        monkeypatch.setattr(harness.time, "perf_counter", lambda: now[0])
        first, again = harness.median_times_in_a_row({name: partial(arm, name) for name in "ab"}, 3, 2)
        assert order == ["a", "b"] + ["a", "a", "b", "b"] * 3
        assert (first, again) == ({"a": 5, "b": 5}, {"a": 1, "b": 1})

    def test_exponents(self):
        def rows(size, values, power):
            return [
                {"model": kind, size: value, "recall ms": 3.0 * value**power, "no recall ms": 2.0 * value}
                for kind in solve.KINDS
                for value in values
            ]

        found = solve.exponents(rows("n", (2, 4, 16), 1.5), rows("K", (8, 64), 2.5))
        assert [row["model"] for row in found] == list(solve.KINDS)
        for row in found:
            assert [row[f"recall, in {size}"] for size in "nK"] == pytest.approx([1.5, 2.5])
            assert [row[f"no recall, in {size}"] for size in "nK"] == pytest.approx([1.0, 1.0])

    def test_several_threads_of_numpy_are_told(self, monkeypatch):
        for name in harness.THREAD_VARIABLES:
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setattr(harness, "optional", lambda name: None)
        with harness.one_thread():
            (note,) = harness.thread_note()
        assert "threadpoolctl" in note
        monkeypatch.setenv("OMP_NUM_THREADS", "1")
        assert harness.thread_note() == ()

    def test_optional(self):
        assert harness.optional("json") is json
        assert harness.optional("ttamer.no_such_module") is None


class TestThreads:
    @pytest.mark.parametrize("work", threads.WORKS)
    def test_arms_are_both_kinds_of_workers(self, work):
        with threads.arms_for(work, 8, 1e-4) as (arms, calls):
            assert list(arms) == ["1 threads", "1 processes", "2 threads", "2 processes"]
            assert calls >= 1
            for run in arms.values():
                run()

    def test_a_process_that_ends_early_is_an_error(self, capfd):
        child = threads.Child("decide", -1)
        child.begin(1)
        with pytest.raises(RuntimeError, match="ended early, with code 1"):
            child.wait()
        child.close()
        assert "Traceback" in capfd.readouterr().err

    @pytest.mark.parametrize(("gil", "ending"), [(True, ""), (False, "_free")])
    def test_files_tell_whether_there_was_a_gil(self, gil, ending, tmp_path, monkeypatch):
        monkeypatch.setattr(sys, "_is_gil_enabled", lambda: gil, raising=False)
        monkeypatch.setattr(sys, "argv", ["core.py", "threads", "--tiny", "--output", str(tmp_path)])
        bench.main("", tmp_path / "results")
        content = json.loads((tmp_path / f"threads{ending}.json").read_text())
        assert content["machine"]["python"].endswith(" without a GIL") is not gil


class TestNames:
    def test_unknown_name(self):
        with pytest.raises(ValueError, match=r"^name: expected call, .* or threads, got 'speed'$"):
            bench.run("speed")

    def test_unknown_size(self):
        with pytest.raises(ValueError, match=r"^size: expected full, short or tiny, got 'huge'$"):
            bench.run("call", "huge")

    def test_importing_the_package_leaves_it_out(self):
        program = "import sys, ttamer; print('ttamer.bench' in sys.modules)"
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        assert done.stdout == "False\n"


class TestCommand:
    @pytest.fixture(autouse=True)
    def folder(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("COLUMNS", "80")
        return tmp_path

    def test_tables_fit_80_columns(self, capsys):
        assert main(["bench", "--tiny"]) == 0
        captured = capsys.readouterr()
        assert captured.err == ""
        assert "…" not in captured.out
        lines = captured.out.splitlines()
        assert lines[0].endswith(f"NumPy {np.__version__}")
        for title in ("Batch.decide on a line", "Replay of 500 requests", "Exponents of its time", "Two threads"):
            assert sum(line.startswith(title) for line in lines) == 1
        assert "The times behind" not in captured.out

    def test_only_and_json(self, folder, capsys):
        assert (
            main(["bench", "--tiny", "--only", "replay", "--only", "solve", "--only", "replay", "--json", "b.json"])
            == 0
        )
        captured = capsys.readouterr()
        assert captured.out.splitlines()[-1] == "wrote b.json"
        assert captured.out.index("Replay of") < captured.out.index("Exact solve")
        assert "decide_logits" not in captured.out
        read = json.loads((folder / "b.json").read_text())
        assert (read["size"], list(read["benchmarks"])) == ("tiny", ["replay", "solve"])
        assert set(read["benchmarks"]["solve"]) == {"title", "rows", "exponents", "over nodes"}
        assert [row["shape"] for row in read["benchmarks"]["replay"]["rows"]] == ["line"] * 2 + ["skip"] * 2

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (
                ["--only", "speed"],
                "ttamer: --only: expected call, logits, answers, solve, replay, frontier or threads, got 'speed'",
            ),
            (["--json", "no/b.json"], "ttamer: no/b.json: expected a path in an existing folder"),
            (["call"], "ttamer: Got unexpected extra argument"),
        ],
    )
    def test_bad_input(self, arguments, message, folder, capsys):
        assert main(["bench", *arguments]) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.startswith(message)
        assert captured.err.count("\n") == 1
        assert list(folder.iterdir()) == []

    def test_help_names_the_benchmarks(self, capsys):
        assert main(["bench", "--help"]) == 0
        printed = " ".join(capsys.readouterr().out.split())
        assert all(name in printed for name in bench.NAMES)
        assert "--tiny" not in printed
