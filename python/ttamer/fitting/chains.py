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
from ttamer.fitting.cells import Cell, Step, graph_between, model_of_cells
from ttamer.fitting.leaves import cut
from ttamer.fitting.sets import front_of, promising
from ttamer.fitting.shown import Input, input_tables
from ttamer.fitting.signals import AUTO_STRENGTH
from ttamer.model import CascadeModel
from ttamer.model.information_sets import Order
from ttamer.traces import Traces
from ttamer.traces.signals import NOTHING

THRESHOLDS = 13
"""Quantiles of a chain's scores that are tried."""
LONG, MOST_LONG = 3, 5
"""Chains have at most 3 models where there are at most 5, else 2."""

Chain = tuple[Order, float]


def fit_chains(traces: Traces, transition_strength: float = AUTO_STRENGTH) -> CascadeModel:
    """The model of ``estimate="chains"``.

    Parameters
    ----------
    traces : Traces
        Of independent models, that `ttamer.fitting.sets.check_shown` passes, or a fold of such.
    transition_strength : float
        As for `ttamer.fit`.
    """
    probe = front_of(traces)
    models = promising(traces)
    thresholds: dict[Order, set[float]] = {}
    for order, threshold in best_chains(traces, models):
        for length in range(1, len(order) + 1):
            thresholds.setdefault(order[:length], set())
            if length < len(order):
                score = traces.signals[:, order[length - 1]]
                # The score that it asks for: thresholds between the same scores are one, and each state has requests.
                above = score[score >= np.float32(threshold)]
                if 0 < len(above) < len(score):
                    thresholds[order[:length]].add(float(above.min()))
    largest = largest_loss(traces.losses)
    inputs = {node: _input(thresholds, node) for node in range(traces.topology.nodes)}
    # By what was consulted, in that order: chains that part ways stay apart.
    cells: dict[Order, Cell] = {}
    steps: list[Step] = []
    edges: list[tuple[Step | None, Step]] = []
    if probe:
        cells[probe] = _front(traces, models)
        steps.append((probe, 0))
        edges.append((None, (probe, 0)))
    for prefix in sorted(thresholds, key=len):
        nodes = (*probe, *prefix)
        cells[nodes] = _cell(traces, prefix, thresholds, inputs, largest)
        steps.append((nodes, prefix[-1]))
        edges.append(((nodes[:-1], nodes[-2]) if len(nodes) > 1 else None, steps[-1]))
    parts = [[each] if len(each.knots) else [] for each in inputs.values()]
    none = [np.empty(0, np.int32)] * len(parts)
    shown = input_tables(parts, none, np.zeros(len(parts), np.int32))
    graph = graph_between(traces, steps, edges)
    return model_of_cells(traces, "chains", cells, graph, shown, (), largest, 0.0, transition_strength)


def has_scores(traces: Traces) -> bool:
    """Whether there is a model whose scores differ."""
    scores = traces.signals[:, traces._answering]
    return bool((scores != scores[:1]).any())


def best_chains(traces: Traces, models: Order) -> list[Chain]:
    """Chains, and the threshold below which they go on, on the lower hull of mean cost and loss."""
    rows = len(traces)
    scores, losses = (table[:, models].astype(np.float64) for table in (traces.signals, traces.losses))
    costs = traces.request_reach_costs[:, models]
    chains: list[Chain] = [((model,), np.inf) for model in models]
    points = [*zip(costs.mean(axis=0).tolist(), losses.mean(axis=0).tolist(), strict=True)]
    for before in orders(tuple(range(len(models))), shorter=1):  # what comes before the last model
        rest = [k for k in range(len(models)) if k not in before]
        for threshold in _tried(scores[:, before]):
            goes = np.ones(rows, np.bool_)
            cost = loss = 0.0
            for k in before:
                cost += costs[goes, k].sum()
                stops = goes & (scores[:, k] >= threshold)
                loss += losses[stops, k].sum()
                goes &= ~stops
            ends = (cost + goes @ costs[:, rest]) / rows, (loss + goes @ losses[:, rest]) / rows
            chains += [(tuple(models[k] for k in (*before, last)), float(threshold)) for last in rest]
            points += zip(ends[0].tolist(), ends[1].tolist(), strict=True)
    cost_of, loss_of = np.array(points).T
    return [chains[k] for k in lower_hull(cost_of, loss_of)]


def orders(models: Order, shorter: int = 0) -> Iterator[Order]:
    """All orders of so many models as a chain has, or of fewer by `shorter`."""
    longest = min(LONG if len(models) <= MOST_LONG else LONG - 1, len(models))
    for length in range(1, longest + 1 - shorter):
        yield from permutations(models, length)


def _tried(scores: Floats) -> Floats:
    """Quantiles of scores, none where nothing has one."""
    known = scores[scores > NOTHING]
    return np.unique(np.quantile(known, np.linspace(0, 1, THRESHOLDS))) if known.size else np.empty(0)


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
