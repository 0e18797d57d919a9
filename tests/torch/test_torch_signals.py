"""Signals that the kernels make of logits: 1e-6 from the reference in float64, NaN where there is no softmax."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_cases import Floats32, policy_for
from logits import tied_rows

from ttamer import reference
from ttamer.traces.signals import SIGNALS

torch = pytest.importorskip("torch", reason="needs the torch extra")
triton = pytest.importorskip("triton", minversion="3.7", reason="needs Triton 3.7")
import triton.language as tl  # noqa: E402

from ttamer.torch import Decider  # noqa: E402
from ttamer.torch.decide import kernels, ops  # noqa: E402

KINDS = list(SIGNALS)
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
# One value short of and beyond what fills a tile, and both forms of the loop.
SIZES = [2, 3, 10, 16, 17, 100, 1000, 1024, 4096, 4097, 8200, 20_000]


@triton.jit
def _signals_alone(
    logits, out, size, units, stride,
    SIGNAL: tl.constexpr, ALIGN: tl.constexpr, ROWS: tl.constexpr, LANES: tl.constexpr, ONE_TILE: tl.constexpr,
):  # fmt: skip
    k = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    signal = kernels._signals(logits, k, k < size, units, stride, SIGNAL, ALIGN, ROWS, LANES, ONE_TILE)
    tl.store(out + k, signal, mask=k < size)


def computed(logits: Any, kind: str, *, few: bool = True) -> Floats32:
    size, classes = logits.shape
    out = torch.empty(size, device=logits.device)
    cut = ops._cut_for(KINDS.index(kind), classes, logits.stride(0), few, 0, 0)
    _signals_alone[(-(-size // cut.rows),)](
        logits, out, size, classes // cut.align, logits.stride(0) // cut.align, SIGNAL=KINDS.index(kind),
        ALIGN=cut.align, ROWS=cut.rows, LANES=cut.lanes, ONE_TILE=cut.one_tile, num_warps=cut.warps,
    )  # fmt: skip
    return out.cpu().numpy()


def assert_near(logits: Any, kind: str, **options: Any) -> None:
    expected = reference.signals_from_logits(logits.float().cpu().numpy(), kind)
    near = 0 if kind == "logit_margin" else 1e-6  # one difference, rounded once
    np.testing.assert_allclose(computed(logits, kind, **options), expected, rtol=near, atol=near)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("classes", SIZES)
def test_near_the_reference(kind: str, classes: int, device: str) -> None:
    rng = np.random.default_rng(classes)
    logits = rng.standard_normal((9, classes)) * np.array([[0], [0.01], [1], [3], [3], [10], [40], [1000], [3]])
    logits[4, rng.integers(classes)] += 18.0  # confident: what is missing from 1 is a few units in the last place
    logits[8, 1:] = -np.inf
    assert_near(torch.from_numpy(logits).float().to(device), kind)
    if classes > 4096:
        assert_near(torch.from_numpy(logits).float().to(device), kind, few=False)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("classes", [10, 1000, 5000])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_halves(kind: str, classes: int, dtype: str, device: str) -> None:
    logits = 4 * np.random.default_rng(3).standard_normal((5, classes))
    logits[2] *= 1e5  # float16 makes infinities of them: no softmax
    logits[3, 1:] = -np.inf
    assert_near(torch.from_numpy(logits).to(DTYPES[dtype]).to(device), kind)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("classes", [10, 5000])
def test_hard_rows(kind: str, classes: int, device: str) -> None:
    most = np.finfo(np.float32).max
    rows = np.zeros((8, classes), np.float32)
    rows[0] = -most  # what masks are often filled with
    rows[1], rows[1, 3] = -most, 5.0
    rows[2], rows[2, -1] = -np.inf, 0.0
    rows[3], rows[3, ::2] = -np.inf, 7.0  # ties
    rows[4], rows[4, 1] = -most, most
    rows[5] = np.linspace(-200, 0, classes)
    rows[6], rows[6, 2], rows[6, -1] = -30.0, 20.0, 20.0 - 1e-5
    rows[7, -1] = 1e-30
    assert_near(torch.from_numpy(rows).to(device), kind)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("few", [True, False])
def test_a_maximum_that_stands_again_tiles_later(kind: str, few: bool, device: str) -> None:
    """In its own lane or in another one, and below a later maximum."""
    classes = 30_000
    lanes = ops._cut_for(KINDS.index(kind), classes, classes, few, 0, 0).lanes
    rows = np.zeros((5, classes), np.float32)
    rows[0, [5, 5 + lanes]] = 20
    rows[1, [5, 6 + lanes, 5 + 3 * lanes]] = 20
    rows[2, [5, 5 + lanes, 5 + 2 * lanes]] = 20, 20, 21
    rows[3, [5, 5 + lanes, 5 + 2 * lanes]] = 21, 20, 20
    rows[4, [5, 5 + lanes]] = 20, np.nextafter(np.float32(20), np.float32(21))
    assert_near(torch.from_numpy(rows).to(device), kind, few=few)
    assert_near(torch.from_numpy(rows).bfloat16().to(device), kind, few=few)


@settings(max_examples=15)
@given(tied_rows(st.sampled_from([1025, 4097, 8200, 17_000])), st.sampled_from(sorted(DTYPES)), st.booleans())
def test_ties_and_near_ties_anywhere(device: str, row: Floats32, dtype: str, few: bool) -> None:
    for kind in KINDS:
        assert_near(torch.from_numpy(row).to(DTYPES[dtype]).to(device), kind, few=few)


@pytest.mark.parametrize("kind", KINDS)
def test_two_hundred_thousand_classes(kind: str, device: str) -> None:
    logits = np.random.default_rng(2).standard_normal((2, 200_000), np.float32) * np.array([[1], [6]], np.float32)
    assert_near(torch.from_numpy(logits).to(device), kind)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("classes", [2, 33, 5000])
def test_no_softmax(kind: str, classes: int, device: str) -> None:
    rows = np.zeros((6, classes), np.float32)
    rows[0, -1] = rows[1, 0] = np.nan
    rows[2, 0] = np.inf
    rows[3] = np.inf
    rows[4] = -np.inf
    rows[5] = np.nan
    assert np.isnan(computed(torch.from_numpy(rows).to(device), kind)).all()
    assert np.isnan(computed(torch.from_numpy(rows).half().to(device), kind)).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("classes", "dtype"), [(4, "float32"), (4, "float16"), (4500, "bfloat16")])
def test_logits_decide_as_their_signals(kind: str, classes: int, dtype: str, device: str) -> None:
    policy = policy_for(kind)
    count = 40 if classes == 4 else 10
    decider, batch = Decider(policy).to(device), policy.start(count)
    flight = decider.start(count, kernels=True)
    generator = torch.Generator().manual_seed(1)
    rows, node, seen = torch.arange(count), policy.first_node, 0
    while len(rows):
        logits = 4 * torch.randn(len(rows), classes, generator=generator)
        logits[:, 4:] -= 30.0
        # Of a larger tensor: rows that do not follow one another.
        logits = torch.cat([logits, logits], dim=1).to(DTYPES[dtype]).to(device)[:, :classes]
        decision = decider(flight, node, logits, rows.to(device))
        expected = batch.decide(node, computed(logits, kind), rows.numpy())
        np.testing.assert_array_equal(decision.next_node.cpu().numpy(), expected)
        np.testing.assert_array_equal(flight.answer_node.cpu().numpy(), batch.answer_node)
        seen += len(rows)
        rows, node = rows[flight.survivors(decision).cpu()], node + 1
    assert count < seen < 3 * count
