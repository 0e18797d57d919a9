"""Choosing what states are made of: cross-validation of all that follows from the choice."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from ttamer.budgets import default_budgets, default_tradeoffs
from ttamer.crossfit import FOLDS, CrossFit, can_estimate, folds_of
from ttamer.fit_estimates import ANY, BEST, fit_estimates
from ttamer.fit_signals import AUTO_STRENGTH, fit_signals, states_of
from ttamer.hull import spending
from ttamer.model import CascadeModel
from ttamer.solve import solve
from ttamer.traces import Traces
from ttamer.walks import walk_of

Floats = npt.NDArray[np.float64]
Choice = tuple[str, str | None]
"""An estimate and an order, as `ttamer.fit` takes them."""

FEWEST_ROWS = 50
"""With fewer, folds are too small to tell estimates apart."""
MOST_REGRESSIONS = 500
"""More than this, for each of six fits and six folds, and choosing takes minutes: a line of 32 nodes, a skip of 8."""
PLAIN: Choice = ("signal", None)
HISTORY: Choice = ("history", None)
POSTERIOR: Choice = ("posterior", None)


def choose(
    traces: Traces, bins: int | str = "auto", seed: int = 0, progress: Callable[[str], None] | None = None
) -> Choice:
    """What ``estimate="auto"`` means for some traces.

    Five-fold cross-validation of the whole way from traces to policies: estimates, order, bins, solutions and their
    lower hull are made on four folds, and the fifth is served at every budget of `ttamer.budgets.default_budgets`. Of
    the candidates, in order of preference, the first whose mean loss is within one standard error (of the paired
    differences) of the best one's is taken: "signal", "history", "posterior" on lines, the first and last on skips and
    dags, and on forests "posterior" and then "signal" along the best order, and "posterior" with every order open.

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
    estimate : str
    order : None, "best" or "any"
        As `ttamer.fit` takes them.

    Raises
    ------
    ImportError
        If scikit-learn is missing.
    """
    offered = candidates(traces)
    if len(offered) == 1:
        return offered[0]
    try:
        losses = cross_validated(traces, offered, bins, seed, progress)
    except ImportError as error:
        raise ImportError(f"{error}; estimate='signal' does without") from None
    best = min(losses.values(), key=lambda loss: float(loss.mean()))
    for choice, loss in losses.items():
        behind = loss - best
        if behind.mean() <= behind.std() / np.sqrt(len(traces)):
            return choice
    raise AssertionError("the best one is not behind itself")


def candidates(traces: Traces) -> list[Choice]:
    """What can be fitted and is worth comparing, in order of preference."""
    if len(traces) < FEWEST_ROWS or not can_estimate(traces):
        return [PLAIN]
    kind = traces.topology.kind
    if kind == "line":
        return [PLAIN, HISTORY, POSTERIOR] if _fits(traces) else [PLAIN, HISTORY]
    if kind == "forest":
        ordered: list[Choice] = [("posterior", BEST), ("signal", BEST)]
        return [*ordered, ("posterior", ANY)] if _fits(traces) else ordered
    return [PLAIN, POSTERIOR] if _fits(traces) else [PLAIN]


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
        held = folds == fold
        fitting = CrossFit(traces[~held], seed)
        for estimate, order in offered:
            if progress is not None:
                progress(f"cross-validate {estimate} {order or ''}".rstrip() + f", fold {fold + 1} of {FOLDS}")
            states = states_of(bins, len(fitting.traces))
            if (estimate, order) == PLAIN:
                model = fit_signals(
                    fitting.traces, states, transition_strength=AUTO_STRENGTH if bins == "auto" else None
                )
            else:
                model = fit_estimates(fitting, estimate, order, states)
            losses[estimate, order][held] = _loss_at_budgets(model, fitting.traces, traces[held], budgets)
    return losses


def _loss_at_budgets(model: CascadeModel, known: Traces, held: Traces, budgets: Floats) -> Floats:
    """Mean loss over budgets (M,) of rows held back; which policies are mixed is read off the known ones."""
    cheapest = int(known.reach_costs.argmin())
    costs, errors = [float(known.reach_costs[cheapest])], [float(known.losses[:, cheapest].mean())]
    losses = [held.losses[:, cheapest].astype(np.float64)]
    for tradeoff in default_tradeoffs().tolist():
        policy = solve(model, tradeoff)
        result = policy.replay(known)
        costs.append(result.mean_cost)
        errors.append(result.error)
        losses.append(policy.replay(held).loss)
    return spending(np.array(costs), np.array(errors), budgets) @ np.array(losses)


def _fits(traces: Traces) -> bool:
    """Whether the posterior can be estimated wherever the topology lets requests go, and in reasonable time."""
    try:
        walk = walk_of(traces.topology)
    except ValueError:
        return False
    return sum(map(len, walk.sets)) <= MOST_REGRESSIONS
