"""What independent models show of requests, as columns of numbers that estimates are linear in."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt

from ttamer._base.types import ROOT, Floats
from ttamer.traces import Traces
from ttamer.traces.categories import Names, coded, codes_of
from ttamer.traces.context import signal_of
from ttamer.traces.signals import NOTHING

MOST_KNOTS = 127
"""Scores are told apart by so many of their quantiles."""
FURTHEST = 0.002
"""Quantiles beyond this and one less this count as these."""
KNEE = 0.7
"""Above this quantile estimates may bend."""
FEWEST_OF_CLASS = 10
"""An answer, or a category, that fewer requests have has no column."""
MOST_CLASSES = 32
"""Where more answers than this are frequent enough, none has a column: there are too few rows of each."""


def shows_context(traces: Traces) -> bool:
    """Whether node 0 is a probe in front that shows the context."""
    fronts = traces.topology.edges[traces.topology.edges[:, 0] == ROOT, 1].tolist()
    return bool(traces.context) and fronts == [0] and 0 in traces.probes


class Input:
    """One number that a node shows: its bins, and the columns that each bin stands for.

    Attributes
    ----------
    knots : (k,) float32
        The bin of a score is the number of these that are <= it; a missing score is in bin k + 1.
    values : (k + 2, w) float64
        Columns of each bin.
    """

    def __init__(self, knots: npt.NDArray[np.float32], values: Floats) -> None:
        self.knots, self.values = knots, values

    @classmethod
    def of_numbers(cls, scores: npt.NDArray[np.float32]) -> Input:
        """Columns free of scale: log-odds of the score's quantile, the quantile, a hinge, and whether it is missing.

        Any monotone change of a score changes nothing.
        """
        missing = _missing(scores)
        known = np.sort(scores[~missing])
        if not len(known) or (known[0] == known[-1] and not missing.any()):
            return cls(np.empty(0, np.float32), np.empty((2, 0)))
        places = np.linspace(0, len(known), MOST_KNOTS + 2)[1:-1].astype(np.intp)
        knots = np.unique(known if len(known) <= MOST_KNOTS else known[places])
        knots = knots[knots > known[0]]
        below = np.searchsorted(known, knots, side="left")
        edges = np.concatenate([[0], below, [len(known)]])
        quantiles = (edges[:-1] + edges[1:] + 1) / 2 / (len(known) + 1)
        quantiles = np.append(np.clip(quantiles, FURTHEST, 1 - FURTHEST), 0.5)
        columns = [np.log(quantiles / (1 - quantiles)), quantiles - 0.5, 3 * np.maximum(quantiles - KNEE, 0)]
        if missing.any():
            columns.append(np.arange(len(quantiles)) == len(quantiles) - 1)
        return cls(knots, np.stack(columns, axis=1, dtype=np.float64))

    @classmethod
    def of_categories(cls, count: int) -> Input:
        """A column for each code from 0 to `count` - 1; others have none."""
        values = np.concatenate([np.eye(count), np.zeros((2, count))])
        return cls(np.arange(1, count + 1, dtype=np.float32), values)

    def of(self, scores: npt.NDArray[np.float32]) -> Floats:
        """(N, w) : the columns of scores (N,)."""
        bins = np.searchsorted(self.knots, scores, side="right")
        return self.values[np.where(_missing(scores), len(self.knots) + 1, bins)]


def _missing(scores: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
    mask: npt.NDArray[np.bool_] = np.isnan(scores) | (scores <= NOTHING)
    return mask


class Shown:
    """Columns of all nodes of some traces, and the tables that make the same of requests that are served.

    Parameters
    ----------
    traces : Traces
        Of independent models, complete.

    Attributes
    ----------
    context : tuple of (str, tuple of str or None)
        Columns of the context, as `ttamer.model.set_estimators.SetEstimator.context`.
    """

    def __init__(self, traces: Traces) -> None:
        self.nodes = traces.topology.nodes
        self._answers = traces.predictions
        probe = shows_context(traces)
        self.context: tuple[tuple[str, Names | None], ...] = ()
        self._inputs: list[list[Input]] = []
        blocks: list[list[Floats]] = []
        for node in range(self.nodes):
            if probe and node == 0:
                inputs, scores = self._of_context(traces)
            else:
                inputs, scores = [Input.of_numbers(traces.signals[:, node])], [traces.signals[:, node]]
                if not inputs[0].values.shape[1]:
                    inputs, scores = [], []
            self._inputs.append(inputs)
            blocks.append([each.of(column) for each, column in zip(inputs, scores, strict=True)])
        self._classes = [self._classes_of(traces, node) for node in range(self.nodes)]
        self._blocks = [self._block(node, blocks[node], len(traces)) for node in range(self.nodes)]

    def _of_context(self, traces: Traces) -> tuple[list[Input], list[npt.NDArray[np.float32]]]:
        inputs, scores = [], []
        context: list[tuple[str, Names | None]] = []
        for name, column in traces.context.items():
            if column.dtype.kind == "U":
                codes, names = coded(column.tolist())
                counts = np.bincount(codes.astype(np.intp), minlength=len(names) + 1)[: len(names)]
                frequent = names[: int((counts >= FEWEST_OF_CLASS).sum())]  # the most frequent ones come first
                shown = Input.of_categories(len(frequent))
                scores.append(codes_of(column.tolist(), frequent))
                context.append((name, frequent))
            else:
                scores.append(signal_of(column)[0])
                shown = Input.of_numbers(scores[-1])
                context.append((name, None))
            inputs.append(shown)
        self.context = tuple(context)
        return inputs, scores

    def _classes_of(self, traces: Traces, node: int) -> npt.NDArray[np.int32]:
        """Answers that have a column, -1 for none among them: who gives none is mostly wrong."""
        if traces.predictions is None:
            return np.empty(0, np.int32)
        classes, counts = np.unique(traces.predictions[:, node], return_counts=True)
        frequent = classes[counts >= FEWEST_OF_CLASS].astype(np.int32)
        known, none = frequent[frequent >= 0], frequent[(frequent < 0) & (counts[0] < len(traces))]
        is_shown = traces.answer_classes and 2 <= len(known) <= MOST_CLASSES
        return np.concatenate([none, known]) if is_shown else none

    def _block(self, node: int, parts: list[Floats], rows: int) -> Floats:
        """Columns of one node: of its inputs, of its answers, and of its answers times the first of the inputs'."""
        block = np.concatenate(parts, axis=1) if parts else np.empty((rows, 0))
        if not len(self._classes[node]):
            return block
        assert self._answers is not None
        indicators = (self._answers[:, [node]] == self._classes[node]).astype(np.float64)
        products = [indicators * block[:, :1]] if block.shape[1] else []
        return np.concatenate([block, indicators, *products], axis=1)

    @cached_property
    def agreeing(self) -> npt.NDArray[np.int32]:
        """(n,) int32 : 1 for the nodes whose answers are compared with others'."""
        if self._answers is None:
            return np.zeros(self.nodes, np.int32)
        return np.array([(column >= 0).any() for column in self._answers.T], np.int32)

    @cached_property
    def silent(self) -> frozenset[int]:
        """Nodes that show nothing, neither alone nor beside others."""
        return frozenset(
            node for node in range(self.nodes) if not self._blocks[node].shape[1] and not self.agreeing[node]
        )

    def columns(self, nodes: Sequence[int]) -> Floats:
        """(N, d) : the columns of a cell that looks at these nodes, in the order of the core."""
        parts = [self._blocks[node] for node in nodes]
        for first, second in combinations([node for node in nodes if self.agreeing[node]], 2):
            parts.append(self._agree(first, second).astype(np.float64)[:, None])
        return np.concatenate(parts, axis=1)

    def groups(self, nodes: Sequence[int]) -> npt.NDArray[np.intp]:
        """(N,) : a number, the same of rows that show the same at a cell."""
        numbers = np.zeros(len(self._blocks[0]), np.intp)
        for node in nodes:
            own = self._groups[node]
            numbers = np.unique(numbers * (own.max() + 1) + own, return_inverse=True)[1]
        for first, second in combinations([node for node in nodes if self.agreeing[node]], 2):
            # After each, or numbers would outgrow their type.
            numbers = np.unique(2 * numbers + self._agree(first, second), return_inverse=True)[1]
        return numbers

    @cached_property
    def _groups(self) -> list[npt.NDArray[np.intp]]:
        return [np.unique(block, axis=0, return_inverse=True)[1].ravel() for block in self._blocks]

    def _agree(self, first: int, second: int) -> npt.NDArray[np.bool_]:
        assert self._answers is not None
        agree: npt.NDArray[np.bool_] = (self._answers[:, first] >= 0) & (
            self._answers[:, first] == self._answers[:, second]
        )
        return agree

    @property
    def tables(self) -> dict[str, npt.NDArray[Any]]:
        """Those of `ttamer.model.set_estimators.TABLES` that say how columns are made."""
        return input_tables(self._inputs, self._classes, self.agreeing)


def input_tables(
    inputs: Sequence[Sequence[Input]], classes: Sequence[npt.NDArray[np.int32]], agreeing: npt.NDArray[np.int32]
) -> dict[str, npt.NDArray[Any]]:
    """Tables of the inputs of each node, the classes that have columns and the nodes whose answers are compared."""
    flat = [each for parts in inputs for each in parts]
    return {
        "input_offsets": np.cumsum([0, *map(len, inputs)], dtype=np.int32),
        "knot_offsets": np.cumsum([0, *(len(each.knots) for each in flat)], dtype=np.int32),
        "knots": np.concatenate([np.empty(0, np.float32), *(each.knots for each in flat)]),
        "columns": np.array([each.values.shape[1] for each in flat], np.int32),
        "values": np.concatenate([np.empty(0), *(each.values.ravel() for each in flat)]),
        "class_offsets": np.cumsum([0, *map(len, classes)], dtype=np.int32),
        "classes": np.concatenate([np.empty(0, np.int32), *classes]),
        "agreeing": agreeing,
    }
