"""What a policy knows of the answers it gives: their signals, states and expected losses."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ttamer.policy import Policy
from ttamer.torch.decide.flight import Flight


@dataclass(frozen=True)
class AnswerStates:
    """The states of a policy, by node, or by step where it estimates.

    They are told on the host, for all answers at once: there a look-up takes less than launching it on a device, which
    has nothing left to do when the last rows have stopped.

    Attributes
    ----------
    edges : (n, K) float32
        Bin edges, filled up with NaN, which no signal reaches.
    worst : (n,) int32
        The state of a signal that is NaN.
    """

    edges: npt.NDArray[np.float32]
    worst: npt.NDArray[np.int32]

    @classmethod
    def of(cls, policy: Policy) -> AnswerStates:
        """The states of a policy."""
        edges = [policy.bin_edges(node) for node in range(policy.steps.nodes)]
        table = np.full((len(edges), max(map(len, edges))), np.nan, np.float32)
        for row, values in zip(table, edges, strict=True):
            row[: len(values)] = values
        return cls(table, policy._core.derived()["worst_state"])

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
        states = (self.edges[nodes] <= signals[:, None]).sum(axis=1, dtype=np.int32)
        missing = np.isnan(signals)
        if missing.any():
            states[missing] = self.worst[nodes[missing]]
        states[nodes < 0] = -1  # a row that no node has answered
        losses = flight.answer_loss if rows is None else flight.answer_loss.index_select(0, rows)
        if flight.device.type == "cpu":
            return torch.from_numpy(signals), torch.from_numpy(states), losses
        return torch.from_numpy(signals).to(flight.device), torch.from_numpy(states).to(flight.device), losses
