"""The rows that travel from stage to stage, and their answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ttamer.torch import _rows
from ttamer.torch._parts import run


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
        return next((size for size in self.sizes if size >= count), count) if count else 0


class Held:
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
            self._take(torch.arange(count, device=next(_rows.tensors_of(hidden)).device), target)

    def advance(self, stage: nn.Module, node: int) -> None:
        """Run a stage on all rows held."""
        self.hidden = run(stage, self.hidden, self.keywords)
        _rows.check_hidden(self.hidden, self.size, node)

    def consult(self, leave: nn.Module, node: int, like: Tensor | None, positions: Tensor | None = None) -> Tensor:
        """Logits of an exit for the live rows, or those at some positions among them.

        `like` are logits of an exit before it, if there is one, with as many classes.
        """
        if positions is not None:
            index = _among(self.live, positions)
            logits = run(leave, _rows.select(self.hidden, index), self._keywords_at(index))
            return _rows.check_logits(logits, positions.shape[0], node, like)
        logits = _rows.check_logits(run(leave, self.hidden, self.keywords), self.size, node, like)
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
        self.live = _among(self.live, positions)
        target = self._compaction.fitting(self.count)
        if target < self.size and self.count <= self._compaction.share * self.size:
            self._take(self.live, target)

    def _take(self, index: Tensor, target: int) -> None:
        """Compact to the rows at these positions; the first of them is repeated up to `target`."""
        if target > index.shape[0]:
            index = torch.cat([index, index[:1].expand(target - index.shape[0])])
        self.hidden = _rows.select(self.hidden, index)
        self.keywords = self._keywords_at(index)
        self.live, self.size = None, target

    def _keywords_at(self, index: Tensor) -> dict[str, Any]:
        return {name: _rows.select(value, index) for name, value in self.keywords.items()}


class Answers:
    """Logits of the answering exits and how far each row went, written row by row.

    Attributes
    ----------
    logits : (B, C) Tensor
    last_node : (B,) int32 Tensor
        Both are made when the first rows are written.
    """

    logits: Tensor
    last_node: Tensor

    def __init__(self, rows: int) -> None:
        self._rows, self._begun = rows, False

    def consulted(self, node: int, logits: Tensor, rows: Tensor | None, answers: Tensor | None) -> None:
        """Rows have consulted a node.

        Parameters
        ----------
        node : int
        logits : (m, C) Tensor
        rows : (m,) int64 Tensor or None
            Rows of the input; None: all.
        answers : (B,) int32 Tensor or None
            The answering node of every row; None: that consulted last, whatever it is.
        """
        if not self._begun:
            self._begin(node, logits, rows)
        elif rows is None:
            self.last_node.fill_(node)
            chosen = logits if answers is None else _chosen(answers == node, logits, self.logits)
            self.logits.copy_(chosen)
        else:
            self.last_node.index_fill_(0, rows, node)
            if answers is not None:
                logits = _chosen(answers.index_select(0, rows) == node, logits, self.logits.index_select(0, rows))
            self.logits.index_copy_(0, rows, logits)

    def _begin(self, node: int, logits: Tensor, rows: Tensor | None) -> None:
        """The first answers: with them every row has been written, or will be before it stops."""
        self._begun = True
        self.last_node = torch.full((self._rows,), node, dtype=torch.int32, device=logits.device)
        # A copy: an exit may hand out a buffer that it writes again in the next call.
        self.logits = logits.clone() if rows is None else logits.new_empty(self._rows, logits.shape[1])
        if rows is not None:
            self.logits.index_copy_(0, rows, logits)


def _chosen(stands: Tensor, logits: Tensor, before: Tensor) -> Tensor:
    return torch.where(stands[:, None], logits, before)


def _among(index: Tensor | None, positions: Tensor) -> Tensor:
    return positions if index is None else index.index_select(0, positions)
