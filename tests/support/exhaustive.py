"""Optimal values by search over all policies, and policies run over all outcomes.

Nothing here knows of indices, thresholds or intervals: it is what they are tested against.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

import ttamer

Floats = npt.NDArray[np.float64]
ROOT = -1


def optimum(
    topology: ttamer.Topology,
    losses: Sequence[Floats],
    transitions: Sequence[Floats],
    costs: Sequence[float | Floats],
    *,
    recall: bool = True,
    outside: float = np.inf,
) -> float:
    """Least expected loss + costs over all policies, by expectimax over all histories.

    On a forest any child of a consulted node, or of the root, is open; on all other shapes only successors of the
    node consulted last are. `outside` is the loss of an option that is always there.
    """
    edges = topology.edges.tolist()
    branches = topology.kind == "forest"

    @functools.cache
    def value(seen: frozenset[tuple[int, int]], last: int) -> float:
        states = dict(seen)
        if recall:
            best = min([outside, *(losses[j][s] for j, s in seen)])
        else:
            best = outside if last == ROOT else losses[last][states[last]]
        for e, (i, j) in enumerate(edges):
            is_open = i == last or (branches and (i == ROOT or i in states))
            if is_open and j not in states:
                row = transitions[e][states[i] if len(transitions[e]) > 1 else 0]
                ahead = sum(p * value(seen | {(j, s)}, j) for s, p in enumerate(row) if p > 0)
                best = min(best, cost_in(costs[e], states.get(i, 0)) + ahead)
        return float(best)

    return value(frozenset(), ROOT)


def cost_in(costs: float | Floats, state: int) -> float:
    """What an edge costs in a state of the node that it leaves; one number is that of all states."""
    each = np.atleast_1d(costs)
    return float(each[state if len(each) > 1 else 0])


@dataclass(frozen=True)
class Outcome:
    """What a policy does in expectation; `cost` in the model's unit, `visits` and `stops` by node and state."""

    loss: float
    cost: float
    visits: list[Floats]
    stops: list[Floats]

    def objective(self, tradeoff: float, cost_scale: float) -> float:
        return tradeoff * self.loss + (1 - tradeoff) * self.cost / cost_scale


def enumerate_policy(policy: ttamer.Policy, model: ttamer.CascadeModel) -> Outcome:
    """Run a policy through `Batch` over every history that can happen.

    Signals are numbers of states, so the model's bin edges have to be the default ones. Histories of one length are
    rows of one batch and are played from their first node.
    """
    edges = {(i, j): e for e, (i, j) in enumerate(model.topology.edges.tolist())}
    parents = model.topology.edges[:, 0].tolist() if model.topology.kind == "forest" else []
    transitions = model.transitions
    visits = [np.zeros(len(row)) for row in model.losses]
    stops = [np.zeros(len(row)) for row in model.losses]
    loss = cost = 0.0
    going = [(1.0, (), policy.first_node)]
    while going:
        histories = []
        for mass, past, node in going:
            # On a forest a node follows its parent, wherever the request has been since.
            before = parents[node] if parents else (past[-1][0] if past else ROOT)
            state = dict(past)[before] if before != ROOT else 0
            edge = edges[before, node]
            cost += mass * cost_in(model.state_costs[edge], state)
            row = transitions[edge][state if len(transitions[edge]) > 1 else 0]
            histories += [(mass * row[s], (*past, (node, s))) for s in np.flatnonzero(row).tolist()]
        played = np.array([past for _, past in histories], dtype=np.int32)
        batch = policy.start(len(histories))
        for step in range(played.shape[1]):
            pair = np.ascontiguousarray(played[:, step].T)
            ahead = batch.decide(pair[0], pair[1].astype(np.float32))
        going = []
        for (mass, past), follows, answer, expected in zip(
            histories, ahead.tolist(), batch.answer_node.tolist(), batch.answer_loss.tolist(), strict=True
        ):
            node, state = past[-1]
            if answer == -1:  # only probes were consulted, and these are never the end
                assert np.isinf([expected, *(model.losses[j][0] for j, _ in past)]).all()
                assert follows != ttamer.STOP
            else:
                assert expected == model.losses[answer][dict(past)[answer]] < np.inf
            visits[node][state] += mass
            if follows == ttamer.STOP:
                stops[node][state] += mass
                loss += mass * expected
            else:
                going.append((mass, past, follows))
    return Outcome(loss, cost, visits, stops)
