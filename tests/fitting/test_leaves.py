"""Trees whose leaves are states."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ttamer.fitting.cells import Cell, ranked
from ttamer.fitting.leaves import FEWEST_ROWS, MOST_BINS, MOST_LEAVES, TREE_ROWS, Tree, cut, grown, quantile_cut

NUMBERS = st.lists(st.integers(-20, 20).map(lambda k: k / 4), max_size=30)


def check_shape(tree: Tree, leaves: int) -> None:
    """Children after their parent, each node but the first a child, each leaf another number."""
    inner = np.flatnonzero(tree.variables >= 0)
    children = np.concatenate([tree.left[inner], tree.right[inner]])
    assert sorted(children.tolist()) == list(range(1, len(tree.variables)))
    assert (tree.left[inner] > inner).all()
    assert (tree.right[inner] > inner).all()
    assert sorted(tree.left[tree.variables < 0].tolist()) == list(range(leaves))
    assert not tree.right[tree.variables < 0].any()


class TestCut:
    @given(NUMBERS.map(sorted), NUMBERS)
    def test_the_leaf_is_the_number_of_thresholds_below(self, thresholds: list[float], values: list[float]) -> None:
        levels = np.unique(np.array(thresholds))
        tree = cut(levels)
        check_shape(tree, len(levels) + 1)
        expected = [sum(level < value for level in levels) for value in values]
        assert tree.leaves_of(np.array(values).reshape(-1, 1)).tolist() == expected

    def test_renumbered(self) -> None:
        tree = cut(np.array([0.0, 1.0]))
        values = np.array([[-1.0], [0.5], [7.0]])
        other = tree.renumbered(np.array([2, 0, 1]))
        check_shape(other, 3)
        assert other.leaves_of(values).tolist() == [2, 0, 1]
        assert tree.leaves_of(values).tolist() == [0, 1, 2]

    @given(st.lists(st.booleans(), min_size=1, max_size=9).filter(any))
    def test_leaves_that_no_row_reaches_are_taken_away(self, reached: list[bool]) -> None:
        """A tree that grew on rounded values may have some, behind all others too; the others keep their rows."""
        count, full = len(reached), np.flatnonzero(reached)
        tree, leaves = cut(np.arange(count - 1.0)), np.repeat(full, 2).astype(np.int32)
        cell = Cell((0,), (0,), 1, np.zeros((1, 2)), tree, leaves, leaves * 0, 1.0 - leaves / 16)
        ranking = ranked(cell)
        assert ranking.leaves.tolist() == [k for k in range(len(full)) for _ in range(2)]
        check_shape(ranking.tree, len(full))
        assert ranking.tree.leaves_of(full[:, None] - 0.5).tolist() == list(range(len(full)))


class TestQuantileCut:
    @given(st.integers(1, 2000), st.integers(1, 300), st.integers(0, 100))
    def test_every_leaf_has_rows(self, rows: int, values: int, seed: int) -> None:
        estimates = np.random.default_rng(seed).integers(0, values, rows) / 7
        tree = quantile_cut(estimates)
        counts = np.bincount(tree.leaves_of(estimates[:, None]))
        check_shape(tree, len(counts))
        assert (counts > 0).all()
        assert len(counts) <= min(MOST_BINS, max(1, rows // FEWEST_ROWS))

    def test_thresholds_between_the_same_estimates_are_one(self) -> None:
        """The second third ends with the last of 26 equal estimates: its quantile lies between them and the next."""
        estimates = np.concatenate([np.linspace(0, 0.9, 24), np.ones(26), np.linspace(2, 3, 25)])
        assert np.bincount(quantile_cut(estimates).leaves_of(estimates[:, None])).tolist() == [50, 25]

    def test_of_one_value(self) -> None:
        assert quantile_cut(np.zeros(1000)).variables.tolist() == [-1]


class TestGrown:
    def test_it_tells_apart_what_differs(self) -> None:
        values = np.repeat([[0.0, 1.0], [0.0, 2.0], [3.0, 1.0]], 100, axis=0)
        outcomes = np.repeat([[0.1, 0.9], [0.5, 0.5], [0.9, 0.2]], 100, axis=0)
        tree = grown(values, outcomes, np.random.default_rng(0))
        check_shape(tree, 3)
        leaves = tree.leaves_of(values)
        assert [len(set(leaves[part].tolist())) for part in (slice(100), slice(100, 200), slice(200, 300))] == [1, 1, 1]
        assert len(set(leaves.tolist())) == 3

    @pytest.mark.parametrize("rows", [10, 50, 1000, 3 * TREE_ROWS])
    def test_leaves_are_few_and_large(self, rows: int) -> None:
        rng = np.random.default_rng(rows)
        values = rng.normal(size=(rows, 5))
        outcomes = 1 / (1 + np.exp(-values[:, :3] + values[:, 1:4]))
        tree = grown(values, outcomes, np.random.default_rng(0))
        counts = np.bincount(tree.leaves_of(values))
        check_shape(tree, len(counts))
        assert len(counts) <= MOST_LEAVES
        assert counts.min() >= 0.5 * min(rows, max(FEWEST_ROWS, rows // 250))
        again = grown(values, outcomes, np.random.default_rng(0))
        for name in ("variables", "thresholds", "left", "right"):
            np.testing.assert_array_equal(getattr(tree, name), getattr(again, name))

    def test_values_that_are_all_alike(self) -> None:
        tree = grown(np.ones((200, 4)), np.random.default_rng(0).random((200, 2)), np.random.default_rng(0))
        assert tree.variables.tolist() == [-1]
