"""Requests in flight on the CPU: a batch of the C++ core, which reads tensors where they lie."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ttamer import _core
from ttamer.policy import Policy
from ttamer.torch.flight import Decision, Flight, check_call, check_rows


class CoreFlight(Flight):
    """See `Flight`; decisions are those of `ttamer.Batch`, and so are its errors, which leave everything unchanged."""

    def __init__(self, policy: Policy, capacity: int, nan: str, signal: str) -> None:
        super().__init__(policy, capacity, torch.device("cpu"))
        self._batch = _core.start(policy._core, capacity, nan, signal)

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
        (kept,) = (ahead >= 0).nonzero()
        if live < size:
            ahead = np.concatenate([ahead, np.full(size - live, -1, np.int32)])
        # From NumPy: making a tensor of a number takes longer than deciding.
        count = np.array((len(kept),), np.int32)
        return Decision(torch.from_numpy(ahead), torch.from_numpy(kept), torch.from_numpy(count))


def _view(tensor: Tensor) -> npt.NDArray[Any]:
    """A tensor's memory as the core takes it; only one that is not contiguous is copied."""
    if tensor.requires_grad:
        tensor = tensor.detach()
    tensor = tensor.contiguous()
    if tensor.dtype == torch.bfloat16:
        tensor = tensor.view(torch.uint16)
    return tensor.numpy()
