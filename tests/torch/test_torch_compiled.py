"""The operators under torch.compile, in CUDA graphs and on streams; that the kernels compile for a GPU at all."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from kernel_cases import policy_for

torch = pytest.importorskip("torch", reason="needs the torch extra")
from ttamer.torch import Decider  # noqa: E402
from ttamer.torch.decide import ops  # noqa: E402

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


def pair(device: str, capacity: int = 20) -> tuple[Any, Any, Any]:
    """A decider with two flights of the same rows."""
    decider = Decider(policy_for("max_prob")).to(device)
    return decider, decider.start(capacity, kernels=True), decider.start(capacity, kernels=True)


def assert_same(a: Any, b: Any, one: Any, other: Any) -> None:
    assert torch.equal(a.next_node, b.next_node)
    assert a.count.tolist() == b.count.tolist()
    assert torch.equal(one.survivors(a), other.survivors(b))
    assert torch.equal(one.answer_node, other.answer_node)


def test_operators_are_what_they_claim(device: str) -> None:
    decider, flight, _ = pair(device)
    own = (flight._state, flight._open_ranks, flight._plan, flight._next, flight._kept, flight._count, flight._faults)
    shape = (flight._layout.nodes, flight._layout.edges, 0, flight._flags)
    rows = torch.tensor([3, 1], device=device)
    logits = torch.randn(2, 5, device=device)
    for values, kind in ((logits, 0), (logits.half(), 1), (logits[:, 0].contiguous(), ops.GIVEN)):
        torch.library.opcheck(ops.decide_op, (decider.tables, *own, values, rows, 0, kind, *shape))
    arguments = (flight._state, flight._open_ranks, flight._faults, decider.fresh)
    torch.library.opcheck(ops.reset_op, (*arguments, rows, flight._layout.nodes, flight._flags))
    torch.library.opcheck(ops.reset_op, (*arguments, None, flight._layout.nodes, flight._flags))


def test_under_compile(device: str) -> None:
    """No break in the graph, and the same decisions."""
    decider, flight, plain = pair(device)

    def step(flight: Any, logits: Any, rows: Any) -> Any:
        flight.reset(rows)
        decision = decider(flight, 0, logits, rows)
        return decision.next_node + 0, decision.kept + 0, decision.count + 0, flight.answer_node

    compiled = torch.compile(step, backend="eager", fullgraph=True)
    for seed in range(3):
        logits = 3 * torch.randn(6, 4, generator=torch.Generator().manual_seed(seed)).to(device)
        rows = torch.randperm(20, generator=torch.Generator().manual_seed(seed))[:6].to(device)
        found, expected = compiled(flight, logits, rows), step(plain, logits, rows)
        going = int(expected[2])
        assert 0 < going < 6
        assert torch.equal(found[0], expected[0])
        assert torch.equal(found[1][:going], expected[1][:going])
        assert int(found[2]) == going
        assert torch.equal(found[3], expected[3])


def test_under_compile_on_the_core() -> None:
    """The core is no operator: the graph breaks around it, and what comes out is the same."""
    decider = Decider(policy_for("max_prob"))
    one, other = decider.start(6), decider.start(6)
    logits = 3 * torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    found = torch.compile(lambda logits: decider(one, 0, 2 * logits), backend="eager")(logits)
    assert_same(found, decider(other, 0, 2 * logits), one, other)


@pytest.mark.cuda
@needs_cuda
def test_in_a_cuda_graph() -> None:
    decider, flight, plain = pair("cuda", 600)
    logits, rows = torch.zeros(600, 1000, device="cuda"), torch.arange(600, device="cuda")

    def step(flight: Any) -> Any:
        flight.reset()
        return decider(flight, 0, logits, rows)

    step(flight)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = step(flight)
    for seed in range(3):
        logits.copy_(4 * torch.randn(600, 1000, generator=torch.Generator().manual_seed(seed)))
        rows.copy_(torch.randperm(600, generator=torch.Generator().manual_seed(seed)))
        rows[-seed - 1 :] = -1
        graph.replay()
        assert_same(captured, step(plain), flight, plain)
    logits[7] = torch.nan
    graph.replay()
    with pytest.raises(ValueError, match="logits: NaN, .inf or only -inf at node 0"):
        flight.survivors(captured)


@pytest.mark.cuda
@needs_cuda
@pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype")
def test_nothing_waits_for_the_device() -> None:
    decider, flight, plain = pair("cuda", 600)
    logits = 4 * torch.randn(600, 100, device="cuda")
    decider(flight, 0, logits)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    torch.cuda.set_sync_debug_mode("error")
    try:
        with torch.cuda.stream(stream):
            flight.reset()
            found = decider(flight, 0, logits)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    stream.synchronize()
    assert_same(found, decider(plain, 0, logits), flight, plain)


SM_90 = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from ttamer.torch.decide import kernels, ops
from ttamer.torch.decide.ops import FOREST, OBSERVED, RECALL, WORST

assert not kernels.INTERPRETED

POINTERS = {"rows": "*i64", "tables": "*i32", "state": "*i32", "open_ranks": "*i32", "plan": "*i32",
            "next_node": "*i32", "kept": "*i64", "count": "*i32", "faults": "*i32", "fresh": "*i32"}

# A launch makes constants of integers that are 1.
ONES = {"units": 1, "stride": 1, "nodes": 1, "capacity": 1}

def compile_for(kernel, constants, warps, **types):
    constants = {name: value for name, value in constants.items() if name in kernel.arg_names}
    types = {**POINTERS, **types}
    names = kernel.arg_names
    signature = {name: "constexpr" if name in constants else types.get(name, "i32") for name in names}
    source = ASTSource(fn=kernel, signature=signature, constexprs={(names.index(k),): v for k, v in constants.items()})
    return triton.compile(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": warps}).asm["ptx"]

for kind, classes, few, edges, nodes, dtype, flags, steps in [
    (0, 1000, False, 63, 0, "fp32", RECALL, 0),
    (1, 32000, False, 1000, 0, "bf16", 0, 3),
    (2, 200000, True, 63, 0, "fp16", RECALL | OBSERVED | WORST, 0),
    (2, 10, False, 1000, 30, "fp32", RECALL | OBSERVED | FOREST, 0),
    (3, 1, False, 63, 0, "fp32", RECALL, 0),
]:
    cut = ops._cut_for(kind, classes, classes, few, edges, nodes)
    consult = dict(SIGNAL=kind, WORST=bool(flags & WORST), HAS_ROWS=True, FOREST=bool(flags & FOREST),
                   RECALL=bool(flags & RECALL), OBSERVED=bool(flags & OBSERVED), ALIGN=cut.align, ROWS=cut.rows,
                   LANES=cut.lanes, ONE_TILE=cut.one_tile, EDGE_BLOCK=cut.edge_block, EDGE_STEPS=cut.edge_steps,
                   STEPS=steps, NODE_BLOCK=cut.node_block)
    assert "ld.global" in compile_for(kernels.consult, consult, cut.warps, logits="*" + dtype)
    if classes < 20:
        compile_for(kernels.consult, consult | ONES | {"HAS_ROWS": False}, cut.warps, logits="*" + dtype, rows="*i32")
for forest in (False, True):
    compile_for(kernels.commit, dict(HAS_ROWS=True, FOREST=forest, KEYS=forest, BLOCK=512), 2)
    compile_for(kernels.commit, ONES | dict(HAS_ROWS=True, FOREST=forest, KEYS=forest, BLOCK=128), 1, rows="*i32")
compile_for(kernels.reset, dict(HAS_ROWS=True, FOREST=True, BLOCK=256), 1)
compile_for(kernels.reset, ONES | dict(HAS_ROWS=True, FOREST=True, BLOCK=256), 1)
"""


@pytest.mark.slow
def test_kernels_compile_for_a_gpu(tmp_path: Path) -> None:
    """Down to machine code of compute capability 9.0, which needs no device: Triton brings its own assembler."""
    pytest.importorskip("triton", minversion="3.7", reason="needs Triton 3.7")
    environment = {**os.environ, "TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(tmp_path)}
    # From a file: Triton reads the kernels' sources, and not those of a command line.
    script = tmp_path / "compile.py"
    script.write_text(SM_90)
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
