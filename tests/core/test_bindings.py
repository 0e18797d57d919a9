"""What the bound classes and functions say of hostile arguments."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from helpers import f32, random_model

import ttamer
from ttamer import Topology
from ttamer._core import Batch, Counts, Estimator, Model, Policy, Transition, expect, logit_signals, solve, states

LINE = Topology.line(2)
CORE = ttamer.solve(random_model(LINE, 2, seed=3), 0.5)


def batch() -> Batch:
    return CORE.start(4)


@pytest.mark.parametrize("kind", [Topology, Batch, Policy, Model, Estimator, Counts, Transition])
def test_there_are_no_objects_without_a_value(kind: Any) -> None:
    for make in (kind.__new__, object.__new__, kind.__base__.__new__):
        with pytest.raises(TypeError, match="is not safe, use"):
            make(kind)
    with pytest.raises(TypeError):
        kind()


@pytest.mark.parametrize("kind", [Topology, Batch, Transition])
def test_classes_whose_objects_functions_make(kind: Any) -> None:
    with pytest.raises(TypeError, match=f"{kind.__name__}: made by functions, not by calling the class"):
        kind()
    with pytest.raises(TypeError, match="Own: made by functions, not by calling the class"):
        type("Own", (kind,), {})()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Topology.line(), r"line: expected \(nodes\), got \(\)"),
        (lambda: Topology.line(3, 4), r"line: expected \(nodes\), got \(int, int\)"),
        (lambda: Topology.line(n=3), r"line: expected \(nodes\), got \(n=int\)"),
        (lambda: Topology.line(*range(99)), r"line: expected \(nodes\), got 99 arguments"),
        (
            lambda: batch().decide(0, signals=np.zeros(1, np.float32), row=None),
            r"decide: expected \(self: ttamer._core.Batch, node, signals, rows=None\), "
            r"got \(Batch, int, signals=\(1,\) float32, row=NoneType\)",
        ),
        (
            lambda: Batch.reset(3),
            r"reset: expected \(self: ttamer._core.Batch, rows=None\), got \(int\)",
        ),
        (lambda: states(np.zeros(1, np.float32)), r"states: expected \(edges, signals, node\), got \(\(1,\) float32\)"),
    ],
)
def test_calls_with_other_arguments_than_a_function_has(call: Any, message: str) -> None:
    with pytest.raises(TypeError, match=f"^{message}$"):
        call()


def test_errors_of_arguments_themselves_stay() -> None:
    class Refuses:
        def __index__(self) -> int:
            raise TypeError("incompatible with everything")

    with pytest.raises(TypeError, match="^nodes: expected an int, got Refuses$"):
        Topology.line(Refuses())


def test_topologies_copy_and_pickle() -> None:
    dag = Topology.dag(3, [(-1, 0), (0, 2), (0, 1)])
    for again in (copy.copy(dag), copy.deepcopy(dag), *(pickle.loads(pickle.dumps(dag, p)) for p in range(6))):
        assert again == dag


class Resizes:
    """A node that gives other arguments' memory back while it is converted."""

    def __init__(self, *arrays: Any) -> None:
        self.arrays = arrays

    def __index__(self) -> int:
        for array in self.arrays:
            array.resize((0,) * array.ndim, refcheck=False)
        return 0


def test_a_node_is_converted_before_arrays_are_read() -> None:
    signals, rows = np.zeros(4, np.float32), np.arange(4, dtype=np.int32)
    assert batch().decide(Resizes(signals, rows), signals, rows).shape == (0,)
    logits = np.zeros((4, 3), np.float32)
    estimating = ttamer.solve(random_model(LINE, 2, seed=3, signal="max_prob"), 0.5).start(4)
    with pytest.raises(ValueError, match=r"^logits: expected \(B, C\)"):
        estimating.decide_logits(Resizes(logits), logits)
    edges = np.zeros(0, np.float32)
    table = np.zeros((4, 2), np.float32)
    with pytest.raises(IndexError, match="^node: expected 0 to"):
        states(edges, table, Resizes(table))


def test_a_node_may_call_its_batch() -> None:
    own = batch()

    class Calls:
        def __index__(self) -> int:
            own.reset()
            return 0

    assert own.decide(Calls(), np.zeros(4, np.float32)).shape == (4,)


class Fails:
    def __index__(self) -> int:
        raise ZeroDivisionError("own")

    def __iter__(self) -> Iterator[int]:
        raise ZeroDivisionError("own")


def endless() -> Iterator[int]:
    while True:
        yield -1


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: Topology.line("3"), TypeError, "^nodes: expected an int, got str$"),
        (lambda: Topology.line(True), TypeError, "^nodes: expected an int, got bool$"),
        (lambda: Topology.line(np.array([3])), TypeError, r"^nodes: expected an int, got \(1,\) int64$"),
        (lambda: Topology.line(2**70), ValueError, "^nodes: expected 1 to 1024, got 9223372036854775807$"),
        (lambda: Topology.skip(None), TypeError, "^nodes: expected an int, got NoneType$"),
        (lambda: Topology.line(Fails()), ZeroDivisionError, "^own$"),
        (lambda: Topology.forest(3), TypeError, "^parents: expected a sequence of int, got int$"),
        (lambda: Topology.forest("ab"), TypeError, "^parents: expected a sequence of int, got str$"),
        (lambda: Topology.forest([-1, 0.5]), TypeError, r"^parents\[1\]: expected an int, got float$"),
        (lambda: Topology.forest(endless()), ValueError, "^parents: expected at most 1024, got more$"),
        (lambda: Topology.forest(Fails()), ZeroDivisionError, "^own$"),
        (lambda: Topology.dag(2, 3), TypeError, "^edges: expected a sequence of pairs of int, got int$"),
        (lambda: Topology.dag(2, [3]), TypeError, r"^edges\[0\]: expected a pair of int, got int$"),
        (lambda: Topology.dag(2, [(-1, 0), (0,)]), ValueError, r"^edges\[1\]: expected a pair of int, got 1 of them$"),
        (lambda: Topology.dag(2, [(-1, "a")]), TypeError, r"^edges\[0\]: expected a pair of int, got str$"),
        (lambda: Topology.from_parts(3, 2, []), TypeError, "^kind: expected a str, got int$"),
        (lambda: Topology.from_parts("\x1b" * 9, 2, []), ValueError, "^kind: expected a name, got a long text or"),
        (lambda: Topology.skip_costs(1, [1]), TypeError, "^segment: expected a sequence of numbers, got int$"),
        (lambda: Topology.skip_costs([1], ["a"]), TypeError, r"^ramp\[0\]: expected a number, got str$"),
        (lambda: Topology.skip_costs([10**400], [1]), ValueError, r"^segment\[0\]: expected a number that a float can"),
        (lambda: batch().decide("a", f32(1, 2)), TypeError, r"^node: expected an int or \(B,\) int32, got str$"),
        (lambda: logit_signals(np.zeros((2, 3), np.float32), 3), TypeError, "^kind: expected a str, got int$"),
        (lambda: logit_signals([1.0], "margin"), TypeError, r"^logits: expected \(B, C\) .*, got list$"),
        (lambda: Counts("a", *[np.zeros(1, np.int64)] * 3), TypeError, "^columns: expected an int, got str$"),
        (lambda: Counts(2**40, *[np.zeros(1, np.int64)] * 3), ValueError, "^columns: expected 1 to 2147483647, got"),
        (lambda: Transition.counted(3, np.zeros(1), 1.0), TypeError, "^counts: expected Counts, got int$"),
        (lambda: Model(3, [], [], np.zeros(1), 1.0, [], True), TypeError, "^topology: expected a Topology, got int$"),
        (
            lambda: Model(LINE, [], [], np.zeros(1), 10**400, [], True),
            ValueError,
            "^cost_scale: expected a number that a float can hold, got a larger one$",
        ),
        (lambda: Model(LINE, [], [], np.zeros(1), 1.0, [], 1), TypeError, "^observed: expected a bool, got int$"),
        (lambda: Model(LINE, [], [3], np.zeros(1), 1.0, [], True), TypeError, "^transitions: expected a sequence of"),
        (lambda: Policy(LINE, 1, True, 0.5, 0.5, 1.0, 0, {}), TypeError, "^recall: expected a bool, got int$"),
        (lambda: Policy(LINE, True, True, 0.5, 0.5, 1.0, 0, []), TypeError, "^arrays: expected a dict, got list$"),
        (lambda: solve(3, 0.5, True), TypeError, "^model: expected a Model, got int$"),
        (lambda: expect(None, None), TypeError, "^model: expected a Model, got NoneType$"),
        (lambda: states(f32(), np.zeros((1, 1), np.float32), "a"), TypeError, "^node: expected an int, got str$"),
    ],
)
def test_arguments_are_named(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: ttamer.solve(random_model(LINE, 2, seed=3), 10**400),
            ValueError,
            "^tradeoff: expected a number that a float can hold, got an int of 1329 bits$",
        ),
        (
            lambda: ttamer.CascadeModel(LINE, [[0.0]] * 2, [[[1.0]]] * 2, [1, 1], cost_scale=10**400),
            ValueError,
            "^cost_scale: expected a number that a float can hold, got an int of 1329 bits$",
        ),
        (
            lambda: ttamer.Evidence(np.zeros((1, 1, 1), np.float32), 2**40, 4),
            ValueError,
            "^classes: expected values that int32 can hold, got 1099511627776$",
        ),
        (lambda: CORE.start(10**5000), ValueError, "^capacity: expected 0 to"),
        (lambda: CORE.losses(10**5000), IndexError, "^node: expected 0 to 1, got"),
    ],
)
def test_numbers_beyond_all_others(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


def test_a_scale_that_only_64_bits_cannot_hold() -> None:
    model = ttamer.CascadeModel(LINE, [[0.0]] * 2, [[[1.0]]] * 2, [1, 1], cost_scale=2**64)
    assert model.cost_scale == 2.0**64
