"""Choosing what states are made of: cross-validation of all that follows from the choice."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ttamer._base.hull import lower_hull, mixing_shares
from ttamer._base.types import Floats
from ttamer.fitting.budgets import default_budgets, default_tradeoffs, loss_scale
from ttamer.fitting.chains import fit_chains, has_scores
from ttamer.fitting.crossfit import FOLDS, CrossFit, can_estimate, folds_of
from ttamer.fitting.posterior import fit_posterior
from ttamer.fitting.sets import FEWEST_REQUESTS, can_estimate_sets, fit_sets
from ttamer.fitting.signals import AUTO_STRENGTH, fit_signals, states_of
from ttamer.model import CascadeModel
from ttamer.model.information_sets import set_graph
from ttamer.policy import solve
from ttamer.traces import Traces

CHEAPEST_SIGNAL = "logit_margin"
"""The signal that takes no softmax."""


class Choice(NamedTuple):
    """What states are made of: `estimate` and `smoothing` as `ttamer.fit` takes them, and a kind of signal.

    `signal` is one of `ttamer.traces.signals.SIGNALS`, or "" for the recorded signals and for estimates, which need
    none.
    """

    estimate: str
    signal: str = ""
    smoothing: str = "auto"

    @property
    def is_plain(self) -> bool:
        """bool : whether states are bins of signals, and nothing has to be estimated."""
        return self.estimate == "signal"

    def __str__(self) -> str:
        parts = (self.estimate, self.signal, self.smoothing if self.smoothing != "auto" else None)
        return " ".join(part for part in parts if part)


MOST_REGRESSIONS = 500
"""More than this, for each of six fits and six folds, and choosing takes minutes: a line of 32 nodes, a skip of 8."""
RECORDED = Choice("signal")
POSTERIOR = Choice("posterior")
SETS = Choice("sets")
CHAINS = Choice("chains")
MANY_ROWS, FEW_FOLDS = 3000, 3
"""From so many rows on two thirds of them say as much as four fifths do."""
EVERY = 3
"""One trade-off in this many is solved to compare candidates."""


class Candidate(NamedTuple):
    """What was compared when ``estimate="auto"`` chose.

    Attributes
    ----------
    name : str
        What states are made of.
    loss : float
        Mean loss over a range of mean costs, in cross-validation.
    behind, error : float
        How far behind the chosen one, and the standard error of this difference.
    """

    name: str
    loss: float
    behind: float
    error: float


def compared(losses: dict[Choice, Floats], chosen: Choice) -> tuple[Candidate, ...]:
    """A row for each candidate, the chosen one first."""
    rows = []
    for choice in sorted(losses, key=lambda choice: (choice != chosen, float(losses[choice].mean()))):
        gap = losses[choice] - losses[chosen]
        rows.append(
            Candidate(str(choice), float(losses[choice].mean()), float(gap.mean()), float(gap.std() / len(gap) ** 0.5))
        )
    return tuple(rows)


def choose(
    traces: Traces, bins: int | str = "auto", seed: int = 0, progress: Callable[[str], None] | None = None
) -> tuple[Choice, tuple[Candidate, ...]]:
    """What ``estimate="auto"`` means for some traces.

    Cross-validation, in five folds or from 3,000 rows on three, of the whole way from traces to policies: estimates,
    order, bins, solutions and their lower hull are made on all folds but one, and that one is served at every budget of
    `default_budgets`. Of the candidates, in order of preference, the first whose mean loss is within one standard error
    (of the paired differences) of the best one's is taken: on lines, skips and dags with evidence "signal", of the kind
    that takes no softmax, then "posterior"; without evidence the recorded signal, then "sets". On forests with evidence
    there is nothing to choose: "posterior" along the best order. Of independent models the better one is taken: on
    everything seen ("sets") or along a few good chains ("chains").

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
    Choice, tuple of Candidate
        What was chosen, and what it was compared with: nothing where there was one candidate.

    Raises
    ------
    ImportError
        If scikit-learn is missing.
    """
    choices = candidates(traces)
    if len(choices) == 1:
        return choices[0], ()
    try:
        losses = cross_validated(traces, choices, bins, seed, progress)
    except ImportError as error:
        raise ImportError(f"{error}; estimate='signal' does without") from None
    best = min(losses.values(), key=lambda loss: float(loss.mean()))
    for choice, loss in losses.items():
        gap = loss - best
        # Of the two families of independent models neither is the simpler one, which the benefit of a doubt is for.
        allowed = 0.0 if traces.independent else gap.std() / np.sqrt(len(traces))
        if gap.mean() <= allowed:
            return choice, compared(losses, choice)
    raise AssertionError("the best one is not behind itself")


def candidates(traces: Traces) -> list[Choice]:
    """What can be fitted and is worth comparing, in order of preference."""
    several_units = len(traces.unit_costs) > 1  # which candidates cannot be compared in
    if traces.independent and can_estimate_sets(traces):
        return [CHAINS, SETS] if has_scores(traces) and not several_units else [SETS]
    if len(traces) < FEWEST_REQUESTS or not can_estimate(traces):
        return [RECORDED, SETS] if can_estimate_sets(traces) and not several_units else [RECORDED]
    if traces.topology.kind == "forest":
        return [POSTERIOR]
    return [Choice("signal", CHEAPEST_SIGNAL, "platt"), *([POSTERIOR] if _fits(traces) else [])]


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
    count = FOLDS if len(traces) < MANY_ROWS else FEW_FOLDS
    folds = folds_of(len(traces), seed, count)
    for fold in range(count):
        in_fold = folds == fold
        fitting_rows, fold_rows = traces[~in_fold], traces[in_fold]
        states = states_of(bins, len(fitting_rows))
        for choice in offered:
            if progress is not None:
                progress(f"cross-validate {choice}, fold {fold + 1} of {count}")
            training = fitting_rows.with_signal(choice.signal) if choice.signal else fitting_rows
            if choice.estimate == "sets":
                model = fit_sets(training, seed)
            elif choice == CHAINS:
                model = fit_chains(training)
            elif choice.is_plain:
                strength = AUTO_STRENGTH if bins == "auto" else None
                model = fit_signals(training, states, choice.smoothing, transition_strength=strength)
            else:
                model = fit_posterior(CrossFit(fitting_rows, seed), states)
            losses[choice][in_fold] = _loss_at_budgets(model, training, fold_rows, budgets)
    return losses


def _loss_at_budgets(model: CascadeModel, known: Traces, held: Traces, budgets: Floats) -> Floats:
    """Mean loss over budgets (M,) of rows held back; which policies are mixed is read off the known ones.

    What rows held back cost more than the budget is charged, what they cost less credited, at the price of a smaller
    error where always one node, or two mixed, answer. Models differ in cost by orders of magnitude: a policy that just
    tips over would else spend a multiple of its budget for nothing.
    """
    models = known._answering
    fitted = [(known.request_reach_costs[:, j], known.losses[:, j].astype(np.float64)) for j in models]
    unseen = [(held.request_reach_costs[:, j], held.losses[:, j].astype(np.float64)) for j in models]
    for tradeoff in default_tradeoffs(loss_scale(known.losses))[::EVERY].tolist():
        policy = solve(model, tradeoff)
        for rows, points in ((known, fitted), (held, unseen)):
            result = policy.replay(rows)
            points.append((result.cost, result.loss))
    cost, error = np.array([[paid.mean(), loss.mean()] for paid, loss in fitted]).T
    hull = lower_hull(cost, error)
    shares = mixing_shares(cost[hull], budgets)
    edge = lower_hull(cost[: len(models)], error[: len(models)])
    falls = -np.diff(error[edge]) / np.diff(cost[edge])
    prices = np.append(falls, 0.0)[np.clip(np.searchsorted(cost[edge], budgets, side="right") - 1, 0, len(falls))]
    paid, losses = (np.array([unseen[point][k] for point in hull]) for k in (0, 1))
    surplus = paid - cost[hull][:, None]
    total: Floats = (shares.T @ losses + prices[:, None] * (shares.T @ surplus)).mean(axis=0)
    return total


def _fits(traces: Traces) -> bool:
    """Whether the posterior can be estimated wherever the topology lets requests go, and in reasonable time."""
    try:
        graph = set_graph(traces.topology)
    except ValueError:
        return False
    return sum(map(len, graph.sets)) <= MOST_REGRESSIONS
