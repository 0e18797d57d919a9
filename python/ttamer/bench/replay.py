"""Replaying a policy over recorded requests, next to NumPy moving the active ones from node to node."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

import ttamer
from ttamer.bench.harness import Arms, Report, Row, Table, median_times_in_a_row

NODES = 8

Result = tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any]]


@dataclass(frozen=True)
class Plan:
    """How much is run.

    Attributes
    ----------
    states : tuple of int
        States a node, K.
    tradeoffs : tuple of float
        From policies that mostly stop at once to such that visit most nodes.
    requests : int
    repeats : int
    """

    states: tuple[int, ...]
    tradeoffs: tuple[float, ...]
    requests: int
    repeats: int


PLANS = {
    "full": Plan((16, 64, 1024), (0.6, 0.85, 0.95), 100_000, 15),
    "short": Plan((16, 1024), (0.6, 0.95), 100_000, 5),
    "tiny": Plan((8,), (0.9,), 500, 2),
}


def make(states: int, requests: int, rng: np.random.Generator) -> tuple[ttamer.CascadeModel, ttamer.Traces]:
    """Requests of varying hardness, whose confidence grows with depth, and a model fitted on a fifth of them."""
    hardness = rng.random((requests, 1))
    confidence = 1 - hardness * np.linspace(0.7, 0.1, NODES) * rng.random((requests, NODES))
    signals = confidence.astype(np.float32)
    losses = (rng.random((requests, NODES)) > signals).astype(np.float32)
    traces = ttamer.Traces(signals, losses, np.ones(NODES))
    return ttamer.fit(traces[: requests // 5], bins=states), traces


class NumpyReplay:
    """Bin, look up, keep the best, and go on with the requests that do not stop."""

    def __init__(self, policy: ttamer.Policy) -> None:
        self.recall = policy.recall == "observed"
        self.edges = [policy.bin_edges(j) for j in range(NODES)]
        self.losses = [policy.losses(j) for j in range(NODES)]
        self.stop = [
            np.array([first[0] if first[1] == ttamer.STOP else -np.inf for first, *_ in policy.actions(j)])
            for j in range(NODES)
        ]

    def run(self, traces: ttamer.Traces) -> Result:
        """Last node, answering node and cost of each request."""
        last = np.empty(len(traces), np.int32)
        answer = np.empty(len(traces), np.int32)
        cost = np.zeros(len(traces))
        best = np.full(len(traces), np.inf)
        active = np.arange(len(traces))
        for j in range(NODES):
            cost[active] += traces.costs[j]
            state = np.searchsorted(self.edges[j], traces.signals[active, j], side="right")
            loss = self.losses[j][state]
            better = loss < best[active] if self.recall else np.ones(len(active), bool)
            best[active[better]] = loss[better]
            answer[active[better]] = j
            last[active] = j
            active = active[best[active] > self.stop[j][state]]
        return last, answer, cost


def measure(model: ttamer.CascadeModel, traces: ttamer.Traces, tradeoff: float, recall: str, repeats: int) -> Row:
    """One row of the table, once both replays agree on every request."""
    policy = ttamer.solve(model, tradeoff, recall)
    plain = NumpyReplay(policy)
    result, expected = policy.replay(traces), plain.run(traces)
    found: Result = (result.last_node, result.answer_node, result.cost)
    if not all(map(np.array_equal, found, expected)):
        raise RuntimeError("replay: NumPy's result is another one")
    arms: Arms = {
        "core": lambda: policy._core.replay(traces.signals, traces.costs),
        "replay": lambda: policy.replay(traces),
    }
    visited = float(np.mean(result.last_node + 1.0))
    row: Row = {"K": max(map(len, model.losses)), "tradeoff": tradeoff, "recall": recall, "nodes/request": visited}
    for name, arm in arms.items():
        pair: Arms = {name: arm, "numpy": lambda: plain.run(traces)}
        first, again = median_times_in_a_row(pair, repeats, 2)
        row[f"{name} ns/request"] = 1e9 * again[name] / len(traces)
        row[f"{name} ns/node"] = 1e9 * again[name] / len(traces) / visited
        row[f"{name} first ns/request"] = 1e9 * first[name] / len(traces)
        row[f"numpy/{name}"] = again["numpy"] / again[name]
        row["numpy ns/request"] = 1e9 * again["numpy"] / len(traces)
    return row


def run(size: str) -> Report:
    """Run it; `size` is a key of `PLANS`."""
    plan = PLANS[size]
    rng = np.random.default_rng(0)
    rows = []
    for states in plan.states:
        model, traces = make(states, plan.requests, rng)
        rows += [
            {**measure(model, traces, tradeoff, recall, plan.repeats), "K": states}
            for recall in ("observed", "none")
            for tradeoff in plan.tradeoffs
        ]
    shown = {
        "K": "K",
        "tradeoff": "tradeoff",
        "recall": "recall",
        "nodes/request": "nodes/request",
        "replay ns/request": "ns/request",
        "replay first ns/request": "first",
        "numpy/replay": "numpy/replay",
    }
    title = f"Replay of {plan.requests:,} requests, line of {NODES} nodes, one thread; medians"
    notes = (
        "numpy: moving the active requests from node to node. ns/request: of a replay that follows another of the same "
        "traces, as in a sweep over trade-offs; first: of one that follows NumPy's, which leaves little in the caches.",
    )
    return Report((Table("rows", title, rows, shown),), notes)
