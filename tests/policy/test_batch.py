"""The serving loop does what replay and the reference do, however the requests are cut into calls."""

from __future__ import annotations

import functools
import gc
import warnings
from typing import Any

import numpy as np
import pytest
from helpers import Floats32, f32, i32, random_model, random_traces, serve
from hypothesis import given, settings
from hypothesis import strategies as st

import ttamer
import ttamer.data
from ttamer import reference

RECALL = ("observed", "none")
LINE = ttamer.Topology.line(4)
SKIP = ttamer.Topology.skip(4)
DAG = ttamer.Topology.dag(5, [(-1, 1), (-1, 4), (1, 0), (4, 0), (1, 2), (0, 2), (2, 3), (0, 3)])


def tables_of(policy: ttamer.Policy, model: ttamer.CascadeModel) -> reference.Tables:
    kept = policy.recall == "observed"
    return reference.solve(
        model.topology, model.losses, model.transitions, model.costs, policy.tradeoff, kept, model.cost_scale
    )


@functools.cache
def workload() -> ttamer.data.Workload:
    return ttamer.data.load("fashion-vgg")


@pytest.mark.parametrize("recall", RECALL)
@pytest.mark.parametrize("tradeoff", [0.5, 0.8, 0.97])
def test_the_recorded_workload_row_by_row(recall: str, tradeoff: float) -> None:
    test = workload().test
    model = ttamer.fit(workload().calibration, bins=16)
    policy = ttamer.solve(model, tradeoff, recall)
    replayed = policy.replay(test)
    served = serve(policy, test.signals)
    for name in ("last_node", "answer_node", "cost"):
        np.testing.assert_array_equal(served[name], getattr(replayed, name))
    np.testing.assert_array_equal(replayed.loss, test.losses[np.arange(len(test)), replayed.answer_node])
    assert len(np.unique(replayed.last_node)) > 2  # a policy that always does the same would prove little
    slow = reference.replay(tables_of(policy, model), model.bin_edges, test, observed=False)
    for name, values in slow.items():
        np.testing.assert_array_equal(getattr(replayed, name), values)


@pytest.mark.parametrize("recall", RECALL)
@pytest.mark.parametrize("topology", [LINE, SKIP, DAG])
@pytest.mark.parametrize("observed", [True, False])
def test_every_shape_replays_alike(topology: ttamer.Topology, recall: str, observed: bool) -> None:
    traces = random_traces(topology, 400, seed=11, observed=observed)
    model = ttamer.fit(traces, bins=6)
    policy = ttamer.solve(model, 0.7, recall)
    replayed = policy.replay(traces)
    served = serve(policy, traces.signals)
    slow = reference.replay(tables_of(policy, model), model.bin_edges, traces, observed)
    for name in ("last_node", "answer_node", "cost"):
        np.testing.assert_array_equal(served[name], getattr(replayed, name))
        np.testing.assert_array_equal(slow[name], getattr(replayed, name))


@pytest.mark.parametrize("recall", RECALL)
@pytest.mark.parametrize("topology", [LINE, SKIP, DAG])
@pytest.mark.parametrize("observed", [True, False])
def test_many_requests_replay_as_few(topology: ttamer.Topology, recall: str, observed: bool) -> None:
    """Replay moves some thousand requests at a time; which ones must not matter."""
    traces = random_traces(topology, 9000, seed=12, observed=observed)
    policy = ttamer.solve(ttamer.fit(traces, bins=6), 0.7, recall)
    whole = policy.replay(traces)
    parts = [policy.replay(traces[start : start + 700]) for start in range(0, 9000, 700)]
    for name in ("last_node", "answer_node", "cost"):
        np.testing.assert_array_equal(getattr(whole, name), np.concatenate([getattr(part, name) for part in parts]))


@functools.cache
def contested_policy(kind: str, recall: str) -> ttamer.Policy:
    """Few distinct losses, so that answers tie all the time."""
    topology = {"line": LINE, "skip": SKIP, "dag": DAG}[kind]
    return ttamer.solve(random_model(topology, 5, seed=12, levels=3), 0.9, recall)


@settings(max_examples=80)
@given(st.sampled_from(["line", "skip", "dag"]), st.sampled_from(RECALL), st.integers(1, 12), st.data())
def test_any_split_and_order(kind: str, recall: str, count: int, data: st.DataObject) -> None:
    """Rows in any order, in calls of any size, at nodes of their own: each request is decided as if alone."""
    policy = contested_policy(kind, recall)
    rng = np.random.default_rng(data.draw(st.integers(0, 2**16)))
    signals = rng.integers(0, 5, (count, policy.topology.nodes)).astype(np.float32)
    alone = [serve(policy, signals[[row]]) for row in range(count)]
    batch = policy.start(count)
    ahead = np.full(count, policy.first_node, np.int32)
    last = np.full(count, -1, np.int32)
    while (open_rows := np.flatnonzero(ahead >= 0)).size:
        picked = data.draw(st.lists(st.sampled_from(open_rows.tolist()), min_size=1, unique=True))
        rows = np.array(picked, dtype=data.draw(st.sampled_from([np.int32, np.int64])))
        last[rows] = ahead[rows]
        ahead[rows] = batch.decide(ahead[rows], signals[rows, ahead[rows]], rows)
    assert last.tolist() == [int(one["last_node"][0]) for one in alone]
    assert batch.answer_node.tolist() == [int(one["answer_node"][0]) for one in alone]
    assert batch.answer_loss.tolist() == [float(one["answer_loss"][0]) for one in alone]


def consult_on(signals: Floats32) -> ttamer.Policy:
    """A line that never stops before its end: every node may be better, and nothing costs."""
    losses = [[0.9 - 0.2 * j, 0.8 - 0.2 * j] for j in range(4)]
    transitions = [np.full((1, 2), 0.5) for _ in range(4)]
    return ttamer.solve(ttamer.CascadeModel(LINE, losses, transitions, np.zeros(4)), 0.5)


class TestViews:
    policy = consult_on(f32())

    def test_the_result_is_the_batch_own_buffer(self) -> None:
        batch = self.policy.start(3)
        first = batch.decide(0, f32(0, 1, 0))
        assert first.dtype == np.int32
        assert first.tolist() == [1, 1, 1]
        second = batch.decide(1, f32(0, 1, 0))
        assert np.shares_memory(first, second)
        assert first.tolist() == [2, 2, 2]

    def test_the_result_may_be_the_next_node(self) -> None:
        batch = self.policy.start(3)
        ahead = batch.decide(0, f32(0, 1, 0))
        for expected in (2, 3, -1):
            ahead = batch.decide(ahead, f32(0, 1, 0))
            assert ahead.tolist() == [expected] * 3

    def test_part_of_the_result_may_be_the_next_node(self) -> None:
        batch = self.policy.start(3)
        ahead = batch.decide(0, f32(0, 1, 0))
        batch.decide(ahead[1:], f32(1, 0), rows=i32(1, 2))
        assert batch.decide(i32(1, 2, 2), f32(0, 0, 0)).tolist() == [2, 3, 3]

    def test_a_reshaped_result_harms_nobody(self) -> None:
        batch = self.policy.start(4)
        first = batch.decide(0, f32(0, 1, 0, 1))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of NumPy, which will do away with both
            first.shape = (2, 2)
            second = batch.decide(1, f32(0, 1, 0, 1))
            second.strides = (0,)
        assert second.shape == (4,)
        assert batch.decide(2, f32(0, 1, 0, 1)).strides == (4,)

    def test_a_smaller_call_gives_a_smaller_result(self) -> None:
        batch = self.policy.start(4)
        assert batch.decide(0, f32(0, 1)).shape == (2,)
        assert batch.decide(0, f32(0, 1), rows=i32(3, 2)).shape == (2,)
        assert batch.decide(1, f32(0, 1, 0, 1)).shape == (4,)

    def test_answers_are_copies(self) -> None:
        batch = self.policy.start(2)
        before = batch.answer_node
        assert before.tolist() == [-1, -1]
        assert batch.answer_loss.tolist() == [np.inf, np.inf]
        batch.decide(0, f32(1), rows=i32(1))
        assert before.tolist() == [-1, -1]
        assert batch.answer_node.tolist() == [-1, 0]
        assert batch.answer_loss.tolist() == [np.inf, 0.8]
        assert (batch.answer_node.dtype, batch.answer_loss.dtype) == (np.int32, np.float64)
        batch.answer_node[:] = 3
        batch.answer_loss[:] = 0.0
        assert batch.answer_node.tolist() == [-1, 0]
        assert batch.answer_loss.tolist() == [np.inf, 0.8]

    def test_views_outlive_the_batch(self) -> None:
        batch = self.policy.start(2)
        ahead, answer = batch.decide(0, f32(0, 1)), batch.answer_node
        del batch
        gc.collect()
        assert (ahead.tolist(), answer.tolist()) == ([1, 1], [0, 0])

    def test_a_batch_outlives_its_policy(self) -> None:
        batch = consult_on(f32()).start(1)
        gc.collect()
        assert batch.decide(0, f32(1)).tolist() == [1]
        assert batch.answer_loss.tolist() == [0.8]

    def test_inputs_may_be_read_only(self) -> None:
        signals, nodes, rows = f32(1, 0), i32(0, 0), np.array([1, 0])
        for array in (signals, nodes, rows):
            array.setflags(write=False)
        assert self.policy.start(2).decide(nodes, signals, rows).tolist() == [1, 1]


class TestArguments:
    policy = consult_on(f32())

    @pytest.mark.parametrize("node", [0, np.int8(0), np.int64(0), np.uint16(0)])
    def test_any_integer_is_a_node(self, node: Any) -> None:
        assert self.policy.start(1).decide(node, f32(0)).tolist() == [1]

    def test_an_empty_batch_changes_nothing(self) -> None:
        batch = self.policy.start(2)
        batch.decide(0, f32(1), rows=i32(1))
        for arguments in ((0, f32()), (i32(), f32()), (0, f32(), i32()), (0, f32(), np.array([], np.int64))):
            result = batch.decide(*arguments)
            assert (result.shape, result.dtype) == ((0,), np.int32)
        batch.reset(i32())
        assert batch.answer_node.tolist() == [-1, 0]
        assert batch.decide(i32(0, 1), f32(0, 0)).tolist() == [1, 2]

    def test_capacity(self) -> None:
        assert (len(self.policy.start()), self.policy.start().capacity) == (64, 64)
        empty = self.policy.start(0)
        assert (len(empty), empty.answer_node.tolist(), empty.answer_loss.tolist()) == (0, [], [])
        assert empty.decide(0, f32()).tolist() == []
        empty.reset()
        assert self.policy.start(np.int32(3)).capacity == 3

    def test_any_open_node_may_be_consulted(self) -> None:
        policy = contested_policy("skip", "observed")
        other = next(node for node in range(4) if node != policy.first_node)
        batch = policy.start(1)
        batch.decide(other, f32(3))
        assert batch.answer_node.tolist() == [other]
        assert batch.answer_loss[0] == policy.losses(other)[3]

    def test_a_recommendation_may_be_ignored(self) -> None:
        """After consulting another node than recommended, decisions are those of the state then reached."""
        policy = contested_policy("skip", "observed")
        found = 0
        for first in range(4):
            for state in range(5):
                batch = policy.start(1)
                ahead = int(batch.decide(first, f32(state))[0])
                for second in range(first + 1, 4):
                    if ahead in (ttamer.STOP, second):
                        continue
                    forced = policy.start(1)
                    forced.decide(first, f32(state))
                    follows = int(forced.decide(second, f32(0))[0])
                    best = min(policy.losses(first)[state], policy.losses(second)[0])
                    expected = next(action for upper, action in policy.actions(second)[0] if best <= upper)
                    assert (follows, forced.answer_loss[0]) == (expected, best)
                    found += 1
        assert found > 0


class TestReset:
    policy = consult_on(f32())

    @pytest.mark.parametrize("dtype", [np.int32, np.int64])
    def test_some_rows(self, dtype: type) -> None:
        batch = self.policy.start(3)
        batch.decide(0, f32(0, 0, 0))
        batch.reset(np.array([2, 0], dtype=dtype))
        assert batch.answer_node.tolist() == [-1, 0, -1]
        assert batch.decide(i32(0, 1, 0), f32(1, 1, 1)).tolist() == [1, 2, 1]

    def test_all_rows(self) -> None:
        batch = self.policy.start(3)
        for node in range(4):
            batch.decide(node, f32(0, 0, 0))
        batch.reset()
        assert batch.answer_node.tolist() == [-1] * 3
        assert batch.answer_loss.tolist() == [np.inf] * 3
        assert batch.decide(0, f32(1, 1, 1)).tolist() == [1] * 3

    def test_a_reused_row_remembers_nothing(self) -> None:
        policy = contested_policy("skip", "observed")
        signals = np.random.default_rng(14).integers(0, 5, (20, 4)).astype(np.float32)
        fresh = serve(policy, signals)
        batch = policy.start(1)
        for row, line in enumerate(signals):
            batch.reset(i32(0))
            node = policy.first_node
            while node != ttamer.STOP:
                node = int(batch.decide(node, line[[node]])[0])
            assert batch.answer_node[0] == fresh["answer_node"][row]
            assert batch.answer_loss[0] == fresh["answer_loss"][row]


class TestSignals:
    edges = f32(-1.5, 0.0, 1e-45, 0.5, 3e38)
    model = ttamer.CascadeModel(
        ttamer.Topology.line(1), [np.arange(6) / 8], [np.full((1, 6), 1 / 6)], [1.0], bin_edges=[edges]
    )
    policy = ttamer.solve(model, 0.5)

    def test_every_kind_of_number(self) -> None:
        up, down = np.nextafter(self.edges, f32(np.inf)), np.nextafter(self.edges, f32(-np.inf))
        others = f32(-np.inf, np.inf, 0.0, -0.0, 1.0, 1.4e-45, -1.4e-45, 1e-40, 3.4028235e38, -3.4028235e38, 0.1)
        signals = np.concatenate([self.edges, up, down, others])
        batch = self.policy.start(len(signals))
        batch.decide(0, signals)
        states = [int(sum(edge <= signal for edge in self.edges)) for signal in signals]
        assert batch.answer_loss.tolist() == [state / 8 for state in states]
        assert states[:5] == [1, 2, 3, 4, 5]
        assert states[10:15] == [0, 1, 2, 3, 4]
        assert states == reference.states(signals, self.edges).tolist()


class TestNan:
    def model(self, observed: bool) -> ttamer.CascadeModel:
        losses = [[0.25, 0.75, 0.75], [0.75, 0.5, 0.25]]
        transitions = [np.full((1, 3), 1 / 3)] * 2
        return ttamer.CascadeModel(ttamer.Topology.line(2), losses, transitions, [0, 0], observed=observed)

    def test_worst_is_the_largest_loss(self) -> None:
        policy = ttamer.solve(self.model(True), 0.5)
        batch = policy.start(2, nan="worst")
        batch.decide(0, f32(np.nan, 0))
        assert batch.answer_loss.tolist() == [0.75, 0.25]
        assert reference.worst_state(policy.losses(0)) == 1
        assert reference.worst_state(policy.losses(1)) == 0

    def test_among_equal_losses_the_lowest_state_is_the_worst(self) -> None:
        """States 1 and 2 of the first node are equally bad, but only after state 1 is the second worth its price."""
        losses = [[0.25, 0.75, 0.75], [0.0, 0.75]]
        transitions = [np.full((1, 3), 1 / 3), np.array([[0.0, 1.0], [1.0, 0.0], [0.0, 1.0]])]
        model = ttamer.CascadeModel(ttamer.Topology.line(2), losses, transitions, [0, 0.5], cost_scale=1)
        for recall in RECALL:
            batch = ttamer.solve(model, 0.5, recall).start(3, nan="worst")
            assert batch.decide(0, f32(1, 2, np.nan)).tolist() == [1, -1, 1]

    @pytest.mark.parametrize("observed", [True, False])
    def test_any_signal_seen_is_preferred_to_none(self, observed: bool) -> None:
        batch = ttamer.solve(self.model(observed), 0.5, "observed").start(1, nan="worst")
        assert batch.decide(0, f32(np.nan)).tolist() == [1]
        assert (batch.answer_node.tolist(), batch.answer_loss.tolist()) == ([0], [0.75])
        batch.decide(1, f32(0))
        assert (batch.answer_node.tolist(), batch.answer_loss.tolist()) == ([1], [0.75])

    @pytest.mark.parametrize(("observed", "answer"), [(True, 1), (False, 0)])
    def test_equal_losses_recall_the_smaller_signal_if_observed(self, observed: bool, answer: int) -> None:
        batch = ttamer.solve(self.model(observed), 0.5, "observed").start(2)
        batch.decide(0, f32(1.75, 1.25))
        batch.decide(1, f32(0.5, 0.5))
        assert batch.answer_node.tolist() == [answer, answer]
        later = ttamer.solve(self.model(observed), 0.5, "observed").start(1)
        later.decide(0, f32(0.75))  # state 0: 0.25
        assert later.answer_loss.tolist() == [0.25]
