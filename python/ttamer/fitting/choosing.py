"""Choosing what states are made of: cross-validation of all that follows from the choice."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ttamer._base.hull import spending
from ttamer._base.types import Floats
from ttamer.fitting.budgets import cheapest_answer, default_budgets, default_tradeoffs, loss_scale
from ttamer.fitting.crossfit import FOLDS, CrossFit, can_estimate, folds_of
from ttamer.fitting.estimates import ANY, BEST, fit_estimates
from ttamer.fitting.signals import AUTO_STRENGTH, fit_signals, states_of
from ttamer.model import CascadeModel
from ttamer.model.information_sets import set_graph
from ttamer.policy import solve
from ttamer.traces import Traces
from ttamer.traces.signals import SIGNALS

CHEAPEST_SIGNAL = "logit_margin"
"""The signal that takes no softmax."""


class Choice(NamedTuple):
    """What states are made of: `estimate`, `order` and `smoothing` as `ttamer.fit` takes them, and a kind of signal.

    `signal` is one of `ttamer.traces.signals.SIGNALS`, or "" for the recorded signals and for estimates, which need
    none.
    """

    estimate: str
    order: str | None = None
    signal: str = ""
    smoothing: str = "auto"

    @property
    def is_plain(self) -> bool:
        """bool : whether states are bins of signals, and nothing has to be estimated."""
        return self.estimate == "signal" and self.order is None

    def __str__(self) -> str:
        parts = (self.estimate, self.order, self.signal, self.smoothing if self.smoothing != "auto" else None)
        return " ".join(part for part in parts if part)


FEWEST_ROWS = 50
"""With fewer, folds are too small to tell estimates apart."""
MOST_REGRESSIONS = 500
"""More than this, for each of six fits and six folds, and choosing takes minutes: a line of 32 nodes, a skip of 8."""
RECORDED = Choice("signal")
HISTORY = Choice("history")
POSTERIOR = Choice("posterior")


def choose(
    traces: Traces, bins: int | str = "auto", seed: int = 0, progress: Callable[[str], None] | None = None
) -> Choice:
    """What ``estimate="auto"`` means for some traces.

    Five-fold cross-validation of the whole way from traces to policies: estimates, order, bins, solutions and their
    lower hull are made on four folds, and the fifth is served at every budget of `default_budgets`. Of the
    candidates, in order of preference, the first whose mean loss is within one standard error (of the paired
    differences) of the best one's is taken: on lines "signal" of every kind (the one without a softmax, the recorded
    one, the others), losses smoothed by a curve and then by means, "history", "posterior"; the same but for "history"
    on skips and dags; on forests "posterior" and then "signal" along the best order, and "posterior" with every order
    open.

    Parameters
    ----------
    traces : Traces
    bins : int or "auto"
    seed : int
        Of the folds.
    progress : callable, optional
        Called with a few words whenever a fold begins.

    Returns
    -------
    Choice

    Raises
    ------
    ImportError
        If scikit-learn is missing.
    """
    choices = candidates(traces)
    if len(choices) == 1:
        return choices[0]
    try:
        losses = cross_validated(traces, choices, bins, seed, progress)
    except ImportError as error:
        raise ImportError(f"{error}; estimate='signal' does without") from None
    best = min(losses.values(), key=lambda loss: float(loss.mean()))
    for choice, loss in losses.items():
        gap = loss - best
        if gap.mean() <= gap.std() / np.sqrt(len(traces)):
            return choice
    raise AssertionError("the best one is not behind itself")


def candidates(traces: Traces) -> list[Choice]:
    """What can be fitted and is worth comparing, in order of preference."""
    if len(traces) < FEWEST_ROWS or not can_estimate(traces):
        return [RECORDED]
    posterior = [POSTERIOR] if _fits(traces) else []
    if traces.topology.kind == "forest":
        along_best = [Choice("posterior", BEST), Choice("signal", BEST)]
        return [*along_best, Choice("posterior", ANY)] if posterior else along_best
    kinds = dict.fromkeys((CHEAPEST_SIGNAL, traces.signal, *SIGNALS))
    plain = [Choice("signal", None, kind, smoothing) for smoothing in ("platt", "mean") for kind in kinds]
    return [*plain, HISTORY, *posterior] if traces.topology.kind == "line" else [*plain, *posterior]


def cross_validated(
    traces: Traces,
    offered: list[Choice],
    bins: int | str,
    seed: int,
    progress: Callable[[str], None] | None = None,
) -> dict[Choice, Floats]:
    """Mean loss over the budgets of every row, (N,), by candidate; no row is judged by what was made of it."""
    budgets = default_budgets(traces)
    losses = {choice: np.empty(len(traces)) for choice in offered}
    folds = folds_of(len(traces), seed)
    for fold in range(FOLDS):
        in_fold = folds == fold
        fitting_rows, fold_rows = traces[~in_fold], traces[in_fold]
        fitting = None if all(choice.is_plain for choice in offered) else CrossFit(fitting_rows, seed)
        states = states_of(bins, len(fitting_rows))
        for choice in offered:
            if progress is not None:
                progress(f"cross-validate {choice}, fold {fold + 1} of {FOLDS}")
            training = fitting_rows.with_signal(choice.signal) if choice.signal else fitting_rows
            if choice.is_plain:
                strength = AUTO_STRENGTH if bins == "auto" else None
                model = fit_signals(training, states, choice.smoothing, transition_strength=strength)
            else:
                assert fitting is not None
                model = fit_estimates(fitting, choice.estimate, choice.order, states)
            losses[choice][in_fold] = _loss_at_budgets(model, training, fold_rows, budgets)
    return losses


def _loss_at_budgets(model: CascadeModel, known: Traces, held: Traces, budgets: Floats) -> Floats:
    """Mean loss over budgets (M,) of rows held back; which policies are mixed is read off the known ones."""
    cheapest = cheapest_answer(known)
    costs, errors = [float(known.reach_costs[cheapest])], [float(known.losses[:, cheapest].mean())]
    losses = [held.losses[:, cheapest].astype(np.float64)]
    for tradeoff in default_tradeoffs(loss_scale(known.losses)).tolist():
        policy = solve(model, tradeoff)
        result = policy.replay(known)
        costs.append(result.mean_cost)
        errors.append(result.error)
        losses.append(policy.replay(held).loss)
    return spending(np.array(costs), np.array(errors), budgets) @ np.array(losses)


def _fits(traces: Traces) -> bool:
    """Whether the posterior can be estimated wherever the topology lets requests go, and in reasonable time."""
    try:
        graph = set_graph(traces.topology)
    except ValueError:
        return False
    return sum(map(len, graph.sets)) <= MOST_REGRESSIONS
