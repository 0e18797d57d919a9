"""Every program in examples runs as it stands, and says what its docstring promises."""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from helpers import random_traces

import ttamer

PROGRAMS = sorted((Path(__file__).parents[1] / "examples").glob("*.py"))
WITH_TORCH = {"digits", "fashion", "text"}  # test_torch_examples.py runs these, on small files of the kinds they read


@pytest.mark.parametrize("program", [path for path in PROGRAMS if path.stem not in WITH_TORCH], ids=lambda p: p.stem)
def test_program_runs(
    program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [str(program)])
    runpy.run_path(str(program), run_name="__main__")
    assert capsys.readouterr().out.strip()


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
