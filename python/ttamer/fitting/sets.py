"""Deciding on everything seen: an estimate of every loss at every set of models consulted.

At a set of models the losses of all models are estimated from what those in the set have shown: of the models in it to
say whose answer is best, of the others to say whom to ask. The leaves of a small tree over these estimates are the
states.
"""

from __future__ import annotations

import warnings
from itertools import combinations

import numpy as np
import numpy.typing as npt

from ttamer._base.hull import lower_hull
from ttamer._base.numbers import largest_loss
from ttamer._base.types import Floats
from ttamer.fitting.cells import PRIOR, Cell, Step, model_of_cells
from ttamer.fitting.crossfit import folds_of
from ttamer.fitting.leaves import grown, quantile_cut
from ttamer.fitting.regressions import cross_fitted
from ttamer.fitting.shown import Shown
from ttamer.model import CascadeModel
from ttamer.model.information_sets import Order
from ttamer.traces import Traces, complete_traces

MOST_MODELS = 20
"""Of more models the most promising ones are asked."""
FEWEST_REQUESTS = 50


def check_independent(traces: Traces) -> None:
    """Raise ValueError unless policies may ask the models of these traces in any order, on everything seen."""
    if not traces.independent:
        raise ValueError("estimate: expected traces of independent models (Traces.from_models), got others")
    if traces.weights is not None:
        raise ValueError("estimate: expected traces without weights, got weights; use 'signal'")
    if traces.observed:
        raise ValueError("estimate: expected losses that have to be estimated, got observed ones; use 'signal'")
    complete_traces(traces)
    if len(traces) < FEWEST_REQUESTS:
        raise ValueError(f"estimate: expected at least {FEWEST_REQUESTS} requests, got {len(traces)}; use 'signal'")


def can_ask_any(traces: Traces) -> bool:
    """Whether `check_independent` would pass."""
    try:
        check_independent(traces)
    except ValueError:
        return False
    return True


def fit_sets(traces: Traces, seed: int = 0) -> CascadeModel:
    """The model of ``estimate="sets"``.

    Parameters
    ----------
    traces : Traces
        Of independent models, complete.
    seed : int
        Of the folds of cross-fitting.

    Raises
    ------
    ValueError
        As `check_independent`.
    ImportError
        If scikit-learn is missing.
    """
    check_independent(traces)
    probe: Order = (0,) if traces.probes == (0,) else ()
    models = promising(traces)
    depth = len(models) if len(models) <= 4 else 3 if len(models) <= 6 else 2
    largest = largest_loss(traces.losses)
    shares = traces.losses.astype(np.float64) / largest
    shown = Shown(traces)
    folds, rng = folds_of(len(traces), seed), np.random.default_rng(seed)
    cells: list[Cell] = []
    steps: dict[Step, int] = {}
    edges: list[tuple[Step | None, Step]] = []
    if probe:
        cells.append(_cell(shown, probe, (), models, shares, folds, rng))
        steps[probe, 0] = 0
        edges.append((None, (probe, 0)))
    for size in range(1, depth + 1):
        for nodes in combinations(models, size):
            others = tuple(node for node in models if node not in nodes) if size < depth else ()
            for last in nodes:
                step = ((*probe, *nodes), last)
                steps[step] = len(cells)
                before = (*probe, *(node for node in nodes if node != last))
                edges += [(earlier if before else None, step) for earlier in _steps_at(before, probe)]
            cells.append(_cell(shown, (*probe, *nodes), nodes, others, shares, folds, rng))
    return model_of_cells(traces, "sets", cells, steps, edges, shown.tables, shown.context, largest, PRIOR)


def _steps_at(nodes: Order, probe: Order) -> list[Step]:
    """All steps at which exactly these nodes are consulted; one that stands for the root if there are none."""
    return [(nodes, last) for last in nodes if last not in probe] or [(nodes, 0)]


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
    columns = shown.columns(nodes)
    coefficients, log_odds = cross_fitted(columns, shares[:, targets], folds)
    rates = 1 / (1 + np.exp(-log_odds))
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
    """The models that policies ask: all, or of many those `worth_asking`, with a warning that names them."""
    chosen = worth_asking(traces)
    if len(chosen) < len(traces._answering):
        warnings.warn(
            f"fit: policies ask {MOST_MODELS} of the {len(traces._answering)} models, nodes {list(chosen)}; the others "
            "are not worth it alone, and asking all pairs would take too many steps",
            stacklevel=4,
        )
    return chosen


def worth_asking(traces: Traces) -> Order:
    """All models, or of many those on the lower hull of cost and loss, then the best others."""
    models = traces._answering
    if len(models) <= MOST_MODELS:
        return tuple(models)
    loss = traces.losses[:, models].mean(axis=0, dtype=np.float64)
    cost = traces.reach_costs[models]
    first = [models[k] for k in lower_hull(cost, loss)]
    rest = [models[k] for k in np.argsort(loss, kind="stable") if models[k] not in first]
    return tuple(sorted([*first, *rest][:MOST_MODELS]))
