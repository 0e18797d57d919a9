"""Launching the kernels, and the custom operators under which `torch.compile` sees them.

Operators change what they are given and return nothing: next nodes, positions and counts lie in the flight's own
buffers, so that nothing is allocated while a CUDA graph is captured.
"""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ttamer.signals import SIGNALS

GIVEN = len(SIGNALS)
"""The kind of a call that brings its signals; other kinds are positions in `SIGNALS`."""

FOREST, RECALL, OBSERVED, WORST = 1, 2, 4, 8
"""Flags of a flight."""

# Tiles of a program, in values: enough loads in flight for each thread, few enough for its registers.
_TILE = 1024
_MOST_LANES = 4096
_LOOPED_LANES = 2048
# Below this many rows a GPU of some hundred multiprocessors has no more programs than places: make each one wide.
_FEW_ROWS = 264
_WIDE_LANES = 8192
_COMMIT_BLOCK = 2048


class _Launch(NamedTuple):
    """How `consult` is cut into programs."""

    align: int
    rows: int
    lanes: int
    one_tile: bool
    edge_block: int
    edge_steps: int
    node_block: int
    warps: int


@functools.lru_cache(maxsize=1024)
def _launch_for(kind: int, classes: int, stride: int, few: bool, edges: int, forest_nodes: int) -> _Launch:
    align = math.gcd(classes, stride, 16)
    lanes = max(2, _power(classes)) if kind != GIVEN else 1
    one_tile = lanes <= _MOST_LANES
    if not one_tile:
        lanes = _WIDE_LANES if few else _LOOPED_LANES
    node_block = _power(forest_nodes)  # a topology has at most 1024
    rows = max(1, min(64, _TILE // lanes, _MOST_LANES // node_block))
    # All edges of a node are compared with a signal at once, unless that takes more registers than there are.
    at_once = rows * _power(edges) <= _MOST_LANES
    return _Launch(
        align=align,
        rows=rows,
        lanes=lanes,
        one_tile=one_tile,
        edge_block=max(1, _power(edges)) if at_once else 0,
        edge_steps=edges.bit_length(),
        node_block=node_block,
        warps=max(1, min(16 if lanes == _WIDE_LANES else 8, rows * lanes // 256)),
    )


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
    from ttamer.torch import kernels

    size, capacity = values.shape[0], state.shape[1]
    if size == 0:
        count.zero_()
        return
    forest = bool(flags & FOREST)
    classes, stride = (1, 1) if kind == GIVEN else (values.shape[1], values.stride(0))
    cut = _launch_for(kind, classes, stride, size <= _FEW_ROWS, edges, nodes if forest else 0)
    block = min(max(_power(size), 128), _COMMIT_BLOCK)
    places = next_node if rows is None else rows
    with _on(values.device):
        kernels.consult[(-(-size // cut.rows),)](
            values, places, tables, state, open_ranks, plan, next_node,
            size, classes // cut.align, stride // cut.align, capacity, node, nodes,
            SIGNAL=kind, WORST=bool(flags & WORST), HAS_ROWS=rows is not None, FOREST=forest,
            RECALL=bool(flags & RECALL), OBSERVED=bool(flags & OBSERVED), ALIGN=cut.align, ROWS=cut.rows,
            LANES=cut.lanes, ONE_TILE=cut.one_tile, EDGE_BLOCK=cut.edge_block, EDGE_STEPS=cut.edge_steps, STEPS=steps,
            NODE_BLOCK=cut.node_block, num_warps=cut.warps,
        )  # fmt: skip
        kernels.commit[(-(-size // block),)](
            places, tables, state, open_ranks, plan, next_node, kept, count, faults, size, capacity, node, nodes,
            HAS_ROWS=rows is not None, FOREST=forest, KEYS=flags & (RECALL | OBSERVED) == RECALL | OBSERVED,
            BLOCK=block, num_warps=max(1, block // 256),
        )  # fmt: skip


def launch_reset(
    state: Tensor, open_ranks: Tensor, faults: Tensor, fresh: Tensor, rows: Tensor | None, nodes: int, flags: int
) -> None:
    """Hand rows over to new requests."""
    from ttamer.torch import kernels

    capacity = state.shape[1]
    size = capacity if rows is None else rows.shape[0]
    if size == 0:
        return
    with _on(state.device):
        kernels.reset[(-(-size // 256),)](
            state if rows is None else rows, state, open_ranks, fresh, faults, size, capacity, nodes,
            HAS_ROWS=rows is not None, FOREST=bool(flags & FOREST), BLOCK=256, num_warps=1,
        )  # fmt: skip


def _on(device: torch.device) -> Any:
    """Triton launches on the current device, whatever the tensors' own."""
    return torch.cuda.device(device if device.type == "cuda" else -1)


# Schemas are written out: they are inferred from annotations only where these are no strings.
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
def _decide_fake(*arguments: Any, **named: Any) -> None:
    """Nothing is returned, so that shapes say it all."""


@reset_op.register_fake
def _reset_fake(*arguments: Any, **named: Any) -> None:
    """Nothing is returned."""
