"""A policy as a module: logits in, who goes on out."""

from __future__ import annotations

from torch import Tensor, nn

from ttamer.policy import Policy
from ttamer.signals import check_signal
from ttamer.torch.core_flight import CoreFlight
from ttamer.torch.flight import Decision, Flight


class Decider(nn.Module):
    """Decides batches of requests from the logits that a node showed.

    Parameters
    ----------
    policy : ttamer.Policy
    signal : {"max_prob", "margin", "entropy"}, optional
        What is computed from logits. Default: the signal that the policy's traces were made with, or "max_prob" where
        they do not say.

    Raises
    ------
    TypeError
        If `policy` is not a `Policy`.
    ValueError
        If `signal` is unknown or another than the policy's own, or the policy needs more than a signal.
    """

    def __init__(self, policy: Policy, signal: str | None = None) -> None:
        super().__init__()
        if not isinstance(policy, Policy):
            raise TypeError(f"policy: expected a ttamer.Policy, got {type(policy).__name__}")
        chosen = signal if signal is not None else policy.signal or "max_prob"
        check_signal(chosen)
        if policy.signal not in ("", chosen):
            raise ValueError(f"signal: the policy's traces were made with {policy.signal}, got {chosen}")
        self.policy = policy
        self.signal = chosen

    def start(self, capacity: int = 64, nan: str = "error") -> Flight:
        """Open a flight."""
        return CoreFlight(self.policy, capacity, nan, self.signal)

    def forward(
        self,
        flight: Flight,
        node: int,
        logits: Tensor | None = None,
        rows: Tensor | None = None,
        *,
        signals: Tensor | None = None,
    ) -> Decision:
        """Consult `node` for some rows and say what each does next."""
        if flight.policy is not self.policy:
            raise ValueError("flight: expected one that this decider started, got another policy's")
        return flight._decide(node, logits, rows, signals)
