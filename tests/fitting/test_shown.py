"""What models show, as columns: quantiles, categories, answers, and what is missing of them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from set_traces import recorded

from ttamer import Traces
from ttamer.fitting.shown import FEWEST_OF_CLASS, FURTHEST, MOST_CLASSES, MOST_KNOTS, Input, Shown
from ttamer.traces.signals import NOTHING

NAN = np.nan
SCORES = st.lists(st.integers(-100, 100), min_size=1, max_size=60)


def f32(values: object) -> np.ndarray:
    return np.array(values, np.float32)


class TestScores:
    def test_by_hand(self) -> None:
        """Four requests of three scores: the ranks 1, 2 and 3, and 4 of 5, and one that is missing."""
        shown = Input.of_numbers(f32([0.5, 0.1, 0.9, 0.5, NAN]))
        assert shown.knots.tolist() == [0.5, np.float32(0.9)]
        quantiles = np.array([1, 2.5, 4]) / 5
        columns = shown.of(f32([0.0, 0.1, 0.5, 0.7, 0.9, 5.0, NAN, -np.inf, NOTHING]))
        np.testing.assert_allclose(
            columns[[0, 1, 2, 3, 4, 5], 1] + 0.5, quantiles[[0, 0, 1, 1, 2, 2]], rtol=0, atol=1e-12
        )
        np.testing.assert_allclose(columns[[1, 2, 4], 0], np.log(quantiles / (1 - quantiles)), atol=1e-12)
        np.testing.assert_allclose(columns[:6, 2], [0, 0, 0, 0, 0.3, 0.3], atol=1e-12)
        assert columns[6:].tolist() == [[0, 0, 0, 1]] * 3
        assert columns[:6, 3].tolist() == [0] * 6

    @given(SCORES, SCORES, st.sampled_from([lambda x: x**3, np.exp2, lambda x: 1 / (1 + np.exp2(-x)), lambda x: x + 7]))
    def test_any_strictly_rising_change_changes_nothing(self, own, others, change) -> None:
        own, others = (np.unique(f32(part)) / 8 for part in (own, others))
        moved, moved_others = (f32(change(part.astype(np.float64))) for part in (own, others))
        everything = np.unique(np.concatenate([own, others]))
        if len(np.unique(f32(change(everything.astype(np.float64))))) < len(everything):
            return  # float32 does not tell the changed ones apart
        first, second = Input.of_numbers(own), Input.of_numbers(moved)
        np.testing.assert_array_equal(first.of(others), second.of(moved_others))

    def test_many_scores_have_few_knots(self) -> None:
        scores = f32(np.random.default_rng(0).normal(size=5000))
        shown = Input.of_numbers(scores)
        assert len(shown.knots) <= MOST_KNOTS
        counts = np.bincount(np.searchsorted(shown.knots, scores, side="right"))
        assert counts.min() > 0.8 * 5000 / (MOST_KNOTS + 1)
        assert abs(shown.values[0, 1] + 0.5) >= FURTHEST
        ranks = (np.argsort(np.argsort(scores)) + 1) / 5001
        assert np.abs(shown.of(scores)[:, 1] + 0.5 - ranks).max() < 0.01

    @pytest.mark.parametrize("scores", [[0.5] * 4, [NAN] * 4, [-np.inf] * 4, [NOTHING, NAN]])
    def test_constant_and_missing_ones_have_no_columns(self, scores: list[float]) -> None:
        shown = Input.of_numbers(f32(scores))
        assert shown.values.shape == (2, 0)
        assert shown.of(f32([0.1, NAN])).shape == (2, 0)

    def test_whether_a_score_is_there_is_shown_where_all_that_are_there_are_alike(self) -> None:
        shown = Input.of_numbers(f32([0.5, NAN, 0.5, NOTHING]))
        assert len(shown.knots) == 0
        columns = shown.of(f32([0.5, 9.0, NAN, -np.inf]))
        assert columns[:, 3].tolist() == [0, 0, 1, 1]
        assert np.isfinite(columns).all()


class TestCategories:
    def test_a_column_each_and_none_for_others(self) -> None:
        shown = Input.of_categories(3)
        assert shown.of(f32([0, 1, 2, 3, 7, NAN])).tolist() == [*np.eye(3).tolist(), *[[0] * 3] * 3]
        assert Input.of_categories(0).of(f32([0, 1])).shape == (2, 0)

    def test_rare_ones_are_others(self) -> None:
        topics = ["a"] * 30 + ["b"] * FEWEST_OF_CLASS + ["c"] * (FEWEST_OF_CLASS - 1) + [""]
        rows = len(topics)
        shown = Shown(Traces.from_models(np.zeros((rows, 1)), [1], context={"topic": topics}))
        assert shown.context == (("topic", ("a", "b")),)
        assert shown.columns((0,)).sum(axis=0).tolist() == [30, FEWEST_OF_CLASS]

    def test_all_columns_of_a_context(self) -> None:
        rows = 60
        context = {"a": np.arange(rows), "b": ["x", "y"] * 30, "c": np.full(rows, 5.0), "d": ["rare"] * 3 + [""] * 57}
        shown = Shown(Traces.from_models(np.zeros((rows, 2)), [1, 1], context=context))
        assert shown.context == (("a", None), ("b", ("x", "y")), ("c", None), ("d", ()))
        assert shown.tables["columns"].tolist() == [3, 2, 0, 0]
        assert shown.tables["input_offsets"].tolist() == [0, 4, 4, 4]
        assert shown.columns((0, 2)).shape == (rows, 5)


class TestAnswers:
    def answers(self, codes: object, **options: bool) -> Shown:
        said = np.array(codes).reshape(-1, 1)
        return Shown(Traces.from_models(np.zeros(said.shape), [1], answers=said, **options))

    def test_frequent_classes_have_columns(self) -> None:
        shown = self.answers([3] * 20 + [0] * 10 + [7] * 9 + [-1] * 40)
        assert shown.tables["classes"].tolist() == [-1, 0, 3]
        assert shown.columns((0,)).sum(axis=0).tolist() == [40, 10, 20]

    def test_who_gives_no_answer_shows_that(self) -> None:
        """Whatever answers mean; and however many there are."""
        for codes in ([3] * 50, np.arange(50), np.repeat(np.arange(MOST_CLASSES + 1), 10)):
            assert self.answers([*codes, *[-1] * 10], classes=False).tables["classes"].tolist() == [-1]
            assert not len(self.answers([*codes, *[-1] * 9], classes=False).tables["classes"])
        assert not len(self.answers([-1] * 50).tables["classes"])

    def test_none_where_they_are_one_or_too_many_or_mean_something_else_each_time(self) -> None:
        assert not len(self.answers([3] * 50 + [-1] * 5).tables["classes"])
        assert len(self.answers(np.repeat(np.arange(MOST_CLASSES), 10)).tables["classes"]) == MOST_CLASSES
        assert not len(self.answers(np.repeat(np.arange(MOST_CLASSES + 1), 10)).tables["classes"])
        assert not len(self.answers(np.repeat([1, 2], 50), classes=False).tables["classes"])

    def test_those_with_scores_are_also_multiplied(self) -> None:
        scores = np.random.default_rng(0).random((60, 1))
        said = np.repeat([[1], [2]], 30, axis=0)
        shown = Shown(Traces.from_models(np.zeros((60, 1)), [1], scores=scores, answers=said))
        columns = shown.columns((0,))
        assert columns.shape == (60, 3 + 2 + 2)
        np.testing.assert_array_equal(columns[:, 5:], columns[:, 3:5] * columns[:, :1])

    def test_agreement_of_each_two_models_that_answer(self) -> None:
        said = np.array([[1, 1, -1], [2, 3, -1], [-1, -1, -1], [4, 4, -1]] * 5)
        shown = Shown(Traces.from_models(np.zeros((20, 3)), [1] * 3, answers=said, classes=False))
        assert shown.agreeing.tolist() == [1, 1, 0]
        assert shown.columns((0, 1, 2))[:4].tolist() == [[1], [0], [0], [1]]
        assert shown.columns((0, 2)).shape == (20, 0)

    def test_rows_that_show_the_same_are_a_group(self) -> None:
        """Whatever it is made of: scores in one bin, answers, agreements."""
        traces = recorded(3, 300)
        scores = np.round(traces.signals, 1)
        shown = Shown(traces._with(signals=scores.astype(np.float32)))
        for nodes in ((0,), (1,), (0, 2), (0, 1, 3)):
            columns, groups = shown.columns(nodes), shown.groups(nodes)
            _, expected = np.unique(columns, axis=0, return_inverse=True)
            assert len(np.unique(groups)) == len(np.unique(expected))
            assert len(np.unique(np.stack([groups, expected.ravel()]), axis=1).T) == len(np.unique(groups))

    def test_many_models_that_are_compared_are_told_apart(self) -> None:
        said = np.random.default_rng(0).integers(0, 2, (400, 14))
        shown = Shown(Traces.from_models(np.zeros((400, 14)), np.ones(14), answers=said, classes=False))
        nodes = tuple(range(14))
        agreements = np.unique(shown.columns(nodes), axis=0)
        assert len(np.unique(shown.groups(nodes))) == len(agreements)

    def test_verdicts_of_a_verifier_are_shown(self) -> None:
        said = np.repeat([[0, 5], [1, 5]], 20, axis=0)
        shown = Shown(Traces.from_models(np.full((40, 2), [np.inf, 0.0]), [1, 1], answers=said))
        assert shown.columns((0,)).sum(axis=0).tolist() == [20, 20]


def test_a_context_before_models_and_a_verifier() -> None:
    traces = recorded(2, 100)
    losses = np.insert(traces.losses[:, 1:], 1, np.inf, axis=1)
    shown = Shown(Traces.from_models(losses, [1, 1, 1], context=dict(traces.context)))
    assert [name for name, _ in shown.context] == ["topic", "length"]
