"""PyTorch's tensors as arguments: decided as their NumPy arrays are, refused where they cannot be read as they lie."""

from __future__ import annotations

import gc
import itertools
import sys
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from batches import GO, POLICY, STAY, finish, in_flight, refuses
from helpers import f32, i32, random_model
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from logits import KINDS, policy_for

import ttamer

torch = pytest.importorskip("torch", minversion="2.6", reason="tensors need the torch extra")

Kept = Callable[[npt.NDArray[Any]], Any]
EITHER: list[Kept] = [lambda array: array, torch.from_numpy]
MIXTURES = list(itertools.product(EITHER, repeat=3))

SHAPES = [ttamer.Topology.line(3), ttamer.Topology.skip(3), ttamer.Topology.forest([-1, 0, 0, -1])]
POLICIES = [ttamer.solve(random_model(shape, 5, seed=11), 0.7, "observed") for shape in SHAPES]


@st.composite
def calls(draw: st.DrawFn) -> tuple[ttamer.Policy, npt.NDArray[np.float32], npt.NDArray[Any]]:
    """A policy, signals (rows, nodes) with NaN and infinities among them, and rows of either width in any order."""
    policy = draw(st.sampled_from(POLICIES))
    rows = draw(st.integers(0, 40))
    elements = st.floats(-1, 6, width=32) | st.sampled_from([np.nan, np.inf, -np.inf])
    signals = draw(arrays.arrays(np.float32, (rows, policy.topology.nodes), elements=elements))
    order = np.array(draw(st.permutations(range(rows))), draw(st.sampled_from([np.int32, np.int64])))
    return policy, signals, order


@given(calls(), st.sampled_from(MIXTURES), st.booleans())
def test_decides_as_arrays(
    case: tuple[ttamer.Policy, npt.NDArray[np.float32], npt.NDArray[Any]], kept: tuple[Kept, Kept, Kept], one: bool
) -> None:
    """All requests to their ends, a node for each row or a call for each node, any argument a tensor."""
    policy, signals, moving = case
    batch, twin = policy.start(len(moving), nan="worst"), policy.start(len(moving), nan="worst")
    ahead = np.full(len(moving), policy.first_node, np.int32)
    while len(moving):
        for node in np.unique(ahead[moving]).tolist() if one else [None]:
            rows = moving[ahead[moving] == node] if one else moving
            at = np.ascontiguousarray(signals[rows, ahead[rows]])
            nodes: Any = node if one else ahead[rows]
            expected = twin.decide(nodes, at, rows)
            asked = nodes if one else kept[0](nodes)
            np.testing.assert_array_equal(batch.decide(asked, kept[1](at), kept[2](rows)), expected)
            ahead[rows] = expected
        np.testing.assert_array_equal(batch.answer_node, twin.answer_node)
        np.testing.assert_array_equal(batch.answer_loss, twin.answer_loss)
        moving = moving[ahead[moving] != ttamer.STOP]
    again = np.arange(0, len(signals), 2)
    batch.reset(kept[2](again))
    twin.reset(again)
    np.testing.assert_array_equal(batch.answer_node, twin.answer_node)


@given(
    arrays.arrays(np.float32, st.tuples(st.integers(0, 12), st.integers(2, 40)), elements=st.floats(-30, 30, width=32)),
    st.sampled_from(KINDS),
    st.sampled_from([torch.float32, torch.float16, torch.bfloat16]),
)
def test_logits_decide_as_arrays(logits: npt.NDArray[np.float32], kind: str, dtype: Any) -> None:
    tensor = torch.from_numpy(logits).to(dtype)
    array = (tensor.view(torch.uint16) if dtype == torch.bfloat16 else tensor).numpy()
    batch, twin = (policy_for(kind).start(len(logits)) for _ in range(2))
    np.testing.assert_array_equal(batch._logit_signals(tensor), twin._logit_signals(array))
    np.testing.assert_array_equal(batch.decide_logits(0, tensor), twin.decide_logits(0, array))
    np.testing.assert_array_equal(batch.answer_loss, twin.answer_loss)


def test_bits_of_bfloat16_and_calls_that_release_the_gil() -> None:
    logits = torch.randn(40, 1000, generator=torch.Generator().manual_seed(0)).to(torch.bfloat16)
    batch = policy_for("max_prob").start(40)
    bits = logits.view(torch.uint16)
    np.testing.assert_array_equal(batch._logit_signals(logits), batch._logit_signals(bits.numpy()))
    np.testing.assert_array_equal(batch._logit_signals(bits), batch._logit_signals(logits))


def leaf(*values: float) -> Any:
    return torch.tensor(values, requires_grad=True)


class Subclass(torch.Tensor):
    """Goes through __torch_function__, as subclasses do unless they say otherwise."""


READ: list[Callable[[], Any]] = [
    lambda: torch.tensor([GO, STAY, GO]),
    lambda: leaf(GO, STAY, GO),
    lambda: leaf(GO, STAY, GO) * 1,
    lambda: torch.nn.Parameter(torch.tensor([GO, STAY, GO])),
    lambda: torch.tensor([GO, STAY, GO]).as_subclass(Subclass),
    lambda: torch.tensor([STAY, GO, STAY, GO])[1:],
    lambda: torch.tensor([-GO, -STAY, -GO], dtype=torch.complex64).conj().real.contiguous().neg(),
    lambda: (-1j * torch.tensor([GO, STAY, GO])).conj().imag.resolve_neg(),
    lambda: torch.tensor([[GO, STAY, GO]]).T.reshape(-1),
    lambda: torch.tensor([[GO, 9.0], [STAY, 9.0], [GO, 9.0]])[:, 0].contiguous(),
]


@pytest.mark.parametrize("make", READ)
def test_tensors_of_any_origin(make: Callable[[], Any]) -> None:
    assert in_flight().decide(1, make()).tolist() == [2, -1, 2]
    with torch.no_grad():
        assert in_flight().decide(1, make()).tolist() == [2, -1, 2]
    with torch.inference_mode():
        assert in_flight().decide(1, make()).tolist() == [2, -1, 2]


def test_strides_that_do_not_matter() -> None:
    """One element has no stride, and no element has no memory; NumPy says the same."""
    one = torch.tensor([GO, 9.0, 9.0])[::3]
    assert in_flight().decide(1, one).tolist() == [2]
    row = torch.zeros(4, 3)[::4]
    assert row.stride() == (12, 1)
    assert len(policy_for("margin").start(1)._logit_signals(row)) == 1
    for none in (torch.empty(0), torch.empty(3)[3:], torch.empty(6)[::2][3:], torch.empty(5, 0)[0]):
        assert in_flight().decide(1, none).tolist() == []
        assert in_flight().decide(1, none, torch.empty(0, dtype=torch.int64)).tolist() == []
    for none in (torch.empty(0, 3), torch.empty(3, 0).T, torch.empty(3, 4).T[:0]):
        assert policy_for("margin").start(1).decide_logits(0, none).tolist() == []
    batch = in_flight()
    batch.reset(torch.empty(0, dtype=torch.int32))
    assert finish(batch) == finish(in_flight())


def sparse() -> Any:
    return torch.tensor([GO, STAY, GO]).to_sparse()


def fake() -> Any:
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        return torch.zeros(3)


ARRAYS = "signals: expected (B,) float32, got"
own_words = pytest.mark.skipif(
    not hasattr(torch.Tensor, "__dlpack_c_exchange_api__"), reason="PyTorch before 2.10 refuses these in other words"
)
BAD_SIGNALS: list[Any] = [
    (lambda: torch.zeros(3, dtype=torch.float64), TypeError, "(3,) float64"),
    (lambda: torch.zeros(3, dtype=torch.float16), TypeError, "(3,) float16"),
    (lambda: torch.zeros(3, dtype=torch.bfloat16), TypeError, "(3,) bfloat16"),
    pytest.param(lambda: torch.zeros(3, dtype=torch.float8_e5m2), TypeError, "(3,) float8_e5m2", marks=own_words),
    (lambda: torch.zeros(3, dtype=torch.int32), TypeError, "(3,) int32"),
    (lambda: torch.zeros(3, dtype=torch.bool), TypeError, "(3,) bool"),
    (lambda: torch.zeros(3, dtype=torch.complex64).conj(), TypeError, "(3,) complex64"),
    (lambda: torch.tensor(0.0), ValueError, "() float32"),
    (lambda: torch.zeros(3, 1), ValueError, "(3, 1) float32"),
    (lambda: torch.zeros(6)[::2], ValueError, "(3,) float32 that is not C-contiguous"),
    (lambda: torch.zeros(1).expand(3), ValueError, "(3,) float32 that is not C-contiguous"),
    (lambda: torch.zeros(3, dtype=torch.complex64).real, ValueError, "(3,) float32 that is not C-contiguous"),
    (
        lambda: torch.frombuffer(bytearray(13), dtype=torch.float32, offset=1, count=3),
        ValueError,
        "(3,) float32 that is not aligned in memory",
    ),
    (lambda: torch.zeros(3, device="meta"), ValueError, "Tensor that cannot be read: Cannot pack tensors on meta"),
    pytest.param(
        sparse,
        ValueError,
        "Tensor that cannot be read: Cannot access data pointer of Tensor that doesn't have storage",
        marks=own_words,
    ),
    pytest.param(fake, ValueError, "(3,) float32 FakeTensor without memory", marks=own_words),
]


@pytest.mark.parametrize(("make", "error", "message"), BAD_SIGNALS)
def test_signals(make: Callable[[], Any], error: type[Exception], message: str) -> None:
    refuses(lambda batch: batch.decide(1, make()), error, f"{ARRAYS} {message}")


NEGATED: list[Callable[[], Any]] = [
    lambda: torch.tensor([1 + 2j]).conj().imag,
    lambda: torch.tensor([1 + 2j, 2 + 3j, 3 + 4j]).conj().imag,
    lambda: torch.tensor([1 + 2j, 2 + 3j, 3 + 4j]).conj().imag[1:2],
    lambda: torch.tensor([[1 + 2j]]).conj().imag.reshape(-1),
    lambda: torch.tensor([1 + 2j]).conj().imag.contiguous(),
    lambda: torch.tensor([1 + 2j]).conj().imag.as_subclass(Subclass),
]


@pytest.mark.parametrize("make", NEGATED)
def test_tensors_negated_when_read(make: Callable[[], Any]) -> None:
    assert make().is_neg()
    name = type(make()).__name__
    message = f"{name} that is the negative of its memory; resolve it with .resolve_neg()"
    refuses(lambda batch: batch.decide(1, make()), ValueError, f"{ARRAYS} {message}")
    negated = torch.complex(torch.zeros(1, 2), torch.ones(1, 2)).conj().imag
    with pytest.raises(ValueError, match=r"^logits: .* that is the negative of its memory"):
        policy_for("margin").start(1).decide_logits(0, negated)


def test_tensors_inside_transforms() -> None:
    """They stand for many values, or for none yet."""
    batch, twin = in_flight(), in_flight()
    with pytest.raises(ValueError, match=r"^signals: expected \(B,\) float32, got Tensor that cannot be read: "):
        torch.func.vmap(lambda signals: batch.decide(1, signals))(torch.zeros(2, 3))
    assert finish(batch) == finish(twin)


NODE = "node: expected an int or (B,) int32, got"
ROWS = "rows: expected (B,) int32 or int64, got"


@pytest.mark.parametrize(
    ("node", "error", "message"),
    [
        (torch.ones(3, dtype=torch.int64), TypeError, f"{NODE} (3,) int64"),
        (torch.ones(3), TypeError, f"{NODE} (3,) float32"),
        (torch.tensor(1), TypeError, f"{NODE} () int64"),
        (torch.tensor(1, dtype=torch.int32), ValueError, f"{NODE} () int32"),
        (torch.ones(3, 1, dtype=torch.int32), ValueError, f"{NODE} (3, 1) int32"),
        (torch.ones(6, dtype=torch.int32)[::2], ValueError, f"{NODE} (3,) int32 that is not C-contiguous"),
        (torch.tensor([1, 4, 1], dtype=torch.int32), IndexError, "node: expected 0 to 3, got 4 at position 1"),
        (torch.ones(2, dtype=torch.int32), ValueError, "node: expected one for each of the 3 signals, got 2"),
    ],
)
def test_node(node: Any, error: type[Exception], message: str) -> None:
    refuses(lambda batch: batch.decide(node, torch.full((3,), STAY)), error, message)


@pytest.mark.parametrize(
    ("rows", "error", "message"),
    [
        (torch.arange(3.0), TypeError, f"{ROWS} (3,) float32"),
        (torch.arange(3, dtype=torch.int16), TypeError, f"{ROWS} (3,) int16"),
        (torch.ones(3, dtype=torch.bool), TypeError, f"{ROWS} (3,) bool"),
        (torch.tensor(0), ValueError, f"{ROWS} () int64"),
        (torch.arange(3)[:, None], ValueError, f"{ROWS} (3, 1) int64"),
        (torch.arange(6)[::2], ValueError, f"{ROWS} (3,) int64 that is not C-contiguous"),
        (torch.tensor([0, 1, 6]), IndexError, "rows: expected 0 to 5, got 6 at position 2"),
        (torch.tensor([0, 1, 0], dtype=torch.int32), ValueError, "rows: row 0 is repeated at position 2"),
    ],
)
def test_rows(rows: Any, error: type[Exception], message: str) -> None:
    refuses(lambda batch: batch.decide(1, f32(GO, GO, GO), rows), error, message)
    refuses(lambda batch: batch.decide(1, torch.full((3,), GO), rows), error, message)
    refuses(lambda batch: batch.reset(rows), error, message)


LOGITS = "logits: expected (B, C) float32, float16 or bfloat16 (as uint16), got"


@pytest.mark.parametrize(
    ("logits", "error", "message"),
    [
        (torch.zeros(3, 4, dtype=torch.float64), TypeError, f"{LOGITS} (3, 4) float64"),
        (torch.zeros(3, 4, dtype=torch.int16), TypeError, f"{LOGITS} (3, 4) int16"),
        (torch.zeros(3), ValueError, f"{LOGITS} (3,) float32"),
        (torch.zeros(4, 3).T, ValueError, f"{LOGITS} (3, 4) float32 that is not C-contiguous"),
        (torch.zeros(3, 8, dtype=torch.bfloat16)[:, ::2], ValueError, "(3, 4) bfloat16 that is not C-contiguous"),
        (
            torch.frombuffer(bytearray(9), dtype=torch.float16, offset=1, count=4).view(2, 2),
            ValueError,
            "(2, 2) float16 that is not aligned in memory",
        ),
        (torch.zeros(3, 1), ValueError, "logits: "),
        (torch.zeros(3, 4, device="meta"), ValueError, "Tensor that cannot be read: Cannot pack tensors on meta"),
    ],
)
def test_logits(logits: Any, error: type[Exception], message: str) -> None:
    batch = policy_for("margin").start(6)
    with pytest.raises(error) as caught:
        batch.decide_logits(0, logits)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert batch.answer_node.tolist() == [-1] * 6


def test_nan_names_the_position_and_the_row() -> None:
    message = (
        'signals: NaN at position 1 (row 0); start the batch with nan="failed" for nodes that may fail, or nan="worst"'
    )
    signals = torch.tensor([GO, torch.nan])
    refuses(lambda batch: batch.decide(1, signals, torch.tensor([2, 0])), ValueError, message)


def test_the_result_shared_and_passed_back() -> None:
    """A tensor over the batch's own result may come back as `node` and as `rows`, as the result itself may."""
    policy = POLICIES[1]
    batch, twin = policy.start(200), policy.start(200)
    signals = np.random.default_rng(1).uniform(-1, 6, (3, 200)).astype(np.float32)
    shared = torch.from_numpy(batch.decide(0, signals[0]))
    ahead = twin.decide(0, signals[0]).copy()
    rows = np.flatnonzero(ahead != ttamer.STOP)
    assert np.unique(ahead[rows]).tolist() == [1, 2]
    shared[: len(rows)] = shared[torch.from_numpy(rows)]
    found = batch.decide(shared[: len(rows)], torch.from_numpy(signals[1, : len(rows)]), rows)
    np.testing.assert_array_equal(found, twin.decide(ahead[rows], signals[1, : len(rows)], rows))
    batch.reset()
    twin.reset()
    shared[:] = torch.arange(200, dtype=torch.int32).flip(0)
    batch.decide(0, signals[0], shared)
    twin.decide(0, signals[0][::-1].copy())
    np.testing.assert_array_equal(batch.answer_loss, twin.answer_loss)


def test_no_reference_is_kept() -> None:
    batch = POLICY.start(3)
    signals, rows, bad = torch.full((3,), GO), torch.arange(3), torch.zeros(3, dtype=torch.float64)
    nodes = torch.zeros(3, dtype=torch.int32)
    logits, other = torch.zeros(3, 4), policy_for("margin").start(3)
    tensors = (signals, rows, bad, nodes, logits)
    gc.collect()
    before = [sys.getrefcount(each) for each in tensors]
    of_type = sys.getrefcount(torch.Tensor)
    for _ in range(100):
        batch.decide(nodes, signals, rows)
        batch.reset(rows)
        other.decide_logits(nodes, logits, rows)
        other.reset(rows)
        with pytest.raises(TypeError):
            batch.decide(0, bad)
        with pytest.raises(TypeError):
            other.decide_logits(0, logits, bad)
    assert [sys.getrefcount(each) for each in tensors] == before
    # PyTorch itself may refer to its type once more or less; what we kept would be one for each of the 100 rounds.
    assert sys.getrefcount(torch.Tensor) < of_type + 50
    died = weakref.ref(signals)
    del signals, tensors
    assert died() is None


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_tensors_on_a_cuda_device() -> None:
    signals = torch.tensor([GO, STAY, GO])
    message = f"{ARRAYS} (3,) float32 on cuda:0; move it with .cpu()"
    refuses(lambda batch: batch.decide(1, signals.cuda()), ValueError, message)
    message = f"{ROWS} (3,) int64 on cuda:0; move it with .cpu()"
    refuses(lambda batch: batch.reset(torch.arange(3).cuda()), ValueError, message)
    assert in_flight().decide(1, signals.pin_memory()).tolist() == [2, -1, 2]


def test_arrays_beside_tensors_keep_their_errors() -> None:
    refuses(lambda batch: batch.decide(i32(1, 1), torch.zeros(2), [0, 1]), TypeError, f"{ROWS} list")
    refuses(lambda batch: batch.decide(torch.zeros(2), np.zeros(2)), TypeError, f"{ARRAYS} (2,) float64")
