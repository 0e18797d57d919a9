"""The next policy of a log, and the whole loop: traffic changes, an alarm, a new policy, the loss comes back."""

from __future__ import annotations

import asyncio
import json
from itertools import pairwise
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
            drift.swap(result.policy, fresh)
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


def test_the_next_front(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Of a front all policies are made anew, at the same trade-offs, and it is watched as the old one was."""
    monkeypatch.chdir(tmp_path)
    recording, traffic = requests(1000, 0), requests(1200, 1)
    recording.save("recorded.npz")
    requests(3000, 2, power=0.1).save("old.npz")
    assert main(["frontier", "old.npz", "--estimate", "signal", "--front", "old.st"]) == 0
    assert "wrote the front to old.st" in capsys.readouterr().out
    old = ttamer.Front.load("old.st")
    tradeoff = old[len(old) // 2].policy.tradeoff
    dispatcher = Dispatcher(old, tradeoff=tradeoff)

    async def serve() -> None:
        with Log("log.jsonl") as log:
            cascade = Cascade(nodes_of(recording, [traffic]), dispatcher, shadow=1.0, log=log)
            for row in range(1200):
                await cascade(row, request=str(row), weight=(0.1, 1.0, 10.0)[row % 3])
                await cascade.join()
                log.losses(str(row), {"small": float(traffic.losses[row, 0]), "large": float(traffic.losses[row, 1])})

    asyncio.run(serve())
    command = ["refit", "log.jsonl", "--traces", "recorded.npz", "--policy", "old.st", "--output", "new.st"]
    assert main(command) == 2
    assert "tradeoff: expected one of a front, got None" in capsys.readouterr().err
    assert main([*command, "--tradeoff", str(tradeoff)]) == 0
    assert "wrote the front to new.st\na request of weight 1 has the trade-off 0." in capsys.readouterr().out
    new = ttamer.Front.load("new.st")

    def worth(policy: ttamer.Policy) -> float:
        return policy.cost_scale * policy.tradeoff / (1 - policy.tradeoff)

    worths = [worth(point.policy) for point in old]
    assert all(np.isclose(worth(point.policy), worths, rtol=1e-9).any() for point in new)
    figures = [(point.cost, point.error) for point in new]
    assert all(a[0] < b[0] and a[1] > b[1] for a, b in pairwise(figures))
    was = worth(dispatcher.policy_of())
    with dispatcher.watch("new.st", every=3600.0):
        # The nearest in price, whatever the scale of the new costs is.
        served = dispatcher.policy_of()
        assert dispatcher.enter().digest == Dispatcher(served).enter().digest
        distances = [abs(np.log(worth(point.policy) / was)) for point in new]
        assert abs(np.log(worth(served) / was)) == pytest.approx(min(distances))
    assert main(["show", "new.st", "--all"]) == 0
    assert "new.st" in capsys.readouterr().out
    assert main(["show", "new.st", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["points"]) == len(new)
    policy = old[0].policy
    with pytest.raises(ValueError, match=r"^tradeoff: expected None without a front, got 0.5$"):
        refit(policy, recording, traffic, tradeoff=0.5)


def test_without_labels_it_says_so() -> None:
    policy = ttamer.solve(ttamer.fit(requests(1000, 0), "auto"), 0.9)
    traffic = requests(500, 1)
    unlabelled = traffic._with(losses=np.full(traffic.losses.shape, np.nan, np.float32))
    with pytest.raises(ValueError, match=r"^logged: expected at least 100 complete requests to judge on, got 0 of 500"):
        refit(policy, requests(1000, 2), unlabelled)


def logits_of(traces: Traces) -> npt.NDArray[np.float32]:
    """Logits (N, n, C) whose evidence is that of traces that keep all classes."""
    assert traces.evidence is not None
    logits = np.zeros((*traces.signals.shape, traces.evidence.class_count), np.float32)
    np.put_along_axis(logits, traces.evidence.classes.astype(np.int64), traces.evidence.log_probs, axis=2)
    return logits


def serve_logits(policy: ttamer.Policy, traffic: Traces, path: Path, shadow: float = 1.0) -> None:
    """A log of all rows, labelled; the last one's first node fails."""
    logits = logits_of(traffic)

    def node(number: int) -> Any:
        async def call(row: int, flight: Flight) -> Outcome:
            if (row, number) == (len(traffic) - 1, 0):
                raise TimeoutError
            return Outcome(number, logits=logits[row, number])

        return call

    async def serve() -> None:
        with Log(path) as log:
            nodes = {number: node(number) for number in range(traffic.topology.nodes)}
            cascade = Cascade(nodes, Dispatcher(policy), shadow=shadow, log=log, seed=0)
            for row in range(len(traffic)):
                await cascade(row, request=str(row))
                await cascade.join()
                log.losses(str(row), {str(j): float(loss) for j, loss in enumerate(traffic.losses[row])})

    asyncio.run(serve())


class TestNetworks:
    """Of logits, which a log keeps as evidence."""

    @pytest.mark.parametrize("kind", ["posterior", "logit_margin"])
    def test_a_log_of_logits_is_evidence(self, kind: str, tmp_path: Path) -> None:
        recording, traffic = nested(400), nested(401, seed=1)
        estimated = kind == "posterior"
        model = posterior(recording) if estimated else ttamer.fit(recording.with_signal(kind), 8)
        policy = ttamer.solve(model, 0.9)
        serve_logits(policy, traffic, tmp_path / "log")
        recording.save(tmp_path / "recording.npz")
        policy.save(tmp_path / "old.st")
        like = recording if estimated else recording.with_signal(kind)
        if estimated:
            with pytest.warns(UserWarning, match=r"^1 requests are left out: evidence is kept of requests that were"):
                logged = Traces.from_log(tmp_path / "log", like=like, shadowed=True)
            assert logged.evidence is not None
            assert traffic.evidence is not None
            rows = [int(json.loads(line)["request"]) for line in (tmp_path / "log").read_text().splitlines()[::2]]
            assert rows[:-1] == list(range(400))
            np.testing.assert_array_equal(logged.evidence.classes, traffic.evidence.classes[:400])
            np.testing.assert_allclose(logged.evidence.log_probs, traffic.evidence.log_probs[:400], atol=1e-6)
            np.testing.assert_allclose(logged.signals, traffic.signals[:400], atol=1e-6)
        else:
            logged = Traces.from_log(tmp_path / "log", like=like, shadowed=True)
            assert logged.evidence is None
            seen = np.isfinite(logged.signals[:400])
            assert seen.all()
            margins = traffic.with_signal(kind).signals[:400]
            np.testing.assert_allclose(logged.signals[:400], margins, rtol=1e-5, atol=1e-6)
        result = refit(policy, recording, logged)
        assert (result.policy.estimate, result.policy.signal) == (policy.estimate, policy.signal)
        assert result.judged == 200

    def test_the_command_reads_signals_as_the_policy_does(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        recording, traffic = nested(400), nested(401, seed=1)
        policy = ttamer.solve(ttamer.fit(recording.with_signal("logit_margin"), 8), 0.9)
        serve_logits(policy, traffic, tmp_path / "log")
        recording.save(tmp_path / "recording.npz")
        policy.save(tmp_path / "old.st")
        command = ["refit", str(tmp_path / "log"), "--traces", str(tmp_path / "recording.npz")]
        main([*command, "--policy", str(tmp_path / "old.st"), "--output", str(tmp_path / "new.st"), "--json"])
        assert json.loads(capsys.readouterr().out)["judged"] == 200

    def test_evidence_that_is_none(self, tmp_path: Path) -> None:
        recording = nested(400)
        whole = [{"node": j, "cost": 1.0, "log_probs": [-0.2, -2.5, -4.0], "classes": [1, 0, 2]} for j in range(3)]
        for changes, message in (
            ({"log_probs": [-0.1]}, r"visit 2: log_probs: expected at least 3, got \(1,\)$"),
            (
                {"log_probs": ["a", "b", "c"]},
                r"visit 2: log_probs: expected \(>= 3,\) numbers, got \(3,\) text$",
            ),
            (
                {"classes": [0.5, 1.5, 2.5]},
                r"visit 2: classes: expected \(>= 3,\) numbers, got \(3,\) float64$",
            ),
            ({"classes": [0, 1, 7]}, r"classes: expected 0..2, got 7 at row 0, node 2$"),
            ({"log_probs": [-3.0, -2.0, -1.0]}, r"log_probs: expected a descending order"),
        ):
            (tmp_path / "log").write_text(json.dumps({"visits": [*whole[:2], whole[2] | changes]}) + "\n")
            with pytest.raises(ValueError, match=message):
                Traces.from_log(tmp_path / "log", like=recording)
        lines = [{"visits": whole}, {"visits": [{"node": 0, "signal": 0.5, "cost": 1.0}]}]
        (tmp_path / "log").write_text("".join(json.dumps(line) + "\n" for line in lines))
        with pytest.raises(ValueError, match=r"log_probs: expected those of all requests or of none, got some"):
            Traces.from_log(tmp_path / "log", like=recording)
