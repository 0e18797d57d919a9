"""Tensors of a library that does what DLPack's C exchange API allows; PyTorch's are in test_tensors.py."""

from __future__ import annotations

import gc
import sys
import sysconfig
import weakref
from typing import Any

import numpy as np
import pytest
from batches import GO, STAY, finish, in_flight, refuses
from helpers import f32, i32
from producers import RAISES, Producer, capsule, producer, table

Made = producer(capsule(table()))
SIGNALS = f32(GO, STAY, GO)
EXPECTED = [2, -1, 2]
"""What the rows 0 to 2 in flight do after these signals at node 1."""


def decided(signals: Any) -> list[int]:
    return in_flight().decide(1, signals).tolist()


def test_tensors_everywhere() -> None:
    batch, twin = in_flight(), in_flight()
    node, signals, rows, done = i32(1, 2), f32(GO, STAY), np.array([2, 0]), i32(0, 3)
    found = batch.decide(Made(node), Made(signals), Made(rows)).tolist()
    assert found == twin.decide(node, signals, rows).tolist() == [2, -1]
    batch.reset(Made(done))
    twin.reset(done)
    assert batch.answer_node.tolist() == twin.answer_node.tolist() == [-1, 0, 1, -1, -1, -1]
    assert batch.decide(0, signals, Made(done)).tolist() == twin.decide(0, signals, done).tolist()


@pytest.mark.parametrize(
    "fields",
    [
        {"strides": None},  # as before version 1.2
        {"device_type": 3},
        {"device_type": 11},
        {"data": SIGNALS.ctypes.data - 4096, "byte_offset": 4096},
    ],
)
def test_what_is_read(fields: dict[str, Any]) -> None:
    assert decided(Made(SIGNALS, **fields)) == EXPECTED


ARRAYS = "signals: expected (B,) float32, got"
DOUBLES = np.zeros(3)


@pytest.mark.parametrize(
    ("tensor", "error", "message"),
    [
        (Made(DOUBLES), TypeError, f"{ARRAYS} (3,) DLPack type 2 of 64 bits"),
        (Made(SIGNALS, lanes=2), TypeError, f"{ARRAYS} (3,) DLPack type 2 of 32 bits and 2 lanes"),
        (Made(SIGNALS, code=17, bits=4), TypeError, f"{ARRAYS} (3,) DLPack type 17 of 4 bits"),
        (Made(SIGNALS[:, None]), ValueError, f"{ARRAYS} (3, 1) DLPack type 2 of 32 bits"),
        (Made(np.zeros(6, np.float32)[::2]), ValueError, "that is not C-contiguous"),
        (Made(SIGNALS, data=None), ValueError, "Made without memory"),
        (Made(SIGNALS, byte_offset=2), ValueError, "that is not aligned in memory"),
        (Made(SIGNALS, device_type=2), ValueError, "on DLPack device 2; move it with .cpu()"),
        (Made(SIGNALS, device_type=13), ValueError, "on DLPack device 13; move it with .cpu()"),
    ],
)
def test_what_is_refused(tensor: Any, error: type[Exception], message: str) -> None:
    if not message.startswith(ARRAYS):
        message = f"{ARRAYS} (3,) DLPack type 2 of 32 bits {message}"
    refuses(lambda batch: batch.decide(1, tensor), error, message)


def test_the_library_s_own_names() -> None:
    named = producer(capsule(table()), dtype="lib.float32", device="gpu:1")
    message = f"{ARRAYS} (3,) float32 on gpu:1; move it with .cpu()"
    refuses(lambda batch: batch.decide(1, named(SIGNALS, device_type=2)), ValueError, message)


def test_the_table_of_an_earlier_version() -> None:
    newer = table(3, previous=table(2, previous=table(1), view_of=None), view_of=None)
    assert decided(producer(capsule(newer))(SIGNALS)) == EXPECTED


WITHOUT = "without version 1 of DLPack's C exchange API; pass it as a NumPy array"


@pytest.mark.parametrize(
    "api",
    [
        capsule(table(2)),
        capsule(table(0)),
        capsule(table(view_of=None)),
        capsule(table(), b"something_else"),
        table(),
        None,
    ],
    ids=["version 2", "version 0", "no function", "another name", "an address", "none"],
)
def test_tables_that_cannot_be_used(api: Any) -> None:
    made = producer(api)(SIGNALS)
    refuses(lambda batch: batch.decide(1, made), TypeError, f"{ARRAYS} Made {WITHOUT}")
    refuses(lambda batch: batch.reset(made), TypeError, f"rows: expected (B,) int32 or int64, got Made {WITHOUT}")


def test_capsules_of_the_ordinary_protocol_are_no_arguments() -> None:
    made = type("Older", (), {"__dlpack__": SIGNALS.__dlpack__})()
    refuses(lambda batch: batch.decide(1, made), TypeError, f"{ARRAYS} Older {WITHOUT}")
    message = f"logits: expected (B, C) float32, float16 or bfloat16 (as uint16), got Older {WITHOUT}"
    with pytest.raises(TypeError) as caught:
        in_flight().decide_logits(1, made)
    assert str(caught.value) == message


def raising(error: BaseException) -> Producer:
    def fileno(self: Producer) -> int:
        raise error

    return producer(capsule(table(view_of=RAISES)), fileno=fileno)(SIGNALS)


@pytest.mark.parametrize("error", [RuntimeError("it is elsewhere\nat line 1"), BufferError("it is elsewhere")])
def test_a_refusal_becomes_the_cause(error: Exception) -> None:
    message = f"{ARRAYS} Made that cannot be read: it is elsewhere"
    refuses(lambda batch: batch.decide(1, raising(error)), ValueError, message)
    with pytest.raises(ValueError, match="cannot be read") as caught:
        in_flight().decide(1, raising(error))
    assert caught.value.__cause__ is error


@pytest.mark.parametrize("error", [KeyboardInterrupt(), MemoryError("no more"), ZeroDivisionError("x")])
def test_other_exceptions_come_through(error: BaseException) -> None:
    batch, twin = in_flight(), in_flight()
    with pytest.raises(type(error)) as caught:
        batch.decide(1, f32(GO, GO, GO), raising(error))
    assert caught.value is error
    assert finish(batch) == finish(twin)


@pytest.mark.parametrize("answer", [True, False])
def test_values_that_are_negated_when_read(answer: bool) -> None:
    """Asked where a stride is not that of a contiguous tensor, though one element has no use for it."""
    asked = producer(capsule(table()), is_neg=lambda self: answer)
    one = asked(np.repeat(SIGNALS, 2)[:2:2])
    if not answer:
        assert decided(one) == EXPECTED[:1]
        return
    message = "Made that is the negative of its memory; resolve it with .resolve_neg()"
    refuses(lambda batch: batch.decide(1, one), ValueError, f"{ARRAYS} {message}")
    apart = asked(np.repeat(SIGNALS, 2)[::2])
    refuses(lambda batch: batch.decide(1, apart), ValueError, f"{ARRAYS} {message}")


def test_is_neg_that_raises() -> None:
    def is_neg(self: Producer) -> bool:
        raise ZeroDivisionError("x")

    asked = producer(capsule(table()), is_neg=is_neg)
    with pytest.raises(ZeroDivisionError):
        decided(asked(np.repeat(SIGNALS, 2)[:2:2]))
    assert decided(asked(SIGNALS)) == EXPECTED


def test_many_types_in_turn() -> None:
    """More than are remembered at a time; those forgotten are let go."""
    types = [producer(capsule(table())) for _ in range(10)]
    for made in 3 * types:
        assert decided(made(SIGNALS)) == EXPECTED
    died = weakref.ref(types[0])
    del types[0]
    gc.collect()
    if sys.version_info >= (3, 14) or not sysconfig.get_config_var("Py_GIL_DISABLED"):
        assert died() is None  # 3.13 without a GIL keeps every class for good


@pytest.mark.parametrize("count", [1, 3])
def test_types_of_nodes(count: int) -> None:
    """What is an integer but no tensor is still one node for all."""

    class Node:
        def __index__(self) -> int:
            return 1

    assert in_flight().decide(Node(), SIGNALS[:count]).tolist() == EXPECTED[:count]
    assert in_flight().decide(np.int64(1), SIGNALS[:count]).tolist() == EXPECTED[:count]
