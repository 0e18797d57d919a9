"""What a policy knows of the answers it gives: their signals, states and expected losses."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ttamer.policy import Policy
from ttamer.torch.decide.flight import Flight


@dataclass(frozen=True)
class AnswerStates:
    """The states of a policy on one device, by node, or by step where it estimates.

    Attributes
    ----------
    edges : (n, K) float32 Tensor
        Bin edges, filled up with inf.
    counts : (n,) int64 Tensor
        How many these are.
    worst : (n,) int64 Tensor
        The state of a signal that is NaN.
    """

    edges: Tensor
    counts: Tensor
    worst: Tensor

    @classmethod
    def of(cls, policy: Policy, device: torch.device) -> AnswerStates:
        """The states of a policy."""
        edges = [policy.bin_edges(node) for node in range(policy.steps.nodes)]
        table = np.full((len(edges), max(map(len, edges))), np.inf, np.float32)
        for row, values in zip(table, edges, strict=True):
            row[: len(values)] = values
        counts = np.array([len(values) for values in edges])
        worst = policy._core.derived()["worst_state"].astype(np.int64)
        return cls(*(torch.from_numpy(each).to(device) for each in (table, counts, worst)))

    def fields(self, flight: Flight, logits: Tensor, rows: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Signal, state and expected loss of the answers of a flight's rows, as `ExitOutput` has them.

        Parameters
        ----------
        flight : Flight
        logits : (m, ...) Tensor
            The answers.
        rows : (m,) int64 Tensor or None
            Rows of the flight; None: all.
        """
        signals, nodes = flight._answer_signals(logits, rows)
        losses = flight.answer_loss if rows is None else flight.answer_loss.index_select(0, rows)
        places = nodes.long()
        states = (self.edges[places] <= signals[:, None]).sum(dim=1).minimum(self.counts[places])
        states = states.where(~signals.isnan(), self.worst[places])
        # A row that no node has answered has no state.
        return signals, states.where(nodes >= 0, -1).int(), losses
