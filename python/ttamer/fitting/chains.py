"""A few good chains of models: the orders and thresholds that one common threshold on the scores does best with.

With few requests little more can be told than which models follow which, and below which score. Each chain and
threshold on the lower hull of all that were tried stays open to the policy; the states of a node are what these
thresholds tell apart.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations

import numpy as np

from ttamer._base.hull import lower_hull
from ttamer._base.numbers import largest_loss
from ttamer._base.types import Floats
from ttamer.fitting.cells import Cell, Step, model_of_cells
from ttamer.fitting.leaves import cut
from ttamer.fitting.sets import check_independent, promising
from ttamer.fitting.shown import Input, input_tables
from ttamer.model import CascadeModel
from ttamer.model.information_sets import Order
from ttamer.traces import Traces
from ttamer.traces.signals import NOTHING

THRESHOLDS = 13
"""Quantiles of a chain's scores that are tried."""
LONG, MOST_LONG = 3, 5
"""Chains have at most 3 models where there are at most 5, else 2."""

Chain = tuple[Order, float]


def fit_chains(traces: Traces) -> CascadeModel:
    """The model of ``estimate="chains"``.

    Parameters
    ----------
    traces : Traces
        Of independent models, complete.

    Raises
    ------
    ValueError
        As `ttamer.fitting.sets.check_independent`, or if no model has scores.
    """
    check_independent(traces)
    probe: Order = (0,) if traces.probes == (0,) else ()
    models = promising(traces)
    if not has_scores(traces):
        raise ValueError("estimate: expected scores, which chains are cut at, got none")
    thresholds: dict[Order, set[float]] = {}
    for order, threshold in best_chains(traces, models):
        for length in range(1, len(order) + 1):
            thresholds.setdefault(order[:length], set())
            if length < len(order):
                score = traces.signals[:, order[length - 1]]
                if score.min() < np.float32(threshold) <= score.max():  # it tells requests apart
                    thresholds[order[:length]].add(threshold)
    largest = largest_loss(traces.losses)
    inputs = {node: _input(thresholds, node) for node in range(traces.topology.nodes)}
    # A prefix, then its last node: chains that part ways stay apart.
    prefixes = sorted(thresholds, key=len)
    cells: list[Cell] = []
    steps: dict[Step, int] = {}
    edges: list[tuple[Step | None, Step]] = []
    if probe:
        cells.append(_front(traces, models))
        steps[probe, 0] = 0
        edges.append((None, (probe, 0)))
    for prefix in prefixes:
        step = ((*probe, *prefix), prefix[-1])
        steps[step] = len(cells)
        cells.append(_cell(traces, prefix, thresholds, inputs, probe, largest))
        before: Step | None = ((*probe, *prefix[:-1]), prefix[-2]) if len(prefix) > 1 else None
        edges.append((before if before or not probe else (probe, 0), step))
    parts = [[each] if len(each.knots) else [] for each in inputs.values()]
    none = [np.empty(0, np.int32)] * len(parts)
    shown = input_tables(parts, none, np.zeros(len(parts), np.int32))
    return model_of_cells(traces, "chains", cells, steps, edges, shown, (), largest, 0.0)


def has_scores(traces: Traces) -> bool:
    """Whether there is a model whose scores differ."""
    return bool((np.ptp(traces.signals[:, traces._answering], axis=0) > 0).any())


def best_chains(traces: Traces, models: Order) -> list[Chain]:
    """Chains, and the threshold below which they go on, on the lower hull of mean cost and loss."""
    chains, points = [], []
    for order in orders(models):
        scores = traces.signals[:, order].astype(np.float64)
        costs = np.cumsum(_model_costs(traces, order), axis=-1)
        rows = np.arange(len(traces))
        for threshold in _tried(scores[:, :-1]):
            stops = scores >= threshold
            stops[:, -1] = True
            place = stops.argmax(axis=1)
            chains.append((order, float(threshold)))
            paid = costs[rows, place] if costs.ndim == 2 else costs[place]
            points.append((paid.mean(), traces.losses[rows, np.array(order)[place]].mean(dtype=np.float64)))
    cost, loss = np.array(points).T
    return [chains[k] for k in lower_hull(cost, loss)]


def orders(models: Order) -> Iterator[Order]:
    """All orders of so many models as a chain has."""
    longest = LONG if len(models) <= MOST_LONG else LONG - 1
    for length in range(1, min(longest, len(models)) + 1):
        yield from permutations(models, length)


def _tried(scores: Floats) -> Floats:
    """Thresholds of a chain; of one model alone one that stops everything."""
    known = scores[scores > NOTHING]
    return np.unique(np.quantile(known, np.linspace(0, 1, THRESHOLDS))) if known.size else np.array([-np.inf])


def _model_costs(traces: Traces, order: Order) -> Floats:
    """(m,) or (N, m) : the costs of models, in the traces' unit."""
    into = {j: e for e, (_, j) in reversed(list(enumerate(traces.topology.edges.tolist())))}
    costs: Floats = traces.paid_costs[..., [into[node] for node in order]]
    return costs


def _input(thresholds: dict[Order, set[float]], node: int) -> Input:
    """Bins of a node's scores at all thresholds of its prefixes; its one column falls from bin to bin."""
    levels = {level for prefix, own in thresholds.items() if prefix[-1] == node for level in own}
    knots = np.unique(np.array(sorted(levels), np.float32))
    # A missing score is below all thresholds.
    return Input(knots, -np.append(np.arange(len(knots) + 1.0), 0.0)[:, None])


def _front(traces: Traces, models: Order) -> Cell:
    """Of the probe in front, which chains do not look at: one state."""
    rows = len(traces)
    tree, none = cut(np.empty(0)), np.full(rows, -1, np.int32)
    return Cell((0,), models[:1], 0, np.zeros((1, 1)), tree, np.zeros(rows, np.int32), none, np.zeros(rows))


def _cell(
    traces: Traces,
    prefix: Order,
    thresholds: dict[Order, set[float]],
    inputs: dict[int, Input],
    probe: Order,
    largest: float,
) -> Cell:
    # Where a chain ends nothing new is told apart: the state stays that of the model before.
    source = prefix if thresholds[prefix] or len(prefix) == 1 else prefix[:-1]
    node, answer = source[-1], prefix[-1]
    shown = inputs[node]
    own = np.array(sorted(thresholds[source]), np.float32)
    places = np.searchsorted(shown.knots, own)  # the bins that these thresholds begin
    tree = cut(-0.5 - places[::-1].astype(np.float64))
    width = shown.values.shape[1] if len(shown.knots) else 0
    values = shown.of(traces.signals[:, node])[:, :1] if width else np.zeros((len(traces), 1))
    leaves = tree.leaves_of(values)
    coefficients = np.append(0.0, np.ones(width))[None]
    estimates = traces.losses[:, answer].astype(np.float64) / largest
    answers = np.full(len(traces), answer, np.int32)
    return Cell((node,), (answer,), 1, coefficients, tree, leaves, answers, estimates)
