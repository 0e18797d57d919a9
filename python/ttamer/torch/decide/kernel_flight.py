"""Requests in flight on an accelerator: their state lies in tensors, and kernels decide."""

from __future__ import annotations

import importlib.util

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ttamer.policy import Policy
from ttamer.torch.decide import ops
from ttamer.torch.decide.flight import Decision, Flight, check_call, check_rows
from ttamer.torch.decide.tables import PROVISIONAL, Tables
from ttamer.traces.signals import SIGNALS

# Why `kernels.consult` refuses a row; it writes these numbers with a minus.
_IS_NAN, _NOT_OPEN, _HAS_STOPPED, _OUT_OF_RANGE, _IS_NAN_GIVEN = 2, 3, 4, 5, 6
_CODES = 8
_MOST_NAMED = 8
_WORST = '; start the flight with nan="worst" to count it as the worst state'


class KernelFlight(Flight):
    """See `Flight`. A call that a host did not look at (`survivors`) may have been refused: then nothing changed.

    Parameters
    ----------
    policy : ttamer.Policy
    signal : str
        Kind of signal that is computed from logits; "": calls hand over signals.
    layout : Tables
        Of the policy.
    tables, levels, fresh : Tensor
        The same on the flight's device.
    capacity : int
    nan : {"error", "worst"}
    """

    def __init__(
        self,
        policy: Policy,
        signal: str,
        layout: Tables,
        tables: Tensor,
        levels: Tensor,
        fresh: Tensor,
        capacity: int,
        nan: str,
    ) -> None:
        super().__init__(policy, capacity, tables.device)
        _check_triton(self.device)
        self._layout = layout
        self._kind = SIGNALS.index(signal) if signal else ops.GIVEN
        self._tables, self._levels, self._fresh = tables, levels, fresh
        self._flags = (
            ops.FOREST * layout.forest
            + ops.RECALL * layout.recall
            + ops.OBSERVED * layout.observed
            + ops.WORST * (nan == "worst")
        )

        def empty(*shape: int, dtype: torch.dtype = torch.int32) -> Tensor:
            return torch.empty(shape, dtype=dtype, device=self.device)

        self._state = empty(5, capacity)
        self._open_ranks = empty(capacity if layout.forest else 0, layout.nodes)
        self._plan = empty(4, capacity)
        self._faults = torch.zeros(capacity + 1, dtype=torch.int32, device=self.device)
        self._next, self._kept, self._count = empty(capacity), empty(capacity, dtype=torch.int64), empty(1)
        self._decisions: dict[int, Decision] = {}
        self.reset()

    @property
    def answer_node(self) -> Tensor:
        """See `Flight.answer_node`."""
        return self._state[1].clone()

    @property
    def answer_loss(self) -> Tensor:
        """See `Flight.answer_loss`."""
        # A row without an answer has the largest integer as its rank; clamped, that leads to the inf behind all levels.
        ranks = torch.where(self._state[1] < 0, self._state[0], self._state[0] % PROVISIONAL)
        return self._levels.view(torch.float64)[ranks.clamp(max=len(self._levels) - 1)]

    def _answer_signals(
        self, logits: Tensor, rows: Tensor | None
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int32]]:
        """See `Flight._answer_signals`."""
        state = self._state[:3] if rows is None else self._state[:3].index_select(1, rows)
        ranks, nodes, keys = state.cpu().numpy().copy()
        signals = np.where(keys < 0, keys ^ 0x7FFFFFFF, keys).view(np.float32)  # see `tables.order_keys`
        # A row without an answer has the largest rank of all.
        signals[(ranks >= PROVISIONAL) & (nodes >= 0)] = np.nan
        return signals, nodes

    def reset(self, rows: Tensor | None = None) -> None:
        """See `Flight.reset`."""
        if rows is not None:
            check_rows(self, rows)
            rows = rows.contiguous()
        run = torch.ops.ttamer.reset if torch.compiler.is_compiling() else ops.launch_reset
        run(self._state, self._open_ranks, self._faults, self._fresh, rows, self._layout.nodes, self._flags)

    def check(self) -> None:
        """See `Flight.check`."""
        faults = self._faults.tolist()
        if not any(faults):
            return
        self._faults.zero_()
        rows_by_fault: dict[tuple[int, int], list[int]] = {}
        for row, fault in enumerate(faults):
            if fault:
                node, code = divmod(fault, _CODES)
                rows_by_fault.setdefault((code, node), []).append(row)
        text = "; ".join(self._complaint(code, node, rows) for (code, node), rows in sorted(rows_by_fault.items()))
        raise (IndexError if all(code == _OUT_OF_RANGE for code, _ in rows_by_fault) else ValueError)(text)

    def _complaint(self, code: int, node: int, rows: list[int]) -> str:
        which = ("row " if len(rows) == 1 else "rows ") + ", ".join(str(row) for row in rows[:_MOST_NAMED])
        if len(rows) > _MOST_NAMED:
            which += f" and {len(rows) - _MOST_NAMED} more"
        if code == _IS_NAN:
            return f"logits: NaN, +inf or only -inf at node {node} ({which}){_WORST}"
        if code == _IS_NAN_GIVEN:
            return f"signals: NaN at node {node} ({which}){_WORST}"
        if code == _NOT_OPEN:
            return f"node: {node} is not open to {which}"
        if code == _HAS_STOPPED:
            return f"rows: {which} stopped before node {node}; reset what takes a new request"
        return f"rows: expected 0 to {self.capacity - 1}, or -1 for padding, got others"

    def _decide(self, node: int, logits: Tensor | None, rows: Tensor | None, signals: Tensor | None) -> Decision:
        values = check_call(self, logits, rows, signals)
        if not 0 <= node < self._layout.nodes:
            raise IndexError(f"node: expected 0 to {self._layout.nodes - 1}, got {node}")
        if values.stride(-1) != 1:
            values = values.contiguous()
        if rows is not None:
            rows = rows.contiguous()
        compiling = torch.compiler.is_compiling()
        (torch.ops.ttamer.decide if compiling else ops.launch_decide)(
            self._tables, self._state, self._open_ranks, self._plan, self._next, self._kept, self._count, self._faults,
            values.detach(), rows, node, ops.GIVEN if logits is None else self._kind, self._layout.nodes,
            self._layout.edges, self._layout.steps[node], self._flags,
        )  # fmt: skip
        size = values.shape[0]
        if compiling:
            return Decision(self._next[:size], self._kept[:size], self._count)
        if size not in self._decisions:
            self._decisions[size] = Decision(self._next[:size], self._kept[:size], self._count)
        return self._decisions[size]


def _check_triton(device: torch.device) -> None:
    if importlib.util.find_spec("triton") is None:
        raise ImportError("the kernels need Triton, which comes with PyTorch for CUDA: pip install triton")
    from ttamer.torch.decide import kernels

    if device.type == "cpu" and not kernels.INTERPRETED:
        raise ValueError(
            "kernels: on the CPU they need Triton's interpreter: set TRITON_INTERPRET=1 before Triton starts"
        )
