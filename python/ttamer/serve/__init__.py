"""Policies inside real servers: requests that come one by one, cost what they cost, and whose nodes may fail."""

from ttamer.serve.cascade import Cascade, Outcome
from ttamer.serve.dispatcher import Dispatcher
from ttamer.serve.drift import Drift
from ttamer.serve.flight import AllFailed, Flight, NodeDown
from ttamer.serve.log import Log

__all__ = ["AllFailed", "Cascade", "Dispatcher", "Drift", "Flight", "Log", "NodeDown", "Outcome"]
