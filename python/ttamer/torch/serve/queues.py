"""Rows that wait before a stage, and bringing them together."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ttamer.torch.serve import nested

Slots = npt.NDArray[np.int64]


class Chunk(NamedTuple):
    """Rows that came together: from the caller, or out of one run of a stage.

    Attributes
    ----------
    hidden : Any
    keywords : dict
    positions : int64 Tensor or None
        Which rows of these the chunk's are; None: all. Selecting waits until rows are brought together, so that they
        are copied once.
    slots : int64 array
    since : float
        When they came, in seconds.
    """

    hidden: Any
    keywords: dict[str, Any]
    positions: Tensor | None
    slots: Slots
    since: float

    def part(self, chosen: Tensor, slots: Slots) -> Chunk:
        """Some of the rows, and their slots."""
        positions = chosen if self.positions is None else self.positions.index_select(0, chosen)
        return Chunk(self.hidden, self.keywords, positions, slots, self.since)


@dataclass
class Queue:
    """Rows before one stage whose tensors are alike but for the number of rows."""

    chunks: deque[Chunk] = field(default_factory=deque)
    rows: int = 0

    def push(self, chunk: Chunk) -> None:
        """Rows that come last."""
        self.chunks.append(chunk)
        self.rows += len(chunk.slots)

    def pop(self, most: int) -> list[Chunk]:
        """The first rows, at most so many."""
        chunks: list[Chunk] = []
        room = most
        while self.chunks and room:
            chunk = self.chunks.popleft()
            if len(chunk.slots) > room:
                device = next(nested.tensors_of(chunk.hidden)).device
                first, rest = torch.arange(len(chunk.slots), device=device).tensor_split([room])
                self.chunks.appendleft(chunk.part(rest, chunk.slots[room:]))
                chunk = chunk.part(first, chunk.slots[:room])
            chunks.append(chunk)
            room -= len(chunk.slots)
        self.rows -= most - room
        return chunks


def joined(chunks: Sequence[Chunk], size: int) -> tuple[Any, dict[str, Any], Slots]:
    """Hidden states and keywords of the rows of some chunks, padded to a size with copies of the first; their slots."""
    slots = chunks[0].slots if len(chunks) == 1 else np.concatenate([chunk.slots for chunk in chunks])
    pieces = [(chunk.hidden, chunk.keywords, chunk.positions) for chunk in chunks]
    if size > len(slots):
        hidden, keywords, of_first = pieces[0]
        device = next(nested.tensors_of(hidden)).device
        first = torch.zeros(1, dtype=torch.int64, device=device) if of_first is None else of_first[:1]
        pieces.append((hidden, keywords, first.expand(size - len(slots))))
    hiddens, named, positions = zip(*pieces, strict=True)
    return nested.join(hiddens, positions), nested.join(named, positions) if named[0] else {}, slots
