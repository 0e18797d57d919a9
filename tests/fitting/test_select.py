"""What ``estimate="auto"`` chooses, and what it means for `frontier`."""

from __future__ import annotations

import numpy as np
import pytest
from evidence_cases import graded, independent, nested
from helpers import random_traces

import ttamer
from ttamer import Topology, Traces
from ttamer._base.hull import mixing_shares, spending
from ttamer.fitting import choosing
from ttamer.fitting.budgets import default_budgets
from ttamer.fitting.choosing import Choice

PLAIN = "signal logit_margin platt"


def chosen(traces: Traces) -> Choice:
    return choosing.choose(traces)[0]


class TestChoose:
    def test_posterior_where_nodes_know_different_things(self) -> None:
        assert chosen(independent(600)) == Choice("posterior")

    def test_signal_where_the_history_is_noise(self) -> None:
        assert chosen(nested(400)) == Choice("signal", "logit_margin", "platt")

    def test_a_forest_prefers_the_posterior(self) -> None:
        assert chosen(independent(300, forest=True)) == Choice("posterior")

    def test_seeds_and_folds_are_deterministic(self) -> None:
        traces = independent(120)
        offered = choosing.candidates(traces)
        first, again = (choosing.cross_validated(traces, offered, 8, 3) for _ in range(2))
        assert all((first[choice] == again[choice]).all() for choice in offered)

    def test_progress_tells_every_part(self) -> None:
        told: list[str] = []
        choosing.choose(independent(60), 4, progress=told.append)
        assert len(told) == 5 * 2
        assert told[:2] == [
            "cross-validate signal logit_margin platt, fold 1 of 5",
            "cross-validate posterior, fold 1 of 5",
        ]

    def test_what_was_compared_is_kept_with_the_chosen_one_first(self) -> None:
        choice, rows = choosing.choose(independent(600))
        assert [row.name for row in rows] == [str(choice), PLAIN]
        assert (rows[0].behind, rows[0].error) == (0, 0)
        assert rows[1].behind == pytest.approx(rows[1].loss - rows[0].loss)
        assert rows[1].behind > rows[1].error > 0
        assert choosing.choose(independent(300, forest=True))[1] == ()

    @pytest.mark.parametrize(
        ("traces", "expected"),
        [
            (independent(49), ["signal"]),
            (random_traces(Topology.line(3), 100, 0), ["signal", "sets"]),
            (random_traces(Topology.forest([-1, 0]), 100, 0), ["signal", "sets"]),
            (random_traces(Topology.line(3), 100, 0, observed=True), ["signal"]),
            (independent(50), [PLAIN, "posterior"]),
            (independent(50, topology=Topology.skip(3)), [PLAIN, "posterior"]),
            (independent(50, 9, topology=Topology.skip(9)), [PLAIN]),
            (independent(50, 7, topology=Topology.skip(7)), [PLAIN, "posterior"]),
            (independent(50, 8, topology=Topology.skip(8)), [PLAIN]),
            (independent(50, 32), [PLAIN]),
            (independent(50, forest=True), ["posterior"]),
            (independent(50, 7, forest=True), ["posterior"]),
        ],
    )
    def test_candidates(self, traces: ttamer.Traces, expected: list[str]) -> None:
        assert [str(choice) for choice in choosing.candidates(traces)] == expected

    @pytest.mark.parametrize("scale", [1e-3, 1.0, 5574.0])
    def test_graded_losses_are_chosen_for_alike(self, scale: float) -> None:
        """What is offered and what is chosen do not depend on the unit of losses."""
        traces = graded(independent(600), scale)
        assert choosing.candidates(traces) == choosing.candidates(independent(600))
        assert chosen(traces) == Choice("posterior")
        assert chosen(graded(nested(400), scale)).is_plain
        forest = graded(independent(300, forest=True), scale)
        assert chosen(forest) == Choice("posterior")

    def test_the_recorded_signal_does_not_matter(self) -> None:
        """The one without a softmax is compared, whichever was recorded; its smoothing is the curve."""
        traces = independent(60)
        for kind in ("entropy", "", "logit_margin"):
            assert choosing.candidates(traces._with(signal=kind)) == choosing.candidates(traces)

    def test_losses_are_those_of_rows_held_back(self) -> None:
        """Where every exit is right, or wrong, no estimate changes the loss."""
        traces = independent(60)
        for value in (0.0, 1.0):
            same = traces._with(losses=np.full_like(traces.losses, value))
            losses = choosing.cross_validated(same, choosing.candidates(same), 4, 0)
            for loss in losses.values():
                np.testing.assert_allclose(loss, value, atol=1e-12)
            assert chosen(same) == Choice("signal", "logit_margin", "platt")


class TestFrontier:
    def test_says_what_was_chosen(self) -> None:
        traces = independent(600)
        front = ttamer.frontier(traces, [0.5, 0.9, 0.99])
        assert front.estimate == "posterior"
        assert front.model.estimator.kind == "posterior"
        assert repr(front).endswith("estimate='posterior')")
        assert front[-1].error == front[-1].policy.replay(traces).error

    def test_decides_on_the_signal_that_was_chosen(self) -> None:
        traces = nested(400).with_signal("margin")
        kind = chosen(traces).signal
        assert kind == "logit_margin"
        front = ttamer.frontier(traces, [0.5, 0.9, 0.99])
        policy = front[-1].policy
        assert (front.estimate, policy.signal, traces.signal) == ("signal", kind, "margin")
        assert policy == ttamer.frontier(traces.with_signal(kind), [0.5, 0.9, 0.99], model=front.model)[-1].policy
        found, expected = policy.replay(traces), policy.replay(traces.with_signal(kind))
        np.testing.assert_array_equal(found.last_node, expected.last_node)
        assert front[-1].error == expected.error
        stated = Traces(traces.with_signal(kind).signals, traces.losses, traces.costs, signal=kind)
        np.testing.assert_array_equal(policy.replay(stated).last_node, expected.last_node)
        bare = Traces(traces.signals, traces.losses, traces.costs, signal="margin")
        with pytest.raises(ValueError, match=rf"^signal: {kind} needs evidence, and these traces have none"):
            policy.replay(bare)

    def test_a_shard_is_read_as_the_model_reads(self) -> None:
        traces = nested(400)
        model = ttamer.fit(traces[:200].with_signal("logit_margin"), 8)
        shard = ttamer.fit(traces[200:], like=model)
        same = ttamer.fit(traces[200:].with_signal("logit_margin"), like=model)
        assert ttamer.solve(model + shard, 0.9) == ttamer.solve(model + same, 0.9)

    def test_without_evidence_it_is_the_signal(self) -> None:
        front = ttamer.frontier(random_traces(Topology.forest([-1, 0, 0]), 200, 0))
        assert (front.estimate, front.model.estimator) == ("signal", None)
        assert front.model.topology.kind == "forest"

    def test_takes_what_it_is_told(self) -> None:
        traces = independent(80, forest=True)
        front = ttamer.frontier(traces, [0.9], "posterior", bins=4, order=(1, 2))
        assert front[0].policy.walk == ((1,), (1, 2))
        assert ttamer.frontier(traces, [0.9], model=front.model)[0].policy == front[0].policy
        assert ttamer.fit(traces, "auto", "auto").estimator.kind == "posterior"


class TestBudgets:
    def test_range(self) -> None:
        line = random_traces(Topology.line(2), 5, 0)
        line = line._with(costs=np.array([1.0, 1.0]))
        assert default_budgets(line)[[0, -1]].tolist() == pytest.approx([1.5, 2.0])
        line = line._with(costs=np.array([0.1, 1.9]))
        assert default_budgets(line)[[0, -1]].tolist() == pytest.approx([0.2, 2.0])
        forest = random_traces(Topology.forest([-1, -1]), 5, 0)._with(costs=np.array([0.1, 2.0]))
        assert default_budgets(forest)[[0, -1]].tolist() == pytest.approx([0.15, 2.0])
        free = forest._with(costs=np.zeros(2))
        assert (np.diff(default_budgets(free)) > 0).all()

    def test_spending_mixes_neighbours_on_the_hull(self) -> None:
        cost, error = np.array([1.0, 2.0, 3.0, 2.5]), np.array([0.4, 0.2, 0.1, 0.3])
        assert spending(cost, error, np.array([1.5, 3.0, 9.0])).tolist() == pytest.approx([1 / 6, 1 / 6, 2 / 3, 0])
        assert mixing_shares(np.array([1.0, 2.0]), np.array([0.5, 1.25])).tolist() == [[1.0, 0.75], [0.0, 0.25]]
