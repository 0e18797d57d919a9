"""Nodes that inform and cannot answer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from exhaustive import enumerate_policy
from helpers import assert_same_policy, f32, i32, random_model, serve

import ttamer
from ttamer import reference
from ttamer._base import files

INF = np.inf
RECALL = ("observed", "none")


def router(**changes: Any) -> ttamer.CascadeModel:
    """A router that says easy or hard, each for half of the requests, and a cheap model, which can do the easy ones.

    Then a dear one, which can do all.
    """
    return ttamer.CascadeModel(
        ttamer.Topology.skip(3),
        losses=[[INF, INF], [0.0, 0.9], [0.1]],
        transitions=[[[0.5, 0.5]], [[0.5, 0.5]], [[1.0]], [[1.0, 0.0], [0.0, 1.0]], [[1.0]], [[1.0]]],
        costs=[0.0, 0.1, 0.5, 0.1, 0.5, 0.5],
        cost_scale=1.0,
        **changes,
    )


@pytest.mark.parametrize("recall", RECALL)
def test_a_router_says_whom_to_ask_first(recall: str) -> None:
    model = router(observed=False)
    policy = ttamer.solve(model, 0.5, recall)
    batch = policy.start(2)
    assert policy.first_node == 0
    assert batch.decide(0, f32(0, 1)).tolist() == [1, 2]
    assert batch.answer_node.tolist() == [-1, -1]
    assert batch.answer_loss.tolist() == [INF, INF]
    assert batch.decide(i32(1, 2), f32(0, 0)).tolist() == [-1, -1]
    assert batch.answer_node.tolist() == [1, 2]
    assert batch.answer_loss.tolist() == [0.0, 0.1]
    assert policy.expected_cost == pytest.approx(0.5 * 0.1 + 0.5 * 0.5)
    assert policy.expected_loss == pytest.approx(0.5 * 0.1)
    assert policy.value == pytest.approx(0.5 * (0.3 + 0.05))
    assert [row.sum() for row in policy.expected_stops] == pytest.approx([0, 0.5, 0.5])
    assert policy.losses(0).tolist() == [INF, INF]
    assert policy.actions(0)[1][-1] == (INF, 2)
    assert ttamer.price_of_no_recall(model, 0.5) == pytest.approx(1)


def test_a_verifier_of_an_earlier_answer() -> None:
    """Recall goes back over a probe; without recall its last word is that the dear model has to answer."""
    line = ttamer.Topology.line(3)
    # The model answers with a loss of 0.5, or so it seems; the verifier, for nothing, knows when it is right.
    losses, transitions = [[0.5], [INF, INF], [0.0]], [[[1.0]], [[0.5, 0.5]], [[1.0], [1.0]]]
    model = ttamer.CascadeModel(line, losses, transitions, [0.1, 0.0, [2.0, 0.25]], cost_scale=1.0)
    with_recall, without = (ttamer.solve(model, 0.5, recall) for recall in RECALL)
    batch = with_recall.start(2)
    assert batch.decide(0, f32(0, 0)).tolist() == [1, 1]
    assert batch.decide(1, f32(0, 1)).tolist() == [-1, 2]
    assert batch.answer_node.tolist() == [0, 0]
    assert with_recall.value == pytest.approx(0.5 * (0.1 + 0.5 * 0.5 + 0.5 * 0.25))
    np.testing.assert_allclose(with_recall.index(2), [2.0, 0.25])
    assert without.start(1).decide(0, f32(0)).tolist() == [-1]  # the verifier would cost the answer
    assert without.value == pytest.approx(0.5 * 0.6)


def test_without_recall_the_answer_waits_for_the_next_node() -> None:
    line = ttamer.Topology.line(3)
    model = ttamer.CascadeModel(
        line, [[0.9], [INF], [0.1]], [[[1.0]], [[1.0]], [[1.0]]], [0.1, 0.1, 0.1], cost_scale=1.0, observed=False
    )
    batch = ttamer.solve(model, 0.5, "none").start(1)
    seen = []
    for node in range(3):
        (follows,) = batch.decide(node, f32(0)).tolist()
        seen.append((follows, batch.answer_node.tolist(), batch.answer_loss.tolist()))
    assert seen == [(1, [0], [0.9]), (2, [0], [0.9]), (-1, [2], [0.1])]


def test_a_branch_of_probes_is_never_worth_it() -> None:
    forest = ttamer.Topology.forest([-1, -1, 1, -1])
    rows = [[[0.5, 0.5]], [[0.5, 0.5]], [[0.5, 0.5], [0.25, 0.75]], [[1.0]]]
    losses = [[0.5, 0.25], [INF, INF], [INF, INF], [0.0]]
    model = ttamer.CascadeModel(forest, losses, rows, [0.1, 0.0, 0.0, 0.3], cost_scale=1.0)
    policy = ttamer.solve(model, 0.5)
    assert [policy.index(node).tolist() for node in (1, 2)] == [[INF], [INF, INF]]
    assert policy.first_node == 3
    assert policy.value == pytest.approx(0.5 * 0.3)
    batch = policy.start(1)
    assert batch.decide(1, f32(0)).tolist() == [3]  # also where somebody has asked it
    assert batch.decide(2, f32(0)).tolist() == [3]
    assert batch.decide(3, f32(0)).tolist() == [-1]
    assert batch.answer_node.tolist() == [3]


def test_simulated_forests_end_with_answers() -> None:
    forest = ttamer.Topology.forest([-1, 0, 0, -1])
    model = random_model(forest, 3, seed=5, probes=(0, 3), cost_scale=1.0)
    policy = ttamer.solve(model, 0.7)
    outcome = enumerate_policy(policy, model)
    assert policy.expected_loss == pytest.approx(outcome.loss, abs=0.01)
    assert policy.expected_cost == pytest.approx(outcome.cost, abs=0.01)
    assert sum(float(row.sum()) for row in policy.expected_stops) == pytest.approx(1)


@pytest.mark.parametrize("nan", ["worst", "failed"])
@pytest.mark.parametrize("observed", [False, True])
@pytest.mark.parametrize("recall", RECALL)
def test_failed_probes_count_as_their_lowest_state(recall: str, observed: bool, nan: str) -> None:
    batch = ttamer.solve(router(observed=observed), 0.5, recall).start(2, nan=nan)
    assert batch.decide(0, f32(np.nan, 0)).tolist() == [1, 1]
    assert batch.answer_node.tolist() == [-1, -1]


@pytest.mark.parametrize("observed", [False, True])
def test_a_request_whose_nodes_failed_goes_on_past_probes(observed: bool) -> None:
    line = ttamer.Topology.line(4)
    losses, rows = [[0.2], [INF], [0.1], [INF]], [[[1.0]]] * 4
    model = ttamer.CascadeModel(line, losses, rows, [0.1, 9.0, 9.0, 9.0], cost_scale=1.0, observed=observed)
    policy = ttamer.solve(model, 0.5, "observed")
    assert policy.start(1).decide(0, f32(0)).tolist() == [-1]
    failed = policy.start(1, nan="failed")
    ends = [failed.decide(node, f32(signal)).tolist() for node, signal in enumerate([np.nan, 0, np.nan, 0])]
    assert ends == [[1], [2], [3], [-1]]  # nothing can answer any more
    assert failed.answer_node.tolist() == [-1]
    assert failed.answer_loss.tolist() == [INF]
    worst = policy.start(1, nan="worst")
    assert worst.decide(0, f32(np.nan)).tolist() == [-1]  # it is taken at the loss of its worst state
    assert worst.answer_node.tolist() == [0]


@dataclass(frozen=True)
class Rows:
    """What the reference reads of traces."""

    signals: npt.NDArray[np.float32]
    losses: npt.NDArray[np.float32]
    costs: npt.NDArray[np.float64]
    request_costs: None = None

    def __len__(self) -> int:
        return len(self.signals)


@pytest.mark.parametrize("observed", [False, True])
@pytest.mark.parametrize("recall", RECALL)
@pytest.mark.parametrize("kind", ["line", "skip", "dag", "forest"])
def test_replays_never_answer_with_one(kind: str, recall: str, observed: bool) -> None:
    if (kind, recall) == ("forest", "none"):
        return
    topology = {
        "line": ttamer.Topology.line(4),
        "skip": ttamer.Topology.skip(4),
        "dag": ttamer.Topology.dag(4, [(-1, 0), (0, 1), (0, 2), (1, 3), (2, 3)]),
        "forest": ttamer.Topology.forest([-1, 0, 0, -1]),
    }[kind]
    probes = (0, 2)
    model = random_model(topology, 3, seed=8, levels=3, probes=probes, cost_scale=1.0, observed=observed)
    policy = ttamer.solve(model, 0.9, recall)
    rng = np.random.default_rng(1)
    losses = rng.random((3000, 4)).astype(np.float32)
    losses[:, probes] = INF
    traces = Rows(rng.integers(0, 3, (3000, 4)).astype(np.float32), losses, model.costs)
    found = policy._core.replay(traces.signals, model.costs, losses)
    tables = reference.solve(topology, model.losses, model.transitions, model.costs, 0.9, recall == "observed", 1.0)
    expected = reference.replay(tables, model.bin_edges, traces, observed)
    for name, column in zip(("last_node", "answer_node", "cost", "loss"), found, strict=True):
        np.testing.assert_array_equal(column, expected[name])
    assert np.isfinite(found[3]).all()
    assert not set(found[1].tolist()) & set(probes)


@pytest.mark.parametrize("recall", RECALL)
def test_more_states_than_have_standings(recall: str) -> None:
    """Each state of the probe stands 32,767 times: another way of deciding, and the same decisions."""
    times = 32_767
    topology = ttamer.Topology.dag(4, [(-1, 0), (0, 1), (0, 2), (1, 2), (2, 3)])
    small = random_model(topology, 2, seed=4, probes=(0, 3), cost_scale=1.0, observed=False)
    losses = [np.full(2 * times, INF), *small.losses[1:]]
    transitions = [np.repeat(small.transitions[0] / times, times, axis=1)]
    transitions += [np.repeat(small.transitions[e], times, axis=0) for e in (1, 2)]
    edges = [np.arange(2 * times - 1) / times, *small.bin_edges[1:]]
    large = ttamer.CascadeModel(
        topology, losses, [*transitions, *small.transitions[3:]], small.costs, bin_edges=edges, cost_scale=1.0,
        observed=False,
    )  # fmt: skip
    few, many = (ttamer.solve(model, 0.9, recall) for model in (small, large))
    assert many.value == pytest.approx(few.value, rel=0, abs=1e-12)
    signals = np.random.default_rng(3).choice(f32(-0.5, 1.5), (500, 4))
    costs = small.costs
    for plain, one in zip(few._core.replay(signals, costs), many._core.replay(signals, costs), strict=True):
        np.testing.assert_array_equal(plain, one)
    plain, one = (serve(policy, signals) for policy in (few, many))
    for name, values in plain.items():
        np.testing.assert_array_equal(one[name], values)
    batches = few.start(500), many.start(500)
    nodes = np.where(np.arange(500) % 3 == 0, 1, 2).astype(np.int32)  # each row another one
    for asked, column in ((0, 0), (nodes, 1)):
        ahead = [batch.decide(asked, np.ascontiguousarray(signals[:, column])).tolist() for batch in batches]
        assert ahead[0] == ahead[1]
        np.testing.assert_array_equal(*(batch.answer_node for batch in batches))


@pytest.mark.parametrize("kind", ["line", "skip", "forest"])
def test_files(kind: str, tmp_path: Path) -> None:
    topology = ttamer.Topology.forest([-1, 0, -1]) if kind == "forest" else getattr(ttamer.Topology, kind)(3)
    model = random_model(topology, 3, seed=2, probes=(0,))
    model.save(tmp_path / "model")
    again = ttamer.CascadeModel.load(tmp_path / "model")
    assert [row.tolist() for row in again.losses] == [row.tolist() for row in model.losses]
    for recall in RECALL[: 1 if kind == "forest" else 2]:
        policy = ttamer.solve(model, 0.7, recall)
        policy.save(tmp_path / "policy")
        loaded = ttamer.Policy.load(tmp_path / "policy")
        assert_same_policy(loaded, policy)
        assert_same_policy(ttamer.solve(again, 0.7, recall), policy)


@pytest.mark.parametrize("recall", RECALL)
def test_a_file_that_would_end_without_an_answer_is_refused(recall: str) -> None:
    policy = ttamer.solve(router(), 0.5, recall)
    fields, arrays = files.from_bytes(policy._to_bytes(), "policy", 1, "f")
    fields = {name: value for name, value in fields.items() if name not in ("kind", "version")}
    arrays["interval_next"] = arrays["interval_next"].copy()
    arrays["interval_next"][arrays["interval_offsets"][1] - 1] = ttamer.STOP
    with pytest.raises(ValueError, match="f: not a valid policy .*node 0 cannot answer, and requests end there"):
        ttamer.Policy._from_bytes(files.to_bytes("policy", 1, fields, arrays), "f")


def test_a_file_without_a_node_that_can_answer_is_refused() -> None:
    policy = ttamer.solve(random_model(ttamer.Topology.forest([-1, 0]), 2, seed=1, probes=(0,)), 0.5)
    fields, arrays = files.from_bytes(policy._to_bytes(), "policy", 1, "f")
    fields = {name: value for name, value in fields.items() if name not in ("kind", "version")}
    arrays["ranks"] = np.full(4, len(arrays["levels"]) - 1, np.int32)
    with pytest.raises(ValueError, match="f: not a valid policy .*no node can answer"):
        ttamer.Policy._from_bytes(files.to_bytes("policy", 1, fields, arrays), "f")


def test_some_losses_of_inf_are_refused() -> None:
    for losses, got in (([INF, 0.5], "inf in state 0 and 0.5 in state 1"), ([0.5, INF], "0.5 in state 0 and inf in")):
        with pytest.raises(ValueError, match=rf"losses\[1\]: expected .* or inf in every state \(a probe\), got {got}"):
            ttamer.CascadeModel(ttamer.Topology.line(2), [[0.5], losses], [[[1.0]], [[0.5, 0.5]]], [1, 1])


@pytest.mark.parametrize("bad", [-INF, -0.5, np.nan])
def test_other_bad_losses_of_probes(bad: float) -> None:
    with pytest.raises(ValueError, match=rf"losses\[1\]: expected finite .* or inf .*, got {bad:g} in state 1"):
        ttamer.CascadeModel(ttamer.Topology.line(2), [[0.5], [INF, bad]], [[[1.0]], [[0.5, 0.5]]], [1, 1])


@pytest.mark.parametrize(
    ("topology", "probes", "message"),
    [
        (ttamer.Topology.line(1), (0,), "losses: no node can answer, that of node 0 is inf"),
        (ttamer.Topology.forest([-1, 0]), (0, 1), "losses: no node can answer, that of node 0 is inf"),
    ],
)
def test_cascades_without_an_answer_are_refused(
    topology: ttamer.Topology, probes: tuple[int, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        random_model(topology, 2, seed=0, probes=probes)


@pytest.mark.parametrize("recall", ["none", "observed"])
def test_requests_keep_away_from_dead_ends(recall: str) -> None:
    """A free probe that nothing follows, beside a node that answers: who asks it nevertheless has no answer."""
    dag = ttamer.Topology.dag(3, [(-1, 0), (0, 1), (0, 2)])
    tables = [[INF, INF], [INF], [0.5]], [[[0.5, 0.5]], [[1.0]], [[1.0]]]
    policy = ttamer.solve(ttamer.CascadeModel(dag, *tables, [0, 0, 1]), 0.7, recall)
    batch = policy.start(2)
    assert batch.decide(0, np.array([0, 1], np.float32)).tolist() == [2, 2]
    node = np.array([1, 2], np.int32)
    assert batch.decide(node, np.zeros(2, np.float32)).tolist() == [ttamer.STOP, ttamer.STOP]
    assert batch.answer_node.tolist() == [-1, 2]
    assert batch.answer_loss.tolist() == [INF, 0.5]


def test_places_where_an_answer_is_known_may_end_with_probes() -> None:
    assert random_model(ttamer.Topology.line(3), 2, seed=0, probes=(0, 2)) is not None
    assert random_model(ttamer.Topology.forest([-1, -1, 0]), 2, seed=0, probes=(1, 2)) is not None
