"""Replaying a policy over recorded requests, next to NumPy moving the active ones from node to node."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ttamer._base.types import STOP
from ttamer._core import Topology
from ttamer.bench.harness import Arms, Report, Row, Table, median_times_in_a_row
from ttamer.fitting import fit
from ttamer.model import CascadeModel
from ttamer.policy import Policy
from ttamer.policy import solve as solve_policy
from ttamer.traces import Traces

NODES = 8

Indices = npt.NDArray[np.intp]
Result = tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any]]


@dataclass(frozen=True)
class Plan:
    """How much is run.

    Attributes
    ----------
    states : tuple of int
        States a node, K, on lines; a skip has the first.
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


def make(states: int, requests: int, rng: np.random.Generator, shape: str = "line") -> tuple[CascadeModel, Traces]:
    """Requests of varying hardness, whose confidence grows with depth, and a model fitted on a fifth of them.

    A node costs a half, and each step forward another: half of a node's cost is saved where a skip jumps over it.
    """
    hardness = rng.random((requests, 1))
    confidence = 1 - hardness * np.linspace(0.7, 0.1, NODES) * rng.random((requests, NODES))
    signals = confidence.astype(np.float32)
    losses = (rng.random((requests, NODES)) > signals).astype(np.float32)
    topology = Topology.line(NODES) if shape == "line" else Topology.skip(NODES)
    costs = np.array([0.5 + 0.5 * (node - before) for before, node in topology.edges])
    traces = Traces(signals, losses, costs, topology)
    return fit(traces[: requests // 5], bins=states), traces


class Progress:
    """What NumPy keeps of each request: last and answering node, cost, and best loss so far."""

    def __init__(self, requests: int) -> None:
        self.last = np.full(requests, -1, np.int32)
        self.answer = np.empty(requests, np.int32)
        self.cost = np.zeros(requests)
        self.best = np.full(requests, np.inf)

    def result(self) -> Result:
        """Last node, answering node and cost of each request."""
        return self.last, self.answer, self.cost


class NumpyReplay:
    """Bin, look up, keep the best, and go on with the requests that do not stop."""

    def __init__(self, policy: Policy) -> None:
        self.recall = policy.recall == "observed"
        self.edges = [policy.bin_edges(j) for j in range(NODES)]
        self.losses = [policy.losses(j) for j in range(NODES)]
        self.stop = [
            np.array([first[0] if first[1] == STOP else -np.inf for first, *_ in policy.actions(j)])
            for j in range(NODES)
        ]

    def consult(self, j: int, active: Indices, traces: Traces, progress: Progress) -> Indices:
        """The states of the requests `active`, which consult node j."""
        state: Indices = np.searchsorted(self.edges[j], traces.signals[active, j], side="right")
        loss = self.losses[j][state]
        better = loss < progress.best[active] if self.recall else np.ones(len(active), bool)
        progress.best[active[better]] = loss[better]
        progress.answer[active[better]] = j
        progress.last[active] = j
        return state

    def run(self, traces: Traces) -> Result:
        """Last node, answering node and cost of each request."""
        progress = Progress(len(traces))
        active = np.arange(len(traces))
        for j in range(NODES):
            progress.cost[active] += traces.costs[j]
            state = self.consult(j, active, traces, progress)
            active = active[progress.best[active] > self.stop[j][state]]
        return progress.result()


class NumpySkip(NumpyReplay):
    """The same where a state and the best so far say which node comes next."""

    def __init__(self, policy: Policy) -> None:
        super().__init__(policy)
        actions = [policy.actions(j) for j in range(NODES)]
        most = max(len(pairs) for of_node in actions for pairs in of_node)
        tables = [[pairs + pairs[-1:] * (most - len(pairs)) for pairs in of_node] for of_node in actions]
        self.upper = [np.array([[upper for upper, _ in pairs] for pairs in of_node]) for of_node in tables]
        self.next = [np.array([[node for _, node in pairs] for pairs in of_node]) for of_node in tables]
        self.first = policy.first_node

    def run(self, traces: Traces) -> Result:
        """Last node, answering node and cost of each request."""
        before, after = traces.topology.edges.T
        costs = np.zeros((NODES + 1, NODES))  # the last row is that of the root, -1
        costs[before, after] = traces.costs
        progress = Progress(len(traces))
        waits = np.full(len(traces), self.first)
        for j in range(NODES):
            active = np.flatnonzero(waits == j)
            progress.cost[active] += costs[progress.last[active], j]
            state = self.consult(j, active, traces, progress)
            interval = (progress.best[active, None] > self.upper[j][state]).sum(axis=1)
            waits[active] = self.next[j][state, interval]
        return progress.result()


@dataclass(frozen=True)
class Case:
    """One row of the table before it is timed.

    Attributes
    ----------
    head : dict
        What the row begins with.
    arms : dict of str to callable
        `core` and `replay`, each before a run of NumPy's.
    requests : int
    """

    head: Row
    arms: Arms
    requests: int

    def row(self, first: dict[str, float], again: dict[str, float]) -> Row:
        """The whole row, from the seconds of each arm."""
        row = dict(self.head)
        for name in ("core", "replay"):
            row[f"{name} ns/request"] = 1e9 * again[name] / self.requests
            row[f"{name} ns/node"] = 1e9 * again[name] / self.requests / row["nodes/request"]
            row[f"{name} first ns/request"] = 1e9 * first[name] / self.requests
            row[f"numpy/{name}"] = again[f"numpy after {name}"] / again[name]
        return row


def checked(model: CascadeModel, traces: Traces, tradeoff: float, recall: str) -> Case:
    """A case whose replays agree on every request."""
    policy = solve_policy(model, tradeoff, recall)
    plain = NumpyReplay(policy) if traces.topology.kind == "line" else NumpySkip(policy)
    result, reference = policy.replay(traces), plain.run(traces)
    ours: Result = (result.last_node, result.answer_node, result.cost)
    if not all(map(np.array_equal, ours, reference)):
        raise RuntimeError("replay: NumPy's result is another one")
    arms: Arms = {
        "core": lambda: policy._core.replay(traces.signals, traces.costs),
        "numpy after core": lambda: plain.run(traces),
        "replay": lambda: policy.replay(traces),
        "numpy after replay": lambda: plain.run(traces),
    }
    head = {
        "shape": traces.topology.kind,
        "K": max(map(len, model.losses)),
        "tradeoff": tradeoff,
        "recall": recall,
        "nodes/request": float(np.mean(2 * result.cost - result.last_node - 1)),  # by the costs of `make`
    }
    return Case(head, arms, len(traces))


def measure(cases: list[Case], repeats: int) -> list[Row]:
    """A row each. All take turns: a slow spell of the machine is longer than what one row takes."""
    arms = {f"{k} {name}": arm for k, case in enumerate(cases) for name, arm in case.arms.items()}
    runs = median_times_in_a_row(arms, repeats, 2)
    return [
        case.row(*({name: seconds[f"{k} {name}"] for name in case.arms} for seconds in runs))
        for k, case in enumerate(cases)
    ]


def run(size: str) -> Report:
    """Run it; `size` is a key of `PLANS`."""
    plan = PLANS[size]
    rng = np.random.default_rng(0)
    workloads = [(*make(states, plan.requests, rng), plan.tradeoffs) for states in plan.states]
    workloads.append((*make(plan.states[0], plan.requests, rng, "skip"), plan.tradeoffs[-1:]))
    cases = [
        checked(model, traces, tradeoff, recall)
        for model, traces, tradeoffs in workloads
        for recall in ("observed", "none")
        for tradeoff in tradeoffs
    ]
    rows = measure(cases, plan.repeats)
    columns = {
        "shape": "shape",
        "K": "K",
        "tradeoff": "tradeoff",
        "recall": "recall",
        "nodes/request": "nodes/request",
        "replay ns/request": "ns/request",
        "replay first ns/request": "first",
        "numpy/replay": "numpy/replay",
    }
    title = f"Replay of {plan.requests:,} requests, {NODES} nodes, one thread; medians"
    notes = (
        "numpy: moving the active requests from node to node. ns/request: of a replay that follows another of the same "
        "traces, as in a sweep over trade-offs; first: of one that follows NumPy's, which leaves little of them in the "
        "first caches.",
    )
    return Report((Table("rows", title, rows, columns),), notes)
