"""The asyncio loop: answers of a replay, timeouts, failures, cancellation, deadlines, shadows, records."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cascades import LINE, MODEL, POLICY, hang, node_of, nodes_of
from helpers import random_model
from set_traces import recorded

import ttamer
from ttamer import STOP, Topology, Traces
from ttamer.serve import AllFailed, Cascade, Dispatcher, Flight, Log, Outcome


def test_many_at_once_are_served_as_replayed() -> None:
    replay = POLICY.replay(LINE)
    decisions: list[int] = []
    cascade = Cascade(nodes_of(LINE), Dispatcher(POLICY), on_decision=lambda flight: decisions.append(flight.node))

    async def serve() -> list[Flight]:
        return await asyncio.gather(*(cascade(row) for row in range(len(LINE))))

    flights = asyncio.run(serve())
    assert [flight.answer for flight in flights] == [(node, row) for row, node in enumerate(replay.answer_node)]
    np.testing.assert_allclose([flight.cost for flight in flights], replay.cost)
    assert len(decisions) == sum(len(flight.visits) for flight in flights)


def test_several_models_with_a_context() -> None:
    traces = recorded(rows=150, nodes=["small", "middle", "large"])
    policy = ttamer.solve(ttamer.fit(traces, estimate="sets"), 0.95)
    calls = nodes_of(traces)
    del calls[(traces.nodes or ())[0]]
    cascade = Cascade(calls, Dispatcher(policy))

    async def serve() -> list[Flight]:
        contexts = [{name: column[row] for name, column in traces.context.items()} for row in range(60)]
        return [await cascade(row, context=context) for row, context in enumerate(contexts)]

    assert [flight.answer_node for flight in asyncio.run(serve())] == policy.replay(traces[:60]).answer_node.tolist()


def test_logs_of_several_models_are_traces_again(tmp_path: Path) -> None:
    """Everything that was told, in whatever order: with all requests shadowed, all that was recorded."""
    traces = recorded(rows=120, nodes=["small", "middle", "large"])
    policy = ttamer.solve(ttamer.fit(traces, estimate="sets"), 0.95)
    calls = nodes_of(traces)
    del calls[(traces.nodes or ())[0]]

    async def serve() -> None:
        with Log(tmp_path / "log.jsonl") as log:
            cascade = Cascade(calls, Dispatcher(policy), shadow=1.0, log=log)
            for row in range(len(traces)):
                await cascade(row, context={name: column[row] for name, column in traces.context.items()})
                await cascade.join()
        lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
        with Log(tmp_path / "log.jsonl") as log:
            for row, line in enumerate(lines):
                log.losses(
                    line["request"],
                    {name: float(traces.losses[row, j]) for j, name in enumerate(traces.nodes or ()) if j},
                )

    asyncio.run(serve())
    logged = Traces.from_log(tmp_path / "log.jsonl", like=traces)
    for name in ("signals", "losses", "predictions", "request_reach_costs"):
        np.testing.assert_allclose(getattr(logged, name), getattr(traces, name), rtol=1e-6)
    assert (logged.independent, logged.answer_classes, logged.nodes) == (True, True, traces.nodes)
    for name, column in traces.context.items():
        np.testing.assert_array_equal(logged.context[name], column)


def test_failures_and_timeouts() -> None:
    class Refused(Exception):
        cost = 0.5

    async def refuse(request: int, flight: Flight) -> Outcome:
        raise Refused("rate limit")

    async def hang(request: int, flight: Flight) -> Outcome:
        await asyncio.sleep(60)
        raise AssertionError("nobody waits so long")

    calls = nodes_of(LINE, small=refuse, middle=hang)
    cascade = Cascade(calls, Dispatcher(POLICY, model=MODEL), timeouts={"middle": 0.01})
    flight = asyncio.run(cascade(0))
    assert (flight.answer, flight.reason) == ((2, 0), "failure")
    assert [type(visit.error).__name__ for visit in flight.visits] == ["Refused", "TimeoutError", "NoneType"]
    assert flight.visits[0].cost == 0.5


def test_all_failed_is_recorded_and_raised(tmp_path: Path) -> None:
    async def refuse(request: int, flight: Flight) -> Outcome:
        raise ConnectionError("gone")

    with Log(tmp_path / "log.jsonl") as log:
        cascade = Cascade(dict.fromkeys(LINE.nodes or (), refuse), Dispatcher(POLICY), log=log)
        with pytest.raises(AllFailed, match="^no node answered: small: ConnectionError: gone; middle"):
            asyncio.run(cascade(0))
    (line,) = (tmp_path / "log.jsonl").read_text().splitlines()
    assert json.loads(line)["answer_node"] is None


def test_cancellation_leaves_nothing_behind() -> None:
    ended: list[str] = []

    async def hang(request: int, flight: Flight) -> Outcome:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append("node")
        raise AssertionError("nobody waits so long")

    async def serve() -> int:
        cascade = Cascade(dict.fromkeys(LINE.nodes or (), hang), Dispatcher(POLICY), timeouts={"small": 30.0})
        task = asyncio.ensure_future(cascade(0))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return len(asyncio.all_tasks())

    assert asyncio.run(serve()) == 1  # this one
    assert ended == ["node"]


def test_a_node_that_overruns_the_deadline_is_left() -> None:
    async def hang(request: int, flight: Flight) -> Outcome:
        await asyncio.sleep(60)
        raise AssertionError("nobody waits so long")

    policy = ttamer.solve(MODEL, 0.999)
    cascade = Cascade(nodes_of(LINE, middle=hang, large=hang), Dispatcher(policy, model=MODEL, seconds={"large": 9.0}))
    row = int(np.flatnonzero(policy.replay(LINE).last_node > 0)[0])
    flight = asyncio.run(cascade(row, deadline=0.05))
    assert (flight.answer, flight.reason) == ((0, row), "deadline")
    assert flight.seconds < 5


def test_shadows_ask_all_and_are_read_back(tmp_path: Path) -> None:
    async def serve() -> None:
        with Log(tmp_path / "log.jsonl") as log:
            cascade = Cascade(nodes_of(LINE), Dispatcher(POLICY), shadow=0.5, log=log, seed=0)
            for row in range(40):
                flight = await cascade(row)
                assert flight.answer == (POLICY.replay(LINE[row : row + 1]).answer_node[0], row)
            await cascade.join()
            flight.request = "again"
            log.losses("again", {"large": 0.0})  # also before the request itself
            assert log.write(flight, {"small": 1.0}) == "again"

    asyncio.run(serve())
    traces = Traces.from_log(tmp_path / "log.jsonl", Topology.line(3), nodes=LINE.nodes)
    assert len(traces) == 41
    everything = (~np.isnan(traces.signals)).all(axis=1)
    assert 8 <= everything[:40].sum() < 40
    assert traces.losses[-1, [0, 2]].tolist() == [1.0, 0.0]
    assert np.isnan(traces.losses[:-1]).all()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (
            {"nodes": {"small": None}},
            ValueError,
            "nodes: expected a function for each node, got none for middle, large",
        ),
        ({"nodes": nodes_of(LINE, extra=None)}, ValueError, "nodes: expected one of small, middle, large, got 'extra'"),
        ({"dispatcher": POLICY}, TypeError, "dispatcher: expected a Dispatcher, got Policy"),
        ({"timeouts": {"small": 0.0}}, ValueError, r"timeouts\['small'\]: expected more than 0 seconds, got 0"),
        ({"timeouts": {7: 1.0}}, IndexError, "timeouts: expected 0 to 2, got 7"),
        ({"shadow": 1.5}, ValueError, "shadow: expected a share from 0 to 1, got 1.5"),
        ({"log": "log.jsonl"}, TypeError, "log: expected a Log, got str"),
        ({"metrics": "metrics"}, TypeError, "metrics: expected Metrics, got str"),
    ],
)
def test_refusals(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=f"^{message}"):
        Cascade(**{"nodes": nodes_of(LINE), "dispatcher": Dispatcher(POLICY), **arguments})


def test_logs_refuse_what_is_no_loss(tmp_path: Path) -> None:
    flight = Dispatcher(ttamer.solve(random_model(Topology.line(2), 3, 0), 0.1)).enter()
    with Log(tmp_path / "log.jsonl") as log:
        with pytest.raises(ValueError, match=r"^losses\['a'\]: expected a finite number >= 0, got -1.0$"):
            log.write(flight, losses={"a": -1.0})
        with pytest.raises(TypeError, match=r"^losses: expected a mapping of nodes to losses, got list$"):
            log.losses("x", [1.0])  # type: ignore[arg-type]
        with pytest.raises(TypeError, match=r"^flight: expected a Flight, got int$"):
            log.write(3)  # type: ignore[arg-type]
    assert (tmp_path / "log.jsonl").read_text() == ""


class TestNothingIsLost:
    """An answered request stays answered and logged, whatever else goes wrong."""

    def serve(self, tmp_path: Path, calls: dict[str, Any], **options: Any) -> tuple[Flight, list[dict[str, Any]]]:
        async def run() -> Flight:
            with Log(tmp_path / "log.jsonl", answers=True) as log:
                cascade = Cascade(
                    calls, Dispatcher(ttamer.solve(MODEL, 0.999), model=MODEL), log=log, seed=0, **options
                )
                flight = await cascade(0)
                await cascade.join()
                return flight

        flight = asyncio.run(run())
        return flight, [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]

    @pytest.mark.parametrize(
        ("outcome", "error"),
        [
            ("text", "TypeError: expected an Outcome, got str"),
            (Outcome("a", float("nan")), "ValueError: signal: expected a number, got NaN; tell failed"),
            (Outcome("a", 0.5, cost=-1.0), "ValueError: cost: expected a finite number >= 0, got -1.0"),
        ],
    )
    def test_what_cannot_be_used_is_a_failure(self, tmp_path: Path, outcome: Any, error: str) -> None:
        async def odd(payload: int, flight: Flight) -> Any:
            return outcome

        flight, (line,) = self.serve(tmp_path, nodes_of(LINE, middle=odd))
        assert flight.answer_node in (0, 2)
        assert line["visits"][1]["error"].startswith(error)

    def test_callbacks_and_logs_that_fail(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        def complain(flight: Flight) -> None:
            raise RuntimeError("no")

        flight, (line,) = self.serve(tmp_path, nodes_of(LINE), on_decision=complain)
        assert flight.answer is not None
        assert line["request"] == flight.request
        assert "after an answer to request" in caplog.text
        closed = Log(tmp_path / "closed.jsonl")
        closed.close()
        cascade = Cascade(nodes_of(LINE), Dispatcher(POLICY), log=closed)
        assert asyncio.run(cascade(0)).answer is not None

    def test_a_cancelled_request_is_recorded(self, tmp_path: Path) -> None:
        async def hang(payload: int, flight: Flight) -> Outcome:
            await asyncio.sleep(60)
            raise AssertionError("nobody waits so long")

        async def run() -> None:
            with Log(tmp_path / "log.jsonl") as log:
                cascade = Cascade(nodes_of(LINE, middle=hang), Dispatcher(ttamer.solve(MODEL, 0.999)), log=log)
                task = asyncio.ensure_future(cascade(0, request="gone"))
                await asyncio.sleep(0.02)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task

        asyncio.run(run())
        (line,) = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
        assert (line["request"], line["reason"], len(line["visits"])) == ("gone", "cancelled", 1)

    def test_answers_and_contexts_of_any_kind(self, tmp_path: Path) -> None:
        class Odd:
            def __str__(self) -> str:
                return "odd"

        async def odd(payload: int, flight: Flight) -> Outcome:
            return Outcome(Odd(), 0.1)

        flight, (line,) = self.serve(tmp_path, nodes_of(LINE, small=odd), shadow=1.0)
        assert line["visits"][0]["said"] == "odd"
        assert [visit.answer for visit in flight.visits][1:] == [(1, 0), (2, 0)]
        assert line["is_shadowed"]


def test_the_random_share_is_kept_apart(tmp_path: Path) -> None:
    async def serve() -> None:
        with Log(tmp_path / "log.jsonl") as log:
            cascade = Cascade(nodes_of(LINE), Dispatcher(ttamer.solve(MODEL, 0.999)), shadow=0.3, log=log, seed=0)
            for row in range(60):
                await cascade(row, request=str(row))
            await cascade.join()
            for row in range(60):
                log.losses(str(row), {name: float(LINE.losses[row, j]) for j, name in enumerate(LINE.nodes or ())})

    asyncio.run(serve())
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    drawn = [int(line["request"]) for line in lines if line.get("is_shadowed")]
    share = Traces.from_log(tmp_path / "log.jsonl", like=LINE, shadowed=True)
    assert len(share) == len(drawn)
    assert 8 <= len(drawn) <= 28
    assert share.complete.all()
    np.testing.assert_allclose(share.signals, LINE.signals[drawn])
    np.testing.assert_array_equal(share.losses, LINE.losses[drawn])
    everything = Traces.from_log(tmp_path / "log.jsonl", like=LINE)
    assert len(everything) == 60
    assert len(drawn) < everything.complete.sum()  # who asked all nodes anyway is no random share


def test_a_log_is_of_the_same_cascade(tmp_path: Path) -> None:
    """Names of categories, kinds of signals, and nodes that cannot answer."""
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 3, 400)
    signals = np.stack([codes, rng.random(400), rng.random(400)], axis=1).astype(np.float32)
    losses = (rng.random((400, 3)) > [0.3, 0.5, 0.9]).astype(np.float32)
    losses[:, 0] = np.inf
    traces = Traces(signals, losses, np.full(3, 0.02), categories={0: ["maths", "law", "art"]}, nodes=LINE.nodes)
    policy = ttamer.solve(ttamer.fit(traces, 4), 0.95)
    dispatcher = Dispatcher(policy)
    with Log(tmp_path / "log.jsonl") as log:
        for row in range(60):
            flight = dispatcher.enter(request=str(row))
            while flight.node != ttamer.STOP:
                signal = ["maths", "law", "art"][codes[row]] if flight.node == 0 else float(signals[row, flight.node])
                flight.consulted(None, signal if row or flight.node else "unseen")
            log.write(flight)
    found = Traces.from_log(tmp_path / "log.jsonl", like=traces)
    assert set(found.categories[0]) == {"maths", "law", "art", "other"}
    assert found.probes == (0,)
    names = np.array(found.categories[0])[found.signals[1:, 0].astype(int)]
    np.testing.assert_array_equal(names, np.array(["maths", "law", "art"])[codes[1:60]])
    (traces + found)[:400]


def test_a_log_has_a_kind_of_signals(tmp_path: Path) -> None:
    traces = LINE._with(signal="margin")
    flight = Dispatcher(ttamer.solve(ttamer.fit(traces, 6), 0.9)).enter()
    flight.consulted("a", 0.5)
    with Log(tmp_path / "log.jsonl") as log:
        log.write(flight)
    assert Traces.from_log(tmp_path / "log.jsonl", like=traces).signal == "margin"
    with pytest.raises(ValueError, match=r"signal: expected 'entropy', as before, got \['margin'\]$"):
        Traces.from_log(tmp_path / "log.jsonl", like=LINE._with(signal="entropy"))


def test_shadows_before_a_resume_are_read(tmp_path: Path) -> None:
    flight = Dispatcher(ttamer.solve(random_model(Topology.skip(3), 3, 0), 1e-6)).enter()
    flight.consulted("a", 1.0)
    flight.is_shadowed = True
    flight.shadowed(2, "c", 0.5, cost=1.0)
    flight.resume(1)
    flight.consulted("b", 1.0)
    with Log(tmp_path / "log.jsonl") as log:
        log.write(flight)
    traces = Traces.from_log(tmp_path / "log.jsonl", Topology.skip(3))
    assert np.isfinite(traces.signals).all()
    assert np.nansum(traces.paid_costs) == pytest.approx(flight.cost + 1.0)


def test_shadows_do_not_ask_nodes_that_are_down() -> None:
    asked: list[int] = []

    def spy(node: int) -> Callable[[int, Flight], Awaitable[Outcome]]:
        async def call(payload: int, flight: Flight) -> Outcome:
            asked.append(node)
            return Outcome("a", 0.9999)

        return call

    dispatcher = Dispatcher(ttamer.solve(MODEL, 1e-6), model=MODEL)
    dispatcher.down("large")

    async def serve() -> None:
        cascade = Cascade({node: spy(node) for node in range(3)}, dispatcher, shadow=1.0)
        flight = await cascade(0)
        await cascade.join()
        with pytest.raises(ValueError, match=r"^resume: expected a node that is up, large is down$"):
            flight.resume("large")

    asyncio.run(serve())
    assert asked == [0, 1]


class TestWhatCannotBeUsed:
    """A node whose outcomes are of no use fails at every request: it is paid, and somebody is told."""

    @pytest.mark.parametrize("signal", [float("nan"), None, True, np.True_, "sure", np.zeros(())])
    def test_it_is_paid_and_warned_of_once(self, signal: Any, caplog: pytest.LogCaptureFixture) -> None:
        async def small(request: int, flight: Flight) -> Outcome:
            return Outcome("a", signal, cost=7.0)

        cascade = Cascade(nodes_of(LINE, small=small), Dispatcher(POLICY, model=MODEL), seed=0)
        with caplog.at_level("WARNING", "ttamer.serve"):
            for row in range(3):
                flight = asyncio.run(cascade(row))
                assert flight.visits[0].cost == 7.0
                assert flight.reason == "failure"
        assert len(caplog.records) == 1
        assert caplog.records[0].message.startswith("what small returns cannot be used, it counts as failed: ")

    @pytest.mark.parametrize(
        ("outcome", "message"),
        [
            (0.5, "expected an Outcome, got float"),
            (None, "expected an Outcome, got NoneType"),
            (("a", 0.5), "expected an Outcome, got tuple"),
            (Outcome("a", 0.5, cost="dear"), "cost: expected a number, got str"),  # type: ignore[arg-type]
        ],
    )
    def test_without_a_cost_it_is_what_the_policy_expects(self, outcome: Any, message: str) -> None:
        async def small(request: int, flight: Flight) -> Any:
            return outcome

        flight = asyncio.run(Cascade(nodes_of(LINE, small=small), Dispatcher(POLICY, model=MODEL))(0))
        assert str(flight.causes["small"]) == message
        assert flight.visits[0].cost == POLICY.costs[0]

    def test_functions_that_are_not_asynchronous(self) -> None:
        nodes = nodes_of(LINE, small=lambda request, flight: Outcome("a", 0.5, cost=0.7))
        flight = asyncio.run(Cascade(nodes, Dispatcher(POLICY, model=MODEL))(0))
        assert flight.visits[0].cost == 0.7
        assert str(flight.causes["small"]) == "expected an asynchronous function, got one that returned Outcome"

    def test_costs_of_exceptions(self) -> None:
        """Of any kind that costs may have; one that is none is what the policy expects."""
        some = Traces(LINE.signals, LINE.losses, {"usd": [1, 2, 4], "ms": [1.0, 1.0, 1.0]})
        prices = {"usd": 1.0, "ms": 0.5}
        policy = ttamer.solve(ttamer.fit(some, 4), 0.9, prices=prices)
        for cost, expected in ((np.float32(0.5), 0.5), ({"usd": 1.0, "ms": 3}, 2.5), (-1.0, 1.5), (None, 1.5)):

            async def refuse(request: int, flight: Flight, cost: Any = cost) -> Outcome:
                error = OSError("no")
                error.cost = cost  # type: ignore[attr-defined]
                raise error

            calls = {number: node_of(LINE, number) for number in range(3)} | {0: refuse}
            assert asyncio.run(Cascade(calls, Dispatcher(policy))(0)).visits[0].cost == expected


def test_a_node_that_cancels_the_request() -> None:
    async def leave(request: int, flight: Flight) -> Outcome:
        flight.cancel()
        return Outcome("a", 0.5)

    async def refuse(request: int, flight: Flight) -> Outcome:
        flight.cancel()
        raise OSError("no")

    for node in (leave, refuse):
        with pytest.raises(AllFailed):
            asyncio.run(Cascade(nodes_of(LINE, small=node), Dispatcher(POLICY))(0))


def test_one_timeout_for_all() -> None:
    cascade = Cascade(dict.fromkeys(("small", "middle", "large"), hang), Dispatcher(POLICY), timeouts=0.01)
    with pytest.raises(AllFailed, match=r"small: TimeoutError: no answer within 0.01 s; middle"):
        asyncio.run(cascade(0))
    with pytest.raises(TypeError, match=r"^timeouts: expected a number, got str$"):
        Cascade(nodes_of(LINE), Dispatcher(POLICY), timeouts="long")  # type: ignore[arg-type]


def test_a_timeout_of_the_node_is_told_as_it_is() -> None:
    async def late(request: int, flight: Flight) -> Outcome:
        raise TimeoutError("the database")

    cascade = Cascade(nodes_of(LINE, small=late), Dispatcher(POLICY, model=MODEL), timeouts={"small": 5.0})
    assert str(asyncio.run(cascade(0)).causes["small"]) == "the database"

    class Dear(TimeoutError):
        cost = 0.5

    async def dear(request: int, flight: Flight) -> Outcome:
        raise Dear

    cascade = Cascade(nodes_of(LINE, small=dear), Dispatcher(POLICY, model=MODEL), timeouts={"small": 5.0})
    assert asyncio.run(cascade(0)).visits[0].cost == 0.5


@pytest.mark.skipif(sys.version_info < (3, 11), reason="Python 3.10 does not tell who is cancelled")
def test_a_node_whose_own_work_is_cancelled_fails() -> None:
    async def cancelled(request: int, flight: Flight) -> Outcome:
        task = asyncio.ensure_future(hang(request, flight))
        await asyncio.sleep(0)
        task.cancel()
        return await task

    cascade = Cascade(nodes_of(LINE, small=cancelled), Dispatcher(POLICY, model=MODEL))

    async def swallow() -> Flight:
        """Also in a task that was cancelled once, and went on."""
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(0)
        return await cascade(0)

    assert asyncio.run(swallow()).reason == "failure"
    flight = asyncio.run(cascade(0))
    assert flight.reason == "failure"

    async def shadowed() -> Flight:
        nodes = nodes_of(LINE, middle=cancelled)
        cascade = Cascade(nodes, Dispatcher(ttamer.solve(MODEL, 1e-6)), shadow=1.0)
        flight = await cascade(0)
        await cascade.join()
        return flight

    visits = asyncio.run(shadowed()).visits
    assert [(visit.node, visit.shadow, visit.error is None) for visit in visits] == [
        (0, False, True),
        (1, True, False),
        (2, True, True),
    ]
    assert str(flight.causes["small"]) == "what the node waited for was cancelled"


def test_a_resume_while_shadows_are_under_way(tmp_path: Path) -> None:
    """Who resumes a request tells the rest, and logs it."""
    gate = asyncio.Event()

    async def slow(request: int, flight: Flight) -> Outcome:
        await gate.wait()
        return Outcome("late", 0.5)

    hasty = ttamer.solve(MODEL, 1e-6)

    async def serve(log: Log) -> None:
        cascade = Cascade(nodes_of(LINE, middle=slow, large=slow), Dispatcher(hasty), shadow=1.0, log=log)
        flight = await cascade(0)
        await asyncio.sleep(0)
        flight.resume()
        gate.set()
        await cascade.join()
        assert [visit.shadow for visit in flight.visits] == [False]
        flight.consulted("b", 0.5)
        if flight.node != STOP:
            flight.consulted("c", 0.5)
        log.write(flight)

    async def serve_on(log: Log) -> None:
        """Resumed, told and stopped again before the shadow's answer comes."""
        gate.clear()
        cascade = Cascade(nodes_of(LINE, middle=slow, large=slow), Dispatcher(hasty), shadow=1.0, log=log)
        flight = await cascade(0)
        await asyncio.sleep(0)
        flight.resume()
        while flight.node != STOP:
            flight.consulted("b", 1.0)
        gate.set()
        await cascade.join()
        assert not any(visit.shadow for visit in flight.visits)
        log.write(flight)

    with Log(tmp_path / "log") as log:
        asyncio.run(serve(log))
        gate = asyncio.Event()
        asyncio.run(serve_on(log))
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert [line["reason"] for line in lines] == ["override"] * 2
