"""Batches that decide on scores and answers: what they refuse, what NaN means, and requests as their estimates say."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ttamer
from ttamer._core import Batch, SetEstimator, start, start_estimated, start_sets

# A model with a score, a probe with two inputs, and a model that only answers, in any order.
NODES, INPUTS = 3, (1, 2, 0)
CELLS = [cell for size in (1, 2, 3) for cell in itertools.combinations(range(NODES), size)]
STEPS = [(cell, last) for cell in CELLS for last in cell]
COLUMNS = {0: 1 + 2 * 2, 1: 3, 2: 1}
LEAVES = 4


def i32(values: object) -> npt.NDArray[np.int32]:
    return np.asarray(values, np.int32)


def tables(seed: int = 0) -> dict[str, npt.NDArray[Any]]:
    """Whatever coefficients, trees of three splits in a row; the models of a cell may answer."""
    rng = np.random.default_rng(seed)
    answering = [[node for node in cell if node != 1] for cell in CELLS]
    targets = [own + [node for node in (0, 2) if node not in own] for own in answering]
    columns = [sum(COLUMNS[node] for node in cell) + ({0, 2} <= set(cell)) for cell in CELLS]
    variables = [
        1 + 2 * (len(all_) - len(own)) if own else len(all_) for own, all_ in zip(answering, targets, strict=True)
    ]
    count = sum(len(own) * (1 + wide) for own, wide in zip(targets, columns, strict=True))
    return {
        "last": i32([last for _, last in STEPS]),
        "cells": i32([CELLS.index(cell) for cell, _ in STEPS]),
        "input_offsets": i32([0, 1, 3, 3]),
        "knot_offsets": i32([0, 2, 2, 3]),
        "knots": np.array([-1, 1, 0], np.float32),
        "columns": i32([1, 1, 2]),
        "values": rng.normal(0, 1, 4 + 2 + 6),
        "class_offsets": i32([0, 2, 2, 3]),
        "classes": i32([0, 2, 1]),
        "agreeing": i32([1, 0, 1]),
        "cell_offsets": np.cumsum([0, *map(len, CELLS)], dtype=np.int32),
        "cell_nodes": i32(np.concatenate(CELLS)),
        "target_offsets": np.cumsum([0, *map(len, targets)], dtype=np.int32),
        "targets": i32(np.concatenate(targets)),
        "answering": i32([len(own) for own in answering]),
        "coefficients": rng.normal(0, 1, count),
        "tree_offsets": i32([7 * k for k in range(len(CELLS) + 1)]),
        "tree_variables": i32([[rng.integers(wide), -1] * 3 + [-1] for wide in variables]).ravel(),
        "tree_thresholds": np.tile([-1, 0, 0, 0, 1, 0, 0], len(CELLS)).astype(np.float64),
        "tree_left": i32([1, 3, 3, 2, 5, 1, 0] * len(CELLS)),
        "tree_right": i32([2, 0, 4, 0, 6, 0, 0] * len(CELLS)),
    }


def policy_over(steps: list[tuple[tuple[int, ...], int]], costs: float, seed: int = 0) -> ttamer.Policy:
    """Over the steps, whose losses fall with what has been consulted; where nothing costs, all is consulted."""
    edges = [(-1, k) for k, (cell, _) in enumerate(steps) if len(cell) == 1]
    for (before, (cell, _)), (after, (larger, last)) in itertools.product(enumerate(steps), repeat=2):
        if {*cell, last} == {*larger} and len(larger) == len(cell) + 1:
            edges.append((before, after))
    topology = ttamer.Topology.dag(len(steps), edges)
    rng = np.random.default_rng(seed)
    losses = [
        np.full(LEAVES, np.inf) if cell == (1,) else (4 - len(cell) - np.linspace(0, 0.5, LEAVES) * (costs > 0)) / 4
        for cell, _ in steps
    ]
    transitions = [rng.dirichlet(np.ones(LEAVES), 1 if edge[0] < 0 else LEAVES) for edge in topology.edges]
    edges_cost = costs * rng.random(len(topology.edges))
    bins = [np.arange(LEAVES - 1, dtype=np.float32) + np.float32(0.5)] * len(steps)
    model = ttamer.CascadeModel(topology, losses, transitions, edges_cost, bin_edges=bins)
    return ttamer.solve(model, 0.5, recall="none")


ESTIMATOR = SetEstimator(NODES, tables())
ONWARD = policy_over(STEPS, 0.0)
SCORES = np.array([[0.5, 0.1, -1.0], [-2.0, 0.3, 1.0], [2.0, 1.0, -np.inf], [-np.inf, 0.0, 0.0]], np.float32)
ANSWERS = i32([[0, -1, 1], [2, -1, 2], [1, -1, -1], [-1, -1, 1]])


def batch_of(nan: str = "error", capacity: int = 4, signal: str = "") -> Batch:
    return start_sets(ESTIMATOR, ONWARD._core, capacity, nan, signal)


def scores_of(scores: npt.NDArray[np.float32], node: int) -> npt.NDArray[np.float32] | None:
    """As a call for this node takes them."""
    begin = sum(INPUTS[:node])
    own = np.ascontiguousarray(scores[:, begin : begin + INPUTS[node]])
    return own[:, 0].copy() if INPUTS[node] == 1 else own if INPUTS[node] else None


def test_leaves_are_the_states_of_steps() -> None:
    np.testing.assert_array_equal(ESTIMATOR.leaves, np.full(len(STEPS), LEAVES))
    assert ESTIMATOR.leaves.dtype == np.int32


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        (
            {"knots": np.array([1, 1, 0], np.float32)},
            ValueError,
            r"^estimator: knots: expected finite numbers that rise",
        ),
        ({"knots": np.array([-1.0, 1, 0])}, TypeError, r"^knots: expected \(\*,\) float32, got \(3,\) float64$"),
        ({"last": i32([STEPS[0][1]])}, ValueError, r"^estimator: cells: expected a cell for each step"),
        ({"more": i32([])}, ValueError, r"^tables: expected 21 entries, got 22$"),
        ({"classes": None}, ValueError, r"^tables: expected an entry 'classes', got none$"),
    ],
)
def test_tables_that_do_not_fit(changes: dict[str, Any], error: type[Exception], message: str) -> None:
    changed = {name: array for name, array in {**tables(), **changes}.items() if array is not None}
    with pytest.raises(error, match=message):
        SetEstimator(NODES, changed)


def test_what_estimate_refuses() -> None:
    with pytest.raises(TypeError, match=r"^tables: expected a dict, got list$"):
        SetEstimator(NODES, [])  # type: ignore[arg-type]
    for scores, answers, message in [
        (SCORES[:, :2].copy(), ANSWERS, r"^scores: expected \(N, 3\) float32, one an input, got \(4, 2\) float32$"),
        (SCORES, ANSWERS[:3], r"^answers: expected \(4, 3\) int32, one a node, got \(3, 3\) int32$"),
        (SCORES, ANSWERS[:, :2].copy(), r"^answers: expected \(4, 3\) int32, one a node, got \(4, 2\) int32$"),
    ]:
        with pytest.raises(ValueError, match=message):
            ESTIMATOR.estimate(scores, answers)


@given(st.integers(0, 20), st.sampled_from([0.0, 0.3, 2.0]), st.randoms(use_true_random=False))
def test_interleaved_requests_are_what_their_estimates_and_the_policy_say(seed: int, costs: float, random: Any) -> None:
    """Requests in any order and mixture of rows and calls; each consults what is recommended, until it stops."""
    rng = np.random.default_rng(seed)
    rows = 40
    scores = rng.normal(0, 1.5, (rows, sum(INPUTS))).astype(np.float32)
    scores[rng.random(scores.shape) < 0.1] = -np.inf
    answers = i32(rng.integers(-1, 3, (rows, NODES)))
    answers[:, 1] = -1
    estimator, policy = SetEstimator(NODES, tables(seed)), policy_over(STEPS, costs, seed)
    signals, answering = estimator.estimate(scores, answers)
    replayed = policy._core.replay(signals, np.zeros(len(policy.topology.edges)))[0]
    batch = start_sets(estimator, policy._core, rows, "error", "")
    first = STEPS[policy._core.first_node][1]
    next_ = np.full(rows, first)
    consulted: list[list[int]] = [[] for _ in range(rows)]
    while (next_ >= 0).any():
        open_ = np.flatnonzero(next_ >= 0)
        open_ = np.array(random.sample(list(open_), random.randint(1, len(open_))))
        if random.random() < 0.5:  # a node for all
            node = int(next_[open_[0]])
            open_ = open_[next_[open_] == node]
            shown = scores_of(scores[open_], node)
            found = batch.decide_answers(node, shown, answers[open_, node], open_)
        else:  # one a row, of at most one input
            open_ = open_[next_[open_] != 1]
            if not len(open_):
                continue
            nodes = i32(next_[open_])
            found = batch.decide_answers(nodes, scores[open_, 0], answers[open_, nodes], open_.astype(np.int32))
        for row, following in zip(open_, found.tolist(), strict=True):
            consulted[row].append(int(next_[row]))
            next_[row] = following
    last = [STEPS.index((tuple(sorted(own)), own[-1])) for own in consulted]
    np.testing.assert_array_equal(last, replayed)
    np.testing.assert_array_equal(batch.answer_node, answering[np.arange(rows), last])


def test_answers_as_requests_go_on() -> None:
    batch = batch_of()
    signals, answering = ESTIMATOR.estimate(SCORES, ANSWERS)
    assert batch.answer_node.tolist() == [-1] * 4
    assert np.isinf(batch.answer_loss).all()
    consulted: tuple[int, ...] = ()
    for node in (1, 2, 0):
        shown = scores_of(SCORES, node)
        batch.decide_answers(node, shown, None if node == 1 else ANSWERS[:, node].copy())
        consulted = tuple(sorted((*consulted, node)))
        step = STEPS.index((consulted, node))
        np.testing.assert_array_equal(batch.answer_node, answering[:, step])
        assert (batch.answer_node == -1).all() == (node == 1)  # a probe does not answer
    states = signals[:, step].astype(int)
    assert states.min() >= 0
    assert states.max() < LEAVES
    assert np.isfinite(batch.answer_loss).all()
    batch.reset(np.array([1, 3]))
    assert (batch.answer_node == -1).tolist() == [False, True, False, True]
    batch.reset()
    assert batch.answer_node.tolist() == [-1] * 4
    assert len(batch) == batch.capacity == 4


def test_requests_do_not_see_those_before_them() -> None:
    once, again = batch_of(), batch_of()
    for batch, before in [(once, ()), (again, (2, 0, 1))]:
        for node in before:
            batch.decide_answers(node, scores_of(SCORES[::-1], node), ANSWERS[::-1, node].copy())
        batch.reset()
        for node in (0, 2):
            batch.decide_answers(node, scores_of(SCORES, node), ANSWERS[:, node].copy())
    np.testing.assert_array_equal(once.answer_node, again.answer_node)
    np.testing.assert_array_equal(once.answer_loss, again.answer_loss)


def test_shapes_of_scores() -> None:
    """One input as (B,) or (B, 1); none as nothing at all, (B, 0) or (B,) of which only NaN is read.

    How many there are is told by what there is.
    """
    table, flat, unread = batch_of(), batch_of(), batch_of()
    np.testing.assert_array_equal(
        table.decide_answers(0, SCORES[:, :1].copy(), ANSWERS[:, 0].copy()),
        flat.decide_answers(0, SCORES[:, 0].copy(), ANSWERS[:, 0].copy()),
    )
    table.decide_answers(2, np.empty((4, 0), np.float32), ANSWERS[:, 2].copy())
    flat.decide_answers(2, None, ANSWERS[:, 2].copy())
    unread.decide_answers(0, SCORES[:, 0].copy(), ANSWERS[:, 0].copy())
    unread.decide_answers(2, np.full(4, np.inf, np.float32), ANSWERS[:, 2].copy())
    for other in (flat, unread):
        np.testing.assert_array_equal(table.answer_node, other.answer_node)
    assert len(batch_of().decide_answers(i32([2, 2]), None, i32([0, 1]))) == 2
    mixed = batch_of()
    mixed.decide_answers(i32([0, 2]), SCORES[:2, 0].copy(), i32([0, 1]))
    assert mixed.answer_node.tolist() == [0, 2, -1, -1]
    assert len(batch_of().decide_answers(0, SCORES[:0, 0].copy(), i32([]))) == 0


def test_nodes_without_anything_to_look_at() -> None:
    """Neither scores nor answers: rows or nodes tell how many, and else nothing does."""
    plain = tables()
    plain.update(agreeing=i32([1, 0, 0]), class_offsets=i32([0, 2, 2, 2]), classes=i32([0, 2]))
    dropped = sum(2 * (1 + (0 in cell)) if 2 in cell else 0 for cell in CELLS)
    with pytest.raises(ValueError, match=r"^estimator: coefficients: "):
        SetEstimator(NODES, plain)
    columns = [sum({0: 5, 1: 3, 2: 0}[node] for node in cell) for cell in CELLS]
    plain["coefficients"] = np.zeros(sum(2 * (1 + wide) for wide in columns))
    assert len(tables()["coefficients"]) - len(plain["coefficients"]) == dropped
    estimator = SetEstimator(NODES, plain)
    batch = start_sets(estimator, ONWARD._core, 4, "error", "")
    assert len(batch.decide_answers(2, None, None, np.array([3, 1]))) == 2
    assert len(batch.decide_answers(i32([2]), None)) == 1
    assert batch.answer_node.tolist() == [2, 2, -1, 2]
    with pytest.raises(ValueError, match=r"^scores: expected \(B,\) or \(B, w\) float32, or answers or rows that tell"):
        batch.decide_answers(2, None)


REFUSED: list[tuple[Any, Any, Any, Any, type[Exception], str]] = [
    (3, SCORES[:, 0].copy(), i32([0] * 4), None, IndexError, r"^node: expected 0 to 2, got 3$"),
    (i32([0, 3]), SCORES[:2, 0].copy(), i32([0] * 2), None, IndexError, r"^node: expected 0 to 2, got 3$"),
    ("0", SCORES[:, 0].copy(), None, None, TypeError, r"^node: expected an int or \(B,\) int32, got str$"),
    (
        0,
        SCORES[:, 0].copy(),
        None,
        None,
        ValueError,
        r"^answers: expected \(B,\) int32, one a row, .*; node 0's are dec",
    ),
    (
        2,
        None,
        None,
        np.array([0]),
        ValueError,
        r"^answers: expected \(B,\) int32, .*, -1 for none; node 2's are decided on$",
    ),
    (0, None, i32([0]), None, ValueError, r"^scores: expected \(B,\) float32, one an input of node 0, got \(B, 0\)$"),
    (0, SCORES, i32([0] * 4), None, ValueError, r"^scores: expected \(B,\) .* of node 0, got \(B, 3\)$"),
    (1, SCORES[:, 0].copy(), None, None, ValueError, r"^scores: expected \(B, 2\) .* of node 1, got \(B,\)$"),
    (2, SCORES[:, :2].copy(), i32([0] * 4), None, ValueError, r"^scores: expected \(B, 0\) .* node 2, got \(B, 2\)$"),
    (
        i32([0, 1]),
        SCORES[:2, 0].copy(),
        i32([0] * 2),
        None,
        ValueError,
        r"^node: 1 has 2 inputs; consult it in a call of",
    ),
    (i32([0, 0]), None, i32([0] * 2), None, ValueError, r"^scores: expected \(B,\) .* of node 0, got none$"),
    (i32([1, 1]), SCORES[:2, 1:].copy(), None, None, ValueError, r"^scores: expected \(B,\) float32 for a node a row"),
    (
        i32([0]),
        SCORES[:, 0].copy(),
        i32([0] * 4),
        None,
        ValueError,
        r"^node: expected one for each of the 4 rows of sc",
    ),
    (
        0,
        SCORES[:, 0].copy(),
        i32([0] * 3),
        None,
        ValueError,
        r"^answers: expected one for each of the 4 rows .* got 3$",
    ),
    (
        0,
        SCORES[:, 0].copy(),
        i32([0] * 4),
        np.array([0]),
        ValueError,
        r"^rows: expected one for each of the 4 .* got 1$",
    ),
    (0, np.zeros(5, np.float32), i32([0] * 5), None, ValueError, r"^scores: 5 rows exceed the batch's capacity of 4$"),
    (
        0,
        np.zeros(4),
        i32([0] * 4),
        None,
        TypeError,
        r"^scores: expected \(B,\) or \(B, w\) float32, got \(4,\) float64$",
    ),
    (0, np.zeros((4, 1, 1), np.float32), i32([0] * 4), None, ValueError, r"^scores: .* got \(4, 1, 1\) float32$"),
    (1, SCORES[:, 1:], None, None, ValueError, r"^scores: .* that is not C-contiguous$"),
    (0, [0.5], i32([0]), None, TypeError, r"^scores: expected \(B,\) or \(B, w\) float32, got list$"),
    (
        0,
        SCORES[:, 0].copy(),
        np.zeros(4, np.int64),
        None,
        TypeError,
        r"^answers: expected \(B,\) int32, got \(4,\) int64$",
    ),
    (0, SCORES[:2, 0].copy(), i32([0] * 2), np.array([1, 1]), ValueError, r"^rows: row 1 is repeated at position 1$"),
    (
        0,
        SCORES[:2, 0].copy(),
        i32([0] * 2),
        np.array([1, 4]),
        IndexError,
        r"^rows: expected 0 to 3, got 4 at position 1$",
    ),
    (
        0,
        np.array([0, np.nan], np.float32),
        i32([0] * 2),
        np.array([3, 2]),
        ValueError,
        r"^scores: NaN at .* 1 \(row 2\)",
    ),
    (
        1,
        np.array([[0, np.nan]], np.float32),
        None,
        None,
        ValueError,
        r'^scores: NaN at position 0 \(row 0\); .*nan="failed"',
    ),
]


@pytest.mark.parametrize("before", [(), (2,)])
def test_refused_calls_change_nothing(before: tuple[int, ...]) -> None:
    batch = batch_of()
    for node in before:
        batch.decide_answers(node, None, ANSWERS[:, node].copy())
    answers, losses = batch.answer_node, batch.answer_loss
    for node, scores, replies, rows, error, message in REFUSED:
        with pytest.raises(error, match=message):
            batch.decide_answers(node, scores, replies, rows)
    np.testing.assert_array_equal(batch.answer_node, answers)
    np.testing.assert_array_equal(batch.answer_loss, losses)
    other = batch_of()
    for each, nodes in [(batch, (0,)), (other, (*before, 0))]:
        for node in nodes:
            each.decide_answers(node, scores_of(SCORES, node), ANSWERS[:, node].copy())
    np.testing.assert_array_equal(batch.answer_node, other.answer_node)
    np.testing.assert_array_equal(batch.answer_loss, other.answer_loss)


def test_nodes_that_are_not_open() -> None:
    batch = batch_of()
    batch.decide_answers(2, None, ANSWERS[:, 2].copy())
    with pytest.raises(ValueError, match=r"^node: 2 is not open to row 0, which consulted node 2 last; open: 0, 1$"):
        batch.decide_answers(2, None, ANSWERS[:, 2].copy())
    batch.decide_answers(0, scores_of(SCORES, 0), ANSWERS[:, 0].copy())
    assert batch.decide_answers(1, scores_of(SCORES, 1)).tolist() == [-1] * 4
    with pytest.raises(
        ValueError, match=r"^rows: row 0 has stopped; reset it before it takes a new request, or resume it$"
    ):
        batch.decide_answers(1, scores_of(SCORES, 1))


def test_calls_of_other_policies() -> None:
    signals = np.zeros(1, np.float32)
    calls: list[tuple[Callable[[], object], str]] = [
        (
            lambda: batch_of().decide(0, signals),
            r"^decide: this policy decides on scores and answers; call decide_answers$",
        ),
        (
            lambda: batch_of().decide_logits(0, np.zeros((1, 3), np.float32)),
            r"^decide_logits: the policy's scores are not of a kind that logits give; call decide_answers with your ",
        ),
        (
            lambda: start(ONWARD._core, 1, "error", "", "").decide_answers(0, signals),
            r"^decide_answers: this policy decides on signals; call decide$",
        ),
        (
            lambda: start_sets(ESTIMATOR, policy_over(STEPS[:1], 0.0)._core, 1, "error", ""),
            r"^estimator: expected a policy over its 12 steps that does not recall$",
        ),
        (
            lambda: start_sets(ESTIMATOR, ONWARD._core, 1, "no", ""),
            r"^nan: expected 'error' or 'worst' or 'failed', got 'no'$",
        ),
        (lambda: batch_of(signal="best"), r"^signal: expected max_prob, margin, .*, got 'best'$"),
    ]
    for call, message in calls:
        with pytest.raises(ValueError, match=message):
            call()
    with pytest.raises(TypeError, match=r"^estimator: expected an Estimator, got SetEstimator$"):
        start_estimated(ESTIMATOR, ONWARD._core, 1, "error")  # type: ignore[arg-type]


@pytest.mark.parametrize("nan", ["worst", "failed"])
def test_a_node_that_fails_answers_only_where_no_other_does(nan: str) -> None:
    batch = batch_of(nan, 3)
    own = 0 if nan == "worst" else -1
    scores = np.array([np.nan, 0.5, -np.inf], np.float32)
    following = batch.decide_answers(0, scores, i32([0, 0, 0]))
    assert following.min() >= 0
    assert batch.answer_node.tolist() == [own, 0, 0]
    assert np.isinf(batch.answer_loss[0]) == (nan == "failed")
    batch.decide_answers(1, np.zeros((3, 2), np.float32))  # a probe: still nothing that may answer
    assert batch.answer_node[0] == own
    batch.decide_answers(2, None, i32([0, 0, 0]))
    scores[0] = 0
    answering = ESTIMATOR.estimate(
        np.stack([scores, np.zeros(3), np.zeros(3)], axis=1).astype(np.float32), i32([[0, -1, 0]] * 3)
    )[1][:, STEPS.index(((0, 1, 2), 2))]
    assert batch.answer_node.tolist() == [2, *answering[1:].tolist()]


@pytest.mark.parametrize("nan", ["worst", "failed"])
def test_a_node_that_fails_later_leaves_the_answer(nan: str) -> None:
    batch = batch_of(nan, 1)
    batch.decide_answers(2, None, i32([1]))
    loss = batch.answer_loss
    assert batch.answer_node.tolist() == [2]
    batch.decide_answers(1, np.array([[0, np.nan]], np.float32))
    batch.decide_answers(0, np.array([np.nan], np.float32), i32([0]))
    assert batch.answer_node.tolist() == [2]
    np.testing.assert_array_equal(batch.answer_loss, loss)


def test_tensors() -> None:
    torch = pytest.importorskip("torch", minversion="2.6", reason="tensors need the torch extra")
    arrays, tensors = batch_of(), batch_of()
    for node in (1, 0, 2):
        scores, replies = scores_of(SCORES, node), ANSWERS[:, node].copy()
        expected = arrays.decide_answers(node, scores, replies)
        shown = None if scores is None else torch.from_numpy(scores)
        rows = torch.arange(4)
        np.testing.assert_array_equal(tensors.decide_answers(node, shown, torch.from_numpy(replies), rows), expected)
    np.testing.assert_array_equal(tensors.answer_node, arrays.answer_node)
    for scores, message in [
        (torch.zeros(2, dtype=torch.float64), r"^scores: expected \(B,\) or \(B, w\) float32, got \(2,\) float64$"),
        (torch.zeros(2, 1, 1), r"^scores: expected \(B,\) or \(B, w\) float32, got \(2, 1, 1\) float32$"),
        (torch.zeros(2, device="meta"), r"^scores: .* got Tensor that cannot be read: Cannot pack tensors on meta"),
    ]:
        with pytest.raises((TypeError, ValueError), match=message):
            batch_of().decide_answers(0, scores, i32([0, 0]))


def test_results_are_passed_back() -> None:
    """As nodes and as rows, both of which the next result overwrites."""
    batch = batch_of()
    following = batch.decide_answers(2, None, ANSWERS[:, 2].copy())
    expected = batch_of()
    expected.decide_answers(2, None, ANSWERS[:, 2].copy())
    nodes = following.copy()
    if (nodes == 1).all():
        pytest.fail("the policy consults node 0 before the probe")
    first = expected.decide_answers(nodes, SCORES[:, 0].copy(), ANSWERS[:, 0].copy())
    np.testing.assert_array_equal(batch.decide_answers(following, SCORES[:, 0].copy(), ANSWERS[:, 0].copy()), first)
    np.testing.assert_array_equal(batch.answer_node, expected.answer_node)
    batch.reset()
    rows = batch.decide_answers(2, None, ANSWERS[:, 2].copy())
    assert len(np.unique(rows[:1])) == 1
    at = int(rows[0])
    batch.reset()
    batch.decide_answers(2, None, ANSWERS[:1, 2].copy(), rows[:1])
    assert np.flatnonzero(batch.answer_node >= 0).tolist() == [at]


def test_large_calls() -> None:
    """Those that release the GIL decide as small ones."""
    rows = 5000
    rng = np.random.default_rng(1)
    scores = rng.normal(0, 1, (rows, sum(INPUTS))).astype(np.float32)
    answers = i32(rng.integers(-1, 3, (rows, NODES)))
    whole, parts = batch_of(capacity=rows), batch_of(capacity=rows)
    for node in (0, 1, 2):
        expected = whole.decide_answers(node, scores_of(scores, node), answers[:, node].copy()).copy()
        for at in np.array_split(np.arange(rows), 40):
            found = parts.decide_answers(node, scores_of(scores[at], node), answers[at, node], at)
            np.testing.assert_array_equal(found, expected[at])
    np.testing.assert_array_equal(whole.answer_node, parts.answer_node)
    signals, answering = ESTIMATOR.estimate(scores, answers)
    np.testing.assert_array_equal(whole.answer_node, answering[:, STEPS.index(((0, 1, 2), 2))])
    assert len(np.unique(signals)) == LEAVES


ZEROS = np.zeros((2, 3), np.float32)
REFUSED_LOGITS: list[tuple[Any, Any, type[Exception], str]] = [
    (3, ZEROS, IndexError, r"^node: expected 0 to 2, got 3$"),
    (1, ZEROS, ValueError, r"^decide_logits: node 1 has 2 inputs, logits give one; call decide_answers$"),
    (2, ZEROS, ValueError, r"^decide_logits: node 2 has 0 inputs, logits give one; call decide_answers$"),
    (i32([0, 1]), ZEROS, ValueError, r"^decide_logits: node 1 has 2 inputs, logits give one; call decide_answers$"),
    (i32([0]), ZEROS, ValueError, r"^node: expected one for each of the 2 rows of logits, got 1$"),
    (0, np.zeros((5, 3), np.float32), ValueError, r"^logits: 5 rows exceed the batch's capacity of 4$"),
    (0, np.full((4, 4), 0.25, np.float32), ValueError, r"^logits: every row lies in \[0, 1\] and sums to 1, as "),
    (0, SCORES[:, 0].copy(), ValueError, r"^logits: expected \(B, C\) float32, float16 or bfloat16 .*, got \(4,\) fl"),
]


def test_logits_that_are_refused_change_nothing() -> None:
    batch = batch_of(signal="max_prob")
    for node, logits, error, message in REFUSED_LOGITS:
        with pytest.raises(error, match=message):
            batch.decide_logits(node, logits)
    assert (batch.answer_node == -1).all()
    with pytest.raises(ValueError, match=r"^decide: this policy decides on scores and answers; call decide_answers$"):
        batch.decide(0, SCORES[:, 0].copy())


def test_logits_of_large_calls() -> None:
    """Those that release the GIL decide as small ones."""
    logits = np.random.default_rng(5).normal(0, 2, (4000, 10)).astype(np.float32)
    whole, parts = (batch_of(capacity=4000, signal="margin") for _ in range(2))
    following = whole.decide_logits(0, logits).copy()
    for at in np.array_split(np.arange(4000), 20):
        np.testing.assert_array_equal(parts.decide_logits(0, logits[at], at), following[at])
    np.testing.assert_array_equal(whole.answer_loss, parts.answer_loss)


def test_a_node_without_a_score_may_fail_too() -> None:
    """What a text-only model has to say that it failed is a NaN where others have a score."""
    score, none = np.full(4, np.nan, np.float32), np.full(4, -1, np.int32)
    batch = batch_of(nan="failed")
    batch.decide_answers(2, score, none)
    assert batch.answer_node.tolist() == [-1] * 4
    with pytest.raises(ValueError, match=r'^scores: NaN at position 0 \(row 0\); .*nan="failed"'):
        batch_of().decide_answers(i32([2]), score[:1], none[:1])


def test_answers_below_none_are_refused() -> None:
    with pytest.raises(ValueError, match="^answers: expected numbers >= 0, or -1 for none, got -5 at position 1$"):
        batch_of().decide_answers(2, None, i32([0, -5]))
