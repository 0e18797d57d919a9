"""What flights do, as metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ttamer._base import checks
from ttamer.serve.drift import Drift
from ttamer.serve.flight import Flight
from ttamer.serve.visits import NodeDown

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Borders of the histograms of time."""


class Counts:
    """Counts flights that are over, in metrics of any library that makes and calls them as prometheus-client does.

    Parameters
    ----------
    library : object
        Its `Counter`, `Gauge` and `Histogram` make metrics of a name, a text, names of labels, and the options.
    drift : Drift or None
        Shown the same flights; its evidence is then a metric, too.
    **options
        Of every metric.
    """

    def __init__(self, library: Any, drift: Drift | None, **options: Any) -> None:
        if drift is not None:
            checks.instance("drift", drift, Drift)
        self._drift = drift
        self._requests = library.Counter("ttamer_requests", "Requests.", ["tier", "reason"], **options)
        self._answers = library.Counter("ttamer_answers", "Answers by node.", ["tier", "node"], **options)
        self._calls = library.Counter("ttamer_consultations", "Calls of nodes.", ["node", "outcome"], **options)
        self._cost = library.Counter("ttamer_request_cost", "Costs of requests.", ["tier"], **options)
        self._shadow_cost = library.Counter("ttamer_shadow_cost", "Costs of shadows.", **options)
        times = {"buckets": SECONDS, **options}
        self._seconds = library.Histogram("ttamer_request_seconds", "Time to the answer.", ["tier"], **times)
        self._call_seconds = library.Histogram("ttamer_consultation_seconds", "Time of calls.", ["node"], **times)
        if drift is not None:
            self._evidence = library.Gauge("ttamer_drift_evidence", "Share of an alarm.", ["test"], **options)
            self._psi = library.Gauge("ttamer_drift_stability_index", "Of where requests stop.", **options)

    def saw(self, flight: Flight) -> None:
        """Count a flight that is over, shadows included.

        Raises
        ------
        ValueError
            If it is under way.
        """
        checks.instance("flight", flight, Flight)
        if flight.reason is None:
            raise ValueError("flight: expected one that is over, got one under way")
        names, node = flight.nodes, flight.answer_node
        self._requests.labels(flight.tier, flight.reason).inc()
        self._answers.labels(flight.tier, names[node] if node >= 0 else "").inc()
        self._cost.labels(flight.tier).inc(flight.cost)
        self._seconds.labels(flight.tier).observe(flight.seconds)
        for visit in flight.visits:
            if isinstance(visit.error, NodeDown):
                continue
            outcome = "shadow" if visit.shadow else "answer" if visit.error is None else "failure"
            self._calls.labels(names[visit.node], outcome).inc()
            self._call_seconds.labels(names[visit.node]).observe(visit.seconds)
            if visit.shadow:
                self._shadow_cost.inc(visit.cost)
        if self._drift is not None:
            self._drift.saw(flight)
            for test, value in self._drift.evidence.items():
                self._evidence.labels(test).set(value)
            self._psi.set(self._drift.psi)


class Metrics(Counts):
    """Counts flights that are over, in a registry of prometheus-client.

    ============================  =============  =======================================================
    metric                        labels         counts
    ============================  =============  =======================================================
    ttamer_requests_total         tier, reason   requests, by why they stopped
    ttamer_answers_total          tier, node     requests, by who answered; node "" if all failed
    ttamer_consultations_total    node, outcome  calls: "answer", "failure" or "shadow"
    ttamer_request_cost_total     tier           costs of requests, in the policy's unit
    ttamer_shadow_cost_total                     costs of shadows
    ttamer_request_seconds        tier           time until the answer, a histogram
    ttamer_consultation_seconds   node           time of a call, a histogram
    ttamer_drift_evidence         test           of an alarm, as a share of what one takes
    ttamer_drift_stability_index                 of the nodes at which requests stop
    ============================  =============  =======================================================

    All labels are of closed sets: tiers, reasons, nodes, outcomes and tests.

    Parameters
    ----------
    registry : prometheus_client.CollectorRegistry, optional
        By default that of the process.
    drift : Drift, optional
        Shown the same flights; its evidence is then a metric, too.

    Raises
    ------
    ImportError
        If prometheus-client is missing.
    """

    def __init__(self, registry: CollectorRegistry | None = None, drift: Drift | None = None) -> None:
        try:
            import prometheus_client as prometheus
        except ImportError:
            raise ImportError('metrics need prometheus-client: pip install "ttamer[serve]"') from None
        super().__init__(prometheus, drift, registry=prometheus.REGISTRY if registry is None else registry)
