"""Estimates of how likely an answer is wrong, from all that was seen of a request."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Floats32 = npt.NDArray[np.float32]
Integers32 = npt.NDArray[np.int32]

LOG_FLOOR = np.float32(np.log(1e-7))
"""Log-probabilities are floored at that of 1e-7."""
LEAST_DOUBT = 1e-6
"""A node's own probability of being wrong counts as at least this."""


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
    answer = classes[:, nodes[candidate], 0]
    final = int(nodes[last])
    if kind == "signal":
        return odds(log_probs[:, final], classes[:, final], class_count, answer)[:, None]
    according = [odds(log_probs[:, i], classes[:, i], class_count, answer) for i in nodes.tolist()]
    agree = classes[:, nodes, 0] == answer[:, None]
    return assemble(np.stack(according, axis=1), agree, doubts(log_probs[:, final], class_count))


def assemble(odds: Floats, agree: npt.NDArray[np.bool_], doubts: Floats) -> Floats:
    """The features (N, d) of kinds "history" and "posterior" from their parts.

    Parameters
    ----------
    odds : (N, S) float64
        Of the candidate's answer according to each node consulted.
    agree : (N, S) bool
        Whether the node's own answer is the candidate's.
    doubts : (N, 2) float64
        What `doubts` gives of the node consulted last.
    """
    if odds.shape[1] == 1:
        return np.hstack([odds, doubts])
    several = np.stack([odds.min(axis=1), odds.max(axis=1), agree.mean(axis=1)], axis=1)
    return np.hstack([odds, several, doubts])


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
    set_offsets, sets : (V + 1,) and (*,) int32
        Nodes consulted at each step, the last one included.
    candidate_offsets, candidates : (V + 1,) and (*,) int32
        Positions in the step's set of the nodes whose answers may be given.
    coefficients : (*,) float64
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


def _rest(log_probs: Floats32, class_count: int) -> tuple[Floats, Floats]:
    """Mass of the classes that were not recorded, (N,), and the log-probability of one of them, (N,)."""
    others = class_count - log_probs.shape[-1]
    mass = np.maximum(0.0, 1 - np.exp(log_probs.astype(np.float64)).sum(axis=-1))
    if others == 0:
        return np.zeros(len(log_probs)), np.full(len(log_probs), float(LOG_FLOOR))
    with np.errstate(divide="ignore"):
        each = np.log(mass / others)
    return mass, np.clip(each, float(LOG_FLOOR), log_probs[..., -1].astype(np.float64))


def odds(log_probs: Floats32, classes: Integers32, class_count: int, answer: Integers32) -> Floats:
    """Log-odds (N,) of answers (N,) against their best rival, according to one node's (N, top) log-probabilities."""
    logs = log_probs.astype(np.float64)
    _, other = _rest(log_probs, class_count)
    second = logs[:, 1] if logs.shape[1] > 1 else other
    listed = classes == answer[:, None]
    own = np.where(listed.any(axis=1), np.take_along_axis(logs, listed.argmax(axis=1)[:, None], axis=1)[:, 0], other)
    against: Floats = own - np.where(listed[:, 0], second, logs[:, 0])
    return against


def doubts(log_probs: Floats32, class_count: int) -> Floats:
    """Entropy, and log-probability of all but the answer, (N, 2), of one node's (N, top) log-probabilities."""
    logs = log_probs.astype(np.float64)
    mass, _ = _rest(log_probs, class_count)
    each = mass / max(class_count - logs.shape[1], 1)
    entropy = -(np.exp(logs) * logs).sum(axis=1) - mass * np.log(np.where(each > 0, each, 1.0))
    doubt = np.log(np.clip(np.exp(logs[:, 1:]).sum(axis=1) + mass, LEAST_DOUBT, 1.0))
    return np.stack([entropy, doubt], axis=1)
