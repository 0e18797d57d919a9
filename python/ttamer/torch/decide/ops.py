"""Launching the kernels, and the custom operators under which `torch.compile` sees them.

Operators change what they are given and return nothing: next nodes, positions and counts lie in the flight's own
buffers, so that nothing is allocated while a CUDA graph is captured.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ttamer.traces.signals import SIGNALS

GIVEN = len(SIGNALS)
"""The kind of a call that brings its signals; other kinds are positions in `SIGNALS`."""

FOREST, RECALL, OBSERVED, WORST = 1, 2, 4, 8
"""Flags of a flight."""

# Tiles of a program, in values: enough loads in flight for each thread, few enough for its registers.
_TILE = 1024
_MOST_LANES = 4096
_LOOPED_LANES = 2048
# Fewer rows than this do not fill a GPU of some hundred multiprocessors, so each program is made wide.
_FEW_ROWS = 264
_WIDE_LANES = 8192
_COMMIT_BLOCK = 2048
_RESET_BLOCK = 256


class _Cut(NamedTuple):
    """How `consult` is cut into programs."""

    align: int
    rows: int
    lanes: int
    one_tile: bool
    edge_block: int
    edge_steps: int
    node_block: int
    warps: int


def on_device(device: torch.device) -> AbstractContextManager[object]:
    """Triton launches on the current device, whatever the tensors' own."""
    if device.type != "cuda" or device.index == torch.cuda.current_device():
        return nullcontext()
    return torch.cuda.device(device)


class _Kernel(NamedTuple):
    """A kernel, its constants, and the warps of a program."""

    kernel: Any
    constants: Mapping[str, Any]
    warps: int

    def launch(self, programs: int, tensors: tuple[Tensor, ...], integers: tuple[int, ...]) -> None:
        """Launch so many programs on the current device and stream, with its arguments in their order."""
        self.kernel[(programs,)](*tensors, *integers, **self.constants, num_warps=self.warps)


class _Call(NamedTuple):
    """The two kernels of calls that are all alike but for their size and node, and what they take beside these."""

    consult: _Kernel
    commit: _Kernel
    rows: int
    units: int
    stride: int


def _cut_for(kind: int, classes: int, stride: int, few: bool, edges: int, forest_nodes: int) -> _Cut:
    align = math.gcd(classes, stride, 16)
    lanes = max(2, _power(classes)) if kind != GIVEN else 1
    one_tile = lanes <= _MOST_LANES
    if not one_tile:
        lanes = _WIDE_LANES if few else _LOOPED_LANES
    node_block = _power(forest_nodes)  # a topology has at most 1024
    rows = max(1, min(64, _TILE // lanes, _MOST_LANES // node_block))
    # All edges of a node are compared with a signal at once, unless that takes more registers than there are.
    at_once = rows * _power(edges) <= _MOST_LANES
    return _Cut(
        align=align,
        rows=rows,
        lanes=lanes,
        one_tile=one_tile,
        edge_block=max(1, _power(edges)) if at_once else 0,
        edge_steps=edges.bit_length(),
        node_block=node_block,
        warps=max(1, min(16 if lanes == _WIDE_LANES else 8, rows * lanes // 256)),
    )


@functools.lru_cache(maxsize=4096)
def _call_for(
    has_rows: bool, kind: int, classes: int, stride: int, few: bool, block: int, nodes: int, edges: int, steps: int,
    flags: int,
) -> _Call:  # fmt: skip
    from ttamer.torch.decide import kernels

    forest, recall, observed = bool(flags & FOREST), bool(flags & RECALL), bool(flags & OBSERVED)
    cut = _cut_for(kind, classes, stride, few, edges, nodes if forest else 0)
    consult = {
        "SIGNAL": kind, "WORST": bool(flags & WORST), "HAS_ROWS": has_rows, "FOREST": forest, "RECALL": recall,
        "OBSERVED": observed, "ALIGN": cut.align, "ROWS": cut.rows, "LANES": cut.lanes, "ONE_TILE": cut.one_tile,
        "EDGE_BLOCK": cut.edge_block, "EDGE_STEPS": cut.edge_steps, "STEPS": steps, "NODE_BLOCK": cut.node_block,
    }  # fmt: skip
    commit = {"HAS_ROWS": has_rows, "FOREST": forest, "BLOCK": block}
    return _Call(
        consult=_Kernel(kernels.consult, consult, cut.warps),
        commit=_Kernel(kernels.commit, commit, max(1, block // 256)),
        rows=cut.rows,
        units=classes // cut.align,
        stride=stride // cut.align,
    )


def _reset_for(has_rows: bool, forest: bool) -> _Kernel:
    from ttamer.torch.decide import kernels

    return _Kernel(kernels.reset, {"HAS_ROWS": has_rows, "FOREST": forest, "BLOCK": _RESET_BLOCK}, 1)


def _power(count: int) -> int:
    """The least power of two that is at least `count`, 1 for none."""
    return 1 << max(0, count - 1).bit_length()


def launch_decide(
    tables: Tensor,
    state: Tensor,
    open_ranks: Tensor,
    plan: Tensor,
    next_node: Tensor,
    kept: Tensor,
    count: Tensor,
    faults: Tensor,
    values: Tensor,
    rows: Tensor | None,
    node: int,
    kind: int,
    nodes: int,
    edges: int,
    steps: int,
    flags: int,
) -> None:
    """Consult a node; see `ttamer.torch.kernels`."""
    size, capacity = values.shape[0], state.shape[1]
    if size == 0:
        count.zero_()
        return
    classes, stride = (1, 1) if kind == GIVEN else (values.shape[1], values.stride(0))
    block = min(max(_power(size), 128), _COMMIT_BLOCK)
    places = next_node if rows is None else rows
    call = _call_for(
        rows is not None, kind, classes, stride, size <= _FEW_ROWS, block, nodes, edges, steps, flags,
    )  # fmt: skip
    with on_device(values.device):
        call.consult.launch(
            -(-size // call.rows),
            (values, places, tables, state, open_ranks, plan, next_node),
            (size, call.units, call.stride, capacity, node, nodes),
        )
        call.commit.launch(
            -(-size // block),
            (places, tables, state, open_ranks, plan, next_node, kept, count, faults),
            (size, capacity, node, nodes),
        )


def launch_reset(
    state: Tensor, open_ranks: Tensor, faults: Tensor, fresh: Tensor, rows: Tensor | None, nodes: int, flags: int
) -> None:
    """Hand rows over to new requests."""
    capacity = state.shape[1]
    size = capacity if rows is None else rows.shape[0]
    if size == 0:
        return
    places = state if rows is None else rows
    reset = _reset_for(rows is not None, bool(flags & FOREST))
    with on_device(state.device):
        reset.launch(-(-size // _RESET_BLOCK), (places, state, open_ranks, fresh, faults), (size, capacity, nodes))


# Schemas are written out: PyTorch cannot infer them from annotations that are strings.
_DECIDE = (
    "(Tensor tables, Tensor(a!) state, Tensor(b!) open_ranks, Tensor(c!) plan, Tensor(d!) next_node, Tensor(e!) kept, "
    "Tensor(f!) count, Tensor(g!) faults, Tensor values, Tensor? rows, SymInt node, int kind, int nodes, int edges, "
    "int steps, int flags) -> ()"
)
_RESET = (
    "(Tensor(a!) state, Tensor(b!) open_ranks, Tensor(c!) faults, Tensor fresh, Tensor? rows, int nodes, int flags)"
    " -> ()"
)
decide_op = torch.library.custom_op(
    "ttamer::decide",
    launch_decide,
    mutates_args=("state", "open_ranks", "plan", "next_node", "kept", "count", "faults"),
    schema=_DECIDE,
)
reset_op = torch.library.custom_op(
    "ttamer::reset", launch_reset, mutates_args=("state", "open_ranks", "faults"), schema=_RESET
)


@decide_op.register_fake
def _decide_fake(*arguments: Any, **keywords: Any) -> None:
    """Nothing is returned, so that shapes say it all."""


@reset_op.register_fake
def _reset_fake(*arguments: Any, **keywords: Any) -> None:
    """Nothing is returned."""
