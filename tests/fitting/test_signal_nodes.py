"""Nodes whose signal says nothing: their state is told by the signal of a node before them."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import assert_same_policy, serve
from hypothesis import given, settings
from hypothesis import strategies as st

import ttamer
from ttamer import Topology, Traces, reference
from ttamer._base import files

EXACT = {"smoothing": "mean", "loss_strength": 0.0, "transition_strength": 0.0}
SHAPES = {
    "line": Topology.line(4),
    "skip": Topology.skip(4),
    "dag": Topology.dag(6, [(-1, 1), (1, 0), (1, 4), (0, 2), (4, 2), (2, 3), (2, 5), (-1, 5)]),
    "forest": Topology.forest([-1, 0, 0, 1, -1]),
}


def router(topology: Topology) -> Traces:
    """Node 0 always knows which of two specialists is right; neither of these has a confidence."""
    right = np.random.default_rng(0).integers(0, 2, 400)
    signals = np.stack([right, np.full(400, 0.5), np.full(400, 0.5)], axis=1).astype(np.float32)
    losses = np.stack([np.ones(400), right == 0, right == 1], axis=1).astype(np.float32)
    return Traces(signals, losses, [1.0, 1.0, 1.0], topology)


@functools.cache
def some_traces(shape: str, telling: tuple[bool, ...], seed: int) -> Traces:
    """Losses that depend on what was shown before; nodes that are not `telling` always show the same."""
    topology, rng = SHAPES[shape], np.random.default_rng(seed)
    signals = rng.integers(0, 4, (60, topology.nodes)).astype(np.float32)
    losses = (rng.random(signals.shape) * 4 > signals.mean(axis=1, keepdims=True)).astype(np.float32)
    signals[:, ~np.array(telling)] = 2.5
    return Traces(signals, losses, rng.integers(1, 4, len(topology.edges)) / 10, topology)


def paths_of(topology: Topology) -> list[list[int]]:
    """Every path from the root, to every node."""
    following = {i: [j for j, _ in reference.successors(topology, i)] for i in range(-1, topology.nodes)}

    def onward(path: list[int]) -> list[list[int]]:
        return [path, *(longer for j in following[path[-1]] for longer in onward([*path, j]))]

    return [path[1:] for path in onward([-1]) if path[1:]]


class TestRouter:
    @pytest.mark.parametrize(
        "topology", [Topology.dag(3, [(-1, 0), (0, 1), (0, 2)]), Topology.forest([-1, 0, 0])], ids=["dag", "forest"]
    )
    def test_asks_the_right_one(self, topology: Topology) -> None:
        traces = router(topology)
        model = ttamer.fit(traces, **EXACT)
        assert model.signal_nodes == (0, 0, 0)
        policy = ttamer.solve(model, 0.95)
        assert policy.signal_nodes == (0, 0, 0)
        assert (policy.replay(traces).error, policy.expected_loss) == (0.0, 0.0)
        served = serve(policy, traces.signals)
        np.testing.assert_array_equal(served["answer_node"], policy.replay(traces).answer_node)

    def test_shrunk_as_usual(self) -> None:
        assert ttamer.frontier(router(Topology.dag(3, [(-1, 0), (0, 1), (0, 2)])))[-1].error == 0.0

    @pytest.mark.filterwarnings("ignore:fit. the signal of node")  # which is true, and not what is looked at
    def test_two_specialists_that_may_be_asked_first_keep_a_state_each(self) -> None:
        topology = Topology.dag(3, [(-1, 0), (-1, 1), (0, 1), (0, 2)])
        traces = router(Topology.forest([-1, 0, 0]))
        with pytest.warns(UserWarning, match=r"^fit: at trade-off 0\.8 the model promises a loss of 0\.2\d+ where"):
            model = ttamer.fit(Traces(traces.signals, traces.losses, [1.0] * 4, topology))
        assert model.signal_nodes == (0, 1, 0)


def test_a_last_model_without_confidence() -> None:
    """What is promised is what the same rows give, to the last digit."""
    rng = np.random.default_rng(1)
    hard = rng.random(2000)
    losses = np.stack([rng.random(2000) < hard, rng.random(2000) < 0.9 * hard**2], axis=1).astype(np.float32)
    signals = np.stack([1 - hard, np.ones(2000)], axis=1).astype(np.float32)
    traces = Traces(signals, losses, [0.1, 1.0])
    model = ttamer.fit(traces, bins=20, **EXACT)
    assert model.signal_nodes == (0, 0)
    for tradeoff in (0.3, 0.6, 0.8, 0.95):
        policy = ttamer.solve(model, tradeoff)
        replay = policy.replay(traces)
        assert policy.expected_loss == pytest.approx(replay.error, abs=1e-12)
        assert policy.expected_cost == pytest.approx(replay.mean_cost, abs=1e-12)


@pytest.mark.filterwarnings("ignore:fit. the signal of node")  # which is true, and not what is looked at
@pytest.mark.parametrize("shape", SHAPES)
@settings(max_examples=30)
@given(st.data())
def test_as_the_reference_says(shape: str, data: st.DataObject) -> None:
    topology = SHAPES[shape]
    telling = tuple(data.draw(st.lists(st.booleans(), min_size=topology.nodes, max_size=topology.nodes)))
    traces = some_traces(shape, telling, data.draw(st.integers(0, 20)))
    model = ttamer.fit(traces, bins=8, smoothing="mean")
    nodes = reference.signal_nodes(paths_of(topology), telling)
    assert model.signal_nodes == tuple(nodes)
    for j, (source, losses) in enumerate(zip(nodes, model.losses, strict=True)):
        np.testing.assert_array_equal(model.bin_edges[j], model.bin_edges[source])
        states = reference.states(traces.signals[:, source], model.bin_edges[source])
        counts = np.bincount(states, minlength=len(losses)).astype(np.float64)
        sums = np.bincount(states, traces.losses[:, j], len(losses))
        np.testing.assert_allclose(losses, reference.state_losses(counts, sums, 4.0), atol=1e-12)
    policy = ttamer.solve(model, data.draw(st.sampled_from([0.5, 0.8, 0.95])))
    tables = reference.solve(
        topology, model.losses, model.transitions, model.costs, policy.tradeoff, policy._core.recall, model.cost_scale
    )
    expected = reference.replay(tables, model.bin_edges, traces, observed=False, signal_nodes=nodes)
    replay = policy.replay(traces)
    for name in ("last_node", "answer_node", "cost", "loss"):
        np.testing.assert_allclose(getattr(replay, name), expected[name], atol=1e-12)
    if shape != "forest":
        served = serve(policy, traces.signals)
        np.testing.assert_array_equal(served["last_node"], replay.last_node)
        np.testing.assert_array_equal(served["answer_node"], replay.answer_node)


def test_rows_in_any_order_at_several_nodes_at_once() -> None:
    traces = some_traces("line", (True, False, True, False), 3)
    policy = ttamer.solve(ttamer.fit(traces, bins=8, smoothing="mean"), 0.95)
    replay, rng = policy.replay(traces), np.random.default_rng(5)
    batch = policy.start(len(traces))
    ahead = np.zeros(len(traces), np.int32)
    last = np.full(len(traces), -1, np.int32)
    while len(open_rows := np.flatnonzero(ahead != ttamer.STOP)):
        rows = rng.permutation(open_rows)[: rng.integers(1, 40)]
        nodes = ahead[rows].copy()
        last[rows] = nodes
        ahead[rows] = batch.decide(nodes, traces.signals[rows, nodes], rows)
    np.testing.assert_array_equal(last, replay.last_node)


def test_a_refused_call_changes_nothing() -> None:
    traces = some_traces("line", (True, False, False, True), 1)
    policy = ttamer.solve(ttamer.fit(traces, bins=8, smoothing="mean"), 0.99)
    batch, twin = policy.start(2), policy.start(2)
    shown = [np.array([3, 3], np.float32), np.array([2.5, 2.5], np.float32)]
    assert batch.decide(0, shown[0]).tolist() == twin.decide(0, shown[0]).tolist() == [1, 1]
    with pytest.raises(ValueError, match="row 0 is repeated"):
        batch.decide(1, shown[1], np.array([0, 0]))
    with pytest.raises(ValueError, match="signals: NaN at position 1"):
        batch.decide(1, np.array([2.5, np.nan], np.float32))
    with pytest.raises(IndexError, match="rows: expected 0 to 1, got 7"):
        batch.decide(1, shown[1], np.array([0, 7]))
    np.testing.assert_array_equal(batch.decide(1, shown[1]), twin.decide(1, shown[1]))
    np.testing.assert_array_equal(batch.answer_loss, twin.answer_loss)


def test_a_source_that_showed_nothing_tells_its_worst_state() -> None:
    traces = some_traces("line", (True, False, False, False), 1)
    model = ttamer.fit(traces, bins=8, smoothing="mean")
    policy = ttamer.solve(model, 0.99)
    worst = float(np.append(-1.0, model.bin_edges[0])[reference.worst_state(model.losses[0])])
    batch, twin = policy.start(1, "worst"), policy.start(1)
    node, shown, told = 0, np.nan, worst
    while node != ttamer.STOP:
        (ahead,) = batch.decide(node, np.array([shown], np.float32)).tolist()
        assert twin.decide(node, np.array([told], np.float32)).tolist() == [ahead]
        node, shown, told = ahead, 2.5, 2.5
    np.testing.assert_array_equal(batch.answer_loss, twin.answer_loss)


def test_shards_add() -> None:
    traces = some_traces("line", (True, False, True, False), 2)
    whole = ttamer.fit(traces, bins=4, smoothing="mean")
    first, second = (ttamer.fit(traces[rows], like=whole) for rows in (slice(0, 25), slice(25, None)))
    both = first + second
    assert both.signal_nodes == whole.signal_nodes == (0, 0, 2, 2)
    for a, b in zip(both.transitions, whole.transitions, strict=True):
        np.testing.assert_array_equal(a, b)
    other = ttamer.fit(some_traces("line", (True, True, True, True), 2), bins=4, smoothing="mean")
    with pytest.raises(ValueError, match="models add only with the same topology and bin edges"):
        whole + other


class TestFiles:
    def test_come_back(self, tmp_path: Path) -> None:
        traces = some_traces("forest", (True, False, True, False, True), 2)
        model = ttamer.fit(traces, bins=4)
        model.save(tmp_path / "m")
        again = ttamer.CascadeModel.load(tmp_path / "m")
        assert again.signal_nodes == model.signal_nodes == (0, 0, 2, 0, 4)
        policy = ttamer.solve(model, 0.9)
        policy.save(tmp_path / "p")
        loaded = ttamer.Policy.load(tmp_path / "p")
        assert loaded.signal_nodes == policy.signal_nodes
        assert_same_policy(loaded, policy)
        assert_same_policy(ttamer.solve(again, 0.9), policy)

    @pytest.mark.parametrize("telling", [(True, True), (True, False)])
    def test_an_older_reader_refuses_what_it_would_decide_otherwise(self, telling: tuple[bool, bool]) -> None:
        signals = np.array([[0, 1], [1, 2], [2, 3]], np.float32) * np.array(telling, np.float32)
        model = ttamer.fit(Traces(signals, np.zeros((3, 2), np.float32), [1, 1]))
        for made, kind in ((model, "model"), (ttamer.solve(model, 0.5), "policy")):
            fields, arrays = files.from_bytes(made._to_bytes(), kind, 2, "f")
            assert (fields["version"], "signal_nodes" in arrays) == ((1, False) if all(telling) else (2, True))

    @pytest.mark.parametrize(
        ("table", "message"),
        [
            (np.array([0, 2, 2], np.int32), "the signal of node 2 cannot tell the state of node 1"),
            (np.array([0, 7, 2], np.int32), "the signal of node 7 cannot tell the state of node 1"),
            (np.array([1, 1, 1], np.int32), "the signal of node 1 cannot tell the state of node 0"),
            (np.array([0, 0, 1], np.int32), "the signal of node 1 cannot tell the state of node 2"),
            (np.array([0, 0], np.int32), r"\(signal_nodes: expected"),
            (np.array([0.0, 0.0, 2.0]), r"\(signal_nodes: expected"),
        ],
    )
    def test_hostile_ones(self, table: Any, message: str) -> None:
        signals = np.random.default_rng(0).random((50, 3)).astype(np.float32)
        signals[:, 1] = 0
        model = ttamer.fit(Traces(signals, np.zeros((50, 3), np.float32), [1, 1, 1]), bins=3)
        for made, kind in ((model, "model"), (ttamer.solve(model, 0.5), "policy")):
            fields, arrays = files.from_bytes(made._to_bytes(), kind, 2, "f")
            fields = {name: value for name, value in fields.items() if name not in ("kind", "version")}
            arrays["signal_nodes"] = table
            with pytest.raises((ValueError, TypeError), match=f"f: not a valid {kind} .*{message}|{message}"):
                type(made)._from_bytes(files.to_bytes(kind, 2, fields, arrays), "f")


def test_what_cannot_be_kept_is_said() -> None:
    """Where other paths lead to a specialist too, and what it loses depends on the router; everything seen keeps it."""
    known = router(Topology.line(3))
    several = Traces(known.signals, known.losses, np.ones(6), Topology.skip(3))
    message = (
        r"^fit: the signal of node 1 tells nothing, and what node 0 told before it, on which its loss depends, is not"
    )
    with pytest.warns(UserWarning, match=message):
        ttamer.fit(several, 4)
    assert ttamer.frontier(several)[-1].error == 0
    # Where nothing is forgotten, or it would change nothing, a warning would be an error here.
    for topology in (Topology.dag(3, [(-1, 0), (0, 1), (0, 2)]), Topology.forest([-1, 0, 0]), Topology.line(3)):
        ttamer.fit(router(topology), 4)
    ttamer.fit(several._with(signals=np.zeros_like(several.signals)), 4)
    ttamer.fit(several._with(losses=np.random.default_rng(0).integers(0, 2, (400, 3)).astype(np.float32)), 4)
