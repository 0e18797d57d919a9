"""Trees over estimates: their leaves are the states of a policy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ttamer._base.types import Floats

MOST_LEAVES = 16
FEWEST_ROWS = 25
"""Of a leaf, and one row in 250."""
MOST_BINS = 24
"""Of the estimate of an answer, where nothing can be asked any more."""
TREE_ROWS = 4000
"""Estimates are smooth: so many rows place a dozen splits as well as all do."""


@dataclass(frozen=True)
class Tree:
    """A binary tree: a row goes left where its variable is at most the threshold, to a leaf, which has a number.

    Attributes
    ----------
    variables : (M,) int32
        -1 at a leaf.
    thresholds : (M,) float64
    left, right : (M,) int32
        Children; at a leaf its number and 0.
    """

    variables: npt.NDArray[np.int32]
    thresholds: Floats
    left: npt.NDArray[np.int32]
    right: npt.NDArray[np.int32]

    def leaves_of(self, values: Floats) -> npt.NDArray[np.int32]:
        """(N,) : the leaf of each row of values (N, v)."""
        places = np.zeros(len(values), np.intp)
        rows = np.arange(len(values))
        while True:
            variables = self.variables[places]
            inner = variables >= 0
            if not inner.any():
                return self.left[places]
            goes_left = values[rows, np.maximum(variables, 0)] <= self.thresholds[places]
            places = np.where(inner, np.where(goes_left, self.left[places], self.right[places]), places)

    def without(self, empty: npt.NDArray[np.bool_]) -> Tree:
        """The tree without some of its leaves, whose rows go where those next to them do; not all of them."""
        variables: list[int] = []
        thresholds: list[float] = []
        left: list[int] = []
        right: list[int] = []
        numbers = np.cumsum(~empty) - 1

        def is_empty(place: int) -> bool:
            if self.variables[place] < 0:
                return bool(empty[self.left[place]])
            return is_empty(self.left[place]) and is_empty(self.right[place])

        def grow(place: int) -> int:
            while self.variables[place] >= 0 and (is_empty(self.left[place]) or is_empty(self.right[place])):
                place = self.right[place] if is_empty(self.left[place]) else self.left[place]
            at, leaf = len(variables), self.variables[place] < 0
            variables.append(int(self.variables[place]))
            thresholds.append(float(self.thresholds[place]))
            left.append(int(numbers[self.left[place]]) if leaf else 0)
            right.append(0)
            if not leaf:
                left[at], right[at] = grow(self.left[place]), grow(self.right[place])
            return at

        grow(0)
        return Tree(
            np.array(variables, np.int32), np.array(thresholds), np.array(left, np.int32), np.array(right, np.int32)
        )

    def renumbered(self, numbers: npt.NDArray[np.intp]) -> Tree:
        """The same tree with other numbers of its leaves: leaf k becomes numbers[k]."""
        at_leaf = self.variables < 0
        left = np.where(at_leaf, numbers[np.where(at_leaf, self.left, 0)], self.left)
        return Tree(self.variables, self.thresholds, left.astype(np.int32), self.right)


def grown(values: Floats, outcomes: Floats, rng: np.random.Generator) -> Tree:
    """A small regression tree of outcomes (N, t) on values (N, v).

    Raises
    ------
    ImportError
        If scikit-learn is missing.
    """
    regressor = _new_regressor(max(FEWEST_ROWS, len(values) // 250) * min(1.0, TREE_ROWS / len(values)))
    if len(values) > TREE_ROWS:
        chosen = np.sort(rng.choice(len(values), TREE_ROWS, replace=False))
        values, outcomes = values[chosen], outcomes[chosen]
    tree = regressor.fit(values, outcomes).tree_
    at_leaf = tree.children_left < 0
    numbers = np.cumsum(at_leaf) - 1
    return Tree(
        np.where(at_leaf, -1, tree.feature).astype(np.int32),
        np.where(at_leaf, 0.0, tree.threshold),
        np.where(at_leaf, numbers, tree.children_left).astype(np.int32),
        np.where(at_leaf, 0, tree.children_right).astype(np.int32),
    )


def cut(thresholds: Floats) -> Tree:
    """A balanced tree that cuts its first variable at rising thresholds (k,); leaf j has j of them below it."""
    variables: list[int] = []
    levels: list[float] = []
    left: list[int] = []
    right: list[int] = []

    def grow(low: int, high: int) -> int:
        place = len(variables)
        middle = (low + high) // 2
        leaf = low == high
        variables.append(-1 if leaf else 0)
        levels.append(0.0 if leaf else float(thresholds[middle]))
        left.append(low if leaf else 0)
        right.append(0)
        if not leaf:
            left[place] = grow(low, middle)
            right[place] = grow(middle + 1, high)
        return place

    grow(0, len(thresholds))
    children = np.array(left, np.int32), np.array(right, np.int32)
    return Tree(np.array(variables, np.int32), np.array(levels), *children)


def quantile_cut(estimates: Floats) -> Tree:
    """`cut` at quantiles of estimates (N,)."""
    bins = min(MOST_BINS, max(1, len(estimates) // FEWEST_ROWS))
    thresholds = np.quantile(estimates, np.arange(1, bins) / bins)
    # Every leaf has rows: of thresholds between the same estimates one is enough. It lies half way between them, so
    # that an estimate that is served with another rounding is in the same leaf.
    ordered = np.sort(estimates)
    below = np.unique(np.searchsorted(ordered, thresholds, side="right"))
    below = below[below < len(estimates)]
    return cut((ordered[below - 1] + ordered[below]) / 2)


def _new_regressor(fewest: float) -> Any:
    try:
        from sklearn.tree import DecisionTreeRegressor
    except ImportError:
        raise ImportError('estimates need scikit-learn: pip install "ttamer[fit]"') from None
    return DecisionTreeRegressor(max_leaf_nodes=MOST_LEAVES, min_samples_leaf=max(2, round(fewest)), random_state=0)
