"""The next policy of a log, and the whole loop: traffic changes, an alarm, a new policy, the loss comes back."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from evidence_cases import independent, nested, posterior
from paths import DATA
from set_traces import recorded

import ttamer
from ttamer import Traces
from ttamer.cli import main
from ttamer.serve import Cascade, Dispatcher, Drift, Flight, Log, Outcome, refit


def requests(rows: int, seed: int, power: float = 1.0) -> Traces:
    """Two models, the first of which is right as often as it is sure, to a power; the larger it is, the less often."""
    rng = np.random.default_rng(seed)
    sure = rng.random((rows, 2)).astype(np.float32)
    wrong = (rng.random((rows, 2)) > sure ** [power, 0.05]).astype(np.float32)
    return Traces(sure, wrong, [0.1, 0.5], unit="ct", nodes=["small", "large"])


class TestRefit:
    def test_better_where_the_old_one_knew_little(self) -> None:
        old = ttamer.solve(ttamer.fit(requests(3000, 0, power=0.1), "auto"), 0.9)
        result = refit(old, requests(1000, 1), requests(2000, 2))
        assert result.is_better
        assert (result.fitted, result.judged) == (2000, 1000)
        assert result.new[0] < result.old[0]
        assert str(result).startswith("better: loss and priced cost -")
        held = requests(4000, 3)
        worth = old.cost_scale * old.tradeoff / (1 - old.tradeoff)

        def value(policy: ttamer.Policy) -> float:
            replay = policy.replay(held)
            return replay.error + replay.mean_cost / worth

        assert value(result.policy) < value(old) - 0.01
        assert result.change[1] < value(result.policy) - value(old) < result.change[2]

    def test_the_same_traffic_is_no_reason(self) -> None:
        old = ttamer.solve(ttamer.fit(requests(4000, 0), "auto"), 0.9)
        result = refit(old, requests(1000, 1), requests(1000, 2))
        assert not result.is_better
        assert str(result).startswith("no better, as far as these requests tell: ")

    def test_worse_where_the_recording_misleads(self) -> None:
        old = ttamer.solve(ttamer.fit(requests(4000, 0), "auto"), 0.9)
        result = refit(old, requests(20000, 1, power=0.02), requests(3000, 2))
        assert result.change[1] > 0
        assert str(result).startswith("worse: ")

    @pytest.mark.parametrize("kind", ["sets", "posterior", "logit_margin"])
    def test_states_are_of_the_same_kind(self, kind: str) -> None:
        traces = recorded(rows=300) if kind == "sets" else independent(300)
        if kind == "sets":
            policy = ttamer.solve(ttamer.fit(traces, estimate="sets"), 0.9)
        elif kind == "posterior":
            policy = ttamer.solve(posterior(traces), 0.9)
        else:
            policy = ttamer.solve(ttamer.fit(traces.with_signal(kind), "auto"), 0.9)
        logged = recorded(rows=300, seed=1) if kind == "sets" else independent(300, seed=1)
        result = refit(policy, traces, logged)
        assert (result.policy.estimate, result.policy.signal) == (policy.estimate, policy.signal)
        assert result.policy.unit == policy.unit
        assert result.policy.tradeoff == pytest.approx(policy.tradeoff, rel=0.1)

    def test_in_several_units_and_at_any_cost(self) -> None:
        traces = requests(600, 0)
        several = Traces(traces.signals, traces.losses, {"usd": [0.1, 0.5], "ms": [10.0, 50.0]})
        old = ttamer.solve(ttamer.fit(several, "auto"), 0.9, prices={"usd": 1, "ms": 0.01})
        assert refit(old, several[:300], several[300:]).policy.unit == "usd + 0.01 ms"
        careless = ttamer.solve(ttamer.fit(traces, "auto"), 1.0)
        assert refit(careless, traces[:300], traces[300:]).policy.tradeoff == 1.0

    def test_what_was_certified_is_certified_again(self) -> None:
        """By the same limits, on requests that had no part in fitting it."""
        old = ttamer.tune(requests(4000, 0), max_error=0.2, max_cost_quantile=(0.5, 0.7), estimate="signal")
        assert old.guarantee is not None
        result = refit(old, requests(4000, 1, power=0.02), requests(3000, 2, power=0.02))
        assert result.broken == ()
        assert result.replaces == result.is_better
        made = result.policy.guarantee
        assert made is not None
        assert (made.limits, made.confidence) == (old.guarantee.limits, old.guarantee.confidence)
        assert (made.fitted_rows, made.tested_rows) == (5500, 1500)
        assert made.traces == requests(3000, 2, power=0.02)[1500:].digest

    def test_better_and_not_certified_replaces_nothing(self) -> None:
        easy, hard = requests(4000, 0, power=0.02), requests(3000, 2, power=8.0)
        tuned = ttamer.tune(easy, max_error=0.05, estimate="signal")
        result = refit(tuned, requests(4000, 1, power=8.0), hard)
        assert result.is_better
        assert result.broken == ("an error of at most 0.05",)
        assert not result.replaces
        assert result.policy.guarantee is None
        assert str(result).startswith("better, but not shown to keep an error of at most 0.05: loss and priced cost -")

    def test_what_was_said_to_be_impossible(self) -> None:
        tuned = ttamer.tune(requests(2000, 0), max_cost_quantile=(0.9, 0.65), max_error=0.2, estimate="signal")
        graded = requests(1000, 1)
        graded = graded._with(losses=2 * graded.losses)
        with pytest.raises(ValueError, match=r"^max_loss: expected a bound on every loss, got 1 and a loss of 2"):
            refit(tuned, requests(1000, 2), graded)

    def test_refusals(self) -> None:
        traces = requests(300, 0)
        policy = ttamer.solve(ttamer.fit(traces), 0.9)
        gaps = traces.losses.copy()
        gaps[::2] = np.nan
        with pytest.raises(
            ValueError, match=r"^logged: expected at least 100 complete requests to judge on, got 75 of"
        ):
            refit(policy, traces, traces._with(losses=gaps))
        with pytest.raises(ValueError, match=r"^newer: expected a share between 0 and 1, got 1.0$"):
            refit(policy, traces, traces, newer=1.0)
        with pytest.raises(TypeError, match=r"^logged: expected Traces, got int$"):
            refit(policy, traces, 3)  # type: ignore[arg-type]
        history = ttamer.Policy.load(DATA / "policy-history-v4.safetensors")
        forest = independent(300, forest=True)
        with pytest.raises(ValueError, match=r"^policy: expected one that can be fitted today, got estimate="):
            refit(history, forest, forest)
        with pytest.raises(ValueError, match=r"^traces: "):
            refit(policy, nested(300), nested(300))


def nodes_of(traces: Traces, now: list[Traces]) -> dict[str, Any]:
    """What the traffic of now says: rows are numbers of requests."""

    def node(number: int) -> Any:
        async def call(row: int, flight: Flight) -> Outcome:
            return Outcome(number, float(now[0].signals[row, number]))

        return call

    return {name: node(number) for number, name in enumerate(traces.nodes or ())}


def test_the_loop_closes(tmp_path: Path) -> None:
    """In the middle the small model gets worse and says nothing of it; labels of a tenth of the requests show it."""
    before, after = requests(3000, 1), requests(8000, 2, power=8.0)
    recording = requests(4000, 0)
    policy = ttamer.solve(ttamer.fit(recording[:2000], "auto"), 0.7)
    dispatcher, drift, now = Dispatcher(policy), Drift(policy, recording[2000:]), [before]
    path, served = tmp_path / "log.jsonl", []

    async def serve(cascade: Cascade, log: Log, rows: npt.ArrayLike, first: int) -> None:
        for row in np.asarray(rows).tolist():
            flight = await cascade(row, request=str(first + row))
            await cascade.join()
            served.append(flight)
            drift.saw(flight)
            if flight.is_shadowed:  # those are labelled
                labels = {name: float(now[0].losses[row, j]) for j, name in enumerate(recording.nodes or ())}
                log.losses(str(first + row), labels)
                drift.labelled(float(now[0].losses[row, flight.answer_node]))

    def error(rows: range) -> float:
        flights = served[-len(rows) :]
        return float(np.mean([after.losses[row, each.answer_node] for row, each in zip(rows, flights, strict=True)]))

    async def run() -> tuple[int, float, float]:
        with Log(path) as log:
            cascade = Cascade(nodes_of(recording, now), dispatcher, shadow=0.1, log=log, seed=0)
            await serve(cascade, log, range(3000), 0)
            assert drift.alarm is None
            now[0] = after
            start = 0
            while drift.alarm is None:
                await serve(cascade, log, range(start, start + 100), 3000)
                start += 100
            assert drift.alarm == "loss"
            alarm = start
            await serve(cascade, log, range(start, start + 3000), 3000)
            bad = error(range(start, start + 3000))
            start += 3000
            # What came since the alarm, without the old recording, which misleads now.
            share = Traces.from_log(path, like=recording, shadowed=True)
            lines = [json.loads(line) for line in path.read_text().splitlines()]
            drawn = [int(line["request"]) for line in lines if line.get("is_shadowed")]
            fresh = share[np.flatnonzero(np.array(drawn) >= 3000 + alarm)]
            result = refit(policy, fresh[: len(fresh) // 4], fresh[len(fresh) // 4 :])
            assert result.is_better
            dispatcher.swap(result.policy)
            drift.reset()
            await serve(cascade, log, range(start, start + 1500), 3000)
            return alarm, bad, error(range(start, start + 1500))

    alarm, bad, good = asyncio.run(run())
    assert alarm <= 1500
    usual = float(np.mean(policy.replay(before).loss))
    assert bad > 2 * usual
    assert good < 1.5 * usual + 0.02
    assert len(served) == len({json.loads(line)["request"] for line in path.read_text().splitlines()})


def test_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    recording, traffic = requests(1000, 0), requests(1200, 1)
    recording.save("recorded.npz")
    old = ttamer.solve(ttamer.fit(requests(3000, 2, power=0.1), "auto"), 0.9)
    old.save("old.st")

    async def serve() -> None:
        with Log("log.jsonl") as log:
            cascade = Cascade(nodes_of(recording, [traffic]), Dispatcher(old), shadow=1.0, log=log)
            for row in range(1200):
                await cascade(row, request=str(row))
                await cascade.join()
                log.losses(str(row), {"small": float(traffic.losses[row, 0]), "large": float(traffic.losses[row, 1])})

    asyncio.run(serve())
    command = ["refit", "log.jsonl", "--traces", "recorded.npz", "--policy", "old.st", "--output", "new.st"]
    assert main(command) == 0
    out = capsys.readouterr().out
    assert out.startswith("better: loss and priced cost -")
    assert out.endswith("wrote the policy to new.st\n")
    assert ttamer.Policy.load("new.st").tradeoff == pytest.approx(0.9, rel=0.01)
    again = ["refit", "log.jsonl", "--traces", "recorded.npz", "--policy", "new.st", "--output", "newer.st"]
    assert main([*again, "--json"]) == 1
    figures = json.loads(capsys.readouterr().out)
    assert (figures["better"], figures["broken"], figures["policy"], figures["judged"]) == (False, [], None, 600)
    assert not Path("newer.st").exists()
    assert main(again) == 1
    assert capsys.readouterr().out.endswith("wrote nothing\n")
