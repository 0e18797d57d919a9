"""Solving a line exactly, next to a NumPy solve of the same recursion.

Both do backward induction over the attainable losses on one thread: NumPy with one matrix product a node, the core
with the parts of that product that can matter. Models are dense random ones, and models counted from 10,000 requests,
whose transitions the core keeps sparse and NumPy multiplies as dense matrices.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from ttamer._base.types import Floats
from ttamer._core import Topology
from ttamer.bench.harness import Arms, Report, Row, Table, median_times, one_thread, power, thread_note
from ttamer.fitting import fit
from ttamer.model import CascadeModel
from ttamer.policy import solve as solve_policy
from ttamer.traces import Traces

NODES = 8
REQUESTS = 10_000
TRADEOFF = 0.8
KINDS = ("dense, own grids", "dense, one grid", "counted")
EXACT = 1e-10
"""Most by which the two solutions may differ."""


@dataclass(frozen=True)
class Plan:
    """How much is run.

    Attributes
    ----------
    states : tuple of int
        States a node, K, of the comparison; times of 8 nodes also give the exponent in K.
    nodes : tuple of int
        Nodes, n, timed for the exponent in n.
    nodes_states : int
        K there.
    repeats : int
        Up to 256 states a node; 3 above.
    """

    states: tuple[int, ...]
    nodes: tuple[int, ...]
    nodes_states: int
    repeats: int


PLANS = {
    "full": Plan((32, 64, 128, 256, 512, 1024), (2, 3, 4, 6, 8, 12, 16), 128, repeats=9),
    "short": Plan((32, 128, 512), (2, 4, 8, 16), 64, repeats=3),
    "tiny": Plan((8, 16), (2, 3), 8, repeats=1),
}

COLUMNS = {
    "K": "K",
    "model": "model",
    "recall ms": "recall ms",
    "numpy/ttamer": "numpy/ttamer",
    "no recall ms": "none ms",
    "no recall numpy/ttamer": "numpy/ttamer",
}
EXPONENT_COLUMNS = {
    "model": "model",
    "recall, in n": "recall: in n",
    "recall, in K": "in K",
    "no recall, in n": "none: in n",
    "no recall, in K": "in K",
}


def dense_model(states: int, rng: np.random.Generator, common: bool, nodes: int = NODES) -> CascadeModel:
    """Random Markov line; with `common`, all nodes share one grid of losses."""
    grid = np.sort(rng.random(states))
    losses = [grid if common else np.sort(rng.random(states)) for _ in range(nodes)]
    transitions = [rng.dirichlet(np.ones(states), size=states if j else 1) for j in range(nodes)]
    return CascadeModel(Topology.line(nodes), losses, transitions, np.full(nodes, 0.02), cost_scale=1.0)


def seen_losses(rng: np.random.Generator, nodes: int = NODES) -> npt.NDArray[np.float32]:
    """(10000, nodes) losses of requests of varying hardness, falling with depth."""
    hardness = rng.random((REQUESTS, 1))
    losses = np.clip(hardness * np.linspace(1, 0.3, nodes) + rng.normal(0, 0.1, (REQUESTS, nodes)), 0, 1)
    return losses.astype(np.float32)


def counted_model(states: int, rng: np.random.Generator, nodes: int = NODES) -> CascadeModel:
    """A model counted from 10,000 requests whose losses are seen."""
    losses = seen_losses(rng, nodes)
    return fit(Traces(losses, losses, np.full(nodes, 0.02), observed=True), bins=states)


def make_model(kind: str, states: int, rng: np.random.Generator, nodes: int = NODES) -> CascadeModel:
    """A model of one of `KINDS`."""
    if kind == "counted":
        return counted_model(states, rng, nodes)
    return dense_model(states, rng, kind == "dense, one grid", nodes)


class NumpySolve:
    """Backward induction, vectorised: one matrix product a node over all attainable losses.

    Transitions are made dense and costs weighed here, which is not timed.
    """

    def __init__(self, model: CascadeModel, tradeoff: float, recall: bool) -> None:
        self.losses, self.transitions = list(model.losses), list(model.transitions)
        self.costs = model.costs / model.cost_scale * (1 - tradeoff) / tradeoff
        self.recall = recall

    def run(self) -> float:
        """The value, in units of loss."""
        return self._with_recall() if self.recall else self._without()

    def _without(self) -> float:
        ahead = self.losses[-1]
        for j in range(len(self.losses) - 1, 0, -1):
            ahead = np.minimum(self.losses[j - 1], self.costs[j] + self.transitions[j] @ ahead)
        return float(self.costs[0] + (self.transitions[0] @ ahead)[0])

    def _with_recall(self) -> float:
        levels = np.unique(np.concatenate(self.losses))
        columns = np.append(levels, np.inf)
        reach = np.arange(len(columns))
        best: Floats | None = None
        for j in range(len(self.losses) - 1, -1, -1):
            ranks = np.minimum(reach, np.searchsorted(levels, self.losses[j])[:, None])
            ahead = columns[ranks]
            if best is not None:
                ahead = np.minimum(ahead, np.take_along_axis(best, ranks, axis=1))
            best = self.costs[j] + self.transitions[j] @ ahead
        assert best is not None
        return float(best[0, -1])


def checked(model: CascadeModel, tradeoff: float, recall: str) -> NumpySolve:
    """The NumPy solve of a model, once its value is that of ttamer."""
    plain = NumpySolve(model, tradeoff, recall == "observed")
    value = solve_policy(model, tradeoff, recall).value / tradeoff
    if abs(plain.run() - value) > EXACT:
        raise RuntimeError(f"solve: NumPy's value is {plain.run()!r}, ttamer's {value!r}")
    return plain


def measure(kind: str, model: CascadeModel, repeats: int) -> Row:
    """One row of the comparison."""
    recall, none = (checked(model, TRADEOFF, mode) for mode in ("observed", "none"))
    long: Arms = {"with recall": lambda: solve_policy(model, TRADEOFF, "observed"), "numpy with recall": recall.run}
    short: Arms = {"without": lambda: solve_policy(model, TRADEOFF, "none"), "numpy without": none.run}
    # Timed apart: after a long arm the caches hold other data, and short arms mostly wait for their own.
    seconds = median_times(long, repeats) | median_times(short, 10 * repeats)
    return {
        "K": max(map(len, model.losses)),
        "model": kind,
        "recall ms": 1e3 * seconds["with recall"],
        "numpy ms": 1e3 * seconds["numpy with recall"],
        "numpy/ttamer": seconds["numpy with recall"] / seconds["with recall"],
        "no recall ms": 1e3 * seconds["without"],
        "no recall numpy ms": 1e3 * seconds["numpy without"],
        "no recall numpy/ttamer": seconds["numpy without"] / seconds["without"],
    }


def time_over_nodes(plan: Plan, rng: np.random.Generator) -> list[Row]:
    """One row a kind of model and number of nodes: milliseconds of a solve."""
    rows = []
    for nodes in plan.nodes:
        for kind in KINDS:
            model = make_model(kind, plan.nodes_states, rng, nodes)
            arms: Arms = {mode: partial(solve_policy, model, TRADEOFF, mode) for mode in ("observed", "none")}
            seconds = median_times(arms, plan.repeats)
            times = {"recall ms": 1e3 * seconds["observed"], "no recall ms": 1e3 * seconds["none"]}
            rows.append({"n": nodes, "K": plan.nodes_states, "model": kind, **times})
    return rows


def exponents(over_nodes: Sequence[Row], over_states: Sequence[Row]) -> list[Row]:
    """One row a kind of model: exponents of the time of a solve in n and in K, with recall and without."""
    rows = []
    for kind in KINDS:
        row: Row = {"model": kind}
        for mode in ("recall", "no recall"):
            for size, times in (("n", over_nodes), ("K", over_states)):
                matches = [one for one in times if one["model"] == kind]
                row[f"{mode}, in {size}"] = power(
                    [one[size] for one in matches], [one[f"{mode} ms"] for one in matches]
                )
        rows.append(row)
    return rows


def run(size: str) -> Report:
    """Run it; `size` is a key of `PLANS`."""
    plan = PLANS[size]
    rng = np.random.default_rng(0)
    rows = []
    with one_thread():
        for states in plan.states:
            for kind in KINDS:
                repeats = plan.repeats if states <= 256 else min(plan.repeats, 3)
                rows.append({**measure(kind, make_model(kind, states, rng), repeats), "K": states})
        over_nodes = time_over_nodes(plan, rng)
    title = f"Exact solve of a line of {NODES} nodes, K states a node, one thread; medians"
    exponent_rows = exponents(over_nodes, rows)
    exponent_title = (
        f"Exponents of its time, fitted over n = {plan.nodes[0]} to {plan.nodes[-1]} at K = {plan.nodes_states}, "
        f"and over K = {plan.states[0]} to {plan.states[-1]} at n = {NODES}"
    )
    tables = (
        Table("rows", title, rows, COLUMNS),
        Table("exponents", exponent_title, exponent_rows, EXPONENT_COLUMNS),
        Table("over nodes", "The times behind the exponents in n", over_nodes, {}),
    )
    note = "numpy: one product with a matrix (recall) or a vector (none) a node. none: the last node consulted answers."
    return Report(tables, (note, *thread_note()))
