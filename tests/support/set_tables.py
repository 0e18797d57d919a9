"""Random tables of set estimators, and requests for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st

Array = npt.NDArray[Any]

LEAST = np.finfo(np.float32).min


@dataclass(frozen=True)
class SetCase:
    """Tables of an estimator, with requests.

    Attributes
    ----------
    nodes : int
    tables : dict of str to array
    scores : (N, I) float32
    answers : (N, n) int32
    """

    nodes: int
    tables: dict[str, Array]
    scores: Array
    answers: Array


def set_case(rng: np.random.Generator, nodes: int, cells: int, steps: int, leaves: int, rows: int) -> SetCase:
    """One case. Weights are tenths and thresholds hundredths, so that the order in which a sum is rounded decides."""
    widths = rng.choice([1, 1, 1, 0, 2, 3], nodes)  # inputs of each node
    inputs = int(widths.sum())
    knots = [np.unique(rng.integers(-4, 5, rng.integers(0, 5))) / 4 for _ in range(inputs)]
    columns = rng.integers(0, 4, inputs)
    classes = [np.unique(rng.integers(-1, 5, rng.integers(0, 4))) for _ in range(nodes)]
    agreeing = rng.random(nodes) < 0.7
    contributions = []
    for node, end in enumerate(np.cumsum(widths)):
        width = int(columns[end - widths[node] : end].sum())
        contributions.append(width + len(classes[node]) * (2 if width else 1))
    looked_at = [rng.permutation(nodes)[: rng.integers(1, nodes + 1)] for _ in range(cells)]
    targets = [rng.permutation(nodes)[: rng.integers(1, nodes + 1)] for _ in range(cells)]
    answering = np.array([rng.integers(0, len(part) + 1) for part in targets])
    coefficients, trees = [], []
    for consulted, estimated, count in zip(looked_at, targets, answering, strict=True):
        pairs = int(agreeing[consulted].sum())
        width = sum(contributions[node] for node in consulted) + pairs * (pairs - 1) // 2
        coefficients.append(_tenths(rng, len(estimated) * (1 + width)))
        variables = 1 + 2 * (len(estimated) - count) if count else len(estimated)
        trees.append(_tree(rng, int(variables), int(rng.integers(1, leaves + 1))))
    tables = {
        "last": rng.integers(0, nodes, steps),
        "cells": rng.integers(0, cells, steps),
        "input_offsets": np.append(0, np.cumsum(widths)),
        "columns": columns,
        "values": _tenths(rng, sum((len(part) + 2) * width for part, width in zip(knots, columns, strict=True))),
        "agreeing": agreeing,
        "answering": answering,
        "coefficients": np.concatenate(coefficients),
    }
    tables["knot_offsets"], tables["knots"] = _joined(knots)
    tables["class_offsets"], tables["classes"] = _joined(classes)
    tables["cell_offsets"], tables["cell_nodes"] = _joined(looked_at)
    tables["target_offsets"], tables["targets"] = _joined(targets)
    for k, name in enumerate(("tree_variables", "tree_thresholds", "tree_left", "tree_right")):
        tables["tree_offsets"], tables[name] = _joined([tree[:, k] for tree in trees])
    floats = {"knots": np.float32, "values": np.float64, "coefficients": np.float64, "tree_thresholds": np.float64}
    tables = {name: np.ascontiguousarray(table, floats.get(name, np.int32)) for name, table in tables.items()}
    scores = rng.integers(-5, 6, (rows, inputs)).astype(np.float32) / 4  # on the knots and between them
    odd = rng.random(scores.shape) < 0.2
    scores[odd] = rng.choice(np.array([np.nan, -np.inf, np.inf, LEAST, -LEAST], np.float32), int(odd.sum()))
    return SetCase(nodes, tables, scores, rng.integers(-1, 5, (rows, nodes)).astype(np.int32))


@st.composite
def set_cases(draw: st.DrawFn, nodes: int = 4) -> SetCase:
    """Cases of at most so many nodes."""
    sizes = [draw(st.integers(1, most)) for most in (nodes, 4, 6, 8, 20)]
    return set_case(np.random.default_rng(draw(st.integers(0, 2**32 - 1))), *sizes)


def _tenths(rng: np.random.Generator, count: int) -> Array:
    return rng.integers(-6, 7, count) / 10


def _tree(rng: np.random.Generator, variables: int, leaves: int) -> Array:
    """(nodes, 4): variable, threshold, left and right of a random tree."""
    tree: list[list[float]] = [[-1, 0.0, 0, 0]]
    ends = [0]
    while len(ends) < leaves:
        node = ends.pop(int(rng.integers(len(ends))))
        tree[node] = [int(rng.integers(variables)), int(rng.integers(-80, 81)) / 100, len(tree), len(tree) + 1]
        ends += [len(tree), len(tree) + 1]
        tree += [[-1, 0.0, 0, 0], [-1, 0.0, 0, 0]]
    for number, node in enumerate(rng.permutation(ends)):
        tree[node][2] = number
    return np.array(tree)


def _joined(parts: Sequence[Array]) -> tuple[Array, Array]:
    """Offsets of the parts, and all of them one after the other."""
    return np.append(0, np.cumsum([len(part) for part in parts], dtype=int)), np.concatenate([np.empty(0), *parts])
