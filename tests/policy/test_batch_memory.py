"""Arguments that lie in a batch's own memory: results and answers of calls before, given back.

Each in a process of its own: a mistake here corrupts memory.
"""

from __future__ import annotations

import subprocess
import sys

import pytest


def run(program: str) -> None:
    """It ends without an error."""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


OWN_VIEWS = """
import numpy as np
import ttamer

losses = [[0.9], [0.5], [0.1]]
model = ttamer.CascadeModel(ttamer.Topology.line(3), losses, [[[1.0]]] * 3, [0, 0, 0])
batch = ttamer.solve(model, 0.5).start(3)
zeros = np.zeros(3, np.float32)
batch.decide(0, zeros[:2])
batch.decide(1, zeros[:1])
assert batch.answer_node.tolist() == [1, 0, -1]
"""


@pytest.mark.parametrize(
    "use",
    [
        # Row 1 goes to node 1 and row 2 to node 0; what row 1 is written must not be read as the node of row 2.
        "assert batch.decide(batch.answer_node[:2], zeros[:2], np.array([1, 2])).tolist() == [2, 1]\n"
        "assert batch.answer_node.tolist() == [1, 1, 0]",
        # Row 1 is named first: its new answer, node 1, must not be read as the second row.
        "batch.decide(np.array([1, 2], np.int32), zeros[:2], batch.answer_node[:2])\n"
        "assert batch.answer_node.tolist() == [2, 1, -1]",
        # Clearing row 1 must not make the second row -1: that would be memory before the table.
        "batch.reset(batch.answer_node[:2])\nassert batch.answer_node.tolist() == [-1, -1, -1]",
    ],
)
def test_answers_as_arguments(use: str) -> None:
    """The answers may be passed back in, also as they change."""
    run(OWN_VIEWS + use)


RESULT_AS_ROWS = """
import itertools
import numpy as np
import ttamer

losses = [[0.9, 0.6, 0.3], [0.5]]
transitions = [[[0.25, 0.25, 0.5]], [[1.0]]]
shapes = (ttamer.Topology.line(2), ttamer.Topology.forest([-1, 0]))
models = [ttamer.CascadeModel(shape, losses, transitions, [0, 0.1]) for shape in shapes]
parts = (lambda view: view, lambda view: view[len(view) // 2:], lambda view: view.view(np.int64))
for model, count, part, older in itertools.product(models, (200, 400, 20), parts, (False, True)):
    policy = ttamer.solve(model, 0.8, "observed")
    signals = (np.arange(count) % 3).astype(np.float32)
    batch, twin = policy.start(count), policy.start(count)
    rows = part(batch.decide(0, signals))
    batch.reset()
    if older:  # than the last result
        batch.decide(0, signals[:1], np.array([0]))
        batch.reset()
    kept = np.arange(count)[::-1][:len(rows)].copy()
    rows[:] = kept
    found = batch.decide(0, signals[:len(rows)], rows).copy()
    assert found.tolist() == twin.decide(0, signals[:len(kept)], kept).tolist()
    assert len(set(twin.answer_loss[kept].tolist())) == 3
    assert batch.answer_loss.tolist() == twin.answer_loss.tolist()
"""


def test_the_result_as_rows() -> None:
    """The batch's own result, a part of it or the one before may come back as `rows`: one by one, in some blocks."""
    run(RESULT_AS_ROWS)


OLDER_RESULT = """
import numpy as np
import ttamer

count = 400
losses = [[0.9, 0.6, 0.3]] * 2
transitions = [[[0.25, 0.25, 0.5]]] * 2
model = ttamer.CascadeModel(ttamer.Topology.line(2), losses, transitions, [0, 0])
policy = ttamer.solve(model, 0.8, "observed")
order = np.random.default_rng(0).permutation(count)
half = order[: count // 2]
signals = (np.arange(count) % 3).astype(np.float32)


def started():
    batch = policy.start(count)
    older = batch.decide(0, signals)
    batch.reset()
    last = batch.decide(0, np.zeros(len(half), np.float32), half)
    assert (last == 1).all() and not np.shares_memory(last, older)
    older[:] = np.where(np.isin(order, half), 1, 0)
    return batch, older, last


batch, older, last = started()
twin, nodes, _ = started()
nodes = nodes.copy()
found = batch.decide(older, signals, order)
assert np.shares_memory(found, older)
assert found.tolist() == twin.decide(nodes, signals, order).tolist()
assert batch.answer_loss.tolist() == twin.answer_loss.tolist()

# Refused in the last block, when the older result has been written over: what is said is of what was given.
def refused(said, *arguments):
    try:
        batch.decide(*arguments)
    except ValueError as error:
        assert said in str(error), error
    else:
        raise AssertionError(said)
    assert last.tolist() == [1] * len(half)


batch, older, last = started()
older[-1] = 1 - older[-1]
refused(f"row {order[-1]}", older, signals, order)

batch, older, last = started()
older[:] = 0
seen = older[: len(half)].view(np.float32)
seen[-1] = np.nan  # and to stop, -1, is what the bits of NaN may be
refused(f"NaN at position {len(half) - 1}", 1, seen, half)

batch, older, last = started()
batch.reset()
older[:] = order
older[-1] = older[0]
refused(f"row {order[0]} is repeated at position {count - 1}", 0, signals, older)
assert (batch.answer_node == -1).all()
"""


def test_the_result_before_the_last() -> None:
    """It is no longer valid, but may still be an argument: the call that writes there must not read what it wrote."""
    run(OLDER_RESULT)


RESULT_AS_SIGNALS = """
import numpy as np
import ttamer

different = 0
for seed in range(8):
    rng = np.random.default_rng(seed)
    shape = ttamer.Topology.skip(5)
    losses = [sorted(rng.integers(0, 6, 4) / 6) for _ in range(5)]
    transitions = [rng.dirichlet(np.full(4, 0.3), 1 if parent < 0 else 4) for parent, _ in shape.edges.tolist()]
    model = ttamer.CascadeModel(shape, losses, transitions, rng.random(len(shape.edges)) * 0.05)
    policy = ttamer.solve(model, 0.9, "observed")
    values = rng.integers(0, 4, 300).astype(np.float32)
    different += len({steps[-1][1] for steps in policy.actions(policy.first_node)}) > 1
    for rows, older in ((None, False), (rng.permutation(300), False), (rng.permutation(300), True)):
        batch, twin = policy.start(300), policy.start(300)
        result = batch.decide(policy.first_node, values, rows)
        batch.reset()
        if older:
            batch.decide(policy.first_node, values[:1], np.array([0]))
            batch.reset()
        result[:] = values.view(np.int32)
        found = batch.decide(policy.first_node, result.view(np.float32), rows)
        assert found.tolist() == twin.decide(policy.first_node, values, rows).tolist()
        assert batch.answer_loss.tolist() == twin.answer_loss.tolist()
assert different > 2, different
"""


def test_the_result_as_signals() -> None:
    """Its bits, where states that go on to several nodes are looked up again after it has been written over."""
    run(RESULT_AS_SIGNALS)
