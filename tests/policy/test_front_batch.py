"""Batches whose rows have policies of a front: each row is decided as by a batch of its policy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from evidence_cases import independent
from helpers import f32, i32, random_model, random_traces
from probed import probed_traces
from set_traces import recorded, sets_of

import ttamer
from ttamer import STOP, Batch, Front, FrontPoint, Policy, Topology, Traces


def carried(seed: int) -> Traces:
    """The second node's signal says nothing: its state is told by what the first one showed."""
    traces = random_traces(Topology.line(3), 500, seed)
    signals = traces.signals.copy()
    signals[:, 1] = 0.5
    return traces._with(signals=signals)


Show = Callable[[Batch, int, npt.NDArray[Any]], npt.NDArray[np.int32]]


def front_of(traces: Traces, estimate: str, recall: str = "auto") -> Front:
    model = ttamer.fit(traces, estimate=estimate)
    tradeoffs = (0.5, 0.8, 0.9, 0.95, 0.99, 0.999)
    return Front([FrontPoint(0.0, 0.0, ttamer.solve(model, each, recall)) for each in tradeoffs], traces.unit, model)


def signals_of(policy: Policy, held: Traces) -> Show:
    return lambda batch, node, rows: batch.decide(node, held.signals[rows, node], rows)


def logits_of(policy: Policy, held: Traces) -> Show:
    logits = np.zeros((len(held), 3, 3), np.float32)
    np.put_along_axis(logits, held.evidence.classes.astype(np.int64), held.evidence.log_probs, axis=2)
    return lambda batch, node, rows: batch.decide_logits(node, np.ascontiguousarray(logits[rows, node]), rows)


def answers_of(policy: Policy, held: Traces) -> Show:
    estimator = sets_of(policy)
    offsets, scores, answers = estimator.tables["input_offsets"], estimator.scores(held), estimator.answers(held)

    def show(batch: Batch, node: int, rows: npt.NDArray[Any]) -> npt.NDArray[np.int32]:
        shown = np.ascontiguousarray(scores[rows, offsets[node] : offsets[node + 1]])
        told = None if not shown.shape[1] else shown[:, 0].copy() if shown.shape[1] == 1 else shown
        return batch.decide_answers(node, told, answers[rows, node].copy(), rows)

    return show


CASES: dict[str, tuple[Front, Traces, Callable[[Policy, Traces], Show]]] = {
    "line": (
        front_of(random_traces(Topology.line(4), 500, 0), "signal"),
        random_traces(Topology.line(4), 400, 1),
        signals_of,
    ),
    "skip": (
        front_of(random_traces(Topology.skip(4), 500, 0), "signal"),
        random_traces(Topology.skip(4), 400, 1),
        signals_of,
    ),
    "without recall": (
        front_of(random_traces(Topology.line(4), 500, 0), "signal", "none"),
        random_traces(Topology.line(4), 400, 1),
        signals_of,
    ),
    "observed": (
        front_of(random_traces(Topology.line(4), 500, 0, observed=True), "signal"),
        random_traces(Topology.line(4), 400, 1, observed=True),
        signals_of,
    ),
    "forest": (
        front_of(random_traces(Topology.forest([-1, 0, 0, -1]), 500, 0), "signal"),
        random_traces(Topology.forest([-1, 0, 0, -1]), 400, 1),
        signals_of,
    ),
    "carried": (front_of(carried(0), "signal"), carried(1), signals_of),
    "probes": (front_of(probed_traces("line"), "signal"), probed_traces("line", 400, 1), signals_of),
    "posterior": (
        front_of(independent(200, topology=Topology.line(3)), "posterior"),
        independent(200, seed=1, topology=Topology.line(3)),
        logits_of,
    ),
    "sets": (front_of(recorded(), "sets"), recorded(rows=300, seed=1), answers_of),
    "chains": (front_of(recorded(), "chains"), recorded(rows=300, seed=1), answers_of),
}


def test_a_state_is_carried() -> None:
    assert CASES["carried"][0][0].policy.signal_nodes == (0, 0, 2)


@pytest.mark.parametrize("name", CASES)
def test_each_row_is_decided_as_by_its_policy(name: str) -> None:
    """In any order, some rows a call; a third of them are resumed once."""
    front, held, show_of = CASES[name]
    rng, count = np.random.default_rng(0), len(held)
    places = rng.integers(len(front), size=count).astype(np.int32)
    own = [point.policy.start(count) for point in front]
    show = show_of(front[0].policy, held)
    batch = front.start(count)
    ahead = batch.enter(places)
    assert ahead.tolist() == [front[place].policy.first_node for place in places]
    more, visits = rng.random(count) < 1 / 3, 0
    while (open_rows := np.flatnonzero(ahead != STOP)).size:
        rows = rng.permutation(open_rows)[: rng.integers(1, len(open_rows) + 1)]
        node = int(ahead[rows[0]])
        rows = rows[ahead[rows] == node]
        ahead[rows] = show(batch, node, rows)
        visits += len(rows)
        for place, each in enumerate(own):
            if (of_place := rows[places[rows] == place]).size:
                np.testing.assert_array_equal(ahead[of_place], show(each, node, of_place))
        stopped = rows[(ahead[rows] == STOP) & more[rows]]
        if (
            name in ("line", "observed", "without recall", "carried")
            and node < held.topology.nodes - 1
            and stopped.size
        ):
            more[stopped], ahead[stopped] = False, node + 1
            batch.resume(node, stopped)
            for place, each in enumerate(own):
                each.resume(node, stopped[places[stopped] == place])
    assert visits > count  # some go on
    assert len(set(places[batch.answer_node != held.topology.nodes - 1].tolist())) > 1
    for place, each in enumerate(own):
        np.testing.assert_array_equal(batch.answer_node[places == place], each.answer_node[places == place])
        np.testing.assert_array_equal(batch.answer_loss[places == place], each.answer_loss[places == place])


def test_places_are_those_of_each() -> None:
    front = ttamer.frontier(random_traces(Topology.line(3), 300, 0))
    tradeoffs, weights = np.random.default_rng(0).uniform(0.01, 1.0, 50), np.random.default_rng(1).lognormal(size=50)
    found = front.places(tradeoffs, weights)
    assert found.dtype == np.int32
    prices = (1 - tradeoffs) / tradeoffs * weights
    assert found.tolist() == [front.place(price) for price in prices]
    assert front.places(0.9, weights).tolist() == [front.place((1 - 0.9) / 0.9 * weight) for weight in weights]
    assert front.places(tradeoffs).tolist() == [front.place((1 - each) / each) for each in tradeoffs]
    for k, point in enumerate(front):
        assert front.places(point.policy.tradeoff).tolist() == [k]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (([0.5, 0.0],), ValueError, r"tradeoff: expected numbers in \(0, 1\], got 0 at row 1"),
        ((1.5,), ValueError, r"tradeoff: expected numbers in \(0, 1\], got 1.5"),
        (([0.5, float("nan")],), ValueError, r"tradeoff: expected numbers in \(0, 1\], got nan at row 1"),
        ((0.5, [1.0, -1.0]), ValueError, r"weight: expected numbers above 0, got -1 at row 1"),
        ((0.5, float("inf")), ValueError, "weight: expected numbers above 0, got inf"),
        (([0.5, 0.6], [1.0] * 3), ValueError, "weight: expected one for each of 2 trade-offs, got 3"),
        (([[0.5]],), ValueError, r"tradeoff: expected a number or \(B,\) numbers, got \(1, 1\) float64"),
        (("half",), TypeError, r"tradeoff: expected a number or \(B,\) numbers"),
    ],
)
def test_bad_trade_offs_and_weights(arguments: Any, error: type[Exception], message: str) -> None:
    front = CASES["line"][0]
    with pytest.raises(error, match=f"^{message}"):
        front.places(*arguments)


def test_rows_without_a_policy() -> None:
    """Before they are entered, and after a reset."""
    front = CASES["line"][0]
    batch = front.start(3)
    message = "^rows: row 1 has no policy; enter it first$"

    def refuses() -> None:
        with pytest.raises(ValueError, match=message):
            batch.decide(0, f32(0.5, 0.5), i32(0, 1))
        with pytest.raises(ValueError, match=message):
            batch.resume(0, i32(1))

    batch.enter(i32(0), i32(0))
    refuses()
    batch.enter(i32(1, 2), i32(1, 2))
    batch.decide(0, f32(0.5, 0.5), i32(0, 1))
    batch.reset(i32(1))
    batch.enter(i32(0), i32(0))
    refuses()
    assert batch.answer_node.tolist() == [-1, -1, -1]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((i32(6),), IndexError, "places: expected 0 to 5, got 6 at position 0"),
        ((i32(0, -1),), IndexError, "places: expected 0 to 5, got -1 at position 1"),
        ((i32(0, 0, 0, 0),), ValueError, "places: 4 exceed the batch's capacity of 3"),
        ((i32(0, 0), i32(1)), ValueError, "rows: expected one for each of the 2 places, got 1"),
        ((i32(0, 0), i32(1, 1)), ValueError, "rows: .*1"),
        ((i32(0), i32(3)), IndexError, "rows: expected 0 to 2, got 3 at position 0"),
        ((f32(0),), TypeError, r"places: expected \(B,\) int32 or int64, got \(1,\) float32"),
    ],
)
def test_bad_entries(arguments: Any, error: type[Exception], message: str) -> None:
    batch = CASES["line"][0].start(3)
    with pytest.raises(error, match=f"^{message}"):
        batch.enter(*arguments)
    with pytest.raises(ValueError, match="has no policy"):
        batch.decide(0, f32(0.5))


def test_fronts_of_several_models() -> None:
    traces = independent(120)
    of_kinds = [ttamer.solve(ttamer.fit(traces, 4, kind), 0.9) for kind in ("posterior", "signal")]
    of_bins = [ttamer.solve(random_model(Topology.line(2), states, 0), 0.9) for states in (3, 4)]
    of_losses = [ttamer.solve(random_model(Topology.line(2), 3, seed), 0.9) for seed in (0, 1)]
    of_estimators = [ttamer.solve(ttamer.fit(recorded(seed=seed), estimate="sets"), 0.9) for seed in (0, 1)]
    for policies, message in (
        (of_kinds, r"points\[1\]: expected a policy of the first one's model, got another estimate"),
        (of_estimators, r"points\[1\]: expected a policy of the first one's model, got another"),
        (of_bins, r"points\[1\]: expected a policy of the first one's model, got another list of bin edges"),
        (of_losses, r"points\[1\]: expected a policy of the first one's model, got another list of losses"),
    ):
        front = Front([FrontPoint(0.0, 0.0, policy) for policy in policies])
        with pytest.raises(ValueError, match=f"^{message}"):
            front.start()
    with pytest.raises(ValueError, match="^nan: expected 'error' or 'worst' or 'failed', got 'what'"):
        CASES["line"][0].start(nan="what")
