"""Fitting a model whose states are bins of estimates, over the steps of a walk."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ttamer.fitting.crossfit import CrossFit, sigmoid
from ttamer.fitting.orders import best_order
from ttamer.fitting.signals import AUTO_STRENGTH, fit_signals
from ttamer.model import CascadeModel
from ttamer.model.information_sets import SetGraph, set_graph
from ttamer.traces import Traces

BEST, ANY = "best", "any"


def fit_estimates(
    fitting: CrossFit,
    kind: str,
    order: Sequence[int] | str | None,
    bins: int,
    transition_strength: float = AUTO_STRENGTH,
) -> CascadeModel:
    """The model of `ttamer.fit` for estimates; the traces keep the out-of-fold ones for later replays.

    Parameters
    ----------
    fitting : CrossFit
        Of the traces.
    kind : {"signal", "history", "posterior"}
    order : sequence of int, "best", "any" or None
        As for `ttamer.fit`.
    bins : int
        Most states of a step.
    transition_strength : float
    """
    traces = fitting.traces
    graph = _graph(fitting, kind, order, bins)
    estimator, estimates = fitting.estimator(kind, graph)
    inner = Traces._checked(
        signals=estimates.signals,
        losses=(fitting.largest * sigmoid(-estimates.signals.astype(np.float64))).astype(np.float32),
        costs=traces.paid_costs[..., graph.outer],
        topology=graph.topology,
        unit=traces.unit,
    )
    model = fit_signals(inner, bins, "mean", 0.0, transition_strength, estimator)
    model.nodes = traces.nodes
    traces._kept_estimates[estimator] = estimates
    return model


def _graph(fitting: CrossFit, kind: str, order: Sequence[int] | str | None, bins: int) -> SetGraph:
    topology = fitting.traces.topology
    if isinstance(order, str) and (order not in (BEST, ANY) or topology.kind != "forest"):
        raise ValueError(f"order: expected nodes, 'best' or 'any', of a forest, got {order!r} on a {topology.kind}")
    if order == ANY:
        return set_graph(topology)
    if order == BEST or (order is None and topology.kind == "forest"):
        return set_graph(topology, best_order(fitting, kind, bins))
    assert not isinstance(order, str)
    return set_graph(topology, order)
