"""Fitting a model whose states are bins of estimates, over the steps of a walk."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ttamer.fitting.crossfit import CrossFit, sigmoid
from ttamer.fitting.orders import best_order
from ttamer.fitting.signals import AUTO_STRENGTH, fit_signals
from ttamer.model import CascadeModel
from ttamer.model.information_sets import set_graph
from ttamer.traces import Traces
from ttamer.traces.evidence import class_count_of


def fit_posterior(
    fitting: CrossFit,
    bins: int,
    order: Sequence[int] | None = None,
    transition_strength: float = AUTO_STRENGTH,
) -> CascadeModel:
    """The model of ``estimate="posterior"``; the traces keep the out-of-fold estimates for later replays.

    Parameters
    ----------
    fitting : CrossFit
        Of the traces.
    bins : int
        Most states of a step.
    order : sequence of int, optional
        As for `ttamer.fit`.
    transition_strength : float
    """
    traces = fitting.traces
    if order is None and traces.topology.kind == "forest":
        order = best_order(fitting, bins)
    graph = set_graph(traces.topology, order)
    estimator, estimates = fitting.estimator(graph)
    inner = Traces._checked(
        signals=estimates.signals,
        losses=(fitting.largest * sigmoid(-estimates.signals.astype(np.float64))).astype(np.float32),
        costs=traces.paid_costs[..., graph.outer],
        topology=graph.topology,
        unit=traces.unit,
    )
    model = fit_signals(inner, bins, "mean", 0.0, transition_strength, estimator)
    model.nodes, model.classes = traces.nodes, class_count_of(traces.evidence)
    traces._kept_estimates[estimator] = estimates
    return model
