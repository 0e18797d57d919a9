"""Every program in examples runs as it stands, and says what its docstring promises."""

from __future__ import annotations

import itertools
import re
import runpy
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from helpers import random_traces
from paths import EXAMPLES

import ttamer

PROGRAMS = sorted(EXAMPLES.glob("*.py"))
WITH_TORCH = {"digits", "fashion", "language", "text"}  # tests/torch runs these, on small files of the kinds they read
BELOW = {"llm_cascade", "observed", "recall_is_necessary"}  # run with what they print
NEEDS = {
    "openai_gateway": ["fastapi", "openai", "sklearn", "uvicorn"],
    "fastapi_app": ["fastapi", "httpx", "prometheus_client", "sklearn", "uvicorn"],
}
"""What a program imports that may be missing."""


@pytest.mark.parametrize(
    "program", [path for path in PROGRAMS if path.stem not in WITH_TORCH | BELOW], ids=lambda p: p.stem
)
def test_program_runs(
    program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for package in NEEDS.get(program.stem, []):
        pytest.importorskip(package)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [str(program)])
    runpy.run_path(str(program), run_name="__main__")
    assert capsys.readouterr().out.strip()


class TestLanguageModels:
    def test_the_table_is_what_its_page_says(self) -> None:
        pytest.importorskip("pyarrow")
        table = EXAMPLES / "data" / "mmlu-pro.jsonl"
        traces = ttamer.Traces.read(table)
        assert traces.nodes == ("subject", "phi-3-mini", "yi-34b", "llama-3.1-70b")
        assert (len(traces), traces.unit) == (1800, "work")
        assert traces.complete.all()
        assert len(traces.categories[0]) == 14
        assert traces.predictions is not None
        silent = traces.predictions[:, 1:] < 0
        assert 0.05 < silent.mean() < 0.15
        assert (traces.losses[:, 1:][silent] == 1).all()
        assert "Apache License 2.0" in (table.parent / "README.md").read_text(encoding="utf-8")

    def test_says_what_is_a_tie(self, capsys: pytest.CaptureFixture[str]) -> None:
        pytest.importorskip("pyarrow")
        program = runpy.run_path(str(EXAMPLES / "llm_cascade.py"))
        program["main"]([])
        text = capsys.readouterr().out
        assert text.count("\nalways ") == 3
        intervals = re.findall(r"\[([-+.\d]+), ([-+.\d]+)\]: (.*)", text)
        assert len(intervals) == 12
        for low, high, verdict in intervals:
            assert verdict == ("less" if float(high) < 0 else "more" if float(low) > 0 else "a tie")
        assert "llama-3.1-70b is asked first about math" in text


class TestRecallIsNecessary:
    @pytest.fixture
    def program(self) -> dict[str, Any]:
        return runpy.run_path(str(next(path for path in PROGRAMS if path.stem == "recall_is_necessary")))

    def test_the_ratio_grows_like_a(self, program: dict[str, Any]) -> None:
        values = (2, 7.5, 100, 1e4)
        np.testing.assert_allclose(program["ratios"](values), values, rtol=1e-9)
        for a in values:
            assert program["prophet_loss"](a) == pytest.approx(program["expected_loss"](a, "observed"), rel=1e-9)

    def test_table_and_picture(
        self, program: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        pytest.importorskip("matplotlib", reason="the picture needs the cli extra")
        program["main"](["--output", str(tmp_path / "ratio.svg")])
        lines = capsys.readouterr().out.splitlines()
        rows = [line.split() for line in lines[1:-1]]
        assert [float(row[0]) for row in rows] == pytest.approx([float(row[4]) for row in rows], rel=1e-9)
        assert [row[2] for row in rows] == [row[3] for row in rows]  # recall and the prophet
        assert lines[-1] == f"drew {tmp_path / 'ratio.svg'}"
        assert "<svg" in (tmp_path / "ratio.svg").read_text()

    def test_without_matplotlib_there_is_a_table_and_no_picture(
        self,
        program: dict[str, Any],
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
        program["main"](["--output", str(tmp_path / "ratio.png")])
        lines = capsys.readouterr().out.splitlines()
        assert len(lines) > 10
        assert lines[-1] == "no picture: pip install matplotlib"
        assert list(tmp_path.iterdir()) == []


class TestServingLoop:
    @pytest.fixture
    def program(self) -> dict[str, Any]:
        return runpy.run_path(str(next(path for path in PROGRAMS if path.stem == "serving_loop")))

    @pytest.mark.parametrize("capacity", [1, 7])
    def test_every_request_gets_what_a_replay_gives_it(self, program: dict[str, Any], capacity: int) -> None:
        """Whatever stands beside it in the batch, and whoever had its row before."""
        traces = random_traces(ttamer.Topology.line(4), 300, seed=1)
        policy = ttamer.solve(ttamer.fit(traces, bins=8), 0.9, recall="observed")
        expected = policy.replay(traces)
        assert len(set(expected.last_node.tolist())) > 2
        arrivals = np.cumsum(np.random.default_rng(0).exponential(0.1, 300))
        batch = policy.start(capacity)
        served = program["serve"](traces, arrivals, capacity, batch.decide, batch)
        np.testing.assert_array_equal(served.last_node, expected.last_node)
        np.testing.assert_array_equal(served.answer_node, expected.answer_node)
        # Steps take as long as their costliest edge, so no request is faster than its own edges.
        assert (served.latency >= expected.cost - 1e-9).all()
        if capacity == 1:
            np.testing.assert_allclose(served.latency, queue(arrivals, expected.cost))

    def test_histogram(self, program: dict[str, Any]) -> None:
        lines = program["histogram"](np.append(np.linspace(0, 1, 999), 50.0), "ms")
        counts = [int(line.split("ms")[1].split()[0]) for line in lines]
        assert sum(counts) == 1000
        assert counts[-1] == 10
        assert max(len(re.findall("#", line)) for line in lines) == program["WIDTH"]


def queue(arrivals: npt.NDArray[np.float64], costs: npt.NDArray[np.float64]) -> list[float]:
    """Latencies of a queue that is served one after the other."""
    clock, found = 0.0, []
    for arrival, cost in zip(arrivals, costs, strict=True):
        clock = max(clock, arrival) + cost
        found.append(clock - arrival)
    return found


@pytest.fixture(scope="module")
def observed() -> dict[str, Any]:
    return runpy.run_path(str(next(path for path in PROGRAMS if path.stem == "observed")))


@pytest.fixture(scope="module")
def small(observed: dict[str, Any]) -> Any:
    """Distances of 12 instances of 7 cities, and the lengths of their shortest tours, by trying all."""
    distances = observed["distances_between"](observed["draw_cities"](12, 7, np.random.default_rng(0)))
    every = np.array([(0, *rest) for rest in itertools.permutations(range(1, 7))])
    lengths = [observed["tour_lengths"](distances, np.tile(tour, (12, 1))) for tour in every]
    return distances, np.min(lengths, axis=0)


def neighbours(tour: list[int], or_opt: bool) -> list[list[int]]:
    """Tours that one move makes of another: parts reversed, parts of up to three cities moved."""
    n = len(tour)
    found = [tour[: i + 1] + tour[i + 1 : j + 1][::-1] + tour[j + 1 :] for i in range(n) for j in range(i + 1, n)]
    for i, size in itertools.product(range(n), (1, 2, 3) if or_opt else ()):
        turned = tour[i:] + tour[:i]
        part, rest = turned[:size], turned[size:]
        found += [rest[:k] + part + rest[k:] for k in range(1, len(rest))]
    return found


class TestObserved:
    """Tours are tours, bounds are bounds, moves help, and a small run prints its tables."""

    def test_heuristics_make_tours_no_shorter_than_the_shortest(self, observed: dict[str, Any], small: Any) -> None:
        distances, shortest = small
        for heuristic in observed["heuristics"](np.random.default_rng(1)):
            tours = heuristic(distances)
            np.testing.assert_array_equal(np.sort(tours, axis=1), np.tile(np.arange(7), (12, 1)))
            assert (observed["tour_lengths"](distances, tours) >= shortest * (1 - 1e-6)).all()
        assert observed["tour_lengths"](distances, tours) == pytest.approx(shortest)  # seven cities, four restarts

    def test_bounds_are_below_the_shortest_and_close(self, observed: dict[str, Any], small: Any) -> None:
        distances, shortest = small
        first = observed["tour_lengths"](distances, observed["nearest_neighbour"](distances))
        bounds = observed["lower_bounds"](distances, first)
        assert (bounds <= shortest * (1 + 1e-6)).all()
        assert np.mean(shortest / bounds) < 1.05

    @pytest.mark.parametrize("or_opt", [False, True])
    def test_moves_are_the_best_there_are(self, observed: dict[str, Any], or_opt: bool) -> None:
        generator = np.random.default_rng(2)
        distances = observed["distances_between"](observed["draw_cities"](20, 9, generator))
        tours = generator.permuted(np.tile(np.arange(9), (20, 1)), axis=1)
        moved, improved = observed["_best_move"](distances, tours, or_opt)
        found = observed["tour_lengths"](distances, moved)
        for k, tour in enumerate(tours.tolist()):
            made = np.array(neighbours(tour, or_opt))
            best = observed["tour_lengths"](np.tile(distances[k], (len(made), 1, 1)), made).min()
            assert improved[k]
            assert found[k] == pytest.approx(best, rel=1e-5)

    @pytest.mark.parametrize("or_opt", [False, True])
    def test_a_search_ends_where_no_move_helps(self, observed: dict[str, Any], small: Any, or_opt: bool) -> None:
        tours = observed["local_search"](small[0], np.random.default_rng(3), or_opt)
        assert not observed["_best_move"](small[0], tours, or_opt)[1].any()

    def test_keeping_the_best(self, observed: dict[str, Any]) -> None:
        losses = np.array([[0.5, 0.7, 0.2], [0.1, 0.0, 0.0], [0.4, 0.5, 0.6]], np.float32)
        traces = ttamer.Traces(losses, losses, [1.0, 2.0, 4.0], observed=True)
        found = observed["keep_best"](traces, 0.3)
        assert found.last_node.tolist() == [2, 0, 2]
        assert found.answer_node.tolist() == [2, 0, 0]
        assert found.cost.tolist() == [7.0, 1.0, 7.0]
        assert found.loss == pytest.approx([0.2, 0.1, 0.4])
        assert observed["first_nodes"](traces, 1).answer_node.tolist() == [0, 1, 0]
        assert observed["first_nodes"](traces, 1).cost.tolist() == [3.0] * 3

    def test_small_run(self, observed: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
        observed["main"](["--rows", "80", "--cities", "10"])
        lines = capsys.readouterr().out.splitlines()
        assert lines[0] == "40 instances to choose on, 40 to judge on, 10 cities each"
        kinds = ("recall, optimal", "no recall, optimal", "no recall, one", "best kept, one", "best kept, first k")
        assert [sum(line.startswith(kind) for line in lines) for kind in kinds] == [1, 2, 2, 2, 2]
