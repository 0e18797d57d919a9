"""Alarms: none in traffic like the reference, soon where it changes; and that flights and batches are seen alike."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from evidence_cases import independent, nested, posterior
from helpers import random_model, random_traces
from set_traces import recorded

import ttamer
from ttamer import STOP, Policy, Topology, Traces
from ttamer.serve import Dispatcher, Drift
from ttamer.serve.drift import walked

POOL = random_traces(Topology.line(3), 6000, 0)
POLICY = ttamer.solve(ttamer.fit(POOL[:2000], 8), 0.9)
REFERENCE, FRESH = POOL[2000:4000], POOL[4000:]


def watch(drift: Drift, traces: Traces, rows: Any, losses: bool = True) -> int | None:
    """The number of requests until an alarm, None if there is none."""
    costs, promises = walked(POLICY, traces)
    replay = POLICY.replay(traces)
    for count, row in enumerate(rows):
        drift.look(int(replay.last_node[row]), costs[row], promises[row])
        if losses and count % 20 == 0:
            drift.labelled(float(replay.loss[row]))
        if drift.alarm is not None:
            return count + 1
    return None


class TestAlarms:
    def test_hardly_any_in_the_same_traffic(self) -> None:
        """At most one in 2,000 requests on average: of 100 streams of 500 at most 25 have one, but for chance."""
        alarms = 0
        for seed in range(100):
            rows = np.random.default_rng(seed).permutation(4000)
            part = POOL[2000:]
            drift = Drift(POLICY, part[rows[:3000]], false_alarms=1 / 2000, seed=seed)
            alarms += watch(drift, part, rows[3000:3500]) is not None
        assert alarms <= 35

    def test_soon_where_requests_get_harder(self) -> None:
        rows = np.argsort(FRESH.signals[:, 0])[:1000]  # those of which the first node is least sure
        for seed in range(5):
            drift = Drift(POLICY, REFERENCE, seed=seed)
            mixed = np.random.default_rng(seed).choice(rows, 1500)
            found = watch(drift, FRESH, mixed, losses=False)
            assert found is not None
            assert found <= 500
            assert drift.alarm in ("cost", "promise")
            assert drift.psi > 0.1

    def test_soon_where_they_get_easier(self) -> None:
        rows = np.argsort(-FRESH.signals[:, 0])[:1000]
        assert (watch(Drift(POLICY, REFERENCE), FRESH, rows, losses=False) or 9999) <= 500

    def test_labels_show_what_nothing_else_does(self) -> None:
        """Answers that are wrong more often, of requests that look the same."""
        drift = Drift(POLICY, REFERENCE)
        costs, promises = walked(POLICY, FRESH)
        replay, rng = POLICY.replay(FRESH), np.random.default_rng(0)
        for row in range(1500):
            drift.look(int(replay.last_node[row]), costs[row], promises[row])
            if row % 10 == 0:
                drift.labelled(1.0 if rng.random() < 0.5 else float(replay.loss[row]))
        assert drift.alarm == "loss"
        assert max(drift.evidence["cost"], drift.evidence["promise"]) < 1
        assert drift.psi < 0.1

    def test_better_answers_are_no_alarm(self) -> None:
        drift = Drift(POLICY, REFERENCE)
        for _ in range(500):
            drift.labelled(0.0)
        assert drift.alarm is None

    def test_a_promise_of_nothing(self) -> None:
        """Where the reference has no loss at all the first losses count."""
        right = FRESH._with(losses=np.zeros_like(FRESH.losses))
        drift = Drift(POLICY, right)
        for _ in range(100):
            drift.labelled(1.0)
        assert drift.alarm == "loss"

    def test_reset(self) -> None:
        drift = Drift(POLICY, REFERENCE)
        for _ in range(200):
            drift.look(2, 99.0, 0.5)
            drift.labelled(1.0)
        assert drift.alarm is not None
        assert (drift.seen, drift.labels) == (200, 200)
        drift.reset()
        assert (drift.alarm, drift.psi, drift.seen, drift.labels) == (None, 0.0, 0, 0)
        assert repr(drift) == "Drift(0 requests, 0 labels, alarm None, psi 0.000)"
        other = Drift(POLICY, REFERENCE, seed=0)
        for each in (drift, other):
            each.look(0, float(walked(POLICY, REFERENCE)[0][0]), 0.3)
        assert drift.evidence == pytest.approx(other.evidence, rel=0.5)


def test_psi_is_the_sum_over_nodes() -> None:
    drift = Drift(POLICY, REFERENCE)
    expected = np.bincount(POLICY.replay(REFERENCE).last_node, minlength=3) / 2000
    for node in (0, 0, 1, 2):
        drift.look(node, 0.1, 0.1)
    shares = np.array([0.5, 0.25, 0.25])
    assert drift.psi == pytest.approx(
        sum(p - q and (p - q) * math.log(p / q) for p, q in zip(shares, expected, strict=True))
    )


@pytest.mark.parametrize(
    ("policy", "traces"),
    [
        (POLICY, FRESH[:100]),
        (
            ttamer.solve(random_model(Topology.skip(3), 4, 0), 0.9),
            random_traces(Topology.skip(3), 100, 0, observed=True),
        ),
        (ttamer.solve(random_model(Topology.forest([-1, 0, -1]), 4, 0), 0.9), None),
    ],
    ids=["line", "skip", "forest"],
)
def test_flights_are_what_the_reference_walks(policy: Policy, traces: Traces | None) -> None:
    traces = random_traces(policy.topology, 100, 1, observed=True) if traces is None else traces
    traces = traces._with(unit=policy.unit)
    costs, promises = walked(policy, traces)
    dispatcher = Dispatcher(policy)
    for row in range(100):
        flight = dispatcher.enter()
        while flight.node != STOP:
            flight.consulted(None, float(traces.signals[row, flight.node]))
        assert flight.expected_cost == pytest.approx(costs[row], rel=1e-12)
        assert flight.expected_loss == promises[row]


@pytest.mark.parametrize("estimate", ["sets", "posterior"])
def test_estimates_are_walked_as_they_are_served(estimate: str) -> None:
    traces = recorded(rows=200) if estimate == "sets" else independent(200)
    model = ttamer.fit(traces, estimate="sets") if estimate == "sets" else posterior(traces)
    policy = ttamer.solve(model, 0.95)
    held = (recorded(rows=100, seed=1) if estimate == "sets" else independent(100, seed=1))[:]
    costs, _ = walked(policy, held)
    np.testing.assert_allclose(costs, policy.replay(held).cost)
    assert Drift(policy, held).psi == 0


def test_only_what_the_policy_stopped_is_looked_at() -> None:
    model = ttamer.fit(POOL[:2000], 8)
    drift, dispatcher = Drift(POLICY, REFERENCE), Dispatcher(POLICY, model=model)
    flight = dispatcher.enter()
    flight.failed("no")
    while flight.node != STOP:
        flight.consulted(None, 0.9)
    drift.saw(flight)
    assert drift.seen == 0
    flight = dispatcher.enter()
    while flight.node != STOP:
        flight.consulted(None, 0.99)
    drift.saw(flight)
    assert drift.seen == 1


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda d: Drift(POLICY, REFERENCE, false_alarms=0),
            ValueError,
            "false_alarms: expected a rate between 0 and 1",
        ),
        (
            lambda d: Drift(POLICY, REFERENCE, false_alarms=1.0),
            ValueError,
            "false_alarms: expected a rate between 0 and",
        ),
        (lambda d: Drift("policy", REFERENCE), TypeError, "policy: expected a Policy, got str"),
        (lambda d: Drift(POLICY, 3), TypeError, "reference: expected Traces, got int"),
        (lambda d: Drift(POLICY, nested(20)), ValueError, "traces: expected the user's own signals, signal=''"),
        (lambda d: d.saw(3), TypeError, "flight: expected a Flight, got int"),
        (lambda d: d.look(3, 0.0, 0.0), IndexError, "last_node: expected 0 to 2, got 3"),
        (lambda d: d.look(0, math.nan, 0.0), ValueError, "cost: expected a number, got nan"),
        (lambda d: d.labelled(-1.0), ValueError, "loss: expected a finite number >= 0, got -1.0"),
    ],
)
def test_refusals(call: Any, error: type[Exception], message: str) -> None:
    drift = Drift(POLICY, REFERENCE)
    with pytest.raises(error, match=f"^{message}"):
        call(drift)
    assert (drift.seen, drift.labels) == (0, 0)


def test_other_policies_are_passed_over() -> None:
    """Of other tiers, and of other weights of a front: their costs are others in the same traffic."""
    other = ttamer.solve(ttamer.fit(POOL[:2000], 8), 0.3)
    dispatcher, drift = Dispatcher({"own": POLICY, "other": other}), Drift(POLICY, REFERENCE)
    for row in range(300):
        flight = dispatcher.enter(("own", "other", "other")[row % 3])
        while flight.node != STOP:
            flight.consulted(signal=float(FRESH.signals[row, flight.node]))
        drift.saw(flight)
    assert (drift.seen, drift.passed_over, drift.alarm) == (100, 200, None)
    drift.swap(other)
    assert (drift.policy, drift.seen, drift.passed_over) == (other, 0, 0)
    drift.saw(flight)
    assert drift.seen == 1
    with pytest.raises(ValueError, match=r"^traces: "):
        drift.swap(ttamer.solve(random_model(Topology.line(2), 3, 0), 0.5))
    with pytest.raises(TypeError, match=r"^reference: expected Traces, got int$"):
        drift.swap(POLICY, 3)  # type: ignore[arg-type]
    assert (drift.policy, drift.seen) == (other, 1)
    drift.swap(POLICY, FRESH)
    assert drift.policy == POLICY
