"""Every bad call of a batch says what is wrong with it and changes nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from batches import GO, POLICY, STAY, finish, in_flight, refuses
from helpers import f32, i32

import ttamer

ARRAYS = "expected (B,) float32, got"
BAD_SIGNALS: list[tuple[Any, type[Exception], str]] = [
    (np.zeros(3), TypeError, f"signals: {ARRAYS} (3,) float64"),
    (np.zeros(3, np.float16), TypeError, f"signals: {ARRAYS} (3,) float16"),
    (np.zeros(3, np.int32), TypeError, f"signals: {ARRAYS} (3,) int32"),
    (np.zeros(3, np.uint32), TypeError, f"signals: {ARRAYS} (3,) uint32"),
    (np.zeros(3, np.complex64), TypeError, f"signals: {ARRAYS} (3,) complex64"),
    (np.zeros(3, np.bool_), TypeError, f"signals: {ARRAYS} (3,) bool"),
    (np.zeros(3, object), TypeError, f"signals: {ARRAYS} (3,) object"),
    (np.zeros(3, ">f4"), TypeError, f"signals: {ARRAYS} (3,) >f4"),
    ([0.0, 0.0, 0.0], TypeError, f"signals: {ARRAYS} list"),
    (0.0, TypeError, f"signals: {ARRAYS} float"),
    (np.float32(0), TypeError, f"signals: {ARRAYS} float32"),
    (None, TypeError, f"signals: {ARRAYS} NoneType"),
    (f32(0, 0, 0)[:, None], ValueError, f"signals: {ARRAYS} (3, 1) float32"),
    (np.zeros((), np.float32), ValueError, f"signals: {ARRAYS} () float32"),
    (np.zeros(6, np.float32)[::2], ValueError, f"signals: {ARRAYS} (3,) float32 that is not C-contiguous"),
    (f32(0, 0, 0)[::-1], ValueError, f"signals: {ARRAYS} (3,) float32 that is not C-contiguous"),
    (np.broadcast_to(f32(0), 3), ValueError, f"signals: {ARRAYS} (3,) float32 that is not C-contiguous"),
    (np.zeros(7, np.float32), ValueError, "signals: 7 exceed the batch's capacity of 6"),
]


@pytest.mark.parametrize(("signals", "error", "message"), BAD_SIGNALS)
def test_signals(signals: Any, error: type[Exception], message: str) -> None:
    refuses(lambda batch: batch.decide(1, signals), error, message)


def test_nan_names_the_position_and_the_row() -> None:
    hint = 'start the batch with nan="failed" for nodes that may fail, or nan="worst"'
    message = f"signals: NaN at position 1 (row 1); {hint}"
    refuses(lambda batch: batch.decide(1, f32(GO, np.nan, np.nan)), ValueError, message)
    message = f"signals: NaN at position 2 (row 0); {hint}"
    refuses(lambda batch: batch.decide(1, f32(GO, GO, np.nan), rows=i32(2, 1, 0)), ValueError, message)
    refuses(
        lambda batch: batch.decide(i32(1, 0), f32(GO, -np.nan), np.array([1, 4])),
        ValueError,
        f"signals: NaN at position 1 (row 4); {hint}",
    )


def test_nan_is_accepted_as_the_worst() -> None:
    batch = in_flight(nan="worst")
    assert batch.decide(1, f32(np.nan, GO, STAY)).tolist() == [2, 2, -1]


NODE = "node: expected an int or (B,) int32, got"
RANGE = "node: expected 0 to 3, got"
BAD_NODES: list[tuple[Any, type[Exception], str]] = [
    (True, TypeError, f"{NODE} bool"),
    (np.True_, TypeError, f"{NODE} {np.bool_.__name__}"),  # an index in NumPy 1
    (1.0, TypeError, f"{NODE} float"),
    (np.float32(1), TypeError, f"{NODE} float32"),
    ("1", TypeError, f"{NODE} str"),
    (None, TypeError, f"{NODE} NoneType"),
    ([1, 1, 1], TypeError, f"{NODE} list"),
    (np.ones(3, np.int64), TypeError, f"{NODE} (3,) int64"),
    (np.ones(3, np.uint32), TypeError, f"{NODE} (3,) uint32"),
    (np.ones(3, np.float32), TypeError, f"{NODE} (3,) float32"),
    (np.ones(3, np.bool_), TypeError, f"{NODE} (3,) bool"),
    (np.ones(3, ">i4"), TypeError, f"{NODE} (3,) >i4"),
    (np.ones((3, 1), np.int32), ValueError, f"{NODE} (3, 1) int32"),
    (np.ones((), np.int32), ValueError, f"{NODE} () int32"),
    (np.ones(6, np.int32)[::2], ValueError, f"{NODE} (3,) int32 that is not C-contiguous"),
    (i32(1, 1), ValueError, "node: expected one for each of the 3 signals, got 2"),
    (-1, IndexError, f"{RANGE} -1"),
    (4, IndexError, f"{RANGE} 4"),
    (np.int64(-5), IndexError, f"{RANGE} -5"),
    (2**31, IndexError, f"{RANGE} {2**31}"),
    (-(2**31) - 1, IndexError, f"{RANGE} {-(2**31) - 1}"),
    (i32(1, 1, 4), IndexError, f"{RANGE} 4 at position 2"),
    (i32(1, -1, 1), IndexError, f"{RANGE} -1 at position 1"),
    (0, ValueError, "node: 0 is not open to row 0, which consulted node 0 last; open: 1, 2, 3"),
    (i32(1, 3, 0), ValueError, "node: 0 is not open to row 2, which consulted node 0 last; open: 1, 2, 3"),
]


@pytest.mark.parametrize(("node", "error", "message"), BAD_NODES)
def test_node(node: Any, error: type[Exception], message: str) -> None:
    refuses(lambda batch: batch.decide(node, f32(STAY, STAY, STAY)), error, message)


@pytest.mark.parametrize("node", [2**80, -(2**80)])
def test_a_node_no_machine_word_holds(node: int) -> None:
    batch, twin = in_flight(), in_flight()
    with pytest.raises(IndexError, match=f"^{RANGE} "):
        batch.decide(node, f32(STAY))
    assert finish(batch) == finish(twin)


def test_open_nodes_are_listed() -> None:
    line = ttamer.Topology.line(3)
    model = ttamer.CascadeModel(line, [[0.9, 0.9 - 0.1 * j] for j in range(3)], [np.full((1, 2), 0.5)] * 3, [0] * 3)
    batch = ttamer.solve(model, 0.5).start(2)
    with pytest.raises(ValueError, match=r"^node: 2 is not open to row 0, which consulted nothing last; open: 0$"):
        batch.decide(2, f32(0))
    batch.decide(0, f32(0, 0))
    with pytest.raises(ValueError, match=r"^node: 2 is not open to row 1, which consulted node 0 last; open: 1$"):
        batch.decide(i32(1, 2), f32(0, 0))
    assert batch.answer_node.tolist() == [0, 0]
    batch.decide(1, f32(0, 0))


ROWS = "rows: expected (B,) int32 or int64, got"
BAD_ROWS: list[tuple[Any, type[Exception], str]] = [
    ([0, 1, 2], TypeError, f"{ROWS} list"),
    (0, TypeError, f"{ROWS} int"),
    (slice(0, 3), TypeError, f"{ROWS} slice"),
    (np.arange(3.0), TypeError, f"{ROWS} (3,) float64"),
    (np.arange(3, dtype=np.uint32), TypeError, f"{ROWS} (3,) uint32"),
    (np.arange(3, dtype=np.uint64), TypeError, f"{ROWS} (3,) uint64"),
    (np.arange(3, dtype=np.int16), TypeError, f"{ROWS} (3,) int16"),
    (np.ones(3, np.bool_), TypeError, f"{ROWS} (3,) bool"),
    (np.arange(3, dtype=">i8"), TypeError, f"{ROWS} (3,) >i8"),
    (np.arange(3, dtype=">i4"), TypeError, f"{ROWS} (3,) >i4"),
    (np.arange(3)[:, None], ValueError, f"{ROWS} (3, 1) int64"),
    (np.array(0), ValueError, f"{ROWS} () int64"),
    (np.arange(6)[::2], ValueError, f"{ROWS} (3,) int64 that is not C-contiguous"),
    (i32(0, 1, 2)[::-1], ValueError, f"{ROWS} (3,) int32 that is not C-contiguous"),
    (i32(0, 1, 6), IndexError, "rows: expected 0 to 5, got 6 at position 2"),
    (np.array([-1, 0, 1]), IndexError, "rows: expected 0 to 5, got -1 at position 0"),
    (np.array([0, 2**32, 1]), IndexError, f"rows: expected 0 to 5, got {2**32} at position 1"),
    (i32(0, 1, 0), ValueError, "rows: row 0 is repeated at position 2"),
    (np.array([2, 2, 1]), ValueError, "rows: row 2 is repeated at position 1"),
]


@pytest.mark.parametrize(("rows", "error", "message"), BAD_ROWS)
def test_rows(rows: Any, error: type[Exception], message: str) -> None:
    refuses(lambda batch: batch.decide(1, f32(GO, GO, GO), rows), error, message)
    refuses(lambda batch: batch.decide(i32(1, 1, 1), f32(GO, GO, GO), rows), error, message)
    refuses(lambda batch: batch.reset(rows), error, message)


@pytest.mark.parametrize("rows", [i32(0, 1), np.arange(4), i32(), np.array([], np.int64)])
def test_rows_of_another_length(rows: Any) -> None:
    message = f"rows: expected one for each of the 3 signals, got {len(rows)}"
    refuses(lambda batch: batch.decide(1, f32(GO, GO, GO), rows), ValueError, message)


def test_a_row_that_has_stopped() -> None:
    message = "rows: row 3 has stopped; reset it before it takes a new request, or resume it"
    refuses(lambda batch: batch.decide(1, f32(GO, GO, GO, GO)), ValueError, message)
    refuses(lambda batch: batch.decide(1, f32(GO, STAY), rows=i32(0, 3)), ValueError, message)
    refuses(lambda batch: batch.decide(0, f32(GO, STAY), rows=i32(4, 3)), ValueError, message)
    batch = in_flight()
    batch.reset(i32(3))
    assert batch.decide(0, f32(GO), rows=i32(3)).tolist() == [1]


def test_a_batch_that_is_full() -> None:
    batch = POLICY.start(0)
    with pytest.raises(ValueError, match=r"^signals: 1 exceed the batch's capacity of 0$"):
        batch.decide(0, f32(0))
    with pytest.raises(IndexError, match=r"^rows: expected 0 to -1, got 0 at position 0$|no rows"):
        batch.reset(i32(0))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"capacity": -1}, ValueError, "capacity: expected 0 to 268435456, got -1"),
        ({"capacity": 2**28 + 1}, ValueError, "capacity: expected 0 to 268435456, got 268435457"),
        ({"capacity": 2**70}, (ValueError, TypeError), "capacity: expected 0 to 268435456"),
        ({"capacity": 2.5}, TypeError, "capacity: expected an int, got float"),
        ({"capacity": "64"}, TypeError, "capacity: expected an int, got str"),
        ({"capacity": None}, TypeError, "capacity: expected an int, got NoneType"),
        ({"nan": "ignore"}, ValueError, "nan: expected 'error' or 'worst' or 'failed', got 'ignore'"),
        ({"nan": None}, (TypeError, ValueError), "nan: expected 'error' or 'worst' or 'failed', got"),
    ],
)
def test_start(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=f"^{message}"):
        POLICY.start(**arguments)
