"""Models whose states are leaves, over steps of nodes consulted: what `sets` and `chains` have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ttamer._base.types import ROOT, Floats
from ttamer.fitting.leaves import Tree
from ttamer.fitting.signals import fit_signals
from ttamer.model import CascadeModel
from ttamer.model.estimators import Estimates
from ttamer.model.information_sets import Order, SetGraph, graph_of_steps
from ttamer.model.set_estimators import SetEstimator
from ttamer.traces import Traces
from ttamer.traces.categories import Names
from ttamer.traces.evidence import class_count_of

Step = tuple[Order, int]
"""Nodes consulted, rising or in the order of a chain, and the last of them."""
PRIOR = 50.0
"""How many rows the estimates weigh in the loss of a leaf."""


@dataclass(frozen=True)
class Cell:
    """What states and answers are made of at some steps, and what it gives on the rows fitted on.

    Attributes
    ----------
    nodes : tuple of int
        Whose columns it looks at.
    targets : tuple of int
        Nodes whose losses it estimates, `answering` of which, the first ones, may answer.
    answering : int
    coefficients : (t, 1 + d) float64
    tree : Tree
    leaves : (N,) int32
    answers : (N,) int32
        -1 where none can answer.
    estimates : (N,) float64
        Of the loss of the answer, in units of the largest loss.
    """

    nodes: Order
    targets: Order
    answering: int
    coefficients: Floats
    tree: Tree
    leaves: npt.NDArray[np.int32]
    answers: npt.NDArray[np.int32]
    estimates: Floats


def graph_between(traces: Traces, steps: Sequence[Step], edges: Sequence[tuple[Step | None, Step]]) -> SetGraph:
    """The graph of steps, each before those that follow it; None is the root."""
    numbers: dict[Step | None, int] = {step: k for k, step in enumerate(steps)}
    numbers[None] = ROOT
    table = np.array(sorted((numbers[before], numbers[after]) for before, after in edges), np.int32)
    sets, last = [nodes for nodes, _ in steps], _int32(last for _, last in steps)
    return graph_of_steps(traces.topology, sets, last, table, traces.independent)


def model_of_cells(
    traces: Traces,
    kind: str,
    cells: Mapping[Order, Cell],
    walk: SetGraph,
    shown: Mapping[str, npt.NDArray[Any]],
    context: tuple[tuple[str, Names | None], ...],
    largest: float,
    prior: float,
    transition_strength: float,
) -> CascadeModel:
    """The model over steps, and its estimator; the traces keep the states of their rows for later replays.

    Parameters
    ----------
    traces : Traces
    kind : {"sets", "chains"}
    cells : mapping of Order to Cell
        By the nodes consulted: of sets in rising order, of chains in theirs.
    walk : SetGraph
    shown, context
        As `ttamer.fitting.shown.Shown` makes them.
    largest : float
        The largest loss.
    prior : float
        How many rows the estimates weigh in the loss of a leaf.
    transition_strength : float
        How many rows the marginal weighs in transitions.
    """
    places = {nodes: k for k, nodes in enumerate(cells)}
    of_steps = [places[nodes if nodes in places else tuple(sorted(nodes))] for nodes in walk.sets]
    parts = [ranked(cell) for cell in cells.values()]
    tables = {**_tables(parts, of_steps), **shown}
    estimator = SetEstimator(kind, traces.topology, traces.independent, traces.signal, walk, context, tables)
    losses = [_state_losses(cell, traces.losses, largest, prior) for cell in parts]
    estimates = Estimates(
        np.stack([parts[cell].leaves for cell in of_steps], axis=1, dtype=np.float32),
        np.stack([parts[cell].answers for cell in of_steps], axis=1),
    )
    inner = Traces._checked(
        signals=estimates.signals,
        losses=np.stack([losses[cell] for cell in of_steps], axis=1),
        costs=_costs(traces, walk),
        topology=walk.topology,
        unit=traces.unit if len(traces.unit_costs) == 1 else "",
    )
    most = max(int(cell.leaves.max()) + 1 for cell in parts)
    model = fit_signals(inner, most, "mean", 0.0, transition_strength, estimator)
    model.nodes, model.classes = traces.nodes, class_count_of(traces.evidence)
    traces._kept_estimates[estimator] = estimates
    return model


def _costs(traces: Traces, walk: SetGraph) -> Any:
    costs = {unit: values[..., walk.outer] for unit, values in traces.unit_costs.items()}
    return costs if len(costs) > 1 else next(iter(costs.values()))


def _int32(values: Any) -> npt.NDArray[np.int32]:
    return np.fromiter(values, np.int32)


def ranked(cell: Cell) -> Cell:
    """The cell with its leaves numbered from the worst: state 0 is the worst one, as of bins of signals.

    Leaves that no row reaches are taken away: the tree compares float32 while it grows, and may have cut between rows
    that are equal to it but not here.
    """
    empty = np.bincount(cell.leaves, minlength=int((cell.tree.variables < 0).sum())) == 0
    leaves, tree = (np.cumsum(~empty) - 1)[cell.leaves], cell.tree.without(empty) if empty.any() else cell.tree
    loss = np.bincount(leaves, cell.estimates) / np.bincount(leaves)
    numbers = np.empty(len(loss), np.intp)
    numbers[np.argsort(-loss, kind="stable")] = np.arange(len(loss))
    return replace(cell, tree=tree.renumbered(numbers), leaves=numbers[leaves].astype(np.int32))


def _state_losses(cell: Cell, losses: npt.NDArray[np.float32], largest: float, prior: float) -> npt.NDArray[np.float32]:
    """(N,) float32 : losses whose mean in a leaf is that of the answers, shrunk to that of the estimates there."""
    if cell.answering == 0:
        return np.full(len(losses), np.inf, np.float32)
    own = losses[np.arange(len(losses)), cell.answers].astype(np.float64)
    estimated = largest * cell.estimates
    estimated += own.mean() - estimated.mean()
    rows = np.bincount(cell.leaves)[cell.leaves]
    shrunk = (rows * own + prior * estimated) / (rows + prior)
    # A leaf's mean may fall below 0 where the estimates of sure answers do; one row's value alone means nothing.
    means = np.bincount(cell.leaves, shrunk) / np.maximum(np.bincount(cell.leaves), 1)
    return np.maximum(means, 0)[cell.leaves].astype(np.float32)


def _tables(cells: Sequence[Cell], of_steps: Sequence[int]) -> dict[str, npt.NDArray[Any]]:
    trees = [cell.tree for cell in cells]
    return {
        "cells": _int32(of_steps),
        "cell_offsets": np.cumsum([0, *(len(cell.nodes) for cell in cells)], dtype=np.int32),
        "cell_nodes": _int32(node for cell in cells for node in cell.nodes),
        "target_offsets": np.cumsum([0, *(len(cell.targets) for cell in cells)], dtype=np.int32),
        "targets": _int32(node for cell in cells for node in cell.targets),
        "answering": _int32(cell.answering for cell in cells),
        "coefficients": np.concatenate([cell.coefficients.ravel() for cell in cells]),
        "tree_offsets": np.cumsum([0, *(len(tree.variables) for tree in trees)], dtype=np.int32),
        "tree_variables": np.concatenate([tree.variables for tree in trees]),
        "tree_thresholds": np.concatenate([tree.thresholds for tree in trees]),
        "tree_left": np.concatenate([tree.left for tree in trees]),
        "tree_right": np.concatenate([tree.right for tree in trees]),
    }
