"""Ways to decide which of several models to ask, and whose answer to take.

A way is fitted on calibration requests and returns the points that it can run at, none where it does not apply.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import permutations
from typing import Any

import numpy as np
import numpy.typing as npt
from baselines.supermodels import MOST_NODES, Qualities, fit_shown, walk
from model_sets import Requests
from sklearn.tree import DecisionTreeRegressor

import ttamer

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]
Replay = Callable[[Requests], tuple[Floats, Floats]]
"""Cost and loss (N,) of every request."""

PRICES = (1e-3, 30.0)
"""Least and largest price of one call of the dearest model, in units of loss."""
QUANTILES = 13
MOST_CLASSES = 200
"""Of answers, for a rule that has a table a class."""
CELL_STRENGTH, CATEGORY_STRENGTH = 5.0, 20.0
"""How many requests the mean of all counts for, in the means of a table's cell and of a category."""
TREES = ((3000, 48, 40), (800, 16, 30), (0, 8, 25))
"""From how many requests on, the leaves of a tree at most, and the requests of a leaf at least."""


@dataclass(frozen=True, eq=False)
class Point:
    """One setting of a way.

    Attributes
    ----------
    cost, error : float
        Means of the calibration requests.
    replay : callable
        What it does with any requests.
    """

    cost: float
    error: float
    replay: Replay


@dataclass(frozen=True)
class Way:
    """The points of a way.

    Attributes
    ----------
    points : list of Point
    choice : str or None
        Which family of policies was chosen, where there are several.
    """

    points: list[Point]
    choice: str | None = None


def frontier(requests: Requests) -> Way:
    """ttamer's defaults. Errors of points are out of fold where its policies estimate."""
    front = ttamer.frontier(requests.traces)
    points = [Point(point.cost, point.error, partial(_serve, point.policy)) for point in front]
    return Way(points, front.estimate)


def _serve(policy: ttamer.Policy, requests: Requests) -> tuple[Floats, Floats]:
    replay = policy.replay(requests.traces)
    return replay.cost, replay.loss


def fixed(requests: Requests) -> Way:
    """Always the same model."""
    return _measured([partial(_always, model) for model in range(len(requests.models))], requests)


def _always(model: int, requests: Requests) -> tuple[Floats, Floats]:
    return requests.costs[:, model], requests.losses[:, model]


def thresholds(requests: Requests) -> Way:
    """One threshold on the scores, in every order of up to three models, or two where there are more than five.

    A missing score is below every threshold; models without any come last only.
    """
    models = range(len(requests.models))
    has_scores = np.asarray(np.isfinite(requests.scores).any(axis=0))
    rules: list[Replay] = []
    for length in range(2, 4 if len(models) <= 5 else 3):
        for order in permutations(models, length):
            if has_scores[list(order[:-1])].all():
                own = requests.scores[:, order[:-1]]
                levels = np.unique(np.quantile(own[np.isfinite(own)], np.linspace(0, 1, QUANTILES)))
                rules += [partial(_walk, order, level) for level in levels.tolist()]
    return _measured(rules, requests)


def _walk(order: tuple[int, ...], threshold: float, requests: Requests) -> tuple[Floats, Floats]:
    stops = requests.scores[:, order] >= threshold
    stops[:, -1] = True
    rows, last = np.arange(len(requests)), stops.argmax(axis=1)
    return np.cumsum(requests.costs[:, order], axis=1)[rows, last], requests.losses[rows, np.array(order)[last]]


def two_calls(requests: Requests) -> Way:
    """A first model, then, by the class it answered and the quarter of its score, its answer or that of one other.

    Chen, Zaharia, Zou, *FrugalML: How to Use ML Prediction APIs More Accurately and Cheaply*, arXiv 2006.07512; here
    the best table is that of a price of costs, and all first models are tried.
    """
    models = len(requests.models)
    answers = requests.answers if requests.has_classes else None
    classes = np.empty(0, int) if answers is None else np.unique(answers)
    classes = classes if len(classes) <= MOST_CLASSES else classes[:0]
    rules: list[Replay] = []
    for first in range(models):
        scores = requests.scores[:, first]
        scores = scores[np.isfinite(scores)]
        if len(scores) == 0 and len(classes) == 0:
            continue
        edges = np.unique(np.quantile(scores, [0.25, 0.5, 0.75])) if len(scores) > 0 else scores
        cell_of = partial(_cells, first, edges, classes)
        losses = _means(cell_of(requests), max(len(classes), 1) * 4, requests.losses, CELL_STRENGTH)
        costs = np.where(np.arange(models) == first, 0.0, requests.costs.mean(axis=0))
        for price in _prices(costs.max(), 25):
            rules.append(partial(_second_call, first, cell_of, (losses + price * costs).argmin(axis=1)))
    return _measured(rules, requests)


def _cells(first: int, edges: Floats, classes: Array, requests: Requests) -> Array:
    """The cell (N,) of each request in the table of a first model."""
    quarter = np.searchsorted(edges, requests.scores[:, first], side="right")
    if len(classes) == 0 or requests.answers is None:
        return quarter
    return np.minimum(np.searchsorted(classes, requests.answers[:, first]), len(classes) - 1) * 4 + quarter


def _second_call(
    first: int, cell_of: Callable[[Requests], Array], models: Array, requests: Requests
) -> tuple[Floats, Floats]:
    answering = models[cell_of(requests)]
    rows = np.arange(len(requests))
    second = np.where(answering == first, 0.0, requests.costs[rows, answering])
    return requests.costs[:, first] + second, requests.losses[rows, answering]


def routing(requests: Requests) -> Way:
    """One model, by a tree over what is known before any is asked: the least mean loss plus priced cost of the leaf."""
    if not requests.context:
        return Way([])
    categories = {
        name: _category_means(column, requests.losses)
        for name, column in requests.context.items()
        if column.dtype.kind == "U"
    }
    features = _features(categories, requests)
    leaves, least = next((leaves, least) for rows, leaves, least in TREES if len(requests) >= rows)
    tree = DecisionTreeRegressor(max_leaf_nodes=leaves, min_samples_leaf=least, random_state=0)
    leaf = tree.fit(features, requests.losses).apply(features)
    losses, costs = (_means(leaf, tree.tree_.node_count, values, 0.0) for values in (requests.losses, requests.costs))
    leaf_of = partial(_leaves, tree, categories)
    prices = _prices(requests.costs.mean(axis=0).max(), 40)
    return _measured([partial(_route, leaf_of, (losses + price * costs).argmin(axis=1)) for price in prices], requests)


def _category_means(column: Array, losses: Floats) -> dict[str, Floats]:
    """Mean losses of the models by category; those of all requests for one that is not here."""
    names, codes = np.unique(column, return_inverse=True)
    means = _means(codes, len(names), losses, CATEGORY_STRENGTH)
    return dict(zip(names.tolist(), means, strict=True)) | {"other": losses.mean(axis=0)}


def _features(categories: dict[str, dict[str, Floats]], requests: Requests) -> Floats:
    """(N, d): numbers as they are, below all others where missing; categories as the mean losses of the models."""
    columns = []
    for name, column in requests.context.items():
        if name in categories:
            means = categories[name]
            columns += list(np.array([means.get(text, means["other"]) for text in column.tolist()]).T)
        else:
            columns.append(np.nan_to_num(column, nan=-1e30))
    return np.stack(columns, axis=1)


def _leaves(tree: DecisionTreeRegressor, categories: dict[str, dict[str, Floats]], requests: Requests) -> Array:
    leaves: Array = tree.apply(_features(categories, requests))
    return leaves


def _route(leaf_of: Callable[[Requests], Array], models: Array, requests: Requests) -> tuple[Floats, Floats]:
    rows, model = np.arange(len(requests)), models[leaf_of(requests)]
    return requests.costs[rows, model], requests.losses[rows, model]


def cascade_routing(requests: Requests) -> Way:
    """At each step towards the set of models with the largest expected quality less its priced cost.

    Dekoninck, Baader, Vechev, *A Unified Approach to Routing and Cascading for LLMs*, arXiv 2410.10347. At most six
    models, whose answers are right or wrong; confidences are log-odds of the ranks of scores.
    """
    models = len(requests.models)
    if models > MOST_NODES or not np.isin(requests.losses, (0.0, 1.0)).all() or not np.isfinite(requests.scores).any():
        return Way([])
    shown_of = partial(_shown, [np.sort(column[np.isfinite(column)]) for column in requests.scores.T])
    # All prices read one table of the calibration requests, and one of the others.
    table_of = lru_cache(2)(partial(_table, shown_of, fit_shown(*shown_of(requests), requests.losses == 0)))
    costs = requests.costs.mean(axis=0)
    return _measured([partial(_to_sets, table_of, costs, price) for price in _prices(costs.max(), 60)], requests)


def _shown(sorted_scores: list[Floats], requests: Requests) -> tuple[Floats, Array]:
    """Confidences (N, n), 0 where there is no score, and answers (N, n), all different where there are none."""
    odds = np.zeros(requests.scores.shape)
    for model, known in enumerate(sorted_scores):
        scores = requests.scores[:, model]
        ranks = (np.searchsorted(known, scores, "left") + np.searchsorted(known, scores, "right") + 1) / 2
        share = ranks / (len(known) + 1)
        odds[:, model] = np.where(np.isfinite(scores), np.log(share / (1 - share)), 0.0)
    different = -1 - np.arange(len(sorted_scores))
    answers = different if requests.answers is None else np.where(requests.answers < 0, different, requests.answers)
    return odds, np.broadcast_to(answers, odds.shape)


def _table(shown_of: Callable[[Requests], tuple[Floats, Array]], qualities: Qualities, requests: Requests) -> Floats:
    return qualities.table(*shown_of(requests))


def _to_sets(
    table_of: Callable[[Requests], Floats], costs: Floats, price: float, requests: Requests
) -> tuple[Floats, Floats]:
    consulted, _, answering = walk(table_of(requests), costs, price)
    return (consulted * requests.costs).sum(axis=1), requests.losses[np.arange(len(requests)), answering]


def _measured(rules: list[Replay], requests: Requests) -> Way:
    points = []
    for rule in rules:
        cost, loss = rule(requests)
        points.append(Point(float(cost.mean()), float(loss.mean()), rule))
    return Way(points)


def _means(cells: Array, count: int, values: Floats, strength: float) -> Floats:
    """Mean values (count, n) of the requests of every cell, drawn to the mean of all; of that alone in an empty one."""
    rows = np.bincount(cells, minlength=count)[:, None]
    sums = np.stack([np.bincount(cells, column, count) for column in values.T], axis=1)
    mean = values.mean(axis=0)
    means: Floats = np.where(rows > 0, (sums + strength * mean) / np.maximum(rows + strength, 1), mean)
    return means


def _prices(cost: float, count: int) -> list[float]:
    """Prices of a unit of cost, in units of loss, where one call may cost so much."""
    prices: list[float] = (np.geomspace(*PRICES, count) / cost).tolist()
    return prices


WAYS: dict[str, Callable[[Requests], Way]] = {
    "ttamer": frontier,
    "fixed": fixed,
    "thresholds": thresholds,
    "two calls": two_calls,
    "routing": routing,
    "cascade routing": cascade_routing,
    "half the rows": lambda requests: frontier(requests.half()),
}
"""ttamer first."""
