"""Requests in flight on the CPU: a batch of the C++ core, which reads tensors where they lie."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ttamer._core import start
from ttamer.policy import Policy
from ttamer.torch.decide.flight import LOGIT_DTYPES, Decision, Flight, check_call, check_rows

Ints = npt.NDArray[np.int32]


class CoreFlight(Flight):
    """See `Flight`; decisions are those of `ttamer.Batch`, and so are its errors, which leave everything unchanged."""

    def __init__(self, policy: Policy, capacity: int, nan: str, signal: str) -> None:
        super().__init__(policy, capacity, torch.device("cpu"))
        self._batch = start(policy._core, capacity, nan, signal, signal)
        self._number = np.zeros(1, np.int32)
        self._count = torch.from_numpy(self._number)

    @property
    def answer_node(self) -> Tensor:
        """See `Flight.answer_node`."""
        return torch.from_numpy(self._batch.answer_node)

    @property
    def answer_loss(self) -> Tensor:
        """See `Flight.answer_loss`."""
        return torch.from_numpy(self._batch.answer_loss)

    def reset(self, rows: Tensor | None = None) -> None:
        """See `Flight.reset`."""
        if rows is not None:
            check_rows(self, rows)
        self._batch.reset(None if rows is None else _view(rows))

    def check(self) -> None:
        """Nothing to find: calls raise by themselves."""

    def survivors(self, decision: Decision) -> Tensor:
        """See `Flight.survivors`; here nothing is waited for."""
        return decision.kept

    def _decide(self, node: int, logits: Tensor | None, rows: Tensor | None, signals: Tensor | None) -> Decision:
        ahead = self._at_once(node, logits, rows) if signals is None else None
        if ahead is None:
            ahead = self._checked(node, logits, rows, signals)
        (positions,) = (ahead >= 0).nonzero()
        # The tensor of the count is written again: making a new one takes longer than deciding.
        self._number[0] = len(positions)
        return Decision(torch.from_numpy(ahead), torch.from_numpy(positions), self._count)

    def _at_once(self, node: int, logits: Tensor | None, rows: Tensor | None) -> Ints | None:
        """Next nodes of a call that the core takes as it is, which is nearly every one; None of any other.

        The core checks what it is given and changes nothing when it raises, so checking before it would be twice.
        """
        # The core would take more, arrays and bfloat16 as uint16, which are errors here.
        if type(logits) is not Tensor or logits.dtype not in LOGIT_DTYPES:
            return None
        if rows is not None and type(rows) is not Tensor:
            return None
        try:
            return self._batch.decide_logits(node, logits, rows)
        except (TypeError, ValueError, IndexError):
            return None  # padded, or not contiguous, or wrong

    def _checked(self, node: int, logits: Tensor | None, rows: Tensor | None, signals: Tensor | None) -> Ints:
        """Next nodes of any call, or what is wrong with it."""
        size = check_call(self, logits, rows, signals).shape[0]
        places = None if rows is None else _view(rows)
        live = size
        # Padding comes last, so that one look tells whether there is any.
        if places is not None and size > 0 and places[-1] < 0:
            live = int(np.count_nonzero(places >= 0))
            places = places[:live]
        if logits is not None:
            ahead = self._batch.decide_logits(node, _view(logits)[:live], places)
        else:
            assert signals is not None
            ahead = self._batch.decide(node, _view(signals)[:live], places)
        return ahead if live == size else np.concatenate([ahead, np.full(size - live, -1, np.int32)])


def _view(tensor: Tensor) -> npt.NDArray[Any]:
    """A tensor's memory as the core takes it; only one that is not contiguous is copied."""
    if tensor.requires_grad:
        tensor = tensor.detach()
    tensor = tensor.contiguous()
    if tensor.dtype == torch.bfloat16:
        tensor = tensor.view(torch.uint16)
    return tensor.numpy()
