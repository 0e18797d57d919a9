"""Solving a model for a trade-off."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from ttamer._base import checks
from ttamer._core import solve as core_solve
from ttamer.model import CascadeModel
from ttamer.policy.analysis import analyse
from ttamer.policy.policy import Policy


def solve(
    model: CascadeModel,
    tradeoff: float | None = None,
    recall: str = "auto",
    *,
    prices: Mapping[str, float] | None = None,
    error_price: float | None = None,
    aggregate: int | None = None,
) -> Policy:
    """The optimal policy of a model for a trade-off, or for prices.

    Minimises E[tradeoff * loss of the answer + (1 - tradeoff) * cost / cost_scale] over all policies, exactly
    (T-Tamer, arXiv 2509.22992).

    Parameters
    ----------
    model : CascadeModel
    tradeoff : float, optional
        Weight of the loss, in (0, 1]. Default: 0.8, or what `error_price` makes it.
    recall : {"auto", "observed", "none"}
        "observed": the answer is the node with the smallest loss consulted so far, for losses that are seen.
        "none": the answer is the node consulted last; not defined on a forest. "auto": "observed" if the model's losses
        are or it is a forest, else "none".
    prices : mapping of str to float, optional
        What one of each unit of the costs is worth; the cost is their weighted sum. Needed where costs are in several
        units: ``{"usd": 1, "ms": 0.002}`` gives a policy in "usd + 0.002 ms". A unit without a price is free.
    error_price : float, optional
        What a loss of 1 costs, in the unit of the costs, in place of a trade-off: the policy minimises
        E[error_price * loss + cost]. ``solve(model, prices={"usd": 1, "s": 0.01}, error_price=5)`` says that an error
        is worth 5 usd and a second 0.01.
    aggregate : int, optional
        Solve through at most this many meta-states a node (`ttamer.reference.aggregate`), for supports of hundreds of
        states and more. The policy is then nearly optimal; `Policy.aggregation` says how nearly.

    Returns
    -------
    Policy

    Raises
    ------
    TypeError
        If `model` is not a `CascadeModel`, or a number or mapping is something else.
    ValueError
        If `tradeoff` is outside (0, 1], `recall` is unknown or "none" on a forest, `aggregate` is less than 1, both a
        trade-off and an error price are stated, a price is out of range or of a unit that the model does not have, or
        costs are in several units and have no prices.
    """
    checks.instance("model", model, CascadeModel)
    if tradeoff is not None:
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
    priced, unit, scale = model._at_prices(prices)
    if error_price is not None:
        tradeoff = _tradeoff_of(error_price, tradeoff, scale)
    core = core_solve(priced, 0.8 if tradeoff is None else tradeoff, has_recall, states)
    analysis = partial(analyse, priced, core, states)
    kinds = (model.signal, model.recorded_signal)
    return Policy(core, unit, analysis, *kinds, model.estimator, model.categories, model.nodes, classes=model.classes)


def _tradeoff_of(error_price: float, tradeoff: float | None, cost_scale: float) -> float:
    """The trade-off at which a loss of 1 weighs as much as this cost."""
    if tradeoff is not None:
        raise ValueError(f"tradeoff: expected none with an error price, which takes its place, got {tradeoff:g}")
    price = checks.real("error_price", error_price)
    if not 0 < price < float("inf"):
        raise ValueError(f"error_price: expected a finite number above 0, got {price:g}")
    return price / (price + cost_scale)
