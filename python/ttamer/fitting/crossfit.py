"""Fitting estimators: ridge logistic regressions on the evidence of traces, each made without the rows it judges.

Graded losses are divided by the largest one: a fractional logistic regression solves the same equations with these
shares of a loss in place of 0 and 1.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ttamer._base.numbers import are_rates, largest_loss
from ttamer._base.types import Floats
from ttamer.model.estimators import Estimates, Estimator
from ttamer.model.features import assemble, doubts, odds
from ttamer.model.information_sets import Order, SetGraph
from ttamer.traces import Traces, complete_traces

FOLDS = 5
RIDGE = 3.0
"""Half of this times the squared weights, of standardised features, is added to the negative log-likelihood."""


def check_traces(traces: Traces) -> None:
    """Raise unless estimates can be fitted on these traces.

    Raises
    ------
    ValueError
        If there is no evidence, the losses are observed, or requests have weights.
    """
    if traces.weights is not None:
        raise ValueError("estimate: expected traces without weights, got weights; use 'signal'")
    if traces.observed:
        raise ValueError("estimate: expected losses that have to be estimated, got observed ones; use 'signal'")
    if traces.evidence is None:
        raise ValueError("traces: expected evidence to estimate from, got none; Traces.from_probs records it")
    if traces.probes:
        raise ValueError(f"estimate: expected nodes that can all answer, {traces.probes[0]} cannot; use 'signal'")
    complete_traces(traces)


def can_estimate(traces: Traces) -> bool:
    """Whether `check_traces` would pass."""
    try:
        check_traces(traces)
    except ValueError:
        return False
    return True


def folds_of(rows: int, seed: int, folds: int = FOLDS) -> npt.NDArray[np.int64]:
    """(rows,) : a fold, numbered from 0, for every row, as even as can be, shuffled."""
    return np.random.default_rng(seed).permutation(np.arange(rows) % folds)


def log_odds(rate: Floats | float) -> Floats:
    """Of a rate in (0, 1)."""
    odds: Floats = np.log(rate / (1 - np.asarray(rate)))
    return odds


def sigmoid(x: Floats) -> Floats:
    """1 / (1 + exp(-x)), without overflow."""
    half: Floats = 0.5 * (1 + np.tanh(0.5 * x))
    return half


class CrossFit:
    """All regressions of some traces, each made when first asked for: orders share them.

    Parameters
    ----------
    traces : Traces
        As `check_traces` wants them.
    seed : int
        Of the folds.

    Attributes
    ----------
    largest : float
        The largest loss, which an answer has that is wrong altogether.

    Raises
    ------
    ValueError
        As `check_traces`.
    ImportError
        If scikit-learn is missing.
    """

    def __init__(self, traces: Traces, seed: int = 0) -> None:
        check_traces(traces)
        assert traces.evidence is not None
        self._new = _regression_maker()
        self.traces = traces
        self.largest = largest_loss(traces.losses)
        self._evidence = traces.evidence
        self._folds = folds_of(len(traces), seed)
        self._odds: dict[tuple[int, int], Floats] = {}
        self._doubts: dict[int, Floats] = {}
        self._fits: dict[tuple[Order, int, int], tuple[Floats, Floats]] = {}

    def step(self, nodes: Sequence[int], last: int) -> tuple[list[Floats], Estimates]:
        """Coefficients of each node's answer, and the out-of-fold estimates of one step, arrays (N, 1)."""
        fits = [self._regression(tuple(nodes), last, candidate) for candidate in nodes]
        wrong = np.stack([out_of_fold for _, out_of_fold in fits], axis=1)
        best = wrong.argmin(axis=1)[:, None]
        signals = -np.take_along_axis(wrong, best, axis=1)
        return [weights for weights, _ in fits], Estimates(
            signals.astype(np.float32), np.array(nodes, dtype=np.int32)[best]
        )

    def estimator(self, graph: SetGraph) -> tuple[Estimator, Estimates]:
        """The estimator refitted on all rows, and the out-of-fold estimates of these rows."""
        parts = [self.step(nodes, int(last)) for nodes, last in zip(graph.sets, graph.last, strict=True)]
        coefficients = np.concatenate([weights for fits, _ in parts for weights in fits])
        form = (self._evidence.class_count, self._evidence.top)
        estimator = Estimator("posterior", self.traces.topology, graph.order, *form, coefficients)
        return estimator, Estimates(
            np.concatenate([estimates.signals for _, estimates in parts], axis=1),
            np.concatenate([estimates.answers for _, estimates in parts], axis=1),
        )

    def _regression(self, nodes: Order, last: int, candidate: int) -> tuple[Floats, Floats]:
        """Intercept and weights refitted on all rows, and out-of-fold log-odds (N,) that the answer is wrong."""
        ascending = tuple(sorted(nodes))
        key = (ascending, last, candidate)
        if key not in self._fits:
            shares = self.traces.losses[:, candidate].astype(np.float64) / self.largest
            self._fits[key] = self._fit(self._features(*key), shares)
        weights, out_of_fold = self._fits[key]
        if nodes == ascending:
            return weights, out_of_fold
        # The same features in another order: the odds stand in the order of the step.
        places = [1 + ascending.index(node) for node in nodes]
        return np.concatenate([weights[:1], weights[places], weights[1 + len(nodes) :]]), out_of_fold

    def _features(self, nodes: Order, last: int, candidate: int) -> Floats:
        """`ttamer.reference.features`, from parts that are made once."""
        answers = self._evidence.classes[:, :, 0]
        node_odds = np.stack([self._odds_of(node, candidate) for node in nodes], axis=1)
        agree = answers[:, list(nodes)] == answers[:, [candidate]]
        if last not in self._doubts:
            self._doubts[last] = doubts(self._evidence.log_probs[:, last], self._evidence.class_count)
        return assemble(node_odds, agree, self._doubts[last])

    def _odds_of(self, node: int, candidate: int) -> Floats:
        """Of the candidate's answer according to a node, (N,)."""
        if (node, candidate) not in self._odds:
            evidence = self._evidence
            answer = evidence.classes[:, candidate, 0]
            answer_odds = odds(evidence.log_probs[:, node], evidence.classes[:, node], evidence.class_count, answer)
            self._odds[node, candidate] = answer_odds
        return self._odds[node, candidate]

    def _fit(self, features: Floats, wrong: Floats) -> tuple[Floats, Floats]:
        mean, spread = features.mean(axis=0), features.std(axis=0)
        spread[spread < 1e-6] = 1.0
        standard = (features - mean) / spread
        regression = self._new()
        whole = _coefficients(regression, standard, wrong)
        out_of_fold = np.empty(len(wrong))
        for fold in range(FOLDS):
            in_fold = self._folds == fold
            # Each fit starts from the last solution: those of the folds are close together, a few steps apart.
            fold_weights = _coefficients(regression, standard[~in_fold], wrong[~in_fold])
            out_of_fold[in_fold] = fold_weights[0] + standard[in_fold] @ fold_weights[1:]
        weights = whole[1:] / spread
        return np.append(whole[0] - weights @ mean, weights), out_of_fold


def _regression_maker() -> Any:
    try:
        from sklearn.linear_model import LogisticRegression
    except ImportError:
        raise ImportError('estimates need scikit-learn: pip install "ttamer[fit]"') from None
    return lambda: LogisticRegression(C=1 / RIDGE, solver="newton-cholesky", tol=1e-5, warm_start=True)


def _coefficients(regression: Any, features: Floats, wrong: Floats) -> Floats:
    """Intercept and weights from shares of a loss in [0, 1]; of 0 or 1 alone, with half a request added to either."""
    rows, total = len(wrong), float(wrong.sum())
    if total in (0, rows):
        return np.concatenate([[log_odds((total + 0.5) / (rows + 1))], np.zeros(features.shape[1])])
    from sklearn import config_context

    # Its checks of arguments take as long as small problems do, and there are thousands of these.
    with warnings.catch_warnings(), config_context(assume_finite=True, skip_parameter_validation=True):
        # A saturated Hessian makes scikit-learn say that it falls back to L-BFGS, which solves the problem as well.
        warnings.simplefilter("ignore")
        if are_rates(wrong):
            regression.fit(features, wrong == 1)
        else:  # each row counts as wrong by its share, and as right by what is left of it
            classes = np.repeat([True, False], rows)
            regression.fit(np.concatenate([features, features]), classes, np.concatenate([wrong, 1 - wrong]))
    return np.concatenate([regression.intercept_, regression.coef_[0]])
