"""Flights counted for Prometheus."""

from __future__ import annotations

import asyncio
import builtins
from typing import Any

import pytest
from helpers import random_model, random_traces

import ttamer
from ttamer import STOP, Topology
from ttamer.serve import Cascade, Dispatcher, Drift, Flight, Metrics, Outcome

prometheus = pytest.importorskip("prometheus_client", reason="needs the serve extra")
TRACES = random_traces(Topology.line(3), 400, 0)._with(nodes=("small", "middle", "large"))
MODEL = ttamer.fit(TRACES, 6)


def value(registry: Any, name: str, **labels: str) -> float | None:
    found: float | None = registry.get_sample_value(name, labels)
    return found


def test_what_is_counted() -> None:
    registry = prometheus.CollectorRegistry()
    metrics = Metrics(registry)
    dispatcher = Dispatcher(ttamer.solve(MODEL, 0.999), model=MODEL)
    dispatcher.down("small")
    flight = dispatcher.enter()
    flight.failed(TimeoutError("late"), cost=0.5)
    flight.consulted("a", 0.5, cost=2.0)
    metrics.saw(flight)
    dispatcher.up("small")
    flight = dispatcher.enter()
    while flight.node != STOP:
        flight.consulted("b", 1.0, cost=1.0)
    asked, flight.is_shadowed = len(flight.visits), True
    for node in flight.nodes[asked:]:
        flight.shadowed(node, "c", 0.5, cost=7.0)
    metrics.saw(flight)
    assert value(registry, "ttamer_requests_total", tier="default", reason="failure") == 1
    assert value(registry, "ttamer_requests_total", tier="default", reason="policy") == 1
    assert value(registry, "ttamer_answers_total", tier="default", node="large") == 1
    assert value(registry, "ttamer_consultations_total", node="middle", outcome="failure") == 1
    assert value(registry, "ttamer_consultations_total", node="small", outcome="failure") is None  # it was not asked
    assert value(registry, "ttamer_request_cost_total", tier="default") == 2.5 + asked
    assert value(registry, "ttamer_shadow_cost_total") == 7.0 * (3 - asked)
    assert value(registry, "ttamer_request_seconds_count", tier="default") == 2
    assert value(registry, "ttamer_consultation_seconds_count", node="small") == 1


def test_all_failed_and_drift() -> None:
    registry = prometheus.CollectorRegistry()
    policy = ttamer.solve(MODEL, 0.9)
    drift = Drift(policy, TRACES[:])
    metrics = Metrics(registry, drift)
    flight = Dispatcher(policy).enter()
    while flight.node != STOP:
        flight.failed("no")
    metrics.saw(flight)
    assert value(registry, "ttamer_answers_total", tier="default", node="") == 1
    assert drift.seen == 0
    flight = Dispatcher(policy).enter()
    while flight.node != STOP:
        flight.consulted("a", 0.7)
    metrics.saw(flight)
    assert drift.seen == 1
    assert value(registry, "ttamer_drift_evidence", test="cost") == drift.evidence["cost"] > 0
    assert value(registry, "ttamer_drift_stability_index") == drift.psi


def test_a_cascade_counts_by_itself() -> None:
    registry = prometheus.CollectorRegistry()

    async def call(payload: int, flight: Flight) -> Outcome:
        return Outcome("a", 0.9)

    cascade = Cascade(
        dict.fromkeys(TRACES.nodes or (), call),
        Dispatcher(ttamer.solve(MODEL, 1e-6)),
        metrics=Metrics(registry),
        shadow=1.0,
    )

    async def serve() -> None:
        for row in range(5):
            await cascade(row)
        await cascade.join()

    asyncio.run(serve())
    assert value(registry, "ttamer_consultations_total", node="small", outcome="answer") == 5
    assert value(registry, "ttamer_consultations_total", node="large", outcome="shadow") == 5


def test_refusals(monkeypatch: pytest.MonkeyPatch) -> None:
    metrics = Metrics(prometheus.CollectorRegistry())
    with pytest.raises(ValueError, match=r"^flight: expected one that is over, got one under way$"):
        metrics.saw(Dispatcher(ttamer.solve(random_model(Topology.line(2), 3, 0))).enter())
    with pytest.raises(TypeError, match=r"^flight: expected a Flight, got int$"):
        metrics.saw(3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"^drift: expected a Drift, got int$"):
        Metrics(prometheus.CollectorRegistry(), 3)  # type: ignore[arg-type]
    real = builtins.__import__

    def without(name: str, *arguments: Any, **options: Any) -> Any:
        if name.startswith("prometheus_client"):
            raise ImportError(name)
        return real(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r'^metrics need prometheus-client: pip install "ttamer\[serve\]"$'):
        Metrics()
