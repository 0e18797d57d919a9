"""What a batch of one row is told: scores and answers as numbers, silence, and all of it again to another policy."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ttamer._base import checks
from ttamer._base.types import ROOT, STOP
from ttamer._core import Batch, logit_signals
from ttamer.serve.plan import Plan, in_float32
from ttamer.serve.visits import Visit

LARGEST_LABEL = 2**30 - 1
"""Numbers beyond are those of answers that are no numbers themselves."""
_NAN = np.full(1, np.nan, np.float32)
_NONE = np.full(1, -1, np.int32)


def score_and_label(
    plan: Plan, node: int, signal: float | str | None, logits: npt.ArrayLike | None, label: int | None
) -> tuple[float, int | None]:
    """The score of one of several models, -inf for none, and the class of its answer, as far as it was told.

    Raises
    ------
    TypeError, ValueError
        If the score is no number, or logits do not give the kind that the policy decides on.
    """
    if logits is not None:
        if not plan.logit_kind:
            raise ValueError("logits: expected None, as they do not give the scores that the policy decides on")
        row = plan.row_of(logits)
        return float(logit_signals(row, plan.logit_kind)[0]), int(row[0].argmax()) if label is None else label
    return (-np.inf if signal is None else _score(plan, node, signal)), label


def _score(plan: Plan, node: int, signal: float | str) -> float:
    score = checks.number("signal", signal)
    if score != score:
        name = plan.names[node]
        raise ValueError(f"signal: expected a number, or None for none, got NaN; tell failed(error) if {name} failed")
    return score if score == -np.inf else in_float32(score)


def number_of(plan: Plan, numbers: dict[Hashable, int], answer: Any, label: int | None) -> int:
    """The number of an answer: its label, itself, or one that equal answers share, kept in `numbers`; -1 for none.

    Raises
    ------
    TypeError, ValueError
        If there is none and the policy looks at it.
    """
    if label is None and isinstance(answer, (int, np.integer)) and not isinstance(answer, bool):
        # Where answers are only compared, one that cannot be a label is as good as any text.
        label = int(answer) if plan.has_classes or 0 <= answer <= LARGEST_LABEL else None
    if label is not None:
        number = checks.whole("label", label, least=-1)
        if number > LARGEST_LABEL:
            raise ValueError(f"label: expected at most {LARGEST_LABEL}, got {checks.brief(number)}")
        return number
    if answer is None:
        return -1
    if plan.has_classes:
        raise ValueError(
            "label: expected the number of the answer's class, which the policy decides on, got none for "
            f"{checks.quoted(repr(answer))}"
        )
    try:
        return numbers.setdefault(answer, LARGEST_LABEL + 1 + len(numbers))
    except TypeError:
        if not plan.compares_answers:  # it is for the log alone
            return -1
        raise TypeError(f"answer: expected one that can be compared, or a label, got {type(answer).__name__}") from None


def unit_costs(cost: object) -> Mapping[str, float] | None:
    """A cost that was told in several units; numbers, the common case, are looked at first."""
    if cost is None or isinstance(cost, (int, float)):
        return None
    return cost if isinstance(cost, Mapping) else None


def silence(batch: Batch, plan: Plan, node: int) -> int:
    """Tell that a node failed, to a policy that goes by its worst state; the node that comes next."""
    if plan.takes_answers:
        return int(batch.decide_answers(node, _NAN, _NONE)[0])
    if plan.class_count:
        return int(batch.decide_logits(node, np.full((1, plan.class_count), np.nan, np.float32))[0])
    return int(batch.decide(node, _NAN)[0])


def tell_again(plan: Plan, visits: Sequence[Visit], context: Mapping[str, Any] | None) -> tuple[Batch, int]:
    """Tell all to a policy for silent nodes: its batch, and the node that comes next."""
    batch, following, last = plan.start(), plan.first_node, ROOT
    if plan.has_front:
        following = plan.show_context(batch, context)
    for visit in visits:
        silent = visit.error is not None
        if visit.shadow or (silent and plan.independent):
            continue
        if following == STOP:  # it would not have come so far; now more is known
            batch.resume(last)
        following = _tell(batch, plan, visit)
        last = visit.node
    return batch, following


def _tell(batch: Batch, plan: Plan, visit: Visit) -> int:
    """A visit, or that its node is silent, to a batch of one row."""
    if visit.logits is not None:
        return int(batch.decide_logits(visit.node, visit.logits)[0])
    signal = np.array([0.0 if visit.signal is None else visit.signal], np.float32)
    if plan.takes_answers:
        return int(batch.decide_answers(visit.node, signal, np.array([visit.label], np.int32))[0])
    return int(batch.decide(visit.node, signal)[0])
