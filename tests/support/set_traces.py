"""Traces of several models on the same requests, and requests served by policies that decide on all they show."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

import ttamer
from ttamer import STOP, Traces
from ttamer._base.types import ROOT
from ttamer.model.set_estimators import SetEstimator

Floats = npt.NDArray[np.float64]


def recorded(
    models: int = 3,
    rows: int = 400,
    seed: int = 0,
    *,
    scores: bool = True,
    answers: bool = True,
    context: bool = True,
    missing: float = 0.0,
    costs: Any = None,
    graded: bool = False,
    **options: Any,
) -> Traces:
    """Larger models are better and dearer; each knows a topic well, and says so only in part."""
    rng = np.random.default_rng(seed)
    hard, topic = rng.random(rows), rng.integers(0, 3, rows)
    skill = np.linspace(0.3, 1.2, models) - 0.9 * hard[:, None] + 0.3 * (topic[:, None] == np.arange(models) % 3)
    right = rng.random((rows, models)) < 1 / (1 + np.exp(-5 * skill))
    labels = rng.integers(0, 4, rows)
    said = np.where(right, labels[:, None], (labels[:, None] + rng.integers(1, 4, (rows, models))) % 4)
    sure = skill + 0.3 * rng.standard_normal((rows, models)) + 0.3 * right
    sure[rng.random((rows, models)) < missing] = np.nan
    losses = ~right * (np.where(rng.random((rows, models)) < 0.5, 0.5, 2.0) if graded else 1.0)
    return Traces.from_models(
        losses,
        2.0 ** np.arange(models) if costs is None else costs,
        scores=sure if scores else None,
        answers=said if answers else None,
        context={"topic": [f"t{k}" for k in topic], "length": hard} if context else None,
        **options,
    )


def sets_of(policy: ttamer.Policy | ttamer.CascadeModel) -> SetEstimator:
    assert isinstance(policy.estimator, SetEstimator)
    return policy.estimator


def costs_into(policy: ttamer.Policy, traces: Traces) -> Floats:
    """(N, n) : what each request pays for each node."""
    paid = traces._in_unit(policy.unit).paid_costs
    edges = traces.topology.edges.tolist()
    table = np.empty((len(traces), traces.topology.nodes))
    for e, (_, node) in enumerate(edges):
        table[:, node] = paid[..., e]
    return table


def serve(policy: ttamer.Policy, traces: Traces, seed: int = 0, mixed: bool = False) -> dict[str, npt.NDArray[Any]]:
    """Serve all requests, each call some rows in any order: those of one node or, `mixed`, of whatever they are at."""
    estimator, rng = sets_of(policy), np.random.default_rng(seed)
    offsets, scores = estimator.tables["input_offsets"], estimator.scores(traces)
    width, first = np.diff(offsets), offsets[:-1]
    answers, costs = estimator.answers(traces), costs_into(policy, traces)
    batch = policy.start(len(traces))
    ahead = np.full(len(traces), policy.first_node, np.int32)
    last, cost = np.full(len(traces), ROOT, np.int32), np.zeros(len(traces))
    while (open_rows := np.flatnonzero(ahead != STOP)).size:
        rows = rng.permutation(open_rows)[: rng.integers(1, len(open_rows) + 1)]
        at = ahead[rows]
        together = mixed and (width[at] <= 1).all()
        if not together:
            rows = rows[at == at[0]]
            at = ahead[rows]
        node: Any = at.copy() if together else int(at[0])
        shown = None
        if width[at].max() > 1:
            shown = scores[rows, first[at[0]] : first[at[0]] + width[at[0]]]
        elif width[at].max() == 1:
            shown = np.array(
                [scores[row, first[k]] if width[k] else np.inf for row, k in zip(rows, at, strict=True)], np.float32
            )
        last[rows], cost[rows] = at, cost[rows] + costs[rows, at]
        ahead[rows] = batch.decide_answers(
            node, None if shown is None else np.ascontiguousarray(shown), answers[rows, at].copy(), rows
        )
    return {"last_node": last, "answer_node": batch.answer_node, "cost": cost}


def same_as_replay(policy: ttamer.Policy, traces: Traces, seed: int = 0, mixed: bool = False) -> None:
    """Every row is served as a replay has it."""
    served, replay = serve(policy, traces, seed, mixed), policy.replay(traces)
    np.testing.assert_array_equal(served["last_node"], replay.last_node)
    np.testing.assert_array_equal(served["answer_node"], replay.answer_node)
    np.testing.assert_allclose(served["cost"], replay.cost, rtol=1e-12)
