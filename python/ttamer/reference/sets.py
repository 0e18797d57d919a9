"""States and answers from everything that a set of nodes showed: scores, answers, and whether answers agree."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

Floats32 = npt.NDArray[np.float32]
Integers32 = npt.NDArray[np.int32]
Tables = Mapping[str, npt.NDArray[Any]]

LEAST_SCORE = -float(np.finfo(np.float32).max)
"""A score at or below this is a missing one, as NaN is."""


def estimate_sets(tables: Tables, scores: Floats32, answers: Integers32) -> tuple[Floats32, Integers32]:
    """State, as a signal, and answering node at every step of a walk.

    A step is a set of consulted nodes and the last of them. Its *cell*, which steps may share, makes columns of what
    its nodes showed; of these the log-odds z that each of its targets is wrong; of these, by a tree, a number: the
    state.

    Parameters
    ----------
    tables : dict of str to array
        Of n nodes, V steps, U cells and I inputs. ``x_offsets`` cuts ``x`` into parts, one after the other.

        last, cells : (V,) int32
            Node consulted last and cell of each step.
        input_offsets : (n + 1,) int32
            The inputs of each node: a model has its score or none, a probe one a column of the context.
        knot_offsets, knots : (I + 1,) int32 and (m,) float32
            Rising knots of each input. The bin of a score is the number of knots at or below it; a missing one has the
            bin after the last.
        columns, values : (I,) int32 and (m,) float64
            How many columns an input contributes, and what they are in each of its bins, a row a bin.
        class_offsets, classes : (n + 1,) int32 and (m,) int32
            Answers of each node that have a column, 1 where the node says so, else 0; -1 is none. After them come
            their products with the first column of the node's inputs, if it has one.
        agreeing : (n,) int32
            1 where answers are compared with those of others.
        cell_offsets, cell_nodes : (U + 1,) int32 and (m,) int32
            The nodes that a cell looks at. Its columns are theirs in this order; then, of each two that are compared,
            1 where both answer the same, else 0. An answer of -1 is none.
        target_offsets, targets, answering : (U + 1,), (m,) and (U,) int32
            Nodes whose loss a cell estimates, and how many of the first may answer.
        coefficients : (m,) float64
            An intercept and a weight a column, of each target of each cell.
        tree_offsets, tree_variables, tree_thresholds, tree_left, tree_right : (U + 1,), then (m,) a node
            A tree a cell. At or below the threshold its variable leads to the left node, else to the right one; at a
            leaf, variable -1, the left number is the state. The variables are z of the targets; where some may answer,
            the least z of these, z of each other target, and the smaller of the two for each other target.
    scores : (N, I) float32
    answers : (N, n) int32

    Returns
    -------
    signals : (N, V) float32
    answers : (N, V) int32
        The answering target with the least z, the first of equals; -1 where none may answer.
    """
    shape = (len(scores), len(tables["last"]))
    signals, answering = np.empty(shape, np.float32), np.empty(shape, np.int32)
    for row, (row_scores, row_answers) in enumerate(zip(scores.tolist(), answers.tolist(), strict=True)):
        outcomes = list(_cells(tables, row_scores, row_answers))
        for step, cell in enumerate(tables["cells"].tolist()):
            signals[row, step], answering[row, step] = outcomes[cell]
    return signals, answering


def _cells(tables: Tables, scores: list[float], answers: list[int]) -> Iterator[tuple[int, int]]:
    """State and answering node of every cell, for one request."""
    shown = _columns_of_nodes(tables, scores, answers)
    coefficients = iter(tables["coefficients"].tolist())
    parts = zip(_parts(tables, "cell_offsets", "cell_nodes"), _parts(tables, "target_offsets", "targets"), strict=True)
    for cell, (nodes, targets) in enumerate(parts):
        columns = [column for node in nodes for column in shown[node]]
        compared = [answers[node] for node in nodes if tables["agreeing"][node]]
        for k, answer in enumerate(compared):
            columns += [float(answer == other and answer >= 0) for other in compared[k + 1 :]]
        z = []
        for _ in targets:
            z.append(next(coefficients))
            for column in columns:
                z[-1] += next(coefficients) * column
        count = int(tables["answering"][cell])
        if count == 0:
            yield _state(tables, cell, z), -1
        else:
            best = min(z[:count])
            variables = [best, *z[count:], *(min(other, best) for other in z[count:])]
            yield _state(tables, cell, variables), targets[z.index(best)]


def _columns_of_nodes(tables: Tables, scores: list[float], answers: list[int]) -> list[list[float]]:
    """What each node contributes to the columns of a cell."""
    values = iter(tables["values"].tolist())
    of_inputs = []
    all_knots = _parts(tables, "knot_offsets", "knots")
    for score, knots, width in zip(scores, all_knots, tables["columns"].tolist(), strict=True):
        bins = [[next(values) for _ in range(width)] for _ in range(len(knots) + 2)]
        of_inputs.append(bins[sum(knot <= score for knot in knots)] if score > LEAST_SCORE else bins[-1])
    nodes = []
    for node, classes in enumerate(_parts(tables, "class_offsets", "classes")):
        first, end = tables["input_offsets"][node : node + 2].tolist()
        columns = [column for of_input in of_inputs[first:end] for column in of_input]
        indicators = [float(answers[node] == label) for label in classes]
        nodes.append(columns + indicators + [indicator * x for x in columns[:1] for indicator in indicators])
    return nodes


def _state(tables: Tables, cell: int, variables: list[float]) -> int:
    """Number of the leaf that a cell's tree leads to."""
    root, node = int(tables["tree_offsets"][cell]), 0
    while (variable := int(tables["tree_variables"][root + node])) >= 0:
        is_left = variables[variable] <= tables["tree_thresholds"][root + node]
        node = int(tables["tree_left" if is_left else "tree_right"][root + node])
    return int(tables["tree_left"][root + node])


def _parts(tables: Tables, offsets: str, table: str) -> list[list[Any]]:
    """The parts of a table that offsets cut."""
    cuts, numbers = tables[offsets].tolist(), tables[table].tolist()
    return [numbers[begin:end] for begin, end in pairwise(cuts)]
