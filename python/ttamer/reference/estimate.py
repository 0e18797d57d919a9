"""Estimates of how likely an answer is wrong, or of which share of the largest loss it has, from all that was seen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Floats32 = npt.NDArray[np.float32]
Integers32 = npt.NDArray[np.int32]

LOG_FLOOR = np.float32(np.log(1e-7))
"""Log-probabilities are floored at that of 1e-7."""
LEAST_DOUBT = 1e-6
"""A node's own probability of being wrong counts as at least this."""
RIDGE = 3.0
"""Half of this times the squared weights, of standardised features, is added to the negative log-likelihood."""


def features(
    log_probs: Floats32,
    classes: Integers32,
    class_count: int,
    nodes: Integers32,
    last: int,
    kind: str,
    candidate: int,
) -> Floats:
    """What the estimate of one candidate's answer is made of.

    Let S be the nodes consulted, l the last of them and a the answer of node j in S, its most probable class. The
    *odds* of a according to node i are ``log p_i(a) - max over b != a of log p_i(b)``; classes that are not among the
    recorded ones share what mass is left evenly, each at most as likely as the least of the recorded.

    * kind "signal": the odds of l's own answer according to l.
    * kinds "history" (j = l) and "posterior" (any j in S): the odds of a according to every node of S, in its order;
      if S has several nodes the smallest and the largest of these, and the share of S whose own answer is a; then the
      entropy of l's distribution in nats, and the logarithm of the probability that l gives to all but its answer.

    Parameters
    ----------
    log_probs : (N, n, top) float32
        The largest log-probabilities of every node, descending, not below `LOG_FLOOR`.
    classes : (N, n, top) int32
        Their classes.
    class_count : int
        Number of classes C, at least `top`.
    nodes : (S,) int32
        The nodes consulted.
    last, candidate : int
        Positions in `nodes` of l and of j.
    kind : {"signal", "history", "posterior"}

    Returns
    -------
    (N, d) float64
        d = 1 for "signal", else S + 2, and S + 5 where S > 1.
    """
    rows = []
    for logs, listed in zip(log_probs.astype(np.float64), classes, strict=True):
        views = [_View.of(logs[i], listed[i], class_count) for i in nodes.tolist()]
        answer = views[candidate].answer
        if kind == "signal":
            rows.append([views[last].odds(answer)])
            continue
        according = [view.odds(answer) for view in views]
        if len(views) > 1:
            agreement = sum(view.answer == answer for view in views) / len(views)
            according += [min(according), max(according), agreement]
        rows.append([*according, views[last].entropy(), views[last].log_doubt()])
    return np.array(rows)


@dataclass(frozen=True)
class _View:
    """What one node says of one request.

    Attributes
    ----------
    recorded : dict of int to float
        Log-probabilities of the recorded classes, the most probable first.
    others : int
        Number of classes that were not recorded.
    mass : float
        Probability of all of these together.
    """

    recorded: dict[int, float]
    others: int
    mass: float

    @classmethod
    def of(cls, logs: Floats, classes: Integers32, class_count: int) -> _View:
        recorded = dict(zip(classes.tolist(), logs.tolist(), strict=True))
        others = class_count - len(recorded)
        return cls(recorded, others, max(0.0, 1 - float(np.exp(logs).sum())) if others else 0.0)

    @property
    def answer(self) -> int:
        return next(iter(self.recorded))

    def log_prob(self, label: int) -> float:
        """Of a class; those not recorded share the mass, each at most as likely as the least of the recorded."""
        if label in self.recorded:
            return self.recorded[label]
        share = np.log(self.mass / self.others) if self.mass > 0 else -np.inf
        return min(max(share, float(LOG_FLOOR)), min(self.recorded.values()))

    def odds(self, label: int) -> float:
        """``log p(label)`` less that of its best rival."""
        rivals = [log for other, log in self.recorded.items() if other != label]
        unrecorded = -1  # no class has this number
        return self.log_prob(label) - max(rivals, default=self.log_prob(unrecorded) if self.others else np.inf)

    def entropy(self) -> float:
        entropy = -sum(np.exp(log) * log for log in self.recorded.values())
        return float(entropy - (self.mass * np.log(self.mass / self.others) if self.mass > 0 else 0.0))

    def log_doubt(self) -> float:
        """Logarithm of the probability of all classes but the answer, at least `LEAST_DOUBT`."""
        rest = sum(np.exp(log) for log in list(self.recorded.values())[1:]) + self.mass
        return float(np.log(min(max(rest, LEAST_DOUBT), 1.0)))


def estimate(
    log_probs: Floats32,
    classes: Integers32,
    class_count: int,
    kind: str,
    last: Integers32,
    set_offsets: Integers32,
    sets: Integers32,
    candidate_offsets: Integers32,
    candidates: Integers32,
    coefficients: Floats,
) -> tuple[Floats32, Integers32]:
    """Signal and answer at every step of a walk.

    Each candidate of a step has an intercept and weights; with its features F the log-odds that its answer is *wrong*
    are ``intercept + weights . F``. The step answers with the candidate whose log-odds are smallest, the first among
    equals, and its signal is their negative.

    Parameters
    ----------
    log_probs, classes, class_count, kind
        As for `features`.
    last : (V,) int32
        Node consulted last at each step.
    set_offsets, sets : (V + 1,) and (m,) int32
        Nodes consulted at each step, the last one included.
    candidate_offsets, candidates : (V + 1,) and (m,) int32
        Positions in the step's set of the nodes whose answers may be given.
    coefficients : (m,) float64
        Intercept and weights of every candidate, one after the other.

    Returns
    -------
    signals : (N, V) float32
    answers : (N, V) int32
        The node that answers.
    """
    most = float(np.finfo(np.float32).max)
    signals = np.empty((len(log_probs), len(last)), np.float32)
    answers = np.empty(signals.shape, np.int32)
    begin = 0
    for step, final in enumerate(last.tolist()):
        nodes = sets[set_offsets[step] : set_offsets[step + 1]]
        positions = candidates[candidate_offsets[step] : candidate_offsets[step + 1]]
        wrong = np.empty((len(log_probs), len(positions)))
        for k, position in enumerate(positions.tolist()):
            place = int(np.flatnonzero(nodes == final)[0])
            made = features(log_probs, classes, class_count, nodes, place, kind, position)
            end = begin + 1 + made.shape[1]
            wrong[:, k] = coefficients[begin] + made @ coefficients[begin + 1 : end]
            begin = end
        best = wrong.argmin(axis=1)
        signals[:, step] = np.clip(-np.take_along_axis(wrong, best[:, None], axis=1)[:, 0], -most, most)
        answers[:, step] = nodes[positions[best]]
    return signals, answers


def coefficients(made: Floats, losses: Floats32, largest: float) -> Floats:
    """Intercept and weights of one candidate: a ridge logistic regression of its losses, which may be graded.

    With y = loss / largest, in [0, 1], and x the features less their mean, divided by their standard deviation (by 1
    if that is below 1e-6), the intercept a and the weights w minimise ``sum of log(1 + exp(z)) - y z``, with
    ``z = a + w . x``, plus `RIDGE` / 2 times the squared weights. So the sums of ``y - 1 / (1 + exp(-z))`` are 0: of
    errors that is logistic regression, of graded losses a fractional one. Where all y are 0, or all are 1, the weights
    are 0 and the intercept is the log-odds of their mean with half a request of either added.

    Parameters
    ----------
    made : (N, d) float64
        From `features`.
    losses : (N,) float32
        Of the candidate's answers.
    largest : float
        The largest loss of all nodes and requests, above 0.

    Returns
    -------
    (1 + d,) float64
        In the units of the features.
    """
    y = losses.astype(np.float64) / largest
    rows, width = made.shape
    if np.all(y == 0) or np.all(y == 1):
        return np.array([np.log((y.sum() + 0.5) / (rows - y.sum() + 0.5)), *np.zeros(width)])
    spread = np.where(made.std(axis=0) < 1e-6, 1.0, made.std(axis=0))
    x = np.column_stack([np.ones(rows), (made - made.mean(axis=0)) / spread])
    ridge = np.diag([0.0] + [RIDGE] * width)

    def objective(w: Floats) -> float:
        z = x @ w
        return float(np.sum(np.logaddexp(0, z) - y * z) + 0.5 * w @ ridge @ w)

    w = np.zeros(1 + width)
    for _ in range(50):  # Newton's method; a step that does not descend is halved
        p = 1 / (1 + np.exp(-(x @ w)))
        hessian = (x.T * (p * (1 - p))) @ x + ridge
        step = np.linalg.solve(hessian, x.T @ (p - y) + ridge @ w)
        size = 1.0
        while size > 1e-10 and objective(w - size * step) > objective(w):
            size /= 2
        w = w - size * step
    weights = w[1:] / spread
    return np.array([w[0] - weights @ made.mean(axis=0), *weights])
