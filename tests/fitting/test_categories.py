"""Nodes whose signal is a category: a state for each that is frequent, and one for all others."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ttamer
from ttamer import Topology, Traces, baselines, compare
from ttamer._base import files

TOPICS = ("law", "maths", "poetry", "rare")


def recorded(rows: int, seed: int = 0, topics: tuple[str, ...] = TOPICS, scores: bool = True) -> Traces:
    """A small model that knows law, and nothing of the rare topic; a large one that knows a bit of everything."""
    rng = np.random.default_rng(seed)
    topic = np.array(topics)[np.minimum(rng.geometric(0.4, rows) - 1, len(topics) - 1)]
    topic[rng.random(rows) < 0.01] = "rare"
    wrong = np.select([topic == "law", topic == "maths", topic == "rare"], [0.05, 0.5, 1.0], 0.7)
    losses = np.stack([rng.random(rows) < wrong, rng.random(rows) < 0.15], axis=1)
    costs = np.stack([rng.uniform(1, 2, rows), np.where(topic == "maths", 20.0, 5.0)], axis=1)
    shown = rng.random((rows, 2)) if scores else None
    return Traces.from_models(losses, costs, scores=shown, context={"topic": topic, "size": rng.random(rows)}, unit="c")


class TestFit:
    def test_each_category_is_a_state_and_others_the_last(self) -> None:
        traces = recorded(2000)
        model = ttamer.fit(traces, bins=8)
        names = traces.categories[0]
        assert model.categories == {0: names}
        assert len(model.losses[0]) == len(names) + 1
        model_of_small = model.state_costs[1]
        assert len(model_of_small) == len(names) + 1
        maths = names.index("maths")
        to_large = model.topology.edges.tolist().index([0, 2])
        assert model.state_costs[to_large][maths] > 15

    def test_a_rare_class_is_a_state_of_its_own_where_bins_suffice(self) -> None:
        traces = recorded(2000, topics=("law", "poetry"), scores=False)
        names = traces.categories[0]
        assert names[-1] == "rare"
        assert 0.003 < np.mean(traces.signals[:, 0] == len(names) - 1) < 0.02
        policy = ttamer.solve(ttamer.fit(traces, bins=len(names)), 0.9)
        after = {name: policy.actions(0)[k][-1][1] for k, name in enumerate(names)}
        assert after == {"law": 1, "poetry": 2, "rare": 2}
        assert policy.losses(1)[2] > 0.8

    def test_with_few_bins_the_rest_shares_the_last_state(self) -> None:
        traces = recorded(1000)
        model = ttamer.fit(traces, bins=2)
        assert model.categories == {0: traces.categories[0][:2]}
        assert len(model.losses[0]) == 3
        counts = np.bincount(np.minimum(traces.signals[:, 0], 2).astype(int))
        assert model._statistics is not None
        assert model._statistics.counts[0].tolist() == counts.tolist()
        assert len(ttamer.fit(traces, bins=1).losses[0]) == 2

    def test_the_frequency_is_that_of_the_rows_fitted_on(self) -> None:
        traces = recorded(1000)
        names = traces.categories[0]
        some = traces[np.flatnonzero((traces.signals[:, 0] >= 1) & (traces.signals[:, 0] < 3))]
        assert some.categories == traces.categories
        assert ttamer.fit(some, bins=8).categories == {0: names[1:3]}

    def test_states_told_by_a_category_have_means_and_no_curve(self) -> None:
        """Codes have no order: a curve over them would say that neighbours are alike."""
        traces = recorded(3000, scores=False)
        model = ttamer.fit(traces, bins=8, smoothing="platt", loss_strength=0)
        assert model.signal_nodes == (0, 0, 0)
        for code in range(len(traces.categories[0])):
            rows = traces.signals[:, 0] == code
            assert model.losses[1][code] == pytest.approx(traces.losses[rows, 1].mean())

    @pytest.mark.parametrize("scores", [True, False])
    @pytest.mark.parametrize("strength", [None, 0.0])
    def test_others_without_a_request_are_the_mean(self, scores: bool, strength: float | None) -> None:
        traces = recorded(500, scores=scores)
        assert (traces.signals[:, 0] < len(traces.categories[0])).all()
        with np.errstate(all="raise"):
            model = ttamer.fit(traces, bins=8, loss_strength=strength, transition_strength=strength)
            policy = ttamer.solve(model, 0.9)
        table = model.losses[1]
        assert np.isfinite(table).all()
        if not scores:
            assert table[-1] == pytest.approx(traces.losses[:, 1].mean())
        node = policy.start(1).decide(0, policy.codes(0, ["astrology"]))
        assert node[0] in (1, 2)
        assert policy.expected_visits[0][-1] == 0

    def test_a_node_that_answers_may_be_categorical(self) -> None:
        """A line: the signal of its first node is the class that it predicts."""
        rng = np.random.default_rng(0)
        classes = rng.integers(0, 3, 600)
        losses = np.stack([rng.random(600) < np.array([0.0, 0.9, 0.1])[classes], np.zeros(600)], 1).astype(np.float32)
        signals = np.stack([classes, np.ones(600)], axis=1).astype(np.float32)
        traces = Traces(signals, losses, [1, 2], categories={0: ["cat", "dog", "owl"]})
        model = ttamer.fit(traces)
        assert model.categories == {0: ("owl", "dog", "cat")}  # the most frequent one first
        assert model.losses[0].round(1).tolist() == [0.1, 0.9, 0, round(float(losses[:, 0].mean()), 1)]
        assert ttamer.solve(model, 0.8, recall="observed").replay(traces).error < 0.1


class TestOtherCodings:
    """One category is one state, wherever and in whatever order its traces were recorded."""

    def test_replays_go_by_name(self) -> None:
        policy = ttamer.solve(ttamer.fit(recorded(3000), bins=8), 0.9)
        test = recorded(400, seed=1)
        reverse = Traces(
            np.stack([len(test.categories[0]) - 1 - test.signals[:, 0], *test.signals[:, 1:].T], axis=1),
            test.losses,
            test.unit_costs["c"],
            test.topology,
            categories={0: test.categories[0][::-1]},
            unit="c",
        )
        expected, result = policy.replay(test), policy.replay(reverse)
        np.testing.assert_array_equal(result.last_node, expected.last_node)
        np.testing.assert_array_equal(result.cost, expected.cost)

    def test_unknown_names_are_others(self) -> None:
        policy = ttamer.solve(ttamer.fit(recorded(3000), bins=8), 0.9)
        test = recorded(50)
        strange = Traces.from_models(
            test.losses[:, 1:], [1, 5], context={"topic": ["astrology"] * 50}, scores=test.signals[:, 1:], unit="c"
        )
        first = {policy.actions(0)[-1][-1][1]}
        visited = set(policy.start(1).decide(0, policy.codes(0, ["astrology"])).tolist())
        assert visited == first
        assert set(policy.replay(strange).last_node.tolist()) <= {1, 2}

    def test_shards_in_another_coding_add_up(self) -> None:
        whole = recorded(2000)
        model = ttamer.fit(whole[:1200], bins=4)
        shard = whole[1200:]
        alone = Traces.from_models(
            shard.losses[:, 1:],
            shard.unit_costs["c"][:, 1:3],
            context={"topic": shard.context["topic"]},
            scores=shard.signals[:, 1:],
            unit="c",
        )
        added = model + ttamer.fit(alone, like=model)
        expected = model + ttamer.fit(shard, like=model)
        for found, table in zip(added.losses, expected.losses, strict=True):
            np.testing.assert_array_equal(found, table)
        assert added.categories == model.categories

    def test_models_of_other_categories_do_not_add(self) -> None:
        first, second = ttamer.fit(recorded(300), bins=3), ttamer.fit(recorded(300, topics=("x", "y", "z")), bins=3)
        with pytest.raises(ValueError, match="models add only with the same categories: fit the shard with like=model"):
            first + second

    def test_numbers_where_categories_were_fitted_and_the_other_way_round(self) -> None:
        traces = recorded(300)
        numbers = traces.with_context("size")
        by_name, by_number = (ttamer.solve(ttamer.fit(one, bins=4), 0.9) for one in (traces, numbers))
        numbers, traces = numbers._with(nodes=None), traces._with(nodes=None)
        with pytest.raises(ValueError, match="traces: expected categories as signals of node 0, got numbers"):
            by_name.replay(numbers)
        with pytest.raises(ValueError, match="traces: expected numbers as signals of node 0, got categories"):
            by_number.replay(traces)
        with pytest.raises(ValueError, match="traces: expected categories as signals of node 0, got numbers"):
            ttamer.fit(numbers, like=ttamer.fit(traces))
        with pytest.raises(ValueError, match="nodes: expected traces of one cascade"):
            recorded(300) + recorded(300).with_context("size")

    def test_comparisons_read_test_rows_as_calibration_rows(self) -> None:
        calibration, test = recorded(1000), recorded(300, seed=2)
        front = ttamer.frontier(calibration)
        curve = compare.curve_of_front(front, calibration, test)
        assert curve.settings[-1] == "always node 1"
        np.testing.assert_array_equal(curve.test_cost[0], front[0].policy.replay(test).cost)
        result = compare.run(calibration, test)
        assert result.full_cost > 0

    def test_tuning_fits_and_tests_by_name(self) -> None:
        traces = recorded(4000)
        policy = ttamer.tune(traces, max_error=0.3, bins=8, estimate="signal")
        assert policy.categories[0]
        assert ttamer.evaluate(policy, recorded(1000, seed=5)).error < 0.3
        policy = ttamer.tune(traces, max_error=0.3, estimate="sets")
        assert dict(policy.estimator.context)["topic"][:2] == traces.categories[0][:2]
        assert ttamer.evaluate(policy, recorded(1000, seed=5)).error < 0.3


class TestCodes:
    @pytest.fixture
    def policy(self) -> ttamer.Policy:
        return ttamer.solve(ttamer.fit(recorded(1000), bins=8), 0.9)

    def test_names_in_service(self, policy: ttamer.Policy) -> None:
        names = policy.categories[0]
        codes = policy.codes(0, [names[1], "astrology", None, "", np.nan, names[0]])
        assert codes.dtype == np.float32
        assert codes.tolist() == [1, len(names), len(names), len(names), len(names), 0]

    def test_a_batch_does_what_a_replay_does(self, policy: ttamer.Policy) -> None:
        test = recorded(64, seed=3)
        batch = policy.start(64)
        after = batch.decide(0, policy.codes(0, test.context["topic"].tolist()))
        replay = policy.replay(test)
        direct = after == replay.last_node
        assert (direct | ((after == 1) & (replay.last_node == 2))).all()

    @pytest.mark.parametrize(
        ("node", "names", "error", "message"),
        [
            (1, ["law"], ValueError, "node: expected one whose signal is a category, [0 (topic)], got 1 (model 0)"),
            (3, ["law"], IndexError, "node: expected 0 to 2, got 3"),
            (0, "law", TypeError, "names: expected a sequence of texts, got a str"),
            (0, ["law", 1], TypeError, "names: expected texts, got int at position 1"),
        ],
    )
    def test_what_is_refused(
        self, policy: ttamer.Policy, node: int, names: Any, error: type[Exception], message: str
    ) -> None:
        with pytest.raises(error, match=re.escape(message)):
            policy.codes(node, names)


class TestFiles:
    @pytest.mark.parametrize("scores", [True, False])
    def test_models_and_policies_keep_categories(self, scores: bool, tmp_path: Path) -> None:
        traces = recorded(400, scores=scores)
        model = ttamer.fit(traces, bins=3)
        model.save(tmp_path / "model")
        loaded = ttamer.CascadeModel.load(tmp_path / "model")
        assert loaded.categories == model.categories
        policy = ttamer.solve(loaded, 0.9)
        policy.save(tmp_path / "policy")
        again = ttamer.Policy.load(tmp_path / "policy")
        assert again == policy
        assert again.categories == model.categories
        np.testing.assert_array_equal(again.replay(traces).last_node, policy.replay(traces).last_node)
        assert len((loaded + ttamer.fit(traces, like=loaded)).losses[0]) == 4

    def test_stated_models_have_them_too(self, tmp_path: Path) -> None:
        model = ttamer.CascadeModel(
            Topology.line(2),
            [[np.inf] * 3, [0.5, 0.1]],
            [[[0.5, 0.3, 0.2]], [[0.5, 0.5], [0.1, 0.9], [0.4, 0.6]]],
            [0, 1],
            categories={0: ["a", "b"]},
        )
        model.save(tmp_path / "model")
        assert ttamer.CascadeModel.load(tmp_path / "model").categories == {0: ("a", "b")}
        assert ttamer.solve(model, 0.5).codes(0, ["b", "c"]).tolist() == [1, 2]

    @pytest.mark.parametrize(
        ("categories", "message"),
        [
            ([["a"]], "categories: expected names by node, got [['a']]"),
            ({"0": "ab"}, "categories: expected names by node, got {'0': 'ab'}"),
            ({"x": ["a"]}, "invalid literal"),
            ({"7": ["a"]}, "categories: expected 0 to 2, got 7"),
            ({"0": ["a", 1]}, "categories[0]: expected a str, got int"),
            ({"0": ["a"]}, "categories[0]: expected one state a name and one for others, got 1 names and 5 states"),
        ],
    )
    @pytest.mark.parametrize("kind", ["model", "policy"])
    def test_files_with_other_names(self, kind: str, categories: Any, message: str, tmp_path: Path) -> None:
        model = ttamer.fit(recorded(400), bins=4)
        written = model if kind == "model" else ttamer.solve(model, 0.9)
        fields, arrays = files.from_bytes(written._to_bytes(), kind, 3, "f")
        assert fields.pop("kind") == kind
        assert fields.pop("version") == 3
        (tmp_path / "f").write_bytes(files.to_bytes(kind, 3, {**fields, "categories": categories}, arrays))
        with pytest.raises(ValueError, match=re.escape(message)):
            type(written).load(tmp_path / "f")

    def test_numbers_without_names_need_no_new_version(self) -> None:
        model = ttamer.fit(recorded(400).with_context("size")._with(nodes=None), bins=4)
        assert files.from_bytes(model._to_bytes(), "model", 3, "f")[0]["version"] < 3

    def test_names_and_states_that_do_not_fit(self) -> None:
        with pytest.raises(
            ValueError,
            match=re.escape("categories[0]: expected one state a name and one for others, got 1 names and 1"),
        ):
            ttamer.CascadeModel(Topology.line(1), [[0.5]], [[[1.0]]], [1], categories={0: ["a"]})


@pytest.mark.parametrize(
    ("categories", "changes", "error", "message"),
    [
        ([["a"]], {}, TypeError, "categories: expected a mapping of nodes to names, got list"),
        ({2: ["a"]}, {}, IndexError, "categories: expected 0 to 1, got 2"),
        ({0: "ab"}, {}, TypeError, "categories[0]: expected a sequence of names, got a str"),
        ({0: ["a", "a"]}, {}, ValueError, "categories[0]: expected names that differ, got ['a', 'a']"),
        ({0: ["a"]}, {}, ValueError, "signals: expected codes 0 to 1 of the categories of node 0, got 2 at row 2"),
        ({0: ["a", "b"]}, {"observed": True}, ValueError, "categories: expected none with observed losses"),
    ],
)
def test_what_traces_refuse(categories: Any, changes: Any, error: type[Exception], message: str) -> None:
    signals = np.array([[0, 0], [1, 0], [2, 0]], np.float32)
    with pytest.raises(error, match=re.escape(message)):
        Traces(signals, signals, [1, 1], categories=categories, **changes)


def test_thresholds_on_codes_are_refused() -> None:
    traces = Traces(np.zeros((3, 2), np.float32), np.zeros((3, 2), np.float32), [1, 2], categories={0: ["a"]})
    with pytest.raises(
        ValueError, match="traces: threshold needs signals that are numbers, those of node 0 are categories"
    ):
        baselines.threshold(traces, 0.5)


def test_reliability_needs_confidences(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from ttamer import plots

    traces = Traces(np.zeros((3, 2), np.float32), np.zeros((3, 2), np.float32), [1, 2], categories={0: ["a"]})
    with pytest.raises(
        ValueError, match="traces: expected confidences as signals of nodes that answer, got categories"
    ):
        plots.reliability(traces, tmp_path / "r.png")
    plots.reliability(recorded(200), tmp_path / "r.png")


def test_as_many_categories_as_bins_keep_a_state_each() -> None:
    rng = np.random.default_rng(0)
    subjects = [f"subject {k}" for k in range(57)]
    drawn = rng.choice(subjects, 3000, p=rng.dirichlet(np.ones(57)))
    losses = (rng.random((3000, 2)) < 0.3).astype(float)
    traces = Traces.from_models(losses, [1, 5], context={"subject": drawn})
    model = ttamer.fit(traces, bins=57)
    assert len(model.categories[0]) == len(set(drawn.tolist()))
    assert len(model.losses[0]) == len(set(drawn.tolist())) + 1
