"""Traces with nodes that cannot answer, from the record to what is served."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ttamer
from ttamer import Topology, Traces

INF = np.float32(np.inf)
SHAPES = {
    "line": Topology.line(4),
    "skip": Topology.skip(4),
    "dag": Topology.dag(4, [(-1, 0), (0, 1), (0, 2), (1, 3), (2, 3)]),
    "forest": Topology.forest([-1, 0, 0, -1]),
}


def router(rows: int = 2_000, seed: int = 0) -> Traces:
    """A free router that is always right, and two specialists without a confidence, each right on its own kind."""
    rng = np.random.default_rng(seed)
    kind = rng.integers(0, 2, rows)
    signals = np.stack([kind, np.zeros(rows), np.zeros(rows)], axis=1).astype(np.float32)
    losses = np.stack([np.full(rows, INF), kind == 1, kind == 0], axis=1).astype(np.float32)
    return Traces(signals, losses, [0.0, 1.0, 1.0], Topology.dag(3, [(-1, 0), (0, 1), (0, 2)]))


def probed(shape: str, seed: int, rows: int = 300) -> Traces:
    """Random traces, node 0 a probe whose signal tells a little of the others' losses."""
    rng = np.random.default_rng(seed)
    topology = SHAPES[shape]
    hardness = rng.random((rows, 1))
    signals = (1 - hardness + rng.normal(0, 0.2, (rows, 4))).astype(np.float32)
    losses = (rng.random((rows, 4)) < hardness * [1, 0.9, 0.6, 0.3]).astype(np.float32)
    losses[:, 0] = INF
    return Traces(signals, losses, rng.random((rows, len(topology.edges))), topology, unit="ms")


def test_a_router_sends_each_kind_to_its_specialist() -> None:
    traces = router()
    policy = ttamer.solve(ttamer.fit(traces[:1_000]), 0.9)
    replay = policy.replay(traces[1_000:])
    assert replay.error == 0
    assert replay.mean_cost == 1
    np.testing.assert_array_equal(replay.answer_node, 1 + traces.signals[1_000:, 0])
    batch = policy.start(2)
    assert batch.decide(0, np.array([0, 1], np.float32)).tolist() == [1, 2]
    assert batch.answer_node.tolist() == [-1, -1]  # nothing has answered yet


@given(shape=st.sampled_from(sorted(SHAPES)), seed=st.integers(0, 10_000), tradeoff=st.floats(0.05, 0.99))
@settings(max_examples=60)
def test_a_replay_is_the_loop_that_serves(shape: str, seed: int, tradeoff: float) -> None:
    traces = probed(shape, seed, rows=40)
    policy = ttamer.solve(ttamer.fit(traces, 4), tradeoff)
    replay = policy.replay(traces)
    edges = {(i, j): e for e, (i, j) in enumerate(traces.topology.edges.tolist())}
    batch = policy.start(1)
    for row in range(len(traces)):
        batch.reset()
        before, node, paid = -1, policy.first_node, 0.0
        while node != ttamer.STOP:
            edge = node if shape == "forest" else edges[before, node]
            paid += traces.paid_costs[row, edge]
            before, node = node, int(batch.decide(node, traces.signals[row, node : node + 1])[0])
        assert replay.last_node[row] == before
        assert replay.answer_node[row] == batch.answer_node[0] > 0
        assert replay.cost[row] == pytest.approx(paid, rel=1e-12)
        assert replay.loss[row] == traces.losses[row, replay.answer_node[row]]


@pytest.mark.parametrize("shape", sorted(SHAPES))
def test_everything_that_follows_takes_them(shape: str, tmp_path: Path) -> None:
    traces = probed(shape, 1, rows=1_200)
    traces.save(tmp_path / "t.npz")
    traces = Traces.load(tmp_path / "t.npz")
    assert traces.probes == (0,)
    assert traces.complete.all()
    model = ttamer.fit(traces[:600], 8)
    assert np.isinf(model.losses[0]).all()
    model.save(tmp_path / "m.safetensors")
    whole = ttamer.fit(traces[:300], like=model) + ttamer.fit(traces[300:600], like=model)
    value = ttamer.solve(model).value
    assert ttamer.solve(whole).value == pytest.approx(value, rel=1e-12)
    assert ttamer.solve(ttamer.CascadeModel.load(tmp_path / "m.safetensors")).value == value
    front = ttamer.frontier(traces[:600])
    front[0].policy.save(tmp_path / "p.safetensors")
    report = ttamer.evaluate(ttamer.Policy.load(tmp_path / "p.safetensors"), traces[600:])
    assert report.answers[0] == 0
    assert 0 <= report.error <= 1
    assert report.full_error == pytest.approx(traces.losses[600:, 3].mean())
    tuned = ttamer.tune(traces, max_error=0.6)
    assert tuned.replay(traces).error < 0.6
    assert "cannot answer" in str(traces.summary())


class TestRefused:
    def test_a_node_that_answers_now_and_then(self) -> None:
        losses = np.array([[0, INF], [INF, INF]], np.float32)
        with pytest.raises(
            ValueError, match=r"^losses: expected finite values, or inf in every row .* got inf at row 1, "
        ):
            Traces(np.zeros((2, 2), np.float32), losses, [1, 1])

    @pytest.mark.parametrize(("nodes", "which"), [(1, "the only node"), (3, "all")])
    def test_nobody_who_answers(self, nodes: int, which: str) -> None:
        zeros = np.zeros((5, nodes), np.float32)
        with pytest.raises(
            ValueError, match=f"^losses: expected a node that can answer, the losses of {which} are inf$"
        ):
            Traces(zeros, zeros + INF, np.ones(nodes))
        if nodes > 1:
            with pytest.raises(ValueError, match="the losses of the only node are inf"):
                probed("line", 0).path([0], [1.0])

    def test_baselines_on_a_line_with_one(self) -> None:
        traces = probed("line", 0)
        with pytest.raises(ValueError, match=r"^traces: threshold needs nodes that can answer, 0 cannot; Traces.path"):
            ttamer.baselines.threshold(traces, 0.5)
        with pytest.raises(ValueError, match=r"^node: expected one that can answer, 0 cannot$"):
            ttamer.baselines.fixed_node(traces, 0)
        assert (ttamer.baselines.prophet(traces, 0.5).answer_node > 0).all()

    def test_shards_of_another_kind(self) -> None:
        traces = probed("line", 0)
        answers = np.where(np.isinf(traces.losses), np.float32(1), traces.losses)
        other = Traces(traces.signals, answers, traces.paid_costs, unit="ms")
        with pytest.raises(ValueError, match=r"^probes: expected traces of one cascade, got \(0,\) and \(\)$"):
            traces + other
        model = ttamer.fit(traces)
        with pytest.raises(ValueError, match="^models add only with the same .* kind of losses$"):
            model + ttamer.fit(other, like=model)
