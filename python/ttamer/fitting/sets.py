"""Deciding on everything seen: an estimate of every loss at every set of models consulted.

At a set of models the losses of all models are estimated from what those in the set have shown: of the models in it to
say whose answer is best, of the others to say whom to ask. The leaves of a small tree over these estimates are the
states.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np
import numpy.typing as npt

from ttamer._base.hull import lower_hull, representative
from ttamer._base.numbers import largest_loss
from ttamer._base.progress import Progress
from ttamer._base.types import ROOT, Floats
from ttamer.fitting.cells import PRIOR, Cell, Step, graph_between, model_of_cells
from ttamer.fitting.crossfit import folds_of, sigmoid
from ttamer.fitting.leaves import FEWEST_ROWS, grown, quantile_cut
from ttamer.fitting.regressions import cross_fitted
from ttamer.fitting.shown import Shown, shows_context
from ttamer.fitting.signals import AUTO_STRENGTH
from ttamer.model import CascadeModel
from ttamer.model.information_sets import Order, SetGraph, set_graph
from ttamer.traces import Traces, complete_traces

MOST_MODELS = 20
"""Of more models the most promising ones are asked."""
FEWEST_REQUESTS = 50
"""With fewer, folds are too small to tell estimates apart."""
MOST_REGRESSIONS = 2048
"""More than this, sets of nodes consulted times nodes, and choosing takes minutes: a line of 46 nodes, a skip of 9."""


def check_shown(traces: Traces) -> None:
    """Raise ValueError unless losses can be estimated from what the nodes of these traces show."""
    if traces.weights is not None:
        raise ValueError("estimate: expected traces without weights, got weights; use 'signal'")
    if traces.observed:
        raise ValueError("estimate: expected losses that have to be estimated, got observed ones; use 'signal'")
    if traces.categories and not (shows_context(traces) and list(traces.categories) == [0]):
        raise ValueError("estimate: expected scores that are numbers, got categories; use 'signal'")
    complete_traces(traces)
    if len(traces) < FEWEST_REQUESTS:
        raise ValueError(f"estimate: expected at least {FEWEST_REQUESTS} requests, got {len(traces)}; use 'signal'")


def can_estimate_sets(traces: Traces) -> bool:
    """Whether `check_shown` would pass, and there are few enough places to be in, which takes reasonable time."""
    try:
        check_shown(traces)
        graph = None if traces.independent else set_graph(traces.topology)
    except ValueError:
        return False
    return graph is None or len(set(map(frozenset, graph.sets))) * traces.topology.nodes <= MOST_REGRESSIONS


def fit_sets(
    traces: Traces,
    seed: int = 0,
    progress: Progress = lambda words: None,
    transition_strength: float = AUTO_STRENGTH,
) -> CascadeModel:
    """The model of ``estimate="sets"``.

    Parameters
    ----------
    traces : Traces
        That `check_shown` passes, or a fold of such. Independent models are asked in any order, others along the
        topology's edges.
    seed : int
        Of the folds of cross-fitting.
    progress : callable
        Called with a few words for each set of models.
    transition_strength : float
        As for `ttamer.fit`.

    Raises
    ------
    ValueError
        If there are more pairs of consulted nodes and a last one than can be solved.
    ImportError
        If scikit-learn is missing.
    """
    largest = largest_loss(traces.losses)
    shares = traces.losses.astype(np.float64) / largest
    shown = Shown(traces)
    graph = _any_order(traces, shown.silent) if traces.independent else set_graph(traces.topology)
    folds, rng = folds_of(len(traces), seed), np.random.default_rng(seed)
    cells: dict[Order, Cell] = {}
    for nodes, others in _places(graph).items():
        progress(f"estimate losses after {', '.join(map(str, nodes))}")
        answering, unseen = (tuple(node for node in part if node not in traces.probes) for part in (nodes, others))
        cells[nodes] = _cell(shown, nodes, answering, unseen, shares, folds, rng)
    tables = shown.tables, shown.context
    return model_of_cells(traces, "sets", cells, graph, *tables, largest, PRIOR, transition_strength)


def _any_order(traces: Traces, silent: frozenset[int]) -> SetGraph:
    """Steps of independent models: after the probe, if there is one, up to so many of them in any order.

    Nothing follows a silent one: whoever goes on knows no more than before, and might have left it out.
    """
    probe = front_of(traces)
    models = tuple(sorted({*promising(traces), *traces.probes} - set(probe)))
    depth = len(models) if len(models) <= 4 else 3 if len(models) <= 6 else 2
    steps: list[Step] = [(probe, 0)] if probe else []
    edges: list[tuple[Step | None, Step]] = [(None, steps[0])] if probe else []
    for size in range(1, depth + 1):
        for nodes in combinations(models, size):
            if size == depth and set(nodes) <= set(traces.probes):
                continue  # nothing could answer
            for last in nodes:
                step = ((*probe, *nodes), last)
                before = (*probe, *(node for node in nodes if node != last))
                if not silent.isdisjoint(before[len(probe) :]):
                    continue
                earlier = [(before, each) for each in before if each not in probe] or [(before, 0)]
                steps.append(step)
                edges += [(each if before else None, step) for each in earlier]
    return graph_between(traces, steps, edges)


def front_of(traces: Traces) -> Order:
    """The probe that stands before all models, if there is one."""
    fronts = traces.topology.edges[traces.topology.edges[:, 0] == ROOT, 1].tolist()
    return (0,) if fronts == [0] and 0 in traces.probes else ()


def _places(graph: SetGraph) -> dict[Order, Order]:
    """Of each set of nodes consulted, in rising order, the nodes that may still be consulted."""
    after: dict[Order, set[int]] = {tuple(sorted(nodes)): set() for nodes in graph.sets}
    for before, step in reversed(graph.edges.tolist()):
        if before >= 0:
            nodes, later = (tuple(sorted(graph.sets[each])) for each in (before, step))
            after[nodes] |= (set(later) | after[later]) - set(nodes)
    return {nodes: tuple(sorted(others)) for nodes, others in after.items()}


def _cell(
    shown: Shown,
    nodes: Order,
    answering: Order,
    others: Order,
    shares: Floats,
    folds: npt.NDArray[np.int64],
    rng: np.random.Generator,
) -> Cell:
    targets = (*answering, *others)
    columns, groups = shown.columns(nodes), shown.groups(nodes)
    coefficients, log_odds = cross_fitted(columns, shares[:, targets], folds)
    # Rows that show the same are told apart by their folds alone: a tree that cuts between them makes states that no
    # request is served in. Where they are enough for a leaf all get what is served; of a few, that was made of each
    # one's own loss.
    are_many = (np.bincount(groups) >= FEWEST_ROWS)[groups]
    log_odds[are_many] = coefficients[:, 0] + columns[are_many] @ coefficients[:, 1:].T
    rates = sigmoid(log_odds)
    count = len(answering)
    if not count:
        tree = grown(log_odds, rates, rng)
        best, answers = rates.min(axis=1), np.full(len(shares), -1, np.int32)
        leaves = tree.leaves_of(log_odds)
    else:
        place = log_odds[:, :count].argmin(axis=1)
        least = np.take_along_axis(log_odds, place[:, None], axis=1)
        best = np.take_along_axis(rates, place[:, None], axis=1)[:, 0]
        answers = np.array(answering, np.int32)[place]
        rest = log_odds[:, count:]
        values = np.concatenate([least, rest, np.minimum(rest, least)], axis=1)
        outcomes = np.concatenate([best[:, None], rates[:, count:]], axis=1)
        tree = grown(values, outcomes, rng) if others else quantile_cut(least[:, 0])
        leaves = tree.leaves_of(values)
    return Cell(nodes, targets, count, coefficients, tree, leaves, answers, best)


def promising(traces: Traces) -> Order:
    """All models, or of many those on the lower hull of cost and loss, then the best others."""
    models = traces._answering
    if len(models) <= MOST_MODELS:
        return tuple(models)
    loss = traces.losses[:, models].mean(axis=0, dtype=np.float64)
    cost = traces.reach_costs[models]
    hull = lower_hull(cost, loss)
    first = [models[k] for k in hull[representative(cost[hull], loss[hull], MOST_MODELS)]]
    rest = [models[k] for k in np.argsort(loss, kind="stable") if models[k] not in first]
    return tuple(sorted([*first, *rest][:MOST_MODELS]))
