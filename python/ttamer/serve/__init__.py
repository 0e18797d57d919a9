"""Policies inside real servers: requests that come one by one, cost what they cost, and whose nodes may fail."""

from ttamer.serve.cascade import Cascade, Outcome
from ttamer.serve.dispatcher import Dispatcher
from ttamer.serve.drift import Drift
from ttamer.serve.figures import Report
from ttamer.serve.flight import Flight
from ttamer.serve.log import Log
from ttamer.serve.metrics import Metrics
from ttamer.serve.refitting import Refit, refit
from ttamer.serve.reporting import report
from ttamer.serve.visits import AllFailed, NodeDown, Visit
from ttamer.serve.watching import Watch

__all__ = [
    "AllFailed",
    "Cascade",
    "Dispatcher",
    "Drift",
    "Flight",
    "Log",
    "Metrics",
    "NodeDown",
    "Outcome",
    "Refit",
    "Report",
    "Visit",
    "Watch",
    "refit",
    "report",
]
