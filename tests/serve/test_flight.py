"""Flights: the same decisions as a replay, and what happens when nodes fail, requests are late or users want more."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from evidence_cases import independent, nested, posterior
from helpers import random_model, random_traces
from hypothesis import given
from hypothesis import strategies as st
from set_traces import recorded

import ttamer
from ttamer import STOP, Policy, Topology, Traces
from ttamer.model.failing import failing
from ttamer.serve import AllFailed, Dispatcher, Flight, NodeDown
from ttamer.serve.plan import MOST_PLANS, Plan

SHAPES = [Topology.line(4), Topology.skip(4), Topology.forest([-1, -1, 0, 1])]


def tell(flight: Flight, traces: Traces, row: int) -> None:
    """What a row recorded of the node that the flight asks for."""
    node = flight.node
    edge = {j: e for e, (_, j) in reversed(list(enumerate(traces.topology.edges.tolist())))}[node]
    if flight.visits and traces.topology.kind != "forest":
        pairs = [tuple(pair) for pair in traces.topology.edges.tolist()]
        edge = pairs.index((flight.visits[-1].node, node)) if not traces.independent else edge
    cost = float(np.atleast_2d(traces.paid_costs)[row if traces.paid_costs.ndim > 1 else 0, edge])
    answer = None if traces.predictions is None else int(traces.predictions[row, node])
    signal = float(traces.signals[row, node])
    if traces.independent:
        flight.consulted(answer, None if signal < -1e38 else signal, label=answer, cost=cost)
    else:
        flight.consulted((node, row), signal, cost=cost)


def fly(dispatcher: Dispatcher, traces: Traces, row: int, **options: Any) -> Flight:
    flight = dispatcher.enter(**options)
    while flight.node != STOP:
        tell(flight, traces, row)
    return flight


def same_as_replay(policy: Policy, traces: Traces, **options: Any) -> None:
    dispatcher = Dispatcher(policy)
    result = policy.replay(traces)
    for row in range(len(traces)):
        context = {name: column[row] for name, column in traces.context.items()} or None
        flight = fly(dispatcher, traces, row, context=context, **options)
        assert (flight.answer_node, flight.reason) == (result.answer_node[row], "policy")
        assert flight.visits[-1].node == result.last_node[row]
        assert flight.cost == pytest.approx(result.cost[row], rel=1e-12)


class TestDecisions:
    @given(st.integers(0, 2**16), st.sampled_from(SHAPES), st.booleans(), st.sampled_from([0.4, 0.8, 0.97]))
    def test_signals(self, seed: int, topology: Topology, observed: bool, tradeoff: float) -> None:
        traces = random_traces(topology, 40, seed, observed=observed)
        same_as_replay(ttamer.solve(ttamer.fit(traces, 6), tradeoff), traces)

    @pytest.mark.parametrize("estimate", ["sets", "chains"])
    def test_everything_seen(self, estimate: str) -> None:
        traces = recorded(rows=150)
        for tradeoff in (0.5, 0.9, 0.99):
            same_as_replay(ttamer.solve(ttamer.fit(traces, estimate=estimate), tradeoff), traces[:])

    @pytest.mark.parametrize("kind", ["posterior", "signal"])
    def test_logits(self, kind: str) -> None:
        traces = nested(200)
        policy = ttamer.solve(ttamer.fit(traces.with_signal("margin"), 8, kind), 0.9)
        held = nested(60, seed=1)
        logits = np.zeros((60, 3, 3), np.float32)
        assert held.evidence is not None
        np.put_along_axis(logits, held.evidence.classes.astype(np.int64), held.evidence.log_probs, axis=2)
        result, dispatcher, same = policy.replay(held), Dispatcher(policy), 0
        for row in range(60):
            flight = dispatcher.enter()
            while flight.node != STOP:
                flight.consulted(logits=logits[row, flight.node])
            same += flight.answer_node == result.answer_node[row]
        assert same >= 59  # a signal that lies on the edge of a bin may fall on either side

    def test_a_router_that_is_asked_first_is_no_context(self) -> None:
        rng = np.random.default_rng(0)
        hard = rng.random(1500)
        losses = np.stack([np.full(1500, np.inf), rng.random(1500) < 0.9 * hard, rng.random(1500) < 0.1], axis=1)
        scores = np.stack([1 - hard, rng.random(1500), rng.random(1500)], axis=1)
        traces = Traces.from_models(losses, [0.05, 1.0, 4.0], scores=scores, nodes=["router", "small", "large"])
        policy = ttamer.solve(ttamer.fit(traces, estimate="sets"), 0.9)
        assert policy.first_node == 0
        dispatcher = Dispatcher(policy)
        assert (dispatcher.context_nodes, dispatcher.enter().name) == ((), "router")
        same_as_replay(policy, traces[:150])

    def test_answers_and_labels_are_numbers_of_their_own(self) -> None:
        """Ints are kept as they are; other answers are numbered apart from them."""
        rng = np.random.default_rng(0)
        answers = rng.integers(0, 3, (200, 2))
        traces = Traces.from_models(rng.random((200, 2)) < 0.4, [1.0, 2.0], answers=answers, classes=False)
        dispatcher = Dispatcher(ttamer.solve(ttamer.fit(traces, estimate="sets"), 1.0))
        for said, labels in ((("a", "a"), None), ((7, 0), (7, 0)), (("a", 5), None), ((5, "a"), None)):
            flight = dispatcher.enter()
            for answer in said:
                if flight.node != STOP:
                    flight.consulted(answer)
            codes = [visit.label for visit in flight.visits]
            if len(codes) == 2:
                assert (codes[0] == codes[1]) == (said[0] == said[1])
            assert labels is None or codes == list(labels[: len(codes)])
        with pytest.raises(ValueError, match=r"^label: expected at most 1073741823, got 1099511627776$"):
            dispatcher.enter().consulted("a", label=2**40)

    def test_categories_and_silent_nodes(self) -> None:
        names = np.array(["low", "high"])
        rng = np.random.default_rng(0)
        kind, easy = rng.integers(0, 2, 300), rng.random(300) < 0.5
        signals = np.stack([kind, np.zeros(300)], axis=1).astype(np.float32)
        losses = np.stack([kind & ~easy, np.zeros(300)], axis=1).astype(np.float32)
        traces = Traces(signals, losses, [0.1, 0.3], categories={0: names.tolist()}, nodes=["small", "person"])
        dispatcher = Dispatcher(ttamer.solve(ttamer.fit(traces, 4), 0.9))
        flight = dispatcher.enter()
        assert (flight.name, flight.consulted("a", "low"), flight.answer) == ("small", STOP, "a")
        flight = dispatcher.enter()
        assert (flight.consulted("a", "high"), flight.name) == (1, "person")
        assert (flight.consulted("b"), flight.answer, flight.answers) == (STOP, "b", {"small": "a", "person": "b"})
        with pytest.raises(ValueError, match=r"^signal: expected a number, which node small is judged by, got None$"):
            dispatcher.enter().consulted("a")

    def test_expected_costs_are_those_of_the_policy(self) -> None:
        policy = ttamer.solve(random_model(Topology.skip(3), 3, 0), 0.99)
        flight = Dispatcher(policy).enter()
        path = [-1]
        while flight.node != STOP:
            path.append(flight.node)
            flight.consulted(signal=1.0)
        edges = [tuple(edge) for edge in policy.steps.edges.tolist()]
        expected = sum(policy.costs[edges.index(pair)] for pair in pairwise(path))
        assert flight.cost == pytest.approx(expected)


LINE = random_traces(Topology.line(3), 500, 3)
MODEL = ttamer.fit(LINE, 6)


class TestFailures:
    @pytest.mark.parametrize("recall", ["none", "observed"])
    @pytest.mark.parametrize("silent", [0, 1, 2])
    def test_a_line_goes_on_by_an_optimal_policy_for_that(self, silent: int, recall: str) -> None:
        """The same as serving that policy from the start, with what was told before."""
        policy = ttamer.solve(MODEL, 0.9, recall)
        other = ttamer.solve(failing(MODEL, [silent]), 0.9, recall)
        dispatcher = Dispatcher(policy, model=MODEL)
        for row in range(60):
            flight = dispatcher.enter()
            while flight.node not in (STOP, silent):
                tell(flight, LINE, row)
            if flight.node == STOP:
                continue
            flight.failed(TimeoutError("late"), cost=0.25)
            paid, following = flight.cost, flight.node
            batch, expected = other.start(1), other.first_node
            for node in range(silent + 1):
                if expected == STOP:
                    batch.resume(node - 1)
                signal = LINE.signals[[row], node] if node < silent else np.zeros(1, np.float32)
                expected = int(batch.decide(node, signal)[0])
            assert following == expected
            while flight.node != STOP:
                tell(flight, LINE, row)
            assert paid == pytest.approx(sum(visit.cost for visit in flight.visits[: silent + 1]))
            assert flight.reason == "failure"
            assert flight.answer_node != silent
            assert flight.visits[silent].error is not None

    def test_a_node_in_the_middle_of_a_recorded_line(self) -> None:
        """An easy policy for what is left does far better than the best answer so far."""
        import ttamer.data

        workload = ttamer.data.load("fashion-vgg")
        costs = workload.calibration.reach_costs
        line = [costs[0], costs[2] - costs[0], costs[7] - costs[2]]
        known, held = (part.path([0, 2, 7], line)[:2000] for part in (workload.calibration, workload.test))
        model = ttamer.fit(known)
        dispatcher = Dispatcher(ttamer.solve(model, 0.9), model=model)
        losses, first = [], []
        for row in range(1000):
            flight = dispatcher.enter()
            while flight.node != STOP:
                if flight.node == 1:
                    flight.failed("down")
                else:
                    tell(flight, held, row)
            losses.append(held.losses[row, flight.answer_node])
            first.append(held.losses[row, 0])
        assert np.mean(losses) <= 0.115 < 0.2 < np.mean(first)

    def test_without_a_model_it_is_the_worst_state(self) -> None:
        policy = ttamer.solve(MODEL, 0.9)
        batch = policy.start(1, "failed")
        expected = batch.decide(policy.first_node, np.array([np.nan], np.float32)).tolist()
        assert [Dispatcher(policy).enter().failed("no")] == expected

    @pytest.mark.parametrize("estimate", ["sets", "chains"])
    def test_of_independent_models_the_best_of_the_others(self, estimate: str) -> None:
        """The same as serving the policy without the silent one, with what was told before."""
        traces = recorded(rows=200)
        model = ttamer.fit(traces, estimate=estimate)
        policy = ttamer.solve(model, 0.995)
        dispatcher, failures = Dispatcher(policy, model=model), 0
        for down in (1, 2, 3):
            other = ttamer.solve(failing(model, [down]), 0.995)
            for row in range(40):
                context = {name: column[row] for name, column in traces.context.items()}
                flight = dispatcher.enter(context=context)
                while flight.node not in (STOP, down):
                    tell(flight, traces, row)
                if flight.node == STOP:
                    continue
                told = [visit.node for visit in flight.visits]
                flight.failed("no")
                failures += 1
                again = Dispatcher(other).enter(context=context)
                for node in told:
                    if again.node == STOP:
                        again.resume(node)
                    again.node = node
                    tell(again, traces, row)
                assert flight.node == again.node
                while flight.node != STOP:
                    tell(flight, traces, row)
                    tell(again, traces, row)
                assert (flight.answer_node, again.answer_node) == (again.answer_node, flight.answer_node)
                assert down not in (flight.answer_node, *flight.open)
                assert flight.reason == "failure"
        assert failures > 20

    def test_of_several_models_what_the_others_show_counts(self) -> None:
        traces = recorded(rows=200)
        policy = ttamer.solve(ttamer.fit(traces, estimate="sets"), 0.999)
        dispatcher = Dispatcher(policy)
        context = {name: column[0] for name, column in traces.context.items()} or None
        flight = dispatcher.enter(context=context)
        down = flight.node
        while flight.node != STOP:
            flight.failed("no") if flight.node == down else tell(flight, traces, 0)
        assert flight.answer_node not in (-1, down)
        assert flight.reason == "failure"

    def test_all_models_may_be_tried(self) -> None:
        """Also those that the policy has no step for any more."""
        traces = recorded(rows=200)
        policy = ttamer.solve(ttamer.fit(traces, estimate="chains"), 0.9)
        dispatcher = Dispatcher(policy)
        context = {name: column[0] for name, column in traces.context.items()} or None
        models = [name for node, name in enumerate(dispatcher.nodes) if node not in dispatcher.context_nodes]
        flight, asked = dispatcher.enter(context=context), []
        while flight.node != STOP:
            asked.append(flight.name)
            flight.failed(ConnectionError(flight.name))
        assert sorted(asked) == sorted(models)
        with pytest.raises(AllFailed, match=r"^no node answered: .*ConnectionError: ") as caught:
            flight.answer  # noqa: B018
        assert set(caught.value.causes) == set(models)
        flight = dispatcher.enter(context=context)
        while len(flight.visits) < len(models) - 1:
            flight.failed("no")
        last = flight.node
        assert (flight.consulted("yes", 0.5), flight.answer, flight.answer_node) == (STOP, "yes", last)
        assert math.isnan(flight.expected_loss)

    def test_a_node_that_is_down_is_passed_over(self) -> None:
        dispatcher = Dispatcher(ttamer.solve(MODEL, 0.99), model=MODEL)
        dispatcher.down(0)
        flight = dispatcher.enter()
        assert flight.node == 1
        assert isinstance(flight.visits[0].error, NodeDown)
        assert (flight.visits[0].cost, flight.cost) == (0.0, 0.0)
        dispatcher.up(0)
        assert dispatcher.enter().node == 0
        for node in range(3):
            dispatcher.down(node)
        assert repr(dispatcher) == "Dispatcher(1 policies, nodes 0, 1, 2, 0, 1, 2 down)"
        flight = dispatcher.enter()
        assert (flight.node, flight.answer_node) == (STOP, -1)
        with pytest.raises(AllFailed, match="^no node answered: 0: NodeDown: 0 is down; 1: NodeDown: 1 is down; 2"):
            flight.answer  # noqa: B018

    def test_a_node_that_goes_down_on_the_way(self) -> None:
        dispatcher = Dispatcher(ttamer.solve(MODEL, 0.99), model=MODEL)
        flight = dispatcher.enter()
        dispatcher.down(1)
        assert flight.consulted("a", 0.0) == 2
        assert flight.record()["visits"][1].keys() == {"node", "seconds", "error"}  # it cost nothing: nobody asked

    def test_a_probe_that_speaks_last_never_answers(self) -> None:
        """A line of small, middle, verifier and large: after a silent one the answer is the last real one."""
        rng = np.random.default_rng(0)
        signals = rng.random((600, 4)).astype(np.float32)
        losses = (rng.random((600, 4)) > signals).astype(np.float32)
        losses[:, 2] = np.inf
        model = ttamer.fit(Traces(signals, losses, np.full(4, 0.05)), 5)
        flight = Dispatcher(ttamer.solve(model, 0.97), model=model).enter()
        flight.consulted("small", 0.0)
        flight.failed("no")
        flight.consulted("verdict", 0.0)
        assert (flight.node, flight.answer) == (3, "small")
        flight.failed("no")
        assert (flight.answer, flight.answer_node) == ("small", 0)

    def test_a_failed_model_is_not_asked_again(self) -> None:
        for estimate in ("sets", "chains"):
            traces = recorded(4, 200)
            model = ttamer.fit(traces, estimate=estimate)
            flight = Dispatcher(ttamer.solve(model, 0.9), model=model).enter(
                context={name: column[0] for name, column in traces.context.items()}
            )
            while flight.node != STOP:
                flight.failed("no")
            assert sorted(visit.node for visit in flight.visits) == [1, 2, 3, 4]
            assert set(flight.causes) == set((traces.nodes or ())[1:])

    def test_only_the_latest_plans_are_kept(self) -> None:
        traces = random_traces(Topology.line(6), 300, 0)
        model = ttamer.fit(traces, 4)
        plan = Plan(ttamer.solve(model, 0.9), model)
        for k in range(2, 40):
            plan.without([node for node in range(6) if k >> node & 1])
        assert len(plan._others) == MOST_PLANS


class TestDeadlines:
    def test_the_best_answer_so_far(self) -> None:
        dispatcher = Dispatcher(ttamer.solve(MODEL, 0.99), seconds={0: 0.0, 1: 3600.0, 2: 3600.0})
        flight = dispatcher.enter(deadline=10.0)
        assert flight.left is not None
        assert 9 < flight.left <= 10
        assert (flight.consulted("a", 0.0), flight.reason, flight.answer) == (STOP, "deadline", "a")
        assert dispatcher.enter(deadline=1e5).consulted("a", 0.0) == 1

    def test_a_node_that_overran_it(self) -> None:
        flight = Dispatcher(ttamer.solve(MODEL, 0.99)).enter(deadline=0.0)
        assert flight.failed(TimeoutError()) == 1
        assert (flight.consulted("a", 0.0), flight.reason) == (STOP, "deadline")

    def test_never_without_an_answer(self) -> None:
        flight = Dispatcher(ttamer.solve(MODEL, 0.99), seconds={1: 3600.0}).enter(deadline=10.0)
        assert flight.failed("no") == 1


class TestCosts:
    def test_in_several_units(self) -> None:
        traces = Traces(LINE.signals, LINE.losses, {"usd": [0.1, 0.2, 0.3], "ms": [10.0, 20.0, 30.0]})
        model = ttamer.fit(traces, 6)
        policy = ttamer.solve(model, prices={"usd": 1, "ms": 0.01}, error_price=9.0)
        flight = Dispatcher(policy, model=model).enter()
        flight.consulted("a", 0.0, cost={"usd": 0.5, "ms": 50.0})
        assert flight.cost == pytest.approx(1.0)
        flight.failed("no", cost={"usd": 0.0, "ms": 100.0})
        assert flight.cost == pytest.approx(2.0)
        assert [visit["cost"] for visit in flight.record()["visits"]] == [
            {"usd": 0.5, "ms": 50.0},
            {"usd": 0.0, "ms": 100.0},
        ]
        with pytest.raises(ValueError, match=r"^cost: expected usd, ms, got eur$"):
            flight.consulted("a", 0.5, cost={"eur": 1.0})
        with pytest.raises(ValueError, match=r"^cost: expected ms, got usd$"):
            Dispatcher(POLICY_IN_MS).enter().consulted("a", 0.5, cost={"usd": 1.0})


POLICY_IN_MS = ttamer.solve(MODEL)


class TestMore:
    def test_resume(self) -> None:
        policy = ttamer.solve(MODEL, 0.2, "none")
        flight = Dispatcher(policy).enter()
        with pytest.raises(ValueError, match=r"^resume: the flight is under way, at node 0$"):
            flight.resume()
        assert flight.consulted("a", 1.0) == STOP
        assert (flight.open, flight.resume(), flight.reason) == ((1,), 1, None)
        flight.consulted("b", 0.5)
        assert (flight.reason, flight.answer) == ("override", "b")
        with pytest.raises(ValueError, match=r"^resume: expected a node that may follow, 2, got 0$"):
            flight.resume(0)
        flight.resume("2")
        flight.consulted("c", 0.5)
        with pytest.raises(ValueError, match=r"^resume: expected a node that may follow, none, got None$"):
            flight.resume()

    def test_resume_of_several_models(self) -> None:
        traces = recorded(rows=200)
        dispatcher = Dispatcher(ttamer.solve(ttamer.fit(traces, estimate="sets"), 1e-6))
        context = {name: column[0] for name, column in traces.context.items()} or None
        flight = fly(dispatcher, traces, 0, context=context)
        first = flight.visits[0].node
        assert first not in flight.open
        flight.resume(flight.open[-1])
        tell(flight, traces, 0)
        assert len(flight.visits) == 2

    def test_shadows_change_nothing(self) -> None:
        flight = Dispatcher(ttamer.solve(MODEL, 0.2)).enter()
        with pytest.raises(ValueError, match=r"^shadowed: the flight is under way"):
            flight.shadowed(1)
        flight.consulted("a", 1.0)
        cost = flight.cost
        with pytest.raises(ValueError, match=r"^is_shadowed: expected True, which says of each request that it was dr"):
            flight.shadowed(1, "b", 0.5)
        flight.is_shadowed = True
        flight.shadowed(1, "b", 0.5, cost=7.0)
        flight.shadowed("2", error=OSError("gone"), cost=0.0)
        with pytest.raises(ValueError, match=r"^node: expected one that was not consulted, got 1$"):
            flight.shadowed(1)
        assert (flight.answer, flight.cost, flight.reason) == ("a", cost, "policy")
        assert flight.record()["visits"][1:] == [
            {"node": 1, "cost": 7.0, "seconds": flight.visits[1].seconds, "signal": 0.5, "shadow": True},
            {"node": 2, "seconds": flight.visits[2].seconds, "error": "OSError: gone", "shadow": True},
        ]

    def test_record(self) -> None:
        dispatcher = Dispatcher(ttamer.solve(MODEL, 0.99), model=MODEL)
        flight = dispatcher.enter()
        flight.consulted("a", 0.0)
        flight.failed(TimeoutError("late"))
        record = json.loads(json.dumps(flight.record()))
        assert {key: record[key] for key in ("tier", "weight", "answer_node", "cost")} == {
            "tier": "default", "weight": 1.0, "answer_node": 0, "cost": flight.cost,
        }  # fmt: skip
        assert record["visits"][1] | {"seconds": 0} == {"node": 1, "seconds": 0, "error": "TimeoutError: late"}
        flight.failed(OSError("gone"), cost=0.5)
        assert flight.record()["visits"][2]["cost"] == 0.5
        assert len(record["policy"]) == 16
        assert record["policy"] == dispatcher.enter().record()["policy"]
        assert repr(flight).startswith("Flight(stopped by failure, 3 visits, cost ")


class TestDispatcher:
    def test_a_front_gives_each_weight_its_trade_off(self) -> None:
        front = ttamer.frontier(LINE, estimate="signal")
        base = front[len(front) // 2].policy.tradeoff
        dispatcher = Dispatcher(front, tradeoff=base)
        assert len(dispatcher.policies) == len(front)
        for weight in (1e-9, 0.1, 1.0, 3.0, 1e9):
            price = weight * (1 - base) / base
            flight = dispatcher.enter(weight=weight)
            assert flight.record()["policy"] == Dispatcher(front.at(1 / (1 + price)).policy).enter().record()["policy"]
        assert front.at(base) is front[len(front) // 2]
        assert [front.at(point.policy.tradeoff) for point in front] == list(front)

    def test_tiers_and_swaps(self) -> None:
        cheap, good = (ttamer.solve(MODEL, tradeoff) for tradeoff in (0.1, 0.999))
        dispatcher = Dispatcher({"free": cheap, "paid": good})
        assert dispatcher.enter("free").consulted("a", 0.0) == STOP
        flight = dispatcher.enter("paid")
        dispatcher.swap({"free": cheap, "paid": cheap})
        assert flight.consulted("a", 0.0) == 1
        assert dispatcher.enter("paid").consulted("a", 0.0) == STOP

    def test_swaps_under_way_lose_nothing(self) -> None:
        policies = [ttamer.solve(MODEL, tradeoff) for tradeoff in (0.5, 0.9, 0.99)]
        answers = {Dispatcher(policy).enter().record()["policy"]: policy.replay(LINE) for policy in policies}
        dispatcher, wrong, stop = Dispatcher(policies[0]), [], threading.Event()

        def swap() -> None:
            while not stop.is_set():
                for policy in policies:
                    dispatcher.swap(policy)

        def serve() -> None:
            for row in range(len(LINE)):
                flight = fly(dispatcher, LINE, row)
                expected = answers[flight.record()["policy"]]
                if flight.answer_node != expected.answer_node[row]:
                    wrong.append(row)

        swapping = threading.Thread(target=swap)
        serving = [threading.Thread(target=serve) for _ in range(3)]
        for thread in (swapping, *serving):
            thread.start()
        for thread in serving:
            thread.join()
        stop.set()
        swapping.join()
        assert wrong == []


class TestRefusals:
    @pytest.mark.parametrize(
        ("call", "error", "message"),
        [
            (lambda f: f.consulted("a", np.nan), ValueError, "signal: expected a number, got NaN; tell failed"),
            (lambda f: f.consulted("a", None), ValueError, "signal: expected a number, which node 0 is judged by, got"),
            (
                lambda f: f.consulted("a", np.inf),
                ValueError,
                "signal: expected a finite number that float32 holds, got",
            ),
            (lambda f: f.consulted("a", [1]), TypeError, "signal: expected a number, got list"),
            (lambda f: f.consulted("a", "0.9"), TypeError, "signal: expected a number at node 0, got '0.9'"),
            (lambda f: f.consulted("a", 0.5, cost=-1.0), ValueError, "cost: expected a finite number >= 0, got -1.0"),
            (
                lambda f: f.consulted("a", 0.5, cost=math.inf),
                ValueError,
                "cost: expected a finite number >= 0, got inf",
            ),
            (
                lambda f: f.consulted("a", logits=np.zeros((2, 3))),
                ValueError,
                r"logits: expected \(C,\) numbers, those of",
            ),
            (
                lambda f: f.consulted("a", logits=["a"]),
                (TypeError, ValueError),
                r"logits: expected \(C,\) numbers, those",
            ),
            (
                lambda f: f.consulted("a", 1e39),
                ValueError,
                "signal: expected a finite number that float32 holds, got 1e",
            ),
            (lambda f: f.consulted("a", 0.5, node="1"), ValueError, "node: expected 0, which was asked for, got '1'"),
            (lambda f: f.consulted("a", 0.5, node="x"), ValueError, "node: expected one of 0, 1, 2, got 'x'"),
            (lambda f: f.failed(3), TypeError, "error: expected a str, got int"),
            (lambda f: f.failed("x", cost="y"), TypeError, "cost: expected a number, got str"),
        ],
    )
    def test_nothing_is_changed(self, call: Any, error: type[Exception], message: str) -> None:
        flight = Dispatcher(ttamer.solve(MODEL, 0.99)).enter()
        with pytest.raises(error, match=f"^{message}"):
            call(flight)
        assert (flight.node, flight.cost, flight.visits, flight.causes) == (0, 0.0, [], {})
        assert flight.consulted("a", 0.0) == 1

    def test_after_the_stop(self) -> None:
        flight = Dispatcher(ttamer.solve(MODEL, 0.1)).enter()
        flight.consulted("a", 0.5)
        for call in (lambda: flight.consulted("b", 0.5), lambda: flight.failed("x")):
            with pytest.raises(ValueError, match=r"^(consulted|failed): the flight has stopped; resume\(\) goes on"):
                call()

    def test_labels_and_contexts(self) -> None:
        traces = recorded(rows=150)
        policy = ttamer.solve(ttamer.fit(traces, estimate="sets"), 0.99)
        context: Mapping[str, Any] = {name: column[0] for name, column in traces.context.items()}
        dispatcher = Dispatcher(policy)
        names = ", ".join(traces.context)
        with pytest.raises(ValueError, match=rf"^context: expected {names}, which the policy decides on, got None$"):
            dispatcher.enter()
        flight = dispatcher.enter(context=context)
        with pytest.raises(
            ValueError, match=r"^label: expected the number of the answer's class, .*, got none for 'yes'$"
        ):
            flight.consulted("yes", 0.5)
        with pytest.raises(ValueError, match=r"^signal: expected a finite number that float32 holds, got inf$"):
            flight.consulted(1, np.inf)
        with pytest.raises(ValueError, match=r"^label: expected at least -1, got -2$"):
            flight.consulted("yes", 0.5, label=-2)
        with pytest.raises(ValueError, match=r"^context: expected None, the policy looks at no context$"):
            Dispatcher(ttamer.solve(MODEL)).enter(context={"a": 1})
        probe = ttamer.Traces.from_models([[0, 1], [1, 0]], [1, 2], context={"topic": ["bugs", "chat"]})
        dispatcher = Dispatcher(ttamer.solve(ttamer.fit(probe, 8)))
        with pytest.raises(
            ValueError, match=r"^context: expected None, node topic shows what the policy looks at: consulted\(signal="
        ):
            dispatcher.enter(context={"topic": "bugs"})
        assert dispatcher.enter().consulted(signal="bugs") != STOP

    def test_signals_of_another_kind(self) -> None:
        traces = nested(200).with_signal("margin")
        policy = ttamer.frontier(traces, [0.9])[0].policy
        with pytest.raises(ValueError, match=r"^signal: this policy decides on 'logit_margin'; tell logits, or say"):
            Dispatcher(policy).enter().consulted("a", 0.5)
        assert Dispatcher(policy, signal="logit_margin").enter().consulted("a", 50.0) == STOP
        nan = np.full(3, np.nan, np.float32)
        with pytest.raises(ValueError, match=r"^logits: expected finite numbers, or -inf; tell failed\(error\) if the"):
            Dispatcher(ttamer.solve(posterior(independent(60)))).enter().consulted("a", logits=nan)
        with pytest.raises(ValueError, match=r"^signal: this policy decides on logits; tell logits$"):
            Dispatcher(ttamer.solve(posterior(independent(60)))).enter().consulted("a", 0.5)

    @pytest.mark.parametrize(
        ("arguments", "options", "error", "message"),
        [
            ((3,), {}, TypeError, "policy: expected a Policy, got int"),
            (({},), {}, ValueError, "policy: expected at least one tier, got none"),
            (({"a": 3},), {}, TypeError, r"policy\['a'\]: expected a Policy, got int"),
            (("policy",), {"tradeoff": 0.5}, ValueError, "tradeoff: expected None without a front, of which it is"),
            (("front",), {}, ValueError, "tradeoff: expected that of a request of weight 1, as front.best"),
            (("front",), {"tradeoff": 0.0}, ValueError, r"tradeoff: expected a number in \(0, 1\], got 0.0"),
            (("policy",), {"seconds": 3}, TypeError, "seconds: expected a mapping of nodes to seconds, got int"),
            (("policy",), {"seconds": {"x": 1.0}}, ValueError, "seconds: expected one of 0, 1, 2, got 'x'"),
            (("policy",), {"seconds": {5: 1.0}}, IndexError, "seconds: expected 0 to 2, got 5"),
            (("policy",), {"seconds": {0: -1.0}}, ValueError, r"seconds\[0\]: expected seconds >= 0, got -1"),
            (
                ("policy",),
                {"model": "other"},
                ValueError,
                "model: expected the one that the policy was solved for, got",
            ),
            (("policy",), {"signal": "entropy"}, ValueError, "signal: expected None, for its signals are your own"),
        ],
    )
    def test_dispatchers(self, arguments: Any, options: Any, error: type[Exception], message: str) -> None:
        made = {"policy": ttamer.solve(MODEL), "front": ttamer.frontier(LINE, estimate="signal")}
        options = {**options, "model": ttamer.fit(LINE, 5)} if options.get("model") == "other" else options
        with pytest.raises(error, match=f"^{message}"):
            Dispatcher(*(made.get(each, each) if isinstance(each, str) else each for each in arguments), **options)

    def test_entering_and_swapping(self) -> None:
        policy = ttamer.solve(MODEL)
        dispatcher = Dispatcher(policy)
        with pytest.raises(ValueError, match=r"^tier: expected default, got 'gold'$"):
            dispatcher.enter("gold")
        with pytest.raises(ValueError, match=r"^weight: expected 1, as there is no front to choose a trade-off from"):
            dispatcher.enter(weight=2.0)
        front = Dispatcher(ttamer.frontier(LINE, estimate="signal"), tradeoff=0.9)
        with pytest.raises(ValueError, match=r"^weight: expected a number above 0, got 0.0$"):
            front.enter(weight=0)
        for deadline, message in ((-1.0, "expected seconds >= 0, got -1"), (np.nan, "expected a number, got nan")):
            with pytest.raises(ValueError, match=rf"^deadline: {message}$"):
                dispatcher.enter(deadline=deadline)
        with pytest.raises(TypeError, match=r"^deadline: expected a number, got str$"):
            dispatcher.enter(deadline="2s")  # type: ignore[arg-type]
        with pytest.raises(ValueError, match=r"^policy: expected a front or the tiers default, got of a front$"):
            dispatcher.swap(ttamer.frontier(LINE, estimate="signal"), tradeoff=0.9)
        with pytest.raises(ValueError, match=r"^policy: expected costs in ms, got s$"):
            dispatcher.swap(ttamer.solve(ttamer.fit(Traces(LINE.signals, LINE.losses, LINE.costs, unit="s"), 6)))
        with pytest.raises(ValueError, match=r"^policy: expected the nodes 0, 1, 2, got 0, 1$"):
            dispatcher.swap(ttamer.solve(random_model(Topology.line(2), 3, 0)))
        with pytest.raises(ValueError, match=r"^policy\['b'\]: expected the nodes 0, 1, 2, as the first, got 0, 1$"):
            Dispatcher({"a": policy, "b": ttamer.solve(random_model(Topology.line(2), 3, 0))})


def test_resume_after_a_deadline_or_a_cancellation() -> None:
    """Then the policy has not stopped: it goes on where it was."""
    for stop in ("deadline", "cancelled"):
        dispatcher = Dispatcher(ttamer.solve(MODEL, 1.0), seconds={1: 10.0, 2: 10.0})
        flight = dispatcher.enter(deadline=1.0 if stop == "deadline" else None)
        flight.consulted("a", 0.0)
        if stop == "cancelled":
            flight.cancel()
        assert flight.reason == stop
        assert flight.resume() == 1
        flight._deadline = None
        flight.consulted("b", 0.0)
        assert flight.node == 2
        flight.cancel()
        flight.resume()
        flight.consulted("c", 0.0)
        assert (flight.node, flight.reason, len(flight.visits)) == (STOP, "override", 3)


def test_a_failure_that_costs_what_an_answer_does() -> None:
    flight = Dispatcher(ttamer.solve(MODEL, 0.9)).enter()
    flight.failed("unreadable", cost=None)
    assert flight.cost == LINE.costs[0]
