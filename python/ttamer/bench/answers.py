"""Deciding on scores and answers: what a request costs next to one of a plain policy of as many nodes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ttamer._core import Batch, SetEstimator, Topology, start_sets
from ttamer.bench.harness import Arms, Report, Row, Table, median_times
from ttamer.model import CascadeModel
from ttamer.policy import Policy
from ttamer.policy import solve as solve_policy

NODES, CLASSES, LEAVES = 4, 100, 16
KNOTS, COLUMNS = 127, 3
"""Of a score, as estimates are fitted."""


@dataclass(frozen=True)
class Plan:
    """How much is run.

    Attributes
    ----------
    sizes : tuple of int
        Requests of a call, B.
    requests : int
        Of each node's calls in one timing together.
    repeats : int
    """

    sizes: tuple[int, ...]
    requests: int
    repeats: int


SIZES = (1, 64, 512, 4096)
PLANS = {
    "full": Plan(SIZES, 4096, 101),
    "short": Plan(SIZES, 4096, 21),
    "tiny": Plan((1, 64), 500, 2),
}


def make_policy(rng: np.random.Generator) -> Policy:
    """A line that no request leaves early: going on costs nothing and the last node is best."""
    losses = [np.linspace(1, 0.9, LEAVES) / (1 + node) for node in range(NODES)]
    transitions = [rng.dirichlet(np.ones(LEAVES), LEAVES if node else 1) for node in range(NODES)]
    edges = [np.arange(1, LEAVES, dtype=np.float32) - np.float32(0.5)] * NODES
    model = CascadeModel(Topology.line(NODES), losses, transitions, np.zeros(NODES), bin_edges=edges)
    return solve_policy(model, 0.5, recall="none")


def make_estimator(rng: np.random.Generator) -> SetEstimator:
    """As those of models with many classes are fitted: columns of every score, and whether answers agree."""
    widths = [COLUMNS * count + count * (count - 1) // 2 for count in range(1, NODES + 1)]
    splits = np.arange(LEAVES - 1)
    balanced = {
        "tree_variables": np.append(np.zeros(LEAVES - 1), np.full(LEAVES, -1)),
        "tree_thresholds": np.append(rng.normal(0, 1, LEAVES - 1), np.zeros(LEAVES)),
        "tree_left": np.append(2 * splits + 1, np.arange(LEAVES)),
        "tree_right": np.append(2 * splits + 2, np.zeros(LEAVES)),
    }
    tables: dict[str, Any] = {
        "last": np.arange(NODES),
        "cells": np.arange(NODES),
        "input_offsets": np.arange(NODES + 1),
        "knot_offsets": KNOTS * np.arange(NODES + 1),
        "knots": np.tile(np.arange(1, KNOTS + 1, dtype=np.float32) / (KNOTS + 1), NODES),
        "columns": np.full(NODES, COLUMNS),
        "values": rng.normal(0, 1, NODES * (KNOTS + 2) * COLUMNS),
        "class_offsets": np.zeros(NODES + 1),
        "classes": np.empty(0),
        "agreeing": np.ones(NODES),
        "cell_offsets": np.cumsum(np.arange(NODES + 1)),
        "cell_nodes": np.concatenate([np.arange(node + 1) for node in range(NODES)]),
        "target_offsets": NODES * np.arange(NODES + 1),
        "targets": np.tile(np.arange(NODES), NODES),
        "answering": np.arange(NODES) + 1,
        "coefficients": rng.normal(0, 1, sum(NODES * (1 + width) for width in widths)),
        "tree_offsets": (2 * LEAVES - 1) * np.arange(NODES + 1),
        **{name: np.tile(table, NODES) for name, table in balanced.items()},
    }
    kinds = {"knots": np.float32} | dict.fromkeys(("values", "coefficients", "tree_thresholds"), np.float64)
    return SetEstimator(NODES, {name: np.asarray(table, kinds.get(name, np.int32)) for name, table in tables.items()})


def arms_for(policy: Policy, estimator: SetEstimator, rng: np.random.Generator, size: int, calls: int) -> Arms:
    """Requests that consult all nodes, `size` of them a call; each arm takes `calls` turns of that."""
    scores = rng.random((calls, NODES, size), np.float32)
    answers = rng.integers(0, CLASSES, (calls, NODES, size), np.int32)
    leaves = rng.integers(0, LEAVES, (calls, NODES, size)).astype(np.float32)

    def turns(batch: Batch, decide: Callable[[int, int], object]) -> Callable[[], None]:
        def run() -> None:
            for turn in range(calls):
                batch.reset()
                for node in range(NODES):
                    decide(turn, node)

        return run

    batch = start_sets(estimator, policy._core, size, "error", "")
    plain = policy.start(size)
    return {
        "answers": turns(batch, lambda turn, node: batch.decide_answers(node, scores[turn, node], answers[turn, node])),
        "plain": turns(plain, lambda turn, node: plain.decide(node, leaves[turn, node])),
        "empty": turns(plain, lambda turn, node: (scores[turn, node], answers[turn, node])),
    }


def measure(policy: Policy, estimator: SetEstimator, size: int, plan: Plan) -> Row:
    """One row of the table."""
    calls = plan.requests // size
    seconds = median_times(arms_for(policy, estimator, np.random.default_rng(size), size, calls), plan.repeats)
    answers, plain = (1e9 * (seconds[arm] - seconds["empty"]) / (calls * NODES) for arm in ("answers", "plain"))
    return {
        "B": size,
        "answers ns": answers,
        "answers ns/request": answers / size,
        "decide ns/request": plain / size,
        "answers/decide": answers / plain,
    }


def run(size: str) -> Report:
    """Run it; `size` is a key of `PLANS`."""
    plan, rng = PLANS[size], np.random.default_rng(0)
    policy, estimator = make_policy(rng), make_estimator(rng)
    columns = {
        "B": "B",
        "answers ns": "ns a call",
        "answers ns/request": "each",
        "decide ns/request": "decide",
        "answers/decide": "times",
    }
    table = Table(
        "rows",
        f"Batch.decide_answers, {NODES} models of {CLASSES} classes, one thread; medians, means of the nodes",
        [measure(policy, estimator, count, plan) for count in plan.sizes],
        columns,
    )
    notes = (
        "each: ns a request. decide: the same policy on its states, plain signals. What a loop takes that decides "
        "nothing is taken off both.",
    )
    return Report((table,), notes)
