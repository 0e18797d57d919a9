"""Fitting a model whose states are bins of the recorded signals."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ttamer._base import checks
from ttamer._base.numbers import are_rates
from ttamer._base.topologies import check_same_topology
from ttamer._base.types import ROOT
from ttamer._core import Topology
from ttamer.model import CascadeModel
from ttamer.model.counting import counted
from ttamer.model.losses import quantile_edges
from ttamer.model.set_estimators import AnyEstimator
from ttamer.model.statistics import SMOOTHINGS, Statistics
from ttamer.traces import Traces
from ttamer.traces.arguments import check_same_classes, check_same_nodes
from ttamer.traces.categories import most_frequent
from ttamer.traces.costs import in_units_of, recorded_mean
from ttamer.traces.evidence import class_count_of
from ttamer.traces.paths import always_before

MOST_STATES = 65_535
MANY_ROWS = 1000
"""From this many requests on there are enough for more bins."""
MANY_BINS, FEW_BINS = 24, 16
AUTO_STRENGTH = 8.0
"""Weight of the marginal in transitions of bins="auto" and of estimates."""


def states_of(bins: int | str, rows: int) -> int:
    """Most states of a node: a number, or what "auto" means for so many requests.

    Raises
    ------
    TypeError, ValueError
        If it is neither an int from 1 to 65535 nor "auto".
    """
    if isinstance(bins, str):
        if bins != "auto":
            raise ValueError(f"bins: expected an int or 'auto', got {bins!r}")
        return MANY_BINS if rows >= MANY_ROWS else FEW_BINS
    most = checks.whole("bins", bins, least=1)
    if most > MOST_STATES:
        raise ValueError(f"bins: expected at most {MOST_STATES}, got {checks.brief(most)}")
    return most


def fit_signals(
    traces: Traces,
    bins: int,
    smoothing: str = "auto",
    loss_strength: float | None = None,
    transition_strength: float | None = None,
    estimator: AnyEstimator | None = None,
    recorded_signal: str | None = None,
) -> CascadeModel:
    """The model of `ttamer.fit`.

    `estimator` is what made the signals, if they are not recorded ones; `recorded_signal` the kind that was recorded,
    if they were made from evidence.
    """
    if loss_strength is None:
        loss_strength = 0.0 if traces.observed else 4.0
    if transition_strength is None:
        transition_strength = 16.0
    unseen = np.isnan(traces.signals).all(axis=0)
    if unseen.any():
        node = traces._node_text(int(unseen.argmax()))
        raise ValueError(f"traces: expected a request that recorded a signal of node {node}, got none")
    # A state for each of the most frequent categories and one for all others, in the coding of these.
    most = min(bins, MOST_STATES - 1)
    categories = {j: most_frequent(traces.signals[:, j], names, most) for j, names in traces.categories.items()}
    traces = traces._read_as(traces.signal, categories)
    edges = [
        np.arange(len(categories[j]), dtype=np.float32) + np.float32(0.5)
        if j in categories
        else quantile_edges(traces.signals[:, j], bins)
        for j in range(traces.topology.nodes)
    ]
    signal_nodes = list(range(traces.topology.nodes))
    # Estimates know what came before, and losses that are seen speak for themselves.
    if estimator is None and not traces.observed:
        signal_nodes = _telling_nodes(traces.topology, [len(row) > 0 for row in edges])
        edges = [edges[source] for source in signal_nodes]
    smoothing = _choose_smoothing(traces, smoothing)
    strengths = float(loss_strength), float(transition_strength)
    statistics = counted(traces, edges, signal_nodes, smoothing, *strengths)
    recorded_signal = traces.signal if recorded_signal is None else recorded_signal
    return _model(traces, statistics, edges, signal_nodes, None, recorded_signal, estimator)


def _telling_nodes(topology: Topology, telling: Sequence[bool]) -> list[int]:
    """The node whose signal tells the state of each node.

    It is the node's own or, where that is the same for every request, that of the last telling node which every path to
    it passes. So a model without a confidence, or a person, keeps what was known before it was asked.
    """
    before = always_before(topology)
    sources = []
    for node in range(topology.nodes):
        source = node
        while source != ROOT and not telling[source]:
            source = before[source]
        sources.append(node if source == ROOT else source)
    return sources


def fit_like(traces: Traces, like: CascadeModel) -> CascadeModel:
    """The model of other requests in the states of a known one, so that the two add."""
    checks.instance("like", like, CascadeModel)
    sums = like._statistics
    if sums is None:
        raise ValueError("like: expected a fitted model, got one whose tables were stated")
    if like.estimator is not None:
        raise ValueError("like: expected a model of plain signals, models with an estimator do not add")
    check_same_topology("like", like.topology, traces.topology, "a model")
    check_same_nodes("like", like.nodes, traces.nodes)
    check_same_classes("like", like.classes, class_count_of(traces.evidence))
    unit_costs = in_units_of(traces.unit_costs, like.unit_costs)
    if unit_costs is None:
        checks.check_same_unit("like", like.unit, traces.unit)
    else:
        traces = traces._with(unit_costs=unit_costs)
    traces = traces._read_as(like.signal, like.categories)
    if any(
        unit in traces.unit_costs and traces.unit_costs[unit].ndim == 1 for unit in sums.costs
    ):  # alike here, as costs of each request
        shape = (len(traces), len(traces.topology.edges))
        traces = traces._with(
            unit_costs={
                unit: np.broadcast_to(costs, shape).copy() if unit in sums.costs else costs
                for unit, costs in traces.unit_costs.items()
            }
        )
    smoothing = _choose_smoothing(traces, sums.smoothing)
    strengths = sums.loss_strength, sums.transition_strength
    statistics = counted(traces, like.bin_edges, like.signal_nodes, smoothing, *strengths)
    # What is handed over in service is what it was for `like`, whatever this shard recorded.
    return _model(traces, statistics, like.bin_edges, like.signal_nodes, like._cost_scale, like.recorded_signal, None)


def _choose_smoothing(traces: Traces, smoothing: str) -> str:
    if smoothing not in SMOOTHINGS:
        raise ValueError(f"smoothing: expected one of {SMOOTHINGS}, got {smoothing!r}")
    # Whether a curve explains the means is a test of counts. Graded losses vary by more or less than these; on recorded
    # scores a test that estimates by how much chose no better than means alone.
    tested = not traces.observed and are_rates(traces.losses)
    return "mean" if smoothing == "auto" and not tested else smoothing


def _model(
    traces: Traces,
    statistics: Statistics,
    edges: Sequence[npt.NDArray[np.float32]],
    signal_nodes: Sequence[int],
    cost_scale: float | None,
    recorded_signal: str,
    estimator: AnyEstimator | None,
) -> CascadeModel:
    form = (traces.observed, traces.signal, recorded_signal)
    costs = {unit: values if values.ndim == 1 else recorded_mean(values) for unit, values in traces.unit_costs.items()}
    tables = (traces.topology, statistics, costs, edges, signal_nodes, cost_scale)
    classes = class_count_of(traces.evidence)
    return CascadeModel._from_statistics(*tables, *form, estimator, traces.categories, traces.nodes, classes)
