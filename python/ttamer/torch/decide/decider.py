"""A policy as a module: logits in, who goes on out."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ttamer.model.set_estimators import AnyEstimator, SetEstimator
from ttamer.policy import Policy
from ttamer.policy.policy import check_batch
from ttamer.torch.decide.callables import SignalFunction, check_kind, column, name_of, signal_text
from ttamer.torch.decide.core_flight import CoreFlight
from ttamer.torch.decide.flight import Decision, Flight, check_function_input
from ttamer.torch.decide.tables import Tables, tables_of


class Decider(nn.Module):
    """Decides batches of requests from the logits that a node showed.

    On the CPU the C++ core reads the tensors where they lie. On CUDA two Triton kernels go from logits to signal, bin,
    answer, next node and the positions of the rows that go on, without waiting for the device; they work on the current
    stream, while a CUDA graph is captured (after one call with the same tensors, which compiles them) and under
    `torch.compile`.

    Buffers are the policy's tables, as integers: `.to(device)` moves them, `.half()` leaves them alone. `state_dict`
    holds the policy itself, and `load_state_dict` brings another one; flights started before keep to the old.

    Parameters
    ----------
    policy : ttamer.Policy
    signal : {"max_prob", "margin", "entropy", "logit_margin"} or callable, optional
        What is computed from logits, and what `signals` in place of logits are. Default: what the policy decides on
        (`Policy.signal`). It has to be given for a policy on signals of the user's own, and named for a call with
        `signals` where the policy's traces recorded another kind than it decides on. A callable is for signals of the
        user's own: it makes (B,) floats of what a node showed, (B, ...), row by row. If it is a module it is part of
        this one.

    Raises
    ------
    TypeError
        If `policy` is not a `Policy`.
    ValueError
        If `signal` is unknown, another than the policy's own, or needed and missing, or the policy needs more than
        logits.
    """

    tables: Tensor
    levels: Tensor
    fresh: Tensor

    signal: str | SignalFunction

    def __init__(self, policy: Policy, signal: str | SignalFunction | None = None) -> None:
        super().__init__()
        if not isinstance(policy, Policy):
            raise TypeError(f"policy: expected a ttamer.Policy, got {type(policy).__name__}")
        self._set_policy(policy, signal)
        self._is_named = signal is not None

    def start(self, capacity: int = 64, nan: str = "error", *, kernels: bool | None = None) -> Flight:
        """Open a flight on the device where the decider is.

        Parameters
        ----------
        capacity : int
            Number of rows: requests in flight at once.
        nan : {"error", "worst"}
            What logits without a softmax, or a NaN signal, do: refuse the call, or count as the node's worst state.
        kernels : bool, optional
            Whether the Triton kernels decide, by default on CUDA if the policy decides on plain signals. On the CPU
            they run only in Triton's interpreter (TRITON_INTERPRET=1 before Triton is imported). Where they do not, the
            core decides: on an accelerator logits then come to the host, and each call waits for them.

        Returns
        -------
        Flight

        Raises
        ------
        TypeError, ValueError
            If an argument is none of these, or kernels cannot decide this policy or on the decider's device.
        ImportError
            If Triton is needed and missing.
        """
        check_batch(capacity, nan)
        device = self.tables.device
        if device.type == "meta":
            raise ValueError("start: expected the decider on a device that holds values, it is on meta")
        reason = why_no_kernels(self.policy)
        if kernels is None:
            kernels = device.type == "cuda" and not reason
        if not kernels:
            return CoreFlight(self.policy, int(capacity), nan, self._kind, device)
        if device.type not in ("cpu", "cuda"):
            raise ValueError(f"start: expected the decider on a CPU or CUDA device for kernels, it is on {device}")
        if reason:
            raise ValueError(f"kernels: {reason}; expected a signal of its own at every node")
        from ttamer.torch.decide.kernel_flight import KernelFlight

        buffers = self.tables, self.levels, self.fresh
        return KernelFlight(self.policy, self._kind, self.known, *buffers, int(capacity), nan)

    def forward(
        self,
        flight: Flight,
        node: int,
        logits: Tensor | None = None,
        rows: Tensor | None = None,
        *,
        signals: Tensor | None = None,
    ) -> Decision:
        """Consult `node` for some rows and say what each does next.

        Parameters
        ----------
        flight : Flight
            Started by this decider.
        node : int
            The node that was consulted. Must be open to each row (a successor of the node that the row consulted last),
            recommended or not.
        logits : (B, C) float32, float16 or bfloat16
            What the node showed, on the flight's device, C >= 2. -inf is a probability of 0. Where the signal is a
            callable: whatever that takes, (B, ...).
        rows : (B,) int32 or int64, optional
            Rows of the flight that the logits belong to, without repeats (on an accelerator nobody looks for them); by
            default 0 to B - 1. -1 is padding, which must come last: its logits are not looked at, and it stops.
        signals : (B,) float32, optional
            In place of logits: the signals themselves.

        Returns
        -------
        Decision
            Tensors of the flight's own, valid until its next call.

        Raises
        ------
        TypeError
            Wrong dtype, a node that is no int, or not exactly one of `logits` and `signals`.
        RuntimeError
            The callable that makes signals raised.
        ValueError
            Wrong shape, another device than the flight's, more rows than its capacity, another policy's flight, or
            signals of a kind that the policy's traces did not record and the decider was not told. On
            the CPU also a row of logits with NaN, +inf or nothing but -inf under nan="error", a repeated row, a row
            that has stopped, or a node that is not open.
        IndexError
            A node out of range; on the CPU also a row.

        Notes
        -----
        Nothing is changed when it raises. On an accelerator what depends on values cannot raise without waiting for the
        device: such a call is refused there, changes nothing, and its `count` is -1 - k with k the first position that
        was refused. `Flight.survivors` and `Flight.check` raise what the CPU would have raised, naming the rows.
        """
        if flight.policy is not self.policy:
            raise ValueError("flight: expected one that this decider started with the policy it has now")
        if isinstance(node, bool) or not isinstance(node, (int, np.integer)):
            raise TypeError(f"node: expected an int, got {type(node).__name__}")
        if signals is not None and self.policy.estimator is not None:
            raise ValueError("signals: expected logits, this policy estimates from them")
        if signals is not None and not self._is_named and self.policy.recorded_signal != self.signal:
            raise ValueError(
                f"signals: this policy decides on {self.signal!r}, its traces recorded "
                f"{self.policy.recorded_signal!r}; hand over logits, or signals of that kind and say so: "
                f"Decider(policy, signal={self.signal!r})"
            )
        if logits is not None and signals is None and not isinstance(self.signal, str):
            check_function_input(flight, logits)
            signals, logits = column("signal", self.signal, logits, place=f"node {node}"), None
        return flight._decide(int(node), logits, rows, signals)

    def get_extra_state(self) -> dict[str, Any]:
        """What `state_dict` holds: the policy, as the bytes of its file, and the signal."""
        return {
            "policy": torch.frombuffer(bytearray(self.policy._to_bytes()), dtype=torch.uint8),
            "signal": self._kind,
        }

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Take the policy of a `state_dict`; the tables stay on their device."""
        policy = Policy._from_bytes(state["policy"].cpu().numpy().tobytes(), "state_dict")
        named = self.signal if self._is_named else None
        signal = state["signal"]
        if not isinstance(self.signal, str):
            if signal != "":
                raise ValueError(
                    f"state_dict: expected a policy on signals of the user's own, which {name_of(self.signal)} makes, "
                    f"got one on {signal!r}"
                )
            signal = self.signal
        self._set_policy(policy, signal, self.tables.device)
        self._is_named = named == self.signal  # what callers hand over does not change with the policy

    def extra_repr(self) -> str:
        """What `repr` says."""
        return f"{self.policy!r}, signal={signal_text(self.signal)}"

    @property
    def _kind(self) -> str:
        """Kind of the signals, "" for the user's own."""
        return self.signal if isinstance(self.signal, str) else ""

    def _set_policy(
        self, policy: Policy, signal: str | SignalFunction | None, device: torch.device | None = None
    ) -> None:
        if policy.estimator is not None:
            check_shown(policy.estimator)
            if signal not in (None, ""):
                name = signal if isinstance(signal, str) else name_of(signal)
                raise ValueError(f"signal: expected None, this policy estimates from logits, got {name}")
        kind = "" if policy.estimator is not None else policy.signal if signal is None else signal
        if kind == "" and policy.estimator is None:
            raise ValueError(
                "policy: it decides on signals of the user's own; name what is computed from logits if that is the "
                "same, signal='max_prob' for example, or pass the function that makes them, or record traces that name "
                "their signal (Traces.from_probs does)"
            )
        if policy.estimator is None:
            check_kind(kind)
        if policy.estimator is None and policy.signal not in ("", kind):
            other = kind if isinstance(kind, str) else name_of(kind)
            raise ValueError(f"signal: expected {policy.signal}, which the policy's traces were made with, got {other}")
        self.policy, self.signal, self.known = policy, kind, tables_of(policy)
        for name, values in _buffers(self.known).items():
            # Not in the state: load_state_dict would insist on sizes, and another policy's tables have others.
            self.register_buffer(name, torch.from_numpy(values).to(device), persistent=False)


def why_no_kernels(policy: Policy) -> str:
    """Why the Triton kernels do not decide with a policy; "" if they do."""
    if policy.estimator is not None:
        return f"estimates ({policy.estimate!r}) are made by the core, on the host"
    for node, source in enumerate(policy.signal_nodes):
        if source != node:
            return f"the signal of node {source} tells the state of node {node}, which only the core keeps"
    return ""


def check_shown(estimator: AnyEstimator) -> None:
    """Raise unless logits of the nodes are all that estimates are made of."""
    if not isinstance(estimator, SetEstimator):
        return
    if estimator.context:
        names = ", ".join(name for name, _ in estimator.context)
        raise ValueError(
            f"policy: expected one that decides on logits alone, got one that looks at a context ({names})"
        )
    if estimator.signal == "" or (np.diff(estimator.tables["input_offsets"]) != 1).any():
        raise ValueError(
            "policy: expected one whose scores logits give, got one on scores of the user's own; record traces that "
            "name their signal (EarlyExit.record, Traces.from_probs)"
        )


def _buffers(layout: Tables) -> dict[str, np.ndarray[Any, np.dtype[Any]]]:
    return {"tables": layout.block, "levels": layout.levels, "fresh": layout.fresh}
