"""Whatever a batch is asked in whatever order, it does what the reference does row by row, and bad calls do nothing."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from helpers import random_model
from hypothesis import given, settings
from hypothesis import strategies as st

import ttamer
from ttamer import reference

Integers = npt.NDArray[Any]

STATES = 5
SHAPES = {
    "line": ttamer.Topology.line(4),
    "skip": ttamer.Topology.skip(4),
    "dag": ttamer.Topology.dag(5, [(-1, 1), (-1, 4), (1, 0), (4, 0), (1, 2), (0, 2), (2, 3), (0, 3)]),
    "forest": ttamer.Topology.forest([-1, 0, 0, 1, -1]),
}
PROBES = {"line": (0, 3), "skip": (0, 2), "dag": (1, 2), "forest": (0, 3)}
CAPACITIES = (1, 9, 33, 130, 300)
SIZES = (1, 5, 31, 32, 33, 127, 128, 129, 260)
BAD = ("nan", "repeated", "row", "node", "closed", "count", "long", "reset repeated", "reset row", "dtype")
BAD_ENTRIES = ("place", "row", "repeated", "count", "dtype")
TRADEOFFS = (0.95, 0.6, 0.99, 0.8)


@functools.cache
def solved(
    shape: str, recall: str, observed: bool, probes: bool
) -> tuple[ttamer.Front, ttamer.CascadeModel, list[reference.Tables]]:
    """A policy a trade-off. Few distinct losses, so that answers tie all the time."""
    cannot = PROBES[shape] if probes else ()
    model = random_model(SHAPES[shape], STATES, seed=71, levels=3, probes=cannot, observed=observed)
    front = ttamer.Front([ttamer.FrontPoint(0.0, 0.0, ttamer.solve(model, each, recall)) for each in TRADEOFFS])
    tables = [
        reference.solve(
            model.topology, model.losses, model.transitions, model.costs, each, recall == "observed", model.cost_scale
        )
        for each in TRADEOFFS
    ]
    return front, model, tables


@dataclass
class Row:
    """One request as the reference knows it."""

    tables: reference.Tables
    request: reference.Request
    stopped: bool = False


class Twin:
    """A batch, and one `reference.Request` for each of its rows.

    `tiers`: each row has a policy of its own, once it is entered. Until then it is as if it had stopped at once.
    """

    def __init__(
        self, shape: str, recall: str, observed: bool, probes: bool, capacity: int, nan: str, tiers: bool
    ) -> None:
        self.front, self.model, self.tables = solved(shape, recall, observed, probes)
        self.policy = self.front[0].policy
        self.observed, self.nan, self.tiers = observed, nan, tiers
        self.batch = (self.front if tiers else self.policy).start(capacity, nan=nan)
        self.rows = [self.fresh() for _ in range(capacity)]

    def fresh(self, place: int | None = None) -> Row:
        tables = self.tables[place or 0]
        return Row(tables, reference.start(tables), stopped=self.tiers and place is None)

    def open_nodes(self, row: int) -> list[int]:
        """What this row may consult, recommended or not."""
        state = self.rows[row]
        if state.stopped:
            return []
        if self.policy.topology.kind == "forest":
            return sorted(state.request.open)
        return [node for node, _ in reference.successors(self.policy.topology, state.request.last)]

    def consult(self, row: int, node: int, signal: np.float32) -> int:
        """The reference's decision."""
        if np.isnan(signal):
            state = reference.worst_state(self.model.losses[node])
        else:
            state = int(reference.states(np.array([signal]), self.model.bin_edges[node])[0])
        found = self.rows[row]
        after = reference.decide(found.tables, found.request, node, state, float(signal), self.observed, self.nan)
        found.stopped = after == ttamer.STOP
        return after

    def loss(self, row: Row) -> float:
        """Of the answer; a provisional one has that of its node's worst state."""
        rank = row.request.rank
        if row.request.answer != -1 and rank == np.iinfo(np.int32).max:
            rank = int(row.tables.ranks[row.request.answer].max())
        return float(row.tables.levels[rank]) if rank < len(row.tables.levels) else np.inf

    def agree(self) -> None:
        """Every row's answer is the reference's."""
        assert self.batch.answer_node.tolist() == [row.request.answer for row in self.rows]
        assert self.batch.answer_loss.tolist() == [self.loss(row) for row in self.rows]


def some_signals(rng: np.random.Generator, count: int, nan: bool) -> npt.NDArray[np.float32]:
    signals = (rng.integers(-1, 2 * STATES, count) / 2).astype(np.float32)
    signals[rng.random(count) < 0.05] = -np.inf
    if nan:
        signals[rng.random(count) < 0.2] = np.nan
    return signals


def pick(twin: Twin, rng: np.random.Generator, size: int, one: bool) -> tuple[Integers, Integers]:
    """At most `size` rows in any order that may consult something, and what; with `one` all of them the same node."""
    choices = {row: nodes for row in range(len(twin.rows)) if (nodes := twin.open_nodes(row))}
    if one and choices:
        node = int(rng.choice(sorted({each for nodes in choices.values() for each in nodes})))
        choices = {row: [node] for row, nodes in choices.items() if node in nodes}
    rows = rng.permutation(np.array(list(choices), np.int64))[:size]
    return rows, np.array([rng.choice(choices[row]) for row in rows.tolist()], np.int32)


def decide(twin: Twin, rng: np.random.Generator, size: int, one: bool, lent: bool) -> None:
    """A good call, its rows of either width or left out where they are the first; `lent`: in the batch's own buffer."""
    rows, nodes = pick(twin, rng, size, one)
    if rng.random() < 0.5:  # as many as there are of the first rows
        order = np.argsort(rows)
        rows, nodes = rows[order], nodes[order]
        first = int((rows == np.arange(len(rows))).sum())
        rows, nodes = (rows[:first], nodes[:first]) if first else (rows, nodes)
    signals = some_signals(rng, len(rows), twin.nan != "error")
    expected = [twin.consult(*each) for each in zip(rows.tolist(), nodes.tolist(), signals, strict=True)]
    given: Any = rows if rng.random() < 0.5 else rows.astype(np.int32)
    if len(rows) and (rows == np.arange(len(rows))).all() and rng.random() < 0.7:
        given = None
    asked: Any = int(nodes[0]) if one and len(rows) else nodes
    if lent:  # nodes or rows lie where the result will
        buffer = own_buffer(twin.batch, len(rows))
        if given is not None and rng.random() < 0.5:
            buffer[:] = rows
            given = buffer
        else:
            buffer[:] = nodes
            asked = buffer
    found = twin.batch.decide(asked, signals, given)
    assert found.tolist() == expected


def own_buffer(batch: ttamer.Batch, count: int) -> npt.NDArray[np.int32]:
    """The first elements of where the batch puts its results."""
    empty = batch.decide(0, np.empty(0, np.float32))
    return np.lib.stride_tricks.as_strided(empty, (count,), (4,))


def refuse(twin: Twin, rng: np.random.Generator, size: int, kind: str) -> None:
    """A call with one thing wrong with it."""
    capacity, batch = len(twin.rows), twin.batch
    rows, nodes = pick(twin, rng, min(size, capacity), one=False)
    if not len(rows):
        return
    signals = some_signals(rng, len(rows), nan=False)
    at = int(rng.integers(len(rows)))
    error: type[Exception] = ValueError
    if kind == "nan":
        if twin.nan != "error":
            return
        signals[at] = np.nan
    elif kind in ("repeated", "reset repeated"):
        if len(rows) == 1:
            return
        rows[at] = rows[at - 1]
    elif kind in ("row", "reset row"):
        rows[at] = rng.choice([-1, capacity, -(2**31), 2**31 - 1])
        error = IndexError
    elif kind == "node":
        nodes[at] = rng.choice([-1, twin.policy.topology.nodes, 2**31 - 1, -(2**31)])
        error = IndexError
    elif kind == "closed":
        every = range(twin.policy.topology.nodes)
        closed = [(row, node) for row in range(capacity) for node in every if node not in twin.open_nodes(row)]
        if not closed:
            return
        row, node = closed[int(rng.integers(len(closed)))]
        rows, nodes, signals = (each[rows != row] for each in (rows, nodes, signals))
        at = int(rng.integers(len(rows) + 1))
        rows, nodes, signals = (np.insert(each, at, new) for each, new in ((rows, row), (nodes, node), (signals, 0)))
    elif kind == "count":
        signals = signals[:-1]
    elif kind == "long":
        signals = np.zeros(capacity + 1, np.float32)
        rows, nodes = np.arange(capacity + 1) % capacity, np.zeros(capacity + 1, np.int32)
    given = rows.astype(rng.choice([np.int32, np.int64]))
    arguments = [given] if kind.startswith("reset") else [nodes, signals, given]
    if kind == "dtype":
        arguments[int(rng.integers(3))] = np.zeros(len(rows))
        error = TypeError
    with pytest.raises(error):
        (batch.reset if kind.startswith("reset") else batch.decide)(*arguments)


def reset(twin: Twin, rng: np.random.Generator, size: int) -> None:
    rows = rng.permutation(len(twin.rows))[:size]
    if rng.random() < 0.2:
        rows = np.arange(len(twin.rows))
        twin.batch.reset()
    else:
        twin.batch.reset(rows.astype(rng.choice([np.int32, np.int64])))
    for row in rows.tolist():
        twin.rows[row] = twin.fresh()


def enter(twin: Twin, rng: np.random.Generator, size: int) -> None:
    """The first rows without names, or some in any order."""
    rows = rng.permutation(len(twin.rows))[:size]
    places = rng.integers(len(twin.front), size=len(rows)).astype(rng.choice([np.int32, np.int64]))
    named: Any = rows.astype(rng.choice([np.int32, np.int64]))
    if rng.random() < 0.3:
        rows, named = np.arange(len(rows)), None
    if not twin.tiers:
        with pytest.raises(ValueError, match="^enter: the rows of this batch have one policy"):
            twin.batch.enter(places, named)
        return
    found = twin.batch.enter(places, named)
    assert found.tolist() == [twin.front[place].policy.first_node for place in places]
    for row, place in zip(rows.tolist(), places.tolist(), strict=True):
        twin.rows[row] = twin.fresh(place)


def refuse_entry(twin: Twin, rng: np.random.Generator, size: int, kind: str) -> None:
    """A call of enter with one thing wrong with it."""
    rows = rng.permutation(len(twin.rows))[:size]
    places, at = rng.integers(len(twin.front), size=len(rows)), int(rng.integers(len(rows)))
    error: type[Exception] = ValueError
    if kind == "place":
        places[at] = rng.choice([-1, len(twin.front), 2**62, -(2**62)])
        error = IndexError if twin.tiers else ValueError
    elif kind == "row":
        rows[at] = rng.choice([-1, len(twin.rows), 2**62])
        error = IndexError if twin.tiers else ValueError
    elif kind == "repeated":
        rows, places = np.append(rows, rows[at]), np.append(places, places[at])
    elif kind == "count":
        rows = rows[:-1]
    arguments: list[Any] = [places, rows]
    if kind == "dtype":
        arguments[int(rng.integers(2))] = np.zeros(len(rows))
        error = TypeError
    with pytest.raises(error):
        twin.batch.enter(*arguments)


CALLS = st.one_of(
    st.tuples(st.just("enter"), st.sampled_from(SIZES)),
    st.tuples(st.just("refuse entry"), st.sampled_from(SIZES), st.sampled_from(BAD_ENTRIES)),
    st.tuples(st.just("decide"), st.sampled_from(SIZES), st.booleans(), st.booleans()),
    st.tuples(st.just("refuse"), st.sampled_from(SIZES), st.sampled_from(BAD)),
    st.tuples(st.just("reset"), st.sampled_from(SIZES)),
)
DO = {"decide": decide, "refuse": refuse, "reset": reset, "enter": enter, "refuse entry": refuse_entry}
KINDS = [
    (shape, recall) for shape in SHAPES for recall in ("observed", "none") if (shape, recall) != ("forest", "none")
]


@pytest.mark.parametrize("tiers", [False, True])
@pytest.mark.parametrize("probes", [False, True])
@pytest.mark.parametrize("observed", [False, True])
@pytest.mark.parametrize(("shape", "recall"), KINDS)
@settings(max_examples=25)
@given(
    st.sampled_from(CAPACITIES),
    st.sampled_from(["error", "worst", "failed"]),
    st.integers(0, 2**16),
    st.lists(CALLS, min_size=1, max_size=12),
)
def test_any_sequence_of_calls(
    shape: str,
    recall: str,
    observed: bool,
    probes: bool,
    tiers: bool,
    capacity: int,
    nan: str,
    seed: int,
    calls: list[Any],
) -> None:
    twin, rng = Twin(shape, recall, observed, probes, capacity, nan, tiers), np.random.default_rng(seed)
    if tiers:
        enter(twin, rng, capacity)
    for name, *arguments in calls:
        DO[name](twin, rng, *arguments)
        twin.agree()
