"""``ttamer show`` for every shape: the drawing, the tables, and JSON that leaves nothing out."""

from __future__ import annotations

import io
import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from helpers import random_model
from rich.console import Console

import ttamer
from ttamer.cli import main
from ttamer.cli.policy_tables import print_policy, states
from ttamer.cli.tables import print_model
from ttamer.plots import drawing

SHAPES = {
    "line": ttamer.Topology.line(3),
    "skip": ttamer.Topology.skip(4),
    "forest": ttamer.Topology.forest([-1, 0, 0, -1, 3]),
    "dag": ttamer.Topology.dag(4, [(-1, 0), (0, 1), (0, 2), (1, 3), (2, 3)]),
}


def policy_of(shape: str, states: int = 6) -> ttamer.Policy:
    return ttamer.solve(random_model(SHAPES[shape], states, seed=2, unit="ms"), 0.9, "observed")


def shown(policy: ttamer.Policy, *, every: bool = False, encoding: str = "utf-8") -> str:
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    print_policy(Console(file=file, width=80, markup=False, highlight=False), policy, "p.st", every)
    file.seek(0)
    return file.read()


def model_text(model: ttamer.CascadeModel) -> str:
    file = io.StringIO()
    print_model(Console(file=file, width=80), model)
    return file.getvalue()


def table(text: str, title: str) -> list[str]:
    """The rows under a title and the heads of the columns."""
    return text.partition(f"\n{title}\n")[2].partition("\n\n")[0].splitlines()[1:]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("every", [False, True])
def test_the_drawing_stands_above_the_states(shape: str, every: bool) -> None:
    policy = policy_of(shape)
    text = shown(policy, every=every)
    assert f"\nnodes\n{drawing.draw(policy)}\n\nnode 0 (6 states)\n" in text
    assert all(f"\nnode {node} (6 states)\n" in text for node in range(policy.topology.nodes))
    assert max(map(len, text.splitlines())) <= 80


@pytest.mark.parametrize("shape", SHAPES)
def test_a_terminal_without_unicode(shape: str) -> None:
    assert drawing.draw(policy_of(shape), ascii=True) in shown(policy_of(shape), encoding="ascii")


@pytest.mark.parametrize("shape", SHAPES)
def test_json_is_complete(
    shape: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    policy = policy_of(shape)
    policy.save("p.st")
    assert main(["show", "p.st", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert (figures["topology"], figures["unit"], figures["aggregation"]) == (shape, "ms", None)
    assert [[e["from"], e["to"]] for e in figures["edges"]] == policy.topology.edges.tolist()
    assert [e["cost"] for e in figures["edges"]] == policy.costs.tolist()
    index = {"-1": [{"index": figures["first_index"]}]}
    index |= {str(node): rows["states"] for node, rows in enumerate(figures["nodes"])}
    for i, j in policy.topology.edges.tolist():
        found = [state["index"].get(str(j)) for state in index[str(i)]]
        assert found == (policy.index(j).tolist() if shape in ("line", "forest") else [None] * len(found))
    for node, rows in enumerate(figures["nodes"]):
        assert [state["loss"] for state in rows["states"]] == policy.losses(node).tolist()
        assert [state["visits"] for state in rows["states"]] == policy.expected_visits[node].tolist()
        assert [state["stops"] for state in rows["states"]] == policy.expected_stops[node].tolist()
        steps = [[(step["best_loss_up_to"], step["next"]) for step in state["actions"]] for state in rows["states"]]
        assert steps == ([[]] * 6 if shape == "forest" else policy.actions(node))


@pytest.mark.parametrize(
    ("costs", "expected"),
    [
        ([1.0, 2.0, 3.0], True),
        ([1.5, 2.5, 3.4, 4.6], True),
        ([1.0, 2.0, 4.0], False),
        ([1.0, 3.0, 10.0], False),
        ([1.0, 1.0, 1.0], False),
        ([0.0, 1.0, 2.0], False),
        ([1.0, 2.0], False),
    ],
)
def test_costs_that_look_like_running_sums(costs: list[float], expected: bool) -> None:
    count = len(costs)
    line = ttamer.CascadeModel(ttamer.Topology.line(count), [[0.5]] * count, [[[1.0]]] * count, costs)
    note = "They are taken as what each node adds; if they are running sums, record np.diff(costs, prepend=0)."
    for text in (shown(ttamer.solve(line)), model_text(line)):
        assert (note in " ".join(text.split())) == expected
    forest = ttamer.CascadeModel(ttamer.Topology.forest([-1] * count), [[0.5]] * count, [[[1.0]]] * count, costs)
    assert "running" not in shown(ttamer.solve(forest))


class TestForest:
    def test_index_by_state_of_the_parent(self) -> None:
        policy = policy_of("forest")
        text = shown(policy, every=True)
        for node in (0, 3):
            assert f"index of node {node}    {policy.index(node)[0]:.4g}" in text
        for s, row in enumerate(table(text, "node 0 (6 states)")):
            indices = [f"{policy.index(child)[s]:.3g}" for child in (1, 2)]
            assert row.split()[-4:-2] == indices
        for s, row in enumerate(table(text, "node 3 (6 states)")):
            assert row.split()[-3] == f"{policy.index(4)[s]:.3g}"
        assert "opens: the nodes below that may still be worth consulting" in text
        assert "stop <= x" not in text

    def test_opens_what_may_be_worth_consulting(self) -> None:
        policy = policy_of("forest")
        assert {len(state.opens) for state in states(policy, 0)} == {0, 1, 2}
        for state in states(policy, 0):
            for child in (1, 2):
                assert (child in state.opens) == (policy.index(child)[state.number] < state.loss)
            assert state.opens == sorted(state.opens, key=state.index.__getitem__)
        rows = table(shown(policy, every=True), "node 0 (6 states)")
        for row, state in zip(rows, states(policy, 0), strict=True):
            opens = ", ".join(map(str, state.opens)) or "nothing"
            assert f" {opens} " in row

    def test_an_index_at_the_loss_opens_nothing(self) -> None:
        """A free child that can only be as good as its parent: its index is the parent's loss."""
        model = ttamer.CascadeModel(
            ttamer.Topology.forest([-1, 0]), [[0.5], [0.5, 0.75]], [[[1]], [[0.5, 0.5]]], [0, 0]
        )
        (state,) = states(ttamer.solve(model, 0.5), 0)
        assert (state.index, state.opens) == ({1: 0.5}, [])

    def test_states_that_open_the_same_share_a_line(self) -> None:
        policy = policy_of("forest", states=12)
        opened = [state.opens for state in states(policy, 0)]
        runs = 1 + sum(a != b for a, b in itertools.pairwise(opened))
        assert 1 < runs < 12
        assert len(table(shown(policy), "node 0 (12 states)")) == runs

    def test_many_children_have_tables_of_their_own(self) -> None:
        model = random_model(ttamer.Topology.forest([-1, 0, 0, 0, 0, 0, 0, 0]), 3, seed=1)
        policy = ttamer.solve(model, 0.9)
        text = shown(policy, every=True)
        assert max(map(len, text.splitlines())) <= 80
        blocks = text.split("\nnode 0: indices\n")[1:]
        assert len(blocks) == 2
        found = []
        for block in blocks:
            rows = [line.split()[1:] for line in block.partition("\n\n")[0].splitlines()[1:]]
            found.append(np.array(rows).T)
        expected = [[f"{value:.3g}" for value in policy.index(child)] for child in range(1, 8)]
        assert np.concatenate(found).tolist() == expected


def test_aggregation_is_named() -> None:
    policy = ttamer.solve(random_model(SHAPES["line"], 8, seed=2), 0.9, "observed", aggregate=3)
    assert policy.aggregation is not None
    expected = f"3 meta-states a node: {policy.aggregation.regret:.2g} worse than the exact policy"
    assert expected in shown(policy)
    assert "meta-states" not in shown(policy_of("line"))


def test_traces_are_no_policy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "traces.safetensors"
    ttamer.Traces(np.zeros((2, 2), np.float32), np.zeros((2, 2), np.float32), [1, 2]).save(path)
    assert main(["show", str(path)]) != 0
    said = " ".join(capsys.readouterr().err.split())
    assert "expected a policy file, got a zip archive, as Traces.save writes" in said
