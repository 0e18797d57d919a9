"""One policy serves many threads; a batch belongs to one."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Event
from typing import Any

import numpy as np
import pytest
from batches import GO, STAY, in_flight
from helpers import assert_same_policy, f32, random_model, random_traces, serve
from producers import capsule, producer, table
from samples import some_labels, some_probs

import ttamer
from ttamer._base.types import Cache

THREADS = 6
SKIP = ttamer.Topology.skip(4)


def in_threads(work: Any, parts: list[Any]) -> list[Any]:
    """The results of `work` on each part, all started together."""
    barrier = Barrier(len(parts))

    def run(part: Any) -> Any:
        barrier.wait()
        return work(part)

    with ThreadPoolExecutor(len(parts)) as pool:
        return list(pool.map(run, parts))


def test_batches_of_one_policy() -> None:
    traces = random_traces(SKIP, THREADS * 5_000, seed=51)  # the first calls are large enough to release the GIL
    policy = ttamer.solve(ttamer.fit(traces, bins=8), 0.8, "observed")
    parts = np.array_split(traces.signals, THREADS)
    for one, other in zip(in_threads(lambda part: serve(policy, part), parts), parts, strict=True):
        for name, values in serve(policy, other).items():
            np.testing.assert_array_equal(one[name], values)


@pytest.mark.parametrize("estimate", ["posterior", "sets"])
def test_batches_of_one_policy_that_estimates(estimate: str) -> None:
    pytest.importorskip("sklearn")
    traces = ttamer.Traces.from_probs(some_probs(THREADS * 1_000, 2, 3), some_labels(THREADS * 1_000, 3), [0.1, 0.2])
    policy = ttamer.solve(ttamer.fit(traces, estimate=estimate), 0.8)
    parts = np.array_split(np.log(some_probs(THREADS * 1_000, 2, 3, seed=1)).astype(np.float32), THREADS)
    for one, other in zip(in_threads(lambda part: serve(policy, part), parts), parts, strict=True):
        for name, values in serve(policy, other).items():
            np.testing.assert_array_equal(one[name], values)


def test_large_calls_raise_as_small_ones_do() -> None:
    """What is wrong is found while the GIL is released, and nothing has changed then."""
    traces = random_traces(ttamer.Topology.line(2), 6_000, seed=55)
    policy = ttamer.solve(ttamer.fit(traces, bins=8), 0.8, "observed")
    batch, signals = policy.start(6_000), traces.signals[:, 0].copy()
    signals[5_000] = np.nan
    for count in (6_000, 5_001):
        with pytest.raises(ValueError, match=r"signals: NaN at position 5000"):
            batch.decide(0, signals[:count])
    with pytest.raises(IndexError, match=r"rows: expected 0 to 5999, got 6000 at position 4999"):
        batch.decide(0, signals[:5_000], np.arange(1_001, 6_001))
    assert (batch.answer_node == -1).all()
    batch.decide(0, signals[:5_000])
    assert (batch.answer_node[:5_000] == 0).all()


SECOND = r"^batch: expected one call at a time, got a second before the first returned; threads that share a batch need"


def test_a_second_call_of_a_batch_is_refused() -> None:
    """Two threads ask for the same batch until one has been refused: without a GIL it may be either."""
    rows, signals = 500_000, np.zeros(500_000, np.float32)
    policy = ttamer.solve(random_model(ttamer.Topology.line(2), 3, seed=57), 0.8, "observed")
    batch, ended, refusals = policy.start(rows), Event(), []

    def decide() -> None:
        batch.reset()
        batch.decide(0, signals)

    def until_refused(call: Any, most: int) -> bool:
        for _ in range(most):
            if ended.is_set():
                break
            try:
                call()
            except ValueError as error:
                refusals.append(str(error))
                ended.set()
                return True
        return False

    with ThreadPoolExecutor(1) as pool:
        pool.submit(until_refused, lambda: batch.answer_node, 10**9)
        was_refused = until_refused(decide, 2000)
        ended.set()
    assert refusals
    assert all(re.match(SECOND, refusal) for refusal in refusals)
    if was_refused:
        decide()
    twin = policy.start(rows)
    twin.decide(0, signals)
    np.testing.assert_array_equal(batch.answer_loss, twin.answer_loss)


def test_solves_that_pass_memory_on_are_those_of_a_fresh_thread() -> None:
    """A thread's solves reuse each other's tables, whatever the sizes of the models in between."""
    models = [random_model(SKIP, states, seed=56 + states) for states in (12, 5, 12, 30, 5, 1)]
    alone = [in_threads(lambda model: ttamer.solve(model, 0.8, "observed"), [model])[0] for model in models]
    for policy, model in zip(alone, models, strict=True):
        ttamer.solve(model, 0.8, "none")
        assert_same_policy(ttamer.solve(model, 0.8, "observed"), policy)


def test_replay_of_one_policy() -> None:
    traces = random_traces(SKIP, 20_000, seed=52)
    policy = ttamer.solve(ttamer.fit(traces, bins=8), 0.8, "observed")
    alone = policy.replay(traces)
    for result in in_threads(policy.replay, [traces] * THREADS):
        for name, values in vars(alone).items():
            np.testing.assert_array_equal(getattr(result, name), values)


def test_solutions_of_one_model() -> None:
    model = random_model(SKIP, 12, seed=53)
    tradeoffs = [0.3, 0.5, 0.7, 0.8, 0.9, 0.99]
    for tradeoff, policy in zip(tradeoffs, in_threads(lambda t: ttamer.solve(model, t), tradeoffs), strict=True):
        assert_same_policy(policy, ttamer.solve(model, tradeoff))


def test_what_is_worked_out_late_is_the_same_for_all() -> None:
    """Expectations and index are computed when first asked for, here by all threads at once."""
    model = random_model(ttamer.Topology.line(4), 12, seed=54)
    twin = ttamer.solve(model, 0.9, "observed")
    for _ in range(20):
        policy = ttamer.solve(model, 0.9, "observed")
        for stops, index, cost in in_threads(
            lambda p: (p.expected_stops, p.index(2), p.expected_cost), [policy] * THREADS
        ):
            assert cost == twin.expected_cost
            np.testing.assert_array_equal(index, twin.index(2))
            for a, b in zip(stops, twin.expected_stops, strict=True):
                np.testing.assert_array_equal(a, b)


def test_tensors_of_more_types_than_are_remembered() -> None:
    """Threads take turns at forgetting types that others are looking for."""
    types = [producer(capsule(table())) for _ in range(7)]

    def decide(first: int) -> list[list[int]]:
        return [in_flight().decide(1, types[k % 7](f32(GO, STAY, GO))).tolist() for k in range(first, first + 200)]

    for found in in_threads(decide, list(range(THREADS))):
        assert found == [[2, -1, 2]] * 200


def test_results_that_are_kept_and_looked_for_at_once() -> None:
    """As estimates are of one recording."""

    class Key:
        pass

    cache, keys = Cache(), [[Key() for _ in range(300)] for _ in range(THREADS)]

    def keep(own: list[Key]) -> bool:
        for number, key in enumerate(own):
            cache[key] = number
            assert cache.get(Key()) is None
        return all(cache.get(key) == number for number, key in enumerate(own))

    assert all(in_threads(keep, keys))
    assert len(cache) == THREADS * 300
