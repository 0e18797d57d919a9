"""Traces of several models on the same requests, and what is known before any is asked."""

from __future__ import annotations

import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import ttamer
from ttamer import STOP, Topology, Traces
from ttamer.traces.signals import NOTHING

NAN = np.nan
LOSSES = np.array([[1.0, 0.0], [0.0, 0.0], [NAN, 1.0]])


class TestWithoutContext:
    def test_a_skip_whose_edges_cost_what_the_model_costs_that_they_lead_to(self) -> None:
        traces = Traces.from_models(LOSSES, [1, 3], nodes=["small", "large"], unit="usd")
        assert traces.topology == Topology.skip(2)
        assert traces.topology.edges.tolist() == [[-1, 0], [-1, 1], [0, 1]]
        assert traces.costs.tolist() == [1, 3, 3]
        assert (traces.unit, traces.nodes) == ("usd", ("small", "large"))
        np.testing.assert_array_equal(traces.losses, LOSSES)

    def test_costs_of_each_request_and_in_several_units(self) -> None:
        costs = np.array([[1.0, 2.0], [3.0, NAN], [5.0, 6.0]])
        traces = Traces.from_models(LOSSES, {"usd": costs, "ms": [7, 8]})
        np.testing.assert_array_equal(traces.unit_costs["usd"], costs[:, [0, 1, 1]])
        assert traces.unit_costs["ms"].tolist() == [7, 8, 8]

    def test_a_model_was_consulted_where_its_loss_score_or_answer_is_recorded(self) -> None:
        losses = [[0.0, NAN], [NAN, NAN], [NAN, NAN]]
        traces = Traces.from_models(
            losses, [1, 1], scores=[[NAN, NAN], [0.5, NAN], [NAN, NAN]], answers=[[-1, -1], [-1, 4], [-1, -1]]
        )
        assert np.isnan(traces.signals).tolist() == [[False, True], [False, False], [True, True]]
        assert traces.predictions is not None
        assert traces.predictions.tolist() == [[-1, -1], [-1, 4], [-1, -1]]

    def test_a_model_without_any_score_is_constant_and_a_missing_one_is_the_lowest(self) -> None:
        scores = [[NAN, 0.9], [NAN, NAN], [NAN, -7.0]]
        traces = Traces.from_models(np.zeros((3, 2)), [1, 1], scores=scores)
        assert traces.signals[:, 0].tolist() == [NOTHING] * 3
        assert Traces.from_models(np.zeros((3, 2)), [1, 1]).signals.tolist() == [[NOTHING] * 2] * 3
        assert traces.signals[:, 1].tolist() == [np.float32(0.9), NOTHING, -7]
        assert traces.complete.all()

    @pytest.mark.parametrize("smoothing", ["platt", "mean"])
    def test_missing_scores_leave_the_mean_signals_of_states_as_they_are(self, smoothing: str) -> None:
        """They are the lowest state; a curve over the signals is one over those that were shown."""
        rng = np.random.default_rng(0)
        scores = rng.random((500, 1))
        losses = (rng.random((500, 1)) > scores).astype(float)
        missing = rng.random(500) < 0.1
        scores[missing] = NAN
        losses[missing] = 1
        model = ttamer.fit(Traces.from_models(losses, [1], scores=scores), bins=8, smoothing=smoothing)
        table = model.losses[0]
        assert np.all(np.diff(table[1:]) < 0.2)
        assert table[0] > 0.75
        assert table[-1] < 0.3

    def test_a_third_axis_of_one_score(self) -> None:
        traces = Traces.from_models(LOSSES, [1, 3], scores=np.ones((3, 2, 1)))
        assert traces.signals.shape == (3, 2)

    def test_right_and_wrong_as_bools(self) -> None:
        assert Traces.from_models(np.array([[True, False]]), [1, 1]).losses.tolist() == [[1, 0]]

    def test_the_logarithm_of_nothing_is_no_score(self) -> None:
        losses = np.array([[1.0, 0.0], [0.0, 1.0]])
        nan, inf = (Traces.from_models(losses, [1, 2], scores=[[0.5, none], [0.1, 0.2]]) for none in (np.nan, -np.inf))
        np.testing.assert_array_equal(nan.signals, inf.signals)
        with pytest.raises(ValueError, match=r"^scores: expected finite values, got -inf at row 0, model 1"):
            Traces.from_models(losses, [1, 2], scores=[[0.5, -1e300], [0.1, 0.2]])

    def test_a_column_of_inf_is_a_verifier(self) -> None:
        losses = np.array([[1.0, np.inf, 0.0], [0.0, np.inf, 0.0]])
        traces = Traces.from_models(losses, [1, 0.1, 3], scores=[[0.2, NAN, 1.0], [0.8, 0.9, 1.0]])
        assert traces.probes == (1,)
        assert np.isnan(traces.signals[:, 1]).tolist() == [True, False]


class TestContext:
    def test_a_probe_in_front_of_every_model(self) -> None:
        traces = Traces.from_models(LOSSES, [1, 3], context=[5, NAN, -2], answers=[[0, 1], [2, 2], [0, 0]])
        assert traces.topology == Topology.dag(3, [(-1, 0), (0, 1), (0, 2), (1, 2)])
        assert traces.costs.tolist() == [0, 1, 3, 3]
        assert traces.probes == (0,)
        assert traces.nodes == ("context", "model 0", "model 1")
        assert traces.signals[:, 0].tolist() == [5, NOTHING, -2]
        np.testing.assert_array_equal(traces.losses[:, 1:], LOSSES)
        assert traces.predictions is not None
        assert traces.predictions.tolist() == [[-1, 0, 1], [-1, 2, 2], [-1, 0, 0]]
        np.testing.assert_array_equal(traces.context["context"], [5, NAN, -2])
        assert traces.categories == {}

    def test_categories_by_frequency_and_then_by_name(self) -> None:
        traces = Traces.from_models(np.zeros((6, 1)), [1], context={"topic": ["b", "a", "c", "c", None, ""]})
        assert traces.categories == {0: ("c", "a", "b")}
        assert traces.signals[:, 0].tolist() == [2, 1, 0, 0, 3, 3]
        assert traces.context["topic"].tolist() == ["b", "a", "c", "c", "", ""]
        assert traces.nodes == ("topic", "model 0")

    def test_several_columns(self) -> None:
        context = {"length": np.array([3, 1, 2]), "topic": ["x", "y", NAN]}
        traces = Traces.from_models(LOSSES, [1, 3], context=context, nodes=["a", "b"])
        assert traces.signals[:, 0].tolist() == [3, 1, 2]
        assert list(traces.context) == ["length", "topic"]
        other = traces.with_context("topic")
        assert other.nodes == ("topic", "a", "b")
        assert other.categories == {0: ("x", "y")}
        assert other.signals[:, 0].tolist() == [0, 1, 2]
        np.testing.assert_array_equal(other.signals[:, 1:], traces.signals[:, 1:])
        back = other.with_context("length")
        assert back.categories == {}
        np.testing.assert_array_equal(back.signals, traces.signals)

    def test_a_table_of_columns(self) -> None:
        traces = Traces.from_models(LOSSES, [1, 3], context=[[1, "x"], [2, "x"], [3, None]])
        assert list(traces.context) == ["context 0", "context 1"]
        assert traces.with_context("context 1").categories == {0: ("x",)}
        assert list(Traces.from_models(LOSSES, [1, 3], context=np.ones((3, 1))).context) == ["context"]

    def test_rows_paths_and_pickles_keep_it(self) -> None:
        traces = Traces.from_models(LOSSES, [1, 3], context={"topic": ["x", "y", "y"], "size": [1, 2, 3]})
        some = traces[[2, 0]]
        assert some.context["topic"].tolist() == ["y", "x"]
        assert some.categories == {0: ("y", "x")}
        path = traces.path([2, 0], [3, 0])
        assert path.categories == {1: ("y", "x")}
        assert path.with_context("size").signals[:, 1].tolist() == [1, 2, 3]
        assert traces.path([1, 2], [1, 3]).categories == {}
        copy = pickle.loads(pickle.dumps(traces))
        assert copy.categories == traces.categories
        assert copy.context["size"].tolist() == [1, 2, 3]

    def test_files(self, tmp_path: Any) -> None:
        context = {"topic": ["x", "ü", None], "size": [1, NAN, 3], "tenant": ["t", "t", "t"]}
        traces = Traces.from_models(LOSSES, {"usd": [1, 3], "ms": [1, 1]}, context=context)
        for k, one in enumerate(
            [traces, traces.with_context("size"), traces[[2]], traces.path([0, 1], {"usd": [1, 1], "ms": [2, 2]})]
        ):
            path = tmp_path / f"{k}.npz"
            one.save(path)
            loaded = Traces.load(path)
            assert (loaded.nodes, dict(loaded.categories)) == (one.nodes, dict(one.categories))
            assert list(loaded.context) == list(one.context)
            for name in context:
                np.testing.assert_array_equal(loaded.context[name], one.context[name])
            np.testing.assert_array_equal(loaded.signals, one.signals)

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"category_names": None}, "missing: category_names"),
            ({"context_texts": None}, "missing: context_texts"),
            ({"category_nodes": np.array([9])}, "categories: expected 0 to 2, got 9"),
            ({"category_counts": np.array([3])}, "category_counts: expected those of 2 names of nodes, got [3]"),
            ({"category_counts": np.array([2.0])}, "category_nodes: expected numbers of nodes and of names"),
            ({"category_names": np.array(["x", "x"])}, "categories[0]: expected names that differ"),
            ({"category_names": np.array([1, 2])}, "category_names: expected texts, got (2,) int64"),
            ({"context_names": np.array(["a", "a"])}, "context: expected names that differ, numbers and texts"),
            ({"context_is_text": np.array([True, True])}, "context: expected 2 columns of 3, got (1, 3) and (1, 3)"),
            ({"context_numbers": np.full((1, 3), np.inf)}, "context['size']: expected finite values, got inf at row 0"),
            ({"ttamer_traces": np.array(9)}, "expected format 1 to 4, got 9"),
        ],
    )
    def test_damaged_files(self, changes: dict[str, Any], message: str, tmp_path: Path) -> None:
        path = tmp_path / "t.npz"
        Traces.from_models(LOSSES, [1, 3], context={"topic": ["x", "y", None], "size": [1, 2, 3]}).save(path)
        with np.load(path) as file:
            members = {**file, **changes}
        members = {name: value for name, value in members.items() if value is not None}
        members["contents"] = np.array(sorted(members.keys() - {"contents"}))
        np.savez(path, **members)
        with pytest.raises(ValueError, match=re.escape(f"{path}: not readable as traces: {message}")):
            Traces.load(path)

    @pytest.mark.parametrize(
        ("other", "message"),
        [
            ({"size": [1, 2, 3]}, "nodes: expected traces of one cascade"),
            ({"topic": [1, 2, 3]}, "traces: expected categories as signals of node 0, got numbers"),
            (
                {"topic": ["a", "b", "c"], "size": [1, 2, 3]},
                "context: expected the same columns in all traces, got ['topic']",
            ),
        ],
    )
    def test_other_contexts_do_not_join(self, other: dict[str, Any], message: str) -> None:
        first = Traces.from_models(LOSSES, [1, 3], context={"topic": ["a", "a", "b"]})
        with pytest.raises(ValueError, match=re.escape(message)):
            first + Traces.from_models(LOSSES, [1, 3], context=other)

    def test_joined(self) -> None:
        first = Traces.from_models(np.zeros((3, 1)), [1], context={"topic": ["a", "a", "b"]})
        second = Traces.from_models(np.zeros((4, 1)), [1], context={"topic": ["b", "b", "c", ""]})
        both = first + second
        assert both.categories == {0: ("b", "a", "c")}
        assert both.signals[:, 0].tolist() == [1, 1, 0, 0, 0, 2, 3]
        assert both.context["topic"].tolist() == ["a", "a", "b", "b", "b", "c", ""]


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        (
            {"losses": [0, 1]},
            ValueError,
            "losses: expected (N, n) numbers, a row a request and a column a model, got (2,)",
        ),
        ({"losses": -LOSSES}, ValueError, "losses: expected values >= 0, got -1.0 at row 0, node 0"),
        ({"losses": "right"}, TypeError, "losses: expected (N, n) numbers"),
        ({"costs": [1, 2, 3]}, ValueError, "costs: expected (2,) or (3, 2) numbers, one a model, got (3,) int64"),
        ({"costs": {"usd": [1]}}, ValueError, "costs['usd']: expected (2,) or (3, 2) numbers, one a model, got (1,)"),
        ({"costs": [1, -2]}, ValueError, "costs: expected values >= 0, got -2.0 at model 1"),
        ({"costs": [1, NAN]}, ValueError, "costs: expected finite values, got nan at model 1"),
        ({"costs": {}}, ValueError, "costs: expected at least one unit, got none"),
        (
            {"scores": np.ones((3, 2, 4))},
            ValueError,
            "scores: expected one a request and model, got 4; pass scores[:, :, 0], say",
        ),
        ({"scores": np.ones(3)}, ValueError, "scores: expected (3, 2) numbers like losses, got (3,) float64"),
        ({"scores": np.full((3, 2), np.inf)}, ValueError, "scores: expected finite values, got inf at row 0, model 0"),
        (
            {"answers": LOSSES},
            TypeError,
            "answers: expected (3, 2) integers like losses, codes of which equal ones are equal answers and -1 is "
            "none, got (3, 2) float64",
        ),
        (
            {"answers": [["a", "b"]] * 3},
            TypeError,
            "answers: expected (3, 2) integers like losses, the numbers of classes, got (3, 2) text; classes=False "
            "takes texts",
        ),
        (
            {"answers": [["a"]] * 3, "classes": False},
            ValueError,
            "answers: expected (3, 2) texts like losses, got (3, 1)",
        ),
        ({"answers": [[b"a", 1]] * 3, "classes": False}, TypeError, "answers: expected (3, 2) integers like losses"),
        ({"answers": np.full((3, 2), -2)}, ValueError, "answers: expected values >= -1, got -2 at row 0, model 0"),
        ({"nodes": ["a"]}, ValueError, "nodes: expected 2 names, one a node, got 1"),
        ({"context": [1, 2]}, ValueError, "context: expected (3,) numbers or texts, one a request, got (2,)"),
        ({"context": {}}, ValueError, "context: expected at least one column, got none"),
        (
            {"context": {"a": [NAN] * 3}},
            ValueError,
            "context: expected a value of 'a' for at least one request, got none",
        ),
        ({"context": ["", None, ""]}, ValueError, "context: expected a value of 'context' for at least one request"),
        ({"context": ["a", 1, None]}, TypeError, "context: expected numbers or texts, got both, 1 at row 1"),
        ({"context": [b"a", 1, 2]}, TypeError, "context: expected numbers or texts, got bytes at row 0"),
        ({"context": [1, np.inf, 2]}, ValueError, "context: expected finite values, got inf at row 1"),
        ({"context": [1, 10**400, 2]}, ValueError, "context: expected numbers that a float can hold"),
        ({"context": [[1], [1, 2], [3]]}, TypeError, "context: expected numbers or texts, got list at row 0"),
        ({"context": ["x" * 201, "y", "z"]}, ValueError, "context: expected at most 200 characters, got 201"),
        (
            {"context": {"b": [1, 2, 3]}, "nodes": ["a", "b"]},
            ValueError,
            "context: expected names that no model has, got 'b'",
        ),
    ],
)
def test_what_is_refused(changes: dict[str, Any], error: type[Exception], message: str) -> None:
    arguments = {"losses": LOSSES, "costs": [1, 3], **changes}
    with pytest.raises(error, match=re.escape(message)):
        Traces.from_models(**arguments)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, "costs: expected (5,) or (2, 5) numbers, one a model, got (2,) int64; {}"),
        ({"costs": {"usd": [1, 3]}}, "costs['usd']: expected (5,) or (2, 5) numbers, one a model, got (2,) int64; {}"),
        (
            {"costs": np.ones((5, 2))},
            "costs: expected (5,) or (2, 5) numbers, one a model, got (5, 2) float64; {} or costs.T",
        ),
        ({"costs": np.ones((2, 5)), "nodes": ["a", "b"]}, "nodes: expected 5 names, one a node, got 2; {}"),
        (
            {"costs": np.ones((2, 5)), "scores": np.ones((5, 2))},
            "scores: expected (2, 5) numbers like losses, got (5, 2) float64; {} or scores.T",
        ),
        (
            {"costs": np.ones(5), "answers": np.ones((5, 2), int)},
            "answers: expected (2, 5) integers like losses, got (5, 2) int32; {} or answers.T",
        ),
    ],
)  # fmt: skip
def test_tables_that_are_turned(changes: dict[str, Any], message: str) -> None:
    """Models came first where requests should."""
    turned = "losses have a row a request and a column a model, here (2, 5): if they are turned pass losses.T"
    with pytest.raises(ValueError, match=f"^{re.escape(message.format(turned))}$"):
        Traces.from_models(**{"losses": np.zeros((2, 5)), "costs": [1, 3], **changes})


def test_of_as_many_requests_as_models_nothing_is_said_to_be_turned() -> None:
    with pytest.raises(
        ValueError, match=r"^costs: expected \(2,\) or \(2, 2\) numbers, one a model, got \(3,\) int64$"
    ):
        Traces.from_models(np.zeros((2, 2)), [1, 2, 3])


def test_with_context_needs_a_column_and_a_node_that_shows_one() -> None:
    traces = Traces.from_models(LOSSES, [1, 3], context={"size": [1, 2, 3]})
    with pytest.raises(ValueError, match=re.escape("name: expected one of ['size'], got 'topic'")):
        traces.with_context("topic")
    with pytest.raises(
        ValueError, match=re.escape("traces: expected a node that shows the context, got nodes ['model 0']")
    ):
        traces.path([1], [1]).with_context("size")


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_a_replay_is_a_plain_loop_over_the_requests(data: st.DataObject) -> None:
    """Route by the context, then escalate by the score: what each request pays and loses, model by model."""
    rows, models = data.draw(st.integers(2, 8)), data.draw(st.integers(1, 3))

    def table(values: st.SearchStrategy[Any], kind: type) -> Any:
        return data.draw(arrays.arrays(kind, (rows, models), elements=values))

    losses = table(st.sampled_from([0.0, 0.5, 1.0]), float)
    scores = table(st.sampled_from([0.125, 0.5, 0.75, NAN]), float)
    costs = table(st.sampled_from([1.0, 2.0, 4.0]), float)
    topics = data.draw(st.lists(st.sampled_from(["a", "b", "c", None]), min_size=rows, max_size=rows))
    if not any(topics):
        topics[0] = "a"
    traces = Traces.from_models(losses, costs, scores=scores, context={"topic": topics})
    bins = data.draw(st.integers(1, 5))
    model = ttamer.fit(traces, bins=bins)
    policy = ttamer.solve(model, data.draw(st.sampled_from([0.3, 0.8, 0.95])))
    replay = policy.replay(traces)
    for row in range(rows):
        assert policy.first_node == 0
        node, paid, signals = 0, 0.0, {0: policy.codes(0, [topics[row]])[0]}
        while True:
            state = int((policy.bin_edges(node) <= signals[policy.signal_nodes[node]]).sum())
            _, after = policy.actions(node)[state][-1]
            if after == STOP:
                break
            node, paid = after, paid + costs[row, after - 1]
            score = scores[row, node - 1]
            has_scores = not np.isnan(scores[:, node - 1]).all()
            signals[node] = NOTHING if np.isnan(score) and has_scores else np.nan_to_num(score)
        assert replay.last_node[row] == replay.answer_node[row] == node
        assert replay.cost[row] == pytest.approx(paid)
        assert replay.loss[row] == losses[row, node - 1]


def test_a_missing_score_is_served_as_the_lowest() -> None:
    """Its answers may be good ones; NaN would stand for the worst state, -inf is what the traces hold."""
    rng = np.random.default_rng(0)
    scores = rng.random((2000, 2))
    losses = (rng.random((2000, 2)) > scores).astype(float)
    missing = rng.random(2000) < 0.3
    scores[missing, 0], losses[missing, 0] = NAN, 0
    traces = Traces.from_models(losses, [1, 5], scores=scores)
    policy = ttamer.solve(ttamer.fit(traces, bins=6), 0.9)
    replay = policy.replay(traces)
    batch = policy.start(2000)
    shown = np.where(np.isnan(scores), -np.inf, scores).astype(np.float32)
    following = batch.decide(0, shown[:, 0].copy())
    np.testing.assert_array_equal(following < 0, replay.last_node == 0)
    assert (following[missing] < 0).all()


def test_nodes_of_other_traces_with_a_context() -> None:
    """All names, that of the probe first: it shows that column."""
    losses, context = np.zeros((3, 2)), {"subject": ["law", "art", "law"], "size": [1, 2, 3]}
    traces = Traces.from_models(losses, [1, 2], context=context, nodes=["size", "small", "large"])
    assert traces.nodes == ("size", "small", "large")
    assert traces.signals[:, 0].tolist() == [1, 2, 3]
    assert traces.categories == {}
    again = Traces.from_models(losses, [1, 2], context=context, nodes=traces.with_context("subject").nodes)
    assert again.nodes == ("subject", "small", "large")
    assert again.categories == {0: ("law", "art")}
    with pytest.raises(ValueError, match="nodes: expected 2 names, one a node, got 3"):
        Traces.from_models(losses, [1, 2], context=context, nodes=["age", "small", "large"])


def test_answers_that_are_texts() -> None:
    """Equal texts are equal answers; an empty one is none."""
    said = [["yes", "no"], ["", "no"], [None, "maybe"]]
    traces = Traces.from_models(LOSSES, [1.0, 2.0], answers=said, classes=False)
    assert traces.predictions is not None
    numbers = traces.predictions.tolist()
    assert (numbers[1][0], numbers[2][0]) == (-1, -1)
    assert numbers[0][1] == numbers[1][1]
    assert len({numbers[0][0], numbers[0][1], numbers[2][1]}) == 3
    assert not traces.answer_classes
    with pytest.raises(TypeError, match=r"^answers: expected \(3, 2\) integers like losses"):
        Traces.from_models(LOSSES, [1.0, 2.0], answers=[["a", NAN], ["b", "a"], ["c", 1]], classes=False)
    more = Traces.from_models(LOSSES[:2], [1.0, 2.0], answers=np.array(said[:2], object), classes=False)
    np.testing.assert_array_equal(more.predictions[0] == more.predictions[0, 0], [True, False])
