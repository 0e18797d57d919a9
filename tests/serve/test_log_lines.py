"""Lines of logs: files that were cut or renamed, what JSON does not have, and what is read back."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cascades import LINE, MODEL, POLICY
from set_traces import recorded

import ttamer
from ttamer import STOP, Traces
from ttamer.serve import Cascade, Dispatcher, Flight, Log, Outcome, report


class TestLinesOfLogs:
    def test_a_log_that_is_renamed(self, tmp_path: Path) -> None:
        path = tmp_path / "log"
        with Log(path) as log:
            log.losses("a", {"0": 1.0})
            path.rename(tmp_path / "log.1")
            log.losses("b", {"0": 1.0})
            log.reopen()
            log.losses("c", {"0": 1.0})
            path.unlink()
            path.mkdir()
            with pytest.raises(OSError, match="Is a directory"):
                log.reopen()
            log.losses("d", {"0": 1.0})  # the file is gone, the log is not
        names = [json.loads(line)["request"] for line in (tmp_path / "log.1").read_text().splitlines()]
        assert names == ["a", "b"]

    def test_a_log_that_was_cut_off_goes_on(self, tmp_path: Path) -> None:
        path = tmp_path / "log"
        path.write_text('{"request": "a", "vis')
        for _ in range(2):
            with Log(path) as log:
                log.losses("a", {"0": 1.0})
        assert [line[:15] for line in path.read_text().splitlines()] == ['{"request": "a"'] * 3

    def test_models_without_scores(self, tmp_path: Path) -> None:
        """What only agreement tells is read back."""
        traces = recorded(rows=200, scores=False, context=False, classes=False, nodes=["small", "middle", "large"])
        policy = ttamer.solve(ttamer.fit(traces, estimate="sets"), 0.9)

        def node(number: int) -> Any:
            async def call(row: int, flight: Flight) -> Outcome:
                return Outcome(f"text {traces.predictions[row, number]}")

            return call

        async def serve(log: Log) -> None:
            cascade = Cascade({number: node(number) for number in range(3)}, Dispatcher(policy), shadow=1.0, log=log)
            for row in range(200):
                await cascade(row, request=str(row))
                await cascade.join()
                log.losses(str(row), {name: float(traces.losses[row, j]) for j, name in enumerate(traces.nodes or ())})

        with Log(tmp_path / "log") as log:
            asyncio.run(serve(log))
        found = Traces.from_log(tmp_path / "log", like=traces, shadowed=True)
        assert found.complete.all()
        for a, b in ((0, 1), (0, 2), (1, 2)):
            np.testing.assert_array_equal(
                found.predictions[:, a] == found.predictions[:, b],
                traces.predictions[:, a] == traces.predictions[:, b],
            )

    def test_several_units_told_and_not(self, tmp_path: Path) -> None:
        some = Traces(LINE.signals, LINE.losses, {"usd": [1, 2, 4], "ms": [1.0, 1.0, 1.0]})
        policy = ttamer.solve(ttamer.fit(some, 4), 0.9, prices={"usd": 1.0, "ms": 0.5})
        for told in (True, False):
            with Log(tmp_path / "log") as log:
                flight = Dispatcher(policy).enter()
                while flight.node != STOP:
                    cost = {"usd": np.float32(0.1), "ms": 2} if told else None
                    flight.consulted("a", 0.0, cost=cost)
                log.write(flight)
        with pytest.warns(UserWarning, match=r"^\d costs are left out: they were not told in usd, ms$"):
            found = Traces.from_log(tmp_path / "log", like=some)
        np.testing.assert_allclose(found.unit_costs["usd"][0, 0], 0.1, rtol=1e-6)
        assert np.isnan(found.unit_costs["usd"][1]).all()
        assert report(tmp_path / "log").requests == 2

    def test_answers_that_json_does_not_have(self, tmp_path: Path) -> None:
        with Log(tmp_path / "log", answers=True) as log:
            for answer in (np.arange(3), {(1, 2): "key"}, np.float32(0.5), float("-inf"), object):
                flight = Dispatcher(ttamer.solve(MODEL, 1e-6)).enter()
                flight.consulted(answer, 0.5)
                log.write(flight)
        said = [json.loads(line)["visits"][0]["said"] for line in (tmp_path / "log").read_text().splitlines()]
        assert said == ["[0 1 2]", "{(1, 2): 'key'}", 0.5, -np.inf, "<class 'object'>"]

    def test_a_request_that_is_tried_again(self, tmp_path: Path) -> None:
        """Its losses are those of every attempt."""
        with Log(tmp_path / "log") as log:
            for fails in (True, False):
                flight = Dispatcher(POLICY).enter(request="a7")
                while flight.node != STOP:
                    flight.failed("no") if fails else flight.consulted("a", 0.0)
                log.write(flight)
            log.losses("a7", {"small": 1.0})
        found = Traces.from_log(tmp_path / "log", like=LINE)
        assert found.losses[:, 0].tolist() == [1.0, 1.0]
        with open(tmp_path / "log", "a") as file:  # and one whose line was cut, with losses that came later
            file.write('{"request": "b", "pol\n' + json.dumps({"request": "b", "losses": {"small": 0.0}}) + "\n")
        with pytest.warns(UserWarning, match=r"was cut off and is left out"):
            assert len(Traces.from_log(tmp_path / "log", like=LINE)) == 2
        assert report(tmp_path / "log").requests == 2
        counted = report(tmp_path / "log")
        assert (counted.requests, counted.loss is None) == (2, counted.nodes[0].answered == 0)
