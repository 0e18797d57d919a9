"""Drawings and pictures of policies over sets of models: of many steps those that most requests reach."""

from __future__ import annotations

import pytest
from matplotlib.patches import FancyArrowPatch
from set_traces import recorded, sets_of

import ttamer
from ttamer import plots
from ttamer._base.types import ROOT
from ttamer.plots import drawing
from ttamer.plots.drawing import MOST_STEPS, Facts

pytest.importorskip("sklearn", reason="needs the fit extra")

NAMES = ["tiny", "small", "a large language model", "$large$", "huge"]


@pytest.fixture(scope="module")
def policy() -> ttamer.Policy:
    return ttamer.solve(ttamer.fit(recorded(models=5, nodes=NAMES), estimate="sets"), 0.98)


@pytest.fixture(scope="module")
def unnamed() -> ttamer.Policy:
    traces = recorded(models=4, context=False)
    assert traces.nodes is None
    return ttamer.solve(ttamer.fit(traces, estimate="sets"), 0.98)


class TestFacts:
    def test_the_most_visited_steps_each_after_another(self, policy: ttamer.Policy) -> None:
        facts = Facts.of(policy)
        visits = facts.visits
        assert visits is not None
        assert len(facts.drawn) > MOST_STEPS
        edges = policy.steps.edges.tolist()
        for most in (1, 5, MOST_STEPS):
            steps = facts.few(most)
            assert len(steps) == most
            assert all(any(i in (ROOT, *steps) for i, j in edges if j == step) for step in steps)
            # Whatever is left out and could be drawn has no more visits than the least of what was added after it.
            ahead = {j for i, j in edges if i in (ROOT, *steps)} - set(steps)
            last = min(steps, key=lambda step: visits[step])
            others = [step for step in steps if step != last]
            rivals = {j for j in ahead if any(i in (ROOT, *others) for i, to in edges if to == j)}
            assert all(visits[j] <= visits[last] for j in rivals)

    def test_what_is_left_out_is_said(self, policy: ttamer.Policy) -> None:
        facts = Facts.of(policy)
        count = policy.steps.nodes
        assert facts.left_out(list(range(count))) == ""
        silent = count - len(facts.drawn)
        assert (
            facts.left_out(facts.drawn)
            == f"{silent} of {count} steps are left out: no request is expected to reach them."
        )
        assert facts.stops is not None
        steps = facts.few(3)
        share = 1 - facts.stops[steps].sum()
        assert share > 0.01
        assert (
            facts.left_out(steps)
            == f"{count - 3} of {count} steps are left out: {share:.0%} of the requests stop there."
        )

    def test_a_part_has_its_edges_and_costs(self, policy: ttamer.Policy) -> None:
        facts = Facts.of(policy)
        steps = facts.few(6)
        part, edges = facts.part(steps)
        assert part.topology.edges.tolist() == [
            [steps.index(i) if i != ROOT else ROOT, steps.index(j)] for i, j in policy.steps.edges[edges].tolist()
        ]
        assert part.costs is not None
        assert part.costs.tolist() == policy.costs[edges].tolist()
        assert part.names == tuple(facts.names[step] for step in steps)
        last = sets_of(policy).walk.last.tolist()
        assert part.models == tuple(["topic", *NAMES][last[step]] for step in steps)

    def test_few_steps_and_plain_policies_are_whole(self, unnamed: ttamer.Policy) -> None:
        plain = ttamer.solve(ttamer.fit(recorded(), 8), 0.9)
        assert Facts.of(plain).few(2) == [0, 1, 2, 3]
        assert Facts.of(unnamed).few(unnamed.steps.nodes) == list(range(unnamed.steps.nodes))


class TestPictures:
    def test_topology(self, policy: ttamer.Policy) -> None:
        facts = Facts.of(policy)
        steps = facts.few(MOST_STEPS)
        figure = plots.topology(policy)
        axes = figure.axes[0]
        written = [text.get_text() for text in axes.texts]
        part, edges = facts.part(steps)
        assert len([patch for patch in axes.patches if isinstance(patch, FancyArrowPatch)]) == len(edges)
        assert {name for name in written if ">" in name} == {name for name in part.names if ">" in name}
        below = [text.split("\n")[0] for text in written if "%" in text]
        assert part.models is not None
        short = {"a large language model": "a large languag…", "$large$": r"\$large\$"}
        assert below == [short.get(name, name) for name in part.models]
        notes = figure.texts[0].get_text().replace("\n", " ")
        assert "0,1>2: node 2, consulted after 0 and 1 in either order." in notes
        assert notes.endswith(facts.left_out(steps))

    def test_index(self, policy: ttamer.Policy) -> None:
        facts = Facts.of(policy)
        steps = facts.few(MOST_STEPS)
        figure = plots.index(policy)
        assert len(figure.axes) == MOST_STEPS
        titles = [axes.get_title().splitlines()[0] for axes in figure.axes]
        assert titles[0] == "node 0 (topic)"
        assert all(title.startswith(f"node {facts.names[step]} (") for title, step in zip(titles, steps, strict=True))
        (legend,) = figure.legends
        reading = "0,1>2: node 2, consulted after 0 and 1 in either order."
        assert legend.get_title().get_text().replace("\n", " ") == f"{facts.left_out(steps)} {reading}"
        assert [axes.get_xlabel() for axes in figure.axes] == ["state"] * MOST_STEPS
        labels = [text.get_text() for text in legend.get_texts()]
        assert len(set(labels)) == len(labels) <= 1 + len(NAMES)
        assert labels[0] == "stop"
        assert {label.removeprefix("consult ") for label in labels[1:]} <= {
            "tiny", "small", "a large languag…", r"\$large\$", "huge",
        }  # fmt: skip

    def test_steps_of_one_node_have_one_colour(self, unnamed: ttamer.Policy) -> None:
        figure = plots.index(unnamed)
        labels = [text.get_text() for text in figure.legends[0].get_texts()]
        assert set(labels) <= {"stop", *(f"consult {node}" for node in range(4))}
        colours = [tuple(patch.get_facecolor()) for patch in figure.legends[0].get_patches()]
        assert len(set(colours)) == len(labels)
        bars = {bar.get_facecolor() for axes in figure.axes for bar in axes.patches}
        assert bars <= set(colours)
        assert figure.axes[0].get_title().startswith("node ")

    def test_nothing_is_said_where_all_is_drawn(self) -> None:
        policy = ttamer.solve(ttamer.fit(recorded(models=2, context=False), estimate="sets"), 0.98)
        assert policy.steps.nodes <= MOST_STEPS
        for figure in (plots.index(policy), plots.topology(policy)):
            texts = [*figure.texts, *(legend.get_title() for legend in figure.legends)]
            assert not any("left out" in text.get_text() for text in texts)

    def test_exits_and_the_index_name_the_nodes(self) -> None:
        traces = recorded(nodes=["a", "b", "c"])
        policy = ttamer.solve(ttamer.fit(traces, 8), 0.9)
        legend = plots.exits(ttamer.evaluate(policy, traces)).legends[0]
        assert [text.get_text() for text in legend.get_texts()] == ["0 (topic)", "1 (a)", "2 (b)", "3 (c)"]
        unknown = plots.exits(policy.replay(traces)).legends[0]
        assert [text.get_text() for text in unknown.get_texts()] == ["0", "1", "2", "3"]
        other = ttamer.evaluate(ttamer.solve(ttamer.fit(recorded(), 8), 0.9), recorded())
        both = plots.exits({"a": ttamer.evaluate(policy, traces), "b": other}).legends[0]
        assert [text.get_text() for text in both.get_texts()] == ["0", "1", "2", "3"]
        line = ttamer.Traces(traces.signals[:, 1:], traces.losses[:, 1:], [1, 2, 4], nodes=["a", "b", "c"])
        axes = plots.index(ttamer.solve(ttamer.fit(line, 4), 0.9, "observed")).axes[0]
        assert [label.get_text() for label in axes.get_yticklabels()] == [
            "node 0 (a)", "node 1 (b) after 0", "node 2 (c) after 1",
        ]  # fmt: skip


class TestText:
    def test_names_stand_beside_the_steps(self, policy: ttamer.Policy) -> None:
        rows = drawing.draw(policy, width=200).splitlines()
        assert rows[1] == f"{'root':{rows[0].index('successors')}}topic (0)"
        assert rows[2].startswith("0 (topic)")
        assert any(row.startswith("0>1 (tiny) ") for row in rows)
        assert "a large language model (4)" in rows[2]

    def test_without_names_there_are_numbers(self, unnamed: ttamer.Policy) -> None:
        rows = drawing.draw(unnamed, width=200).splitlines()
        assert rows[1].endswith("0 (1), 1 (2), 2 (4), 3 (8)")
        assert rows[2].split()[0] == "0"
        assert rows[2].endswith("0>1 (2), 0>2 (4), 0>3 (8)")
