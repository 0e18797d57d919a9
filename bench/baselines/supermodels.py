"""Independent models consulted in any order: the search for the best set, step by step."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from baselines.features import log_odds
from baselines.logistic import Logistic, fit_logistic
from baselines.scores import Scores, evidence_of
from ttamer._base import checks
from ttamer._base.types import Floats
from ttamer.policy import Replay
from ttamer.traces import Traces

Integers = npt.NDArray[np.int32]

WHO = "routing_curve"
MOST_NODES = 6
"""Models, of which all sets are looked at: 3^n pairs of a set and a larger one."""
DRAWS = 32
"""Draws for the expected best of several uncertain qualities."""


@dataclass(frozen=True, eq=False)
class Qualities(Scores):
    """What every larger set is expected to be worth once a set of models was consulted.

    A set is a number with bit j for model j. The qualities of consulted models are estimated from all that was seen;
    those of others are normal around their estimates, with the deviation that was found on the calibration rows.

    Attributes
    ----------
    models : dict of (set, model) to Logistic
        Probability that a model is right, given what the set has shown.
    deviations : dict of (set, model) to float
        How far the estimate p of a model outside the set moves once it is consulted, in units of sqrt(p (1 - p)), which
        is as far as a probability can move.
    normals : (DRAWS, n) float64
    """

    models: dict[tuple[int, int], Logistic]
    deviations: dict[tuple[int, int], float]
    normals: Floats

    @property
    def nodes(self) -> int:
        """int : number of models."""
        return int(self.normals.shape[1])

    def compute(self, traces: Traces) -> Floats:
        """(N, 3^n + n 2^n) float64: the estimates of every set, and what larger ones are expected to be worth."""
        return self.table(*_shown(traces))

    def table(self, odds: Floats, classes: Integers) -> Floats:
        """The same, of confidences (N, n) and answers (N, n)."""
        pieces = []
        for subset in range(2**self.nodes):
            estimates = self.estimates(subset, odds, classes)
            pieces += [estimates, self._larger_sets(subset, estimates)]
        return np.concatenate(pieces, axis=1)

    def estimates(self, subset: int, odds: Floats, classes: Integers) -> Floats:
        """(N, n) float64: probability of each model being right, given what a set has shown."""
        table = np.empty(odds.shape)
        for j in range(self.nodes):
            table[:, j] = self.models[subset, j](_features(subset, j, odds, classes))
        return table

    def _larger_sets(self, subset: int, estimates: Floats) -> Floats:
        """(N, sets that contain `subset`) float64: the expected best quality in each of `supersets`."""
        models = members(subset, self.nodes)
        best = estimates[:, models].max(axis=1, initial=0.0)
        draws = {subset: np.repeat(best[:, None], DRAWS, axis=1)}
        for larger in supersets(subset, self.nodes)[1:]:
            newest = (larger & ~subset).bit_length() - 1
            mean = estimates[:, newest, None]
            spread = self.deviations[subset, newest] * np.sqrt(mean * (1.0 - mean))
            samples = np.clip(mean + spread * self.normals[:, newest], 0.0, 1.0)
            draws[larger] = np.maximum(draws[larger & ~(1 << newest)], samples)
        return np.stack([draws[larger].mean(axis=1) for larger in supersets(subset, self.nodes)], axis=1)


def route(traces: Traces, qualities: Qualities, price: float) -> Replay:
    """Consult independent models one by one, towards the set with the largest expected quality less price times cost.

    After every model the search starts anew with the estimates of that moment; of the chosen set the cheapest model
    that was not consulted yet comes next. The answer is that of the consulted model with the highest estimate.

    Parameters
    ----------
    traces : Traces
        On a forest in which every node is a root.
    qualities : Qualities
        Of `routing_curve`.
    price : float
        Probability of being right that a unit of cost is worth, at least 0.

    Raises
    ------
    ValueError
        If there is a node that is not a root, or the price is negative.
    """
    check_roots(traces)
    if not checks.real("price", price) >= 0.0:
        raise ValueError(f"price: expected a number >= 0, got {price}")
    consulted, last, answer = walk(qualities(traces), traces.costs, price)
    cost = consulted @ traces.costs
    return Replay(last, answer, cost, traces.losses[np.arange(len(traces)), answer].astype(np.float64))


def walk(table: Floats, costs: Floats, price: float) -> tuple[npt.NDArray[np.bool_], Integers, Integers]:
    """What `route` does, by the table of the qualities.

    Returns
    -------
    consulted : (N, n) bool
    last, answer : (N,) int32
        Models consulted last, and whose answer is taken.
    """
    nodes = len(costs)
    rows = np.arange(len(table))
    sets = np.zeros(len(table), np.intp)
    last, answer = np.full(len(table), -1, np.int32), np.zeros(len(table), np.int32)
    start = 0
    # In rising order every set comes after those it can be reached from.
    for subset in range(2**nodes):
        larger = supersets(subset, nodes)
        width = nodes + len(larger)
        here = rows[sets == subset]
        piece = table[here, start : start + width]
        start += width
        if len(here) == 0:
            continue
        prices = np.array([costs[members(each & ~subset, nodes)].sum() for each in larger])
        worth = piece[:, nodes:] - price * prices
        if subset == 0:
            worth[:, 0] = -np.inf
        best = worth.argmax(axis=1)
        models = members(subset, nodes)
        if len(models) > 0:
            answer[here] = models[piece[:, models].argmax(axis=1)]
        following = np.array([_cheapest(each & ~subset, costs) for each in larger])[best]
        going, to = here[following >= 0], following[following >= 0]
        last[going] = to
        sets[going] |= np.left_shift(1, to)
    return (sets[:, None] >> np.arange(nodes) & 1).astype(np.bool_), last, answer


def fit_qualities(traces: Traces) -> Qualities:
    """Estimates for every set of models, from calibration rows with 0/1 losses and evidence."""
    check_roots(traces)
    nodes = traces.topology.nodes
    if nodes > MOST_NODES:
        raise ValueError(f"traces: {WHO} looks at all sets of at most {MOST_NODES} models, got {nodes}")
    return fit_shown(*_shown(traces), traces.losses == 0)


def fit_shown(odds: Floats, classes: Integers, right: npt.NDArray[np.bool_]) -> Qualities:
    """What `fit_qualities` does, from confidences, answers and whether they are right, each (N, n)."""
    nodes = odds.shape[1]
    models = {
        (subset, j): fit_logistic(_features(subset, j, odds, classes), right[:, j], WHO)
        for subset in range(2**nodes)
        for j in range(nodes)
    }
    # Antithetic, so that the mean of one model alone is its estimate.
    half = np.random.default_rng(0).standard_normal((DRAWS // 2, nodes))
    deviations: dict[tuple[int, int], float] = {}
    qualities = Qualities(models, deviations, np.concatenate([half, -half]))
    estimates = [qualities.estimates(subset, odds, classes) for subset in range(2**nodes)]
    for subset in range(2**nodes):
        for j in members(2**nodes - 1 - subset, nodes).tolist():
            before, after = estimates[subset][:, j], estimates[subset | 1 << j][:, j]
            deviations[subset, j] = float(np.sqrt(((after - before) ** 2).sum() / (before * (1.0 - before)).sum()))
    return qualities


def _shown(traces: Traces) -> tuple[Floats, Integers]:
    """Confidences (N, n) and answers (N, n) of all models."""
    return log_odds(traces, WHO), evidence_of(traces, WHO).classes[:, :, 0]


def check_roots(traces: Traces) -> None:
    """Raise ValueError unless every node is a root."""
    if traces.topology.kind != "forest" or (traces.topology.edges[:, 0] >= 0).any():
        raise ValueError(f"traces: expected a forest in which every node is a root, got {traces.topology!r}")


def members(each: int, nodes: int) -> npt.NDArray[np.intp]:
    """Models of a set, ascending."""
    return np.array([j for j in range(nodes) if each >> j & 1], dtype=np.intp)


def supersets(subset: int, nodes: int) -> list[int]:
    """Sets that contain a set, ascending, itself first."""
    return [each for each in range(subset, 2**nodes) if each & subset == subset]


def _cheapest(others: int, costs: Floats) -> int:
    """The cheapest model of a set, -1 if it is empty."""
    return min(members(others, len(costs)).tolist(), key=lambda j: costs[j], default=-1)


def _features(subset: int, model: int, odds: Floats, classes: Integers) -> Floats:
    """(N, d) float64: confidences of the consulted models, and how many of them say the same.

    The share of those that answer as the model does; for a model outside the set, as the surest one in it does.
    """
    models = members(subset, odds.shape[1])
    if len(models) < 2:
        return odds[:, models]
    if subset >> model & 1:
        answer = classes[:, model]
    else:
        answer = classes[np.arange(len(odds)), models[odds[:, models].argmax(axis=1)]]
    agree = (classes[:, models] == answer[:, None]).mean(axis=1, keepdims=True)
    return np.concatenate([odds[:, models], agree], axis=1)
