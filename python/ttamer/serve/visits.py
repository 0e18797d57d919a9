"""What nodes said of one request, and the record of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from ttamer.serve.plan import Plan


class NodeDown(Exception):
    """Why a node was passed over that `Dispatcher.down` took out."""


class AllFailed(Exception):
    """No node answered a request.

    Attributes
    ----------
    causes : dict of str to BaseException
        What each node failed with, by its name.
    """

    def __init__(self, causes: Mapping[str, BaseException]) -> None:
        self.causes = dict(causes)
        reasons = "; ".join(f"{name}: {type(error).__name__}: {error}" for name, error in self.causes.items())
        super().__init__(f"no node answered: {reasons}")

    def __reduce__(self) -> tuple[Any, ...]:
        return AllFailed, (self.causes,)


class Visit(NamedTuple):
    """What was told of one node: what it answered, or the error with which it failed.

    `label` is the number of the answer's class, or one that equal answers of the request share; -1 for none. `cost` is
    in the policy's unit, `unit_costs` what was told where that was in several.
    """

    node: int
    answer: Any
    signal: float | None
    label: int
    logits: npt.NDArray[np.float32] | None
    cost: float
    unit_costs: Mapping[str, float] | None
    seconds: float
    error: BaseException | None
    shadow: bool


def visit_record(plan: Plan, visit: Visit, answers: bool) -> dict[str, Any]:
    """A visit in a log; `answers` says whether what was answered is kept."""
    record: dict[str, Any] = {"node": plan.keys[visit.node], "seconds": visit.seconds}
    # A failure that cost nothing says nothing of what the node costs, and one that was down was not asked.
    if visit.error is None or visit.cost > 0:
        told = visit.unit_costs
        record["cost"] = visit.cost if told is None else {unit: float(cost) for unit, cost in told.items()}
    if visit.error is not None:
        record["error"] = f"{type(visit.error).__name__}: {visit.error}"
    elif visit.signal is not None:
        record["signal"] = plan.shown(visit.node, visit.signal)
    if answers and visit.error is None:
        record["said"] = visit.answer
    if visit.logits is not None and plan.class_count:
        log_probs, classes = plan.evidence_of(visit.logits)
        record["log_probs"], record["classes"] = log_probs.tolist(), classes.tolist()
    if visit.label >= 0:
        record["answer"] = visit.label
    if visit.shadow:
        record["shadow"] = True
    return record


def plain(value: Any) -> Any:
    """A number of NumPy's as one of Python's, for JSON; NaN, which JSON does not have, as none."""
    plain = value.item() if isinstance(value, np.generic) else value
    return None if plain != plain else plain
