"""Solving a model for a trade-off."""

from __future__ import annotations

from functools import partial

from ttamer._base import checks
from ttamer._core import solve as core_solve
from ttamer.model import CascadeModel
from ttamer.policy.analysis import analyse
from ttamer.policy.policy import Policy


def solve(model: CascadeModel, tradeoff: float = 0.8, recall: str = "auto", *, aggregate: int | None = None) -> Policy:
    """The optimal policy of a model for a trade-off.

    Minimises E[tradeoff * loss of the answer + (1 - tradeoff) * cost / cost_scale] over all policies, exactly
    (T-Tamer, arXiv 2509.22992).

    Parameters
    ----------
    model : CascadeModel
    tradeoff : float
        Weight of the loss, in (0, 1].
    recall : {"auto", "observed", "none"}
        "observed": the answer is the node with the smallest loss consulted so far, for losses that are seen.
        "none": the answer is the node consulted last; not defined on a forest. "auto": "observed" if the model's losses
        are or it is a forest, else "none".
    aggregate : int, optional
        Solve through at most this many meta-states a node (`ttamer.reference.aggregate`), for supports of hundreds of
        states and more. The policy is then nearly optimal; `Policy.aggregation` says how nearly.

    Returns
    -------
    Policy

    Raises
    ------
    TypeError
        If `model` is not a `CascadeModel` or `tradeoff` is not a number.
    ValueError
        If `tradeoff` is outside (0, 1], `recall` is unknown or "none" on a forest, or `aggregate` is less than 1.
    """
    checks.instance("model", model, CascadeModel)
    tradeoff = checks.number("tradeoff", tradeoff)
    if recall not in ("auto", "observed", "none"):
        raise ValueError(f"recall: expected 'auto', 'observed' or 'none', got {recall!r}")
    if model.estimator is not None and recall == "observed":
        raise ValueError("recall: expected 'auto' or 'none' with estimates, the recall is inside the estimate")
    forest = model.topology.kind == "forest"
    if forest and recall == "none":
        raise ValueError("recall: 'none' is not defined on a forest, which has no last node; expected 'observed'")
    has_recall = model.observed or forest if recall == "auto" else recall == "observed"
    states = 0
    if aggregate is not None:  # as many meta-states as states change nothing
        states = min(checks.whole("aggregate", aggregate, least=1), max(len(row) for row in model.losses))
    core = core_solve(model._core, tradeoff, has_recall, states)
    analysis = partial(analyse, model._core, core, states)
    kinds = model.signal, model.recorded_signal
    return Policy(core, model.unit, analysis, *kinds, model.estimator, model.categories)
