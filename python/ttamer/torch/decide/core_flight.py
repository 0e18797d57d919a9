"""Requests in flight that the C++ core decides: it reads tensors of the CPU where they lie."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ttamer._core import logit_signals, start
from ttamer.policy import Policy
from ttamer.torch.decide.flight import LOGIT_DTYPES, Decision, Flight, check_call, check_rows, signalling

Ints = npt.NDArray[np.int32]


class CoreFlight(Flight):
    """See `Flight`; decisions are those of `ttamer.Batch`, and so are its errors, which leave everything unchanged.

    Of a flight on another device than the CPU logits come to the host, and decisions go back: each call waits.

    Parameters
    ----------
    policy : ttamer.Policy
    capacity : int
    nan : {"error", "worst"}
    signal : str
        Kind of signal that is computed from logits; "": calls hand over signals, or the policy estimates.
    device : torch.device
    """

    def __init__(self, policy: Policy, capacity: int, nan: str, signal: str, device: torch.device) -> None:
        super().__init__(policy, capacity, device)
        self._kind = signal
        self._is_here = device.type == "cpu"
        self._estimates = policy.estimator is not None
        if self._estimates:
            self._batch = policy.start(capacity, nan)
        else:
            self._batch = start(policy._core, capacity, nan, signal, signal, policy.classes or 0)
        # Signals by node and row, where the answer's logits do not give its signal again.
        self._signals: npt.NDArray[np.float32] | None = None
        if any(source != node for node, source in enumerate(policy.signal_nodes)):
            self._signals = self._room()
        self._number = np.zeros(1, np.int32)
        self._count = torch.from_numpy(self._number)

    @property
    def answer_node(self) -> Tensor:
        """See `Flight.answer_node`."""
        return self._there(self._batch.answer_node)

    @property
    def answer_loss(self) -> Tensor:
        """See `Flight.answer_loss`."""
        return self._there(self._batch.answer_loss)

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

    def _answer_signals(self, logits: Tensor, rows: Tensor | None) -> tuple[npt.NDArray[np.float32], Ints]:
        """See `Flight._answer_signals`."""
        chosen = slice(None) if rows is None else rows.cpu().numpy()
        if self._estimates:
            return self._batch._answer_signal[chosen], self._batch._answer_step[chosen]
        nodes = self._batch.answer_node[chosen]
        if self._signals is None:
            return logit_signals(_view(signalling(logits, self._kind)), self._kind, taken=True), nodes
        sources = np.array(self.policy.signal_nodes)[nodes]
        return self._signals[sources, np.arange(self.capacity)[chosen]], nodes

    def _decide(self, node: int, logits: Tensor | None, rows: Tensor | None, signals: Tensor | None) -> Decision:
        ahead = self._at_once(node, logits, rows) if signals is None and self._signals is None else None
        if ahead is None:
            ahead = self._checked(node, logits, rows, signals)
        (positions,) = (ahead >= 0).nonzero()
        # The tensor of the count is written again: making a new one takes longer than deciding.
        self._number[0] = len(positions)
        count = self._count if self._is_here else self._there(self._number)
        return Decision(self._there(ahead), self._there(positions), count)

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
            return None  # padded, on another device, not contiguous, or wrong

    def _checked(self, node: int, logits: Tensor | None, rows: Tensor | None, signals: Tensor | None) -> Ints:
        """Next nodes of any call, or what is wrong with it."""
        values = check_call(self, logits, rows, signals)
        size = live = values.shape[0]
        shown, places = _view(values), None if rows is None else _view(rows)
        # Padding comes last, so that one look tells whether there is any.
        if places is not None and size > 0 and places[-1] < 0:
            live = int(np.count_nonzero(places >= 0))
            shown, places = shown[:live], places[:live]
        if logits is not None and self._signals is not None:
            shown = self._batch._logit_signals(shown, places)
        if logits is not None and self._signals is None:
            ahead = self._batch.decide_logits(node, shown, places)
        else:
            ahead = self._batch.decide(node, shown, places)
            self._signals = self._room() if self._signals is None else self._signals
            self._signals[node, slice(live) if places is None else places] = shown
        return ahead if live == size else np.concatenate([ahead, np.full(size - live, -1, np.int32)])

    def _room(self) -> npt.NDArray[np.float32]:
        return np.full((self.policy.topology.nodes, self.capacity), np.nan, np.float32)

    def _there(self, values: npt.NDArray[Any]) -> Tensor:
        """An array as a tensor where the flight is."""
        tensor = torch.from_numpy(values)
        return tensor if self._is_here else tensor.to(self.device)


def _view(tensor: Tensor) -> npt.NDArray[Any]:
    """A tensor's memory as the core takes it; only one that is not contiguous, or not on the CPU, is copied."""
    tensor = tensor.detach().cpu().contiguous()
    if tensor.dtype == torch.bfloat16:
        tensor = tensor.view(torch.uint16)
    return tensor.numpy()
