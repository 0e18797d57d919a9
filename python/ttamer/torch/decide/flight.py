"""Requests in flight: what a `Decider` starts, and what it returns for a call."""

from __future__ import annotations

import abc
import re
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ttamer.policy import Policy

LOGIT_DTYPES = (torch.float32, torch.float16, torch.bfloat16)
ROW_DTYPES = (torch.int32, torch.int64)


class Decision(NamedTuple):
    """What to do next with the B rows of a call. Valid until the flight's next call, which may write over it."""

    next_node: Tensor
    """(B,) int32 : the node that each row consults next, or STOP (-1)."""
    kept: Tensor
    """int64 : positions in the call (not rows) that go on, in order. Only the first `count` are valid."""
    count: Tensor  # type: ignore[assignment]  # hides tuple.count, which nobody calls here
    """(1,) int32 : how many go on: the one number that a host reads. Negative where a call on an accelerator was
    refused; see `Flight.survivors`."""


class Flight(abc.ABC):
    """Requests in flight on one device, one row each; made by `Decider.start`.

    A flight belongs to one loop, and on an accelerator to one stream at a time. Its memory is that of the stream that
    was current when it was started: as with any tensor of PyTorch, another stream waits for that one first, and the
    flight is kept until the other is done.
    """

    def __init__(self, policy: Policy, capacity: int, device: torch.device) -> None:
        self.policy = policy
        self.capacity = capacity
        self.device = device

    @property
    @abc.abstractmethod
    def answer_node(self) -> Tensor:
        """(capacity,) int32 : the node that answers each row, -1 while none does. A copy."""

    @property
    @abc.abstractmethod
    def answer_loss(self) -> Tensor:
        """(capacity,) float64 : the answer's expected loss, inf while there is none. A copy."""

    @abc.abstractmethod
    def reset(self, rows: Tensor | None = None) -> None:
        """Hand rows over to new requests.

        Parameters
        ----------
        rows : (B,) int32 or int64, optional
            On the flight's device, without repeats; by default all.
        """

    @abc.abstractmethod
    def check(self) -> None:
        """Raise ValueError if a call was refused since the last check, naming the rows.

        On the CPU calls raise by themselves and there is nothing to find. On an accelerator this waits for the device.
        """

    def survivors(self, decision: Decision) -> Tensor:
        """Read how many rows go on, and return their positions: the one wait for the device a call needs.

        Parameters
        ----------
        decision : Decision
            Of the flight's last call.

        Returns
        -------
        (count,) int64

        Raises
        ------
        ValueError
            If the call was refused: what `check` says.
        """
        count = int(decision.count)
        if count < 0:
            self.check()
            raise ValueError("decision: of a call that was refused, as a check has said before")
        return decision.kept[:count]

    @abc.abstractmethod
    def _answer_signals(
        self, logits: Tensor, rows: Tensor | None
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int32]]:
        """Of each row's answer the signal, (m,) float32, and the node whose states it tells, (m,) int32, on the host.

        Where the policy estimates that is the estimate after the last node, and the step at which it was made.

        Parameters
        ----------
        logits : (m, ...) Tensor
            The answers.
        rows : (m,) int64 Tensor or None
            Rows of the flight; None: all.
        """

    @abc.abstractmethod
    def _decide(self, node: int, logits: Tensor | None, rows: Tensor | None, signals: Tensor | None) -> Decision:
        """Consult a node, with logits or with signals."""


def describe(value: object) -> str:
    """Shape, dtype and device of a tensor, the type's name of anything else."""
    if not isinstance(value, Tensor):
        return type(value).__name__
    return f"{tuple(value.shape)} {str(value.dtype).removeprefix('torch.')} on {value.device}"


def check_tensor(name: str, value: object, expected: str, dtypes: tuple[torch.dtype, ...], dim: int) -> None:
    """Raise unless a value is a tensor of one of the dtypes (TypeError) and so many dimensions (ValueError)."""
    if not isinstance(value, Tensor) or value.dtype not in dtypes:
        raise TypeError(f"{name}: expected {expected}, got {describe(value)}")
    if value.dim() != dim:
        raise ValueError(f"{name}: expected {expected}, got {describe(value)}")


def check_call(flight: Flight, logits: Tensor | None, rows: Tensor | None, signals: Tensor | None) -> Tensor:
    """Check what a call hands over; return the one of logits and signals that is given."""
    if (logits is None) == (signals is None):
        raise TypeError("logits, signals: expected one of the two, got " + ("neither" if logits is None else "both"))
    if logits is not None:
        check_tensor("logits", logits, "(B, C) float32, float16 or bfloat16", LOGIT_DTYPES, 2)
        if logits.shape[1] < 2:
            raise ValueError(f"logits: expected (B, C) with C >= 2, got C = {logits.shape[1]}")
        classes = flight.policy.classes
        if classes not in (None, logits.shape[1]):
            raise ValueError(
                f"logits: expected (B, {classes}), the classes that the policy was made for, got C = {logits.shape[1]}"
            )
        values, name = logits, "logits"
    else:
        check_tensor("signals", signals, "(B,) float32", (torch.float32,), 1)
        assert signals is not None
        values, name = signals, "signals"
    check_device(flight, name, values)
    if values.shape[0] > flight.capacity:
        raise ValueError(
            f"{name}: {values.shape[0]} rows exceed the flight's capacity of {flight.capacity}; "
            f"start one with a larger capacity"
        )
    if rows is not None:
        check_rows(flight, rows)
        if rows.shape[0] != values.shape[0]:
            raise ValueError(
                f"rows: expected one for each of the {values.shape[0]} rows of {name}, got {rows.shape[0]}"
            )
    return values


def check_function_input(flight: Flight, output: object) -> None:
    """Check what a node showed, of which a function makes signals."""
    if not isinstance(output, Tensor) or output.ndim == 0:
        raise TypeError(f"logits: expected a tensor with rows, got {describe(output)}")
    check_device(flight, "logits", output)


def check_rows(flight: Flight, rows: Tensor) -> None:
    """Check dtype, dimensions and device of rows."""
    check_tensor("rows", rows, "(B,) int32 or int64", ROW_DTYPES, 1)
    check_device(flight, "rows", rows)


def check_device(flight: Flight, name: str, value: Tensor) -> None:
    """Raise ValueError unless a tensor lies on the flight's device."""
    if value.device != flight.device:
        raise ValueError(
            f"{name}: expected a tensor on {flight.device}, where the flight is, got {describe(value)}; "
            f"move it there, or the decider to {value.device} before it starts a flight"
        )


def signalling(logits: Tensor, signal: object) -> Tensor:
    """Logits as signals of a kind are computed from them: recording does not tell float64 from float32 either."""
    return logits.float() if logits.dtype == torch.float64 and isinstance(signal, str) else logits


def refused(node: int, error: TypeError | ValueError) -> TypeError | ValueError:
    """What to raise in place of what a flight says, whose caller has a model and no flight."""
    # An exit does not fail alone: of the core's two ways with NaN there is one for networks.
    advice = 'start the (batch|flight) with (nan="failed" for nodes that may fail, or )?'
    return type(error)(f"exit {node}: {re.sub(advice, 'attach the policy with ', str(error))}")
