"""The rows that travel from stage to stage, and their answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ttamer.policy import Policy
from ttamer.torch.decide.flight import Flight
from ttamer.torch.parts import run
from ttamer.torch.serve import nested


@dataclass(frozen=True)
class Compaction:
    """When rows that stopped are dropped, and which numbers of rows stages may get.

    Parameters
    ----------
    share : float
        Compact once at most this share of the rows held is still live: 1 always, 0 never.
    sizes : tuple of int
        Rising numbers of rows that stages get; empty: any number.
    """

    share: float = 1.0
    sizes: tuple[int, ...] = ()

    def fitting(self, count: int) -> int:
        """The smallest size that holds `count` rows; no row needs none."""
        if not self.sizes or count == 0:
            return count
        return next((size for size in self.sizes if size >= count), count)


class StageInput:
    """The rows that the next stage gets, and which of them are live.

    Rows that stopped and were not compacted away, and those that only pad to a size, are computed and ignored.

    Attributes
    ----------
    count : int
        Number of live rows.
    size : int
        Number of rows of `hidden` and `keywords`.
    live : (count,) int64 Tensor or None
        Positions of the live rows in `hidden`; None: the first `count`.
    rows : (count,) int64 Tensor or None
        Which rows of the input these are; None: all, in order.
    """

    def __init__(self, hidden: Any, keywords: dict[str, Any], count: int, compaction: Compaction) -> None:
        self.hidden, self.keywords, self._compaction = hidden, keywords, compaction
        self.count = self.size = count
        self.live: Tensor | None = None
        self.rows: Tensor | None = None
        target = compaction.fitting(count)
        if target > count:
            self._compact(torch.arange(count, device=next(nested.tensors_of(hidden)).device), target)

    def advance(self, stage: nn.Module, node: int) -> None:
        """Run a stage on all rows held."""
        self.hidden = run(stage, self.hidden, self.keywords)
        nested.check_hidden(self.hidden, self.size, node)

    def consult(self, leave: nn.Module, node: int, like: Tensor | None, positions: Tensor | None = None) -> Tensor:
        """Logits of an exit for the live rows, or those at some positions among them.

        `like` are logits of an exit before it, if there is one, with as many classes.
        """
        if positions is not None:
            index = positions if self.live is None else self.live.index_select(0, positions)
            logits = run(leave, nested.select(self.hidden, index), self._keywords_at(index))
            return nested.check_output(logits, positions.shape[0], node, like)
        logits = nested.check_output(run(leave, self.hidden, self.keywords), self.size, node, like)
        if self.live is not None:
            return logits.index_select(0, self.live)
        return logits if self.count == self.size else logits[: self.count]

    def rows_at(self, positions: Tensor) -> Tensor:
        """Rows of the input of the live rows at some positions among the live."""
        return _among(self.rows, positions)

    def keep(self, positions: Tensor) -> None:
        """Go on with the live rows at these positions among the live."""
        self.count = positions.shape[0]
        self.rows = _among(self.rows, positions)
        target = self._compaction.fitting(self.count)
        if target < self.size and self.count <= self._compaction.share * self.size:
            self._compact(positions if self.live is None else self.live.index_select(0, positions), target)
        else:
            self.live = _among(self.live, positions)

    def _compact(self, index: Tensor, target: int) -> None:
        """Compact to the rows at these positions; the first of them is repeated up to `target`."""
        if target > index.shape[0]:
            index = torch.cat([index, index[:1].expand(target - index.shape[0])])
        self.hidden = nested.select(self.hidden, index)
        self.keywords = self._keywords_at(index)
        self.live, self.size = None, target

    def _keywords_at(self, index: Tensor) -> dict[str, Any]:
        return {name: nested.select(value, index) for name, value in self.keywords.items()}


def may_recall(policy: Policy, nan: str) -> bool:
    """Whether an answer may be an earlier exit's than the last one consulted.

    With estimates the recall is in these, and the policy over them has none. An exit that showed nothing and counts as
    the worst leaves the answer that there was.
    """
    return policy.recall == "observed" or policy.estimator is not None or nan == "worst"


class Answers:
    """Logits of the answering exits and how far each row went, written row by row.

    Parameters
    ----------
    recall : bool
        Whether an answer may be an earlier exit's than the last one consulted.
    exits : int
        How many exits an answer may go back to, 0 where it is never another than that before or the new one.

    Attributes
    ----------
    begun : bool
        Whether there are any.
    """

    _last_node: Tensor  # (B,) int32; only with recall: without it, that is the answering node
    _logits: Tensor  # (B, ...) of the answers, or (exits, B, ...) of what each exit gave

    def __init__(self, recall: bool, exits: int = 0) -> None:
        self._recall, self._exits, self.begun = recall, exits, False

    def consulted(self, node: int, logits: Tensor, rows: Tensor | None, flight: Flight) -> None:
        """Rows have consulted a node.

        Parameters
        ----------
        node : int
        logits : (m, ...) Tensor
        rows : (m,) int64 Tensor or None
            Rows of the input; None: all, as in the first call, for nobody leaves unwritten.
        flight : Flight
            Knows which node answers each row by now.
        """
        if not self.begun:
            self.make_room(flight.capacity if rows is None else logits.shape[0], logits)
        if self._recall:
            if rows is None:
                self._last_node.fill_(node)
            else:
                self._last_node.index_fill_(0, rows, node)
        if self._exits:
            place = self._logits[node]
        else:
            place = self._logits
            if self._recall:
                logits = self._standing(node, logits, rows, flight.answer_node)
        if rows is None:
            place.copy_(logits)
        else:
            place.index_copy_(0, rows, logits)

    def make_room(self, rows: int, logits: Tensor) -> None:
        """Begin with so many rows, all to be written, for logits like these."""
        self.begun = True
        shape = (rows, *logits.shape[1:])
        self._logits = logits.new_zeros(self._exits, *shape) if self._exits else logits.new_empty(shape)
        if self._recall:
            self._last_node = torch.zeros(rows, dtype=torch.int32, device=logits.device)

    def nodes(self, flight: Flight) -> tuple[Tensor, Tensor]:
        """(B,) int32 each: the node that answers, and the last one consulted."""
        answer = flight.answer_node
        return answer, self._last_node if self._recall else answer.clone()

    def logits(self, answer_node: Tensor, rows: Tensor | None = None) -> Tensor:
        """(m, ...) : of the answers of some rows, None for all, in memory that is written again."""
        if self._exits:
            places = torch.arange(len(answer_node), device=answer_node.device) if rows is None else rows
            return self._logits[answer_node.index_select(0, places).long(), places]
        return self._logits if rows is None else self._logits.index_select(0, rows)

    def _standing(self, node: int, logits: Tensor, rows: Tensor | None, answers: Tensor) -> Tensor:
        """Logits of the rows' answers: these, or those they had before."""
        if rows is None:
            return torch.where(_along(answers == node, logits), logits, self._logits)
        stands = answers.index_select(0, rows) == node
        return torch.where(_along(stands, logits), logits, self._logits.index_select(0, rows))


def _along(rows: Tensor, logits: Tensor) -> Tensor:
    """A value a row, with the dimensions of logits."""
    return rows.view(-1, *[1] * (logits.ndim - 1))


def _among(index: Tensor | None, positions: Tensor) -> Tensor:
    # The positions may lie in a buffer of a flight, whose next call writes over them: what is kept is a copy.
    return positions.clone() if index is None else index.index_select(0, positions)
