"""In which order to consult the nodes of a forest: the one that does best on the rows estimates were fitted on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ttamer._base.hull import spending
from ttamer._base.types import ROOT, Floats
from ttamer._core import Counts, Model, Topology, Transition, solve
from ttamer._core import states as core_states
from ttamer.fitting.budgets import cheapest_answer, default_budgets, default_tradeoffs, loss_scale
from ttamer.fitting.crossfit import CrossFit, sigmoid
from ttamer.fitting.signals import AUTO_STRENGTH
from ttamer.model.information_sets import Order, orders
from ttamer.model.losses import quantile_edges, state_losses

MOST_NODES = 4
"""Of this many nodes all orders are tried (64 of them if all are roots); of more, by beam search."""
WIDTH = 4
"""Orders of each length that a beam search goes on from."""
EVERY = 6
"""One trade-off in this many is solved: a few of them rank orders as well as all do."""


@dataclass(frozen=True)
class _Step:
    """What is known of one (consulted set, last node) on the rows fitted on, out-of-fold."""

    signals: npt.NDArray[np.float32]
    recorded: Floats
    edges: npt.NDArray[np.float32]
    states: npt.NDArray[np.int32]
    counts: Floats
    losses: Floats


def best_order(fitting: CrossFit, bins: int) -> Order:
    """Of all orders of all subsets, parents first, the one with the least mean loss over the default budgets.

    Parameters
    ----------
    fitting : CrossFit
        Of traces of a forest.
    bins : int
        Most states of a step.

    Returns
    -------
    tuple of int
        The shortest, then the lowest of equals.
    """
    trial = _Trial(fitting, bins)
    topology = fitting.traces.topology
    if topology.nodes <= MOST_NODES:
        return min(orders(topology), key=trial.error)
    return _beam(topology, trial)


def _beam(topology: Topology, trial: _Trial) -> Order:
    """Longer and longer orders, from the best few of each length, until none is better than the best shorter one."""
    parents = topology.edges[:, 0].tolist()
    best: tuple[float, Order] = (np.inf, ())
    starts: list[Order] = [()]
    while True:
        longer = {
            (*order, node)
            for order in starts
            for node in range(topology.nodes)
            if node not in order and parents[node] in (ROOT, *order)
        }
        leaders = sorted((trial.error(order), order) for order in longer)[:WIDTH]
        if not leaders or leaders[0][0] >= best[0]:
            return best[1]
        best, starts = leaders[0], [order for _, order in leaders]


class _Trial:
    """Solves and replays orders on the rows fitted on; steps and transitions that orders share are made once."""

    def __init__(self, fitting: CrossFit, bins: int) -> None:
        self._cross_fit, self._bins = fitting, bins
        traces = fitting.traces
        self._costs = traces.costs
        self._budgets = default_budgets(traces)
        self._tradeoffs = default_tradeoffs(loss_scale(traces.losses))[::EVERY].tolist()
        self._cheapest = cheapest_answer(traces)
        self._steps: dict[tuple[Order, int], _Step] = {}
        self._transitions: dict[tuple[Order, int, int], Transition] = {}

    def error(self, order: Order) -> float:
        """Mean loss over the budgets of the policies along an order, and of always the cheapest node."""
        traces = self._cross_fit.traces
        steps = [self._step(order[: k + 1]) for k in range(len(order))]
        costs = self._costs[list(order)]
        model = Model(
            Topology.line(len(order)),
            [step.losses for step in steps],
            [self._transition(order[: k + 1]) for k in range(len(order))],
            costs,
            float(costs.sum()) or 1.0,
            [step.edges for step in steps],
            False,
        )
        signals = np.stack([step.signals for step in steps], axis=1)
        recorded = np.stack([step.recorded for step in steps], axis=1)
        rows = np.arange(len(signals))
        means = [(float(traces.reach_costs[self._cheapest]), float(traces.losses[:, self._cheapest].mean()))]
        paid = np.ascontiguousarray(traces.paid_costs[..., list(order)])
        for tradeoff in self._tradeoffs:
            last, _, cost, _ = solve(model, tradeoff, False).replay(signals, paid)
            means.append((float(cost.mean()), float(recorded[rows, last].mean())))
        cost, error = np.array(means).T
        return float(spending(cost, error, self._budgets) @ error)

    def _step(self, order: Order) -> _Step:
        """The last step of an order; that of the same nodes in another order with the same last one is the same."""
        key = (tuple(sorted(order)), order[-1])
        if key not in self._steps:
            estimates = self._cross_fit.step(*key)[1]
            signals = estimates.signals[:, 0]
            edges = quantile_edges(signals, self._bins)
            states = core_states(edges, estimates.signals, 0)
            counts = np.bincount(states, minlength=len(edges) + 1).astype(np.float64)
            estimated = self._cross_fit.largest * sigmoid(-signals.astype(np.float64))
            sums = np.bincount(states, estimated, len(counts)).astype(np.float64)
            recorded = np.take_along_axis(self._cross_fit.traces.losses, estimates.answers, axis=1)[:, 0]
            losses = state_losses(counts, sums, 0.0)
            self._steps[key] = _Step(signals, recorded.astype(np.float64), edges, states, counts, losses)
        return self._steps[key]

    def _transition(self, order: Order) -> Transition:
        """Into the last step of an order, from the one before it."""
        step, marginal = self._step(order), self._step(order).counts
        if len(order) == 1:
            return Transition.dense(marginal[None, :] / marginal.sum())
        before = self._step(order[:-1])
        key = (tuple(sorted(order)), order[-2], order[-1])
        if key not in self._transitions:
            sizes = (len(before.counts), len(step.counts))
            counts = Counts.count(before.states, step.states, *sizes)
            self._transitions[key] = Transition.counted(counts, marginal, AUTO_STRENGTH)
        return self._transitions[key]
