"""A front of 100 trade-offs next to one NumPy solve of the same model.

`ttamer.frontier` solves the model once for each trade-off, which changes the costs and nothing else, and replays each
policy over the traces. Both parts are timed alone too: NumPy's solve is a value without tables, bins or a policy that
could be replayed, so it is the solving that compares with it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ttamer._core import solve as core_solve
from ttamer.bench.harness import Report, Row, Table, median_times, one_thread, thread_note
from ttamer.bench.solve import NODES, TRADEOFF, checked, seen_losses
from ttamer.evaluation import frontier as sweep
from ttamer.fitting import fit
from ttamer.fitting.budgets import default_tradeoffs
from ttamer.policy import solve as solve_policy
from ttamer.traces import Traces


@dataclass(frozen=True)
class Plan:
    """How much is run.

    Attributes
    ----------
    states : tuple of int
        States a node, K.
    tradeoffs : int
    repeats : int
    """

    states: tuple[int, ...]
    tradeoffs: int
    repeats: int


PLANS = {"full": Plan((32, 64, 128), 100, 15), "short": Plan((64,), 100, 5), "tiny": Plan((8,), 3, 2)}


def make_traces(recall: str, rng: np.random.Generator) -> Traces:
    """10,000 requests whose losses are seen, or of whom a confidence is: `frontier` then solves without recall."""
    losses, costs = seen_losses(rng), np.full(NODES, 0.02)
    if recall == "observed":
        return Traces(losses, losses, costs, observed=True)
    return Traces(1 - losses, (rng.random(losses.shape) < losses).astype(np.float32), costs)


def measure(traces: Traces, states: int, recall: str, plan: Plan) -> Row:
    """One row of the table."""
    model = fit(traces, bins=states)
    weights = 1 / default_tradeoffs() - 1
    grid = 1 / (1 + np.geomspace(weights[0], weights[-1], plan.tradeoffs))
    policies = [solve_policy(model, float(tradeoff), recall) for tradeoff in grid]
    plain = checked(model, TRADEOFF, recall)
    seconds = median_times(
        {
            "frontier": lambda: sweep(traces, grid, model=model),
            "solving": lambda: [solve_policy(model, float(tradeoff), recall) for tradeoff in grid],
            "core": lambda: [core_solve(model._core, tradeoff, recall == "observed") for tradeoff in grid],
            "replay": lambda: [policy.replay(traces) for policy in policies],
            "numpy": lambda: [plain.run() for _ in grid],
        },
        plan.repeats,
    )
    seconds["numpy"] /= len(grid)  # run as often as ttamer solves, as a single run would find the caches cold
    row: Row = {"K": states, "recall": recall}
    row |= {f"{name} ms": 1e3 * value for name, value in seconds.items()}
    return row | {f"{name}/numpy": value / seconds["numpy"] for name, value in seconds.items() if name != "numpy"}


def run(size: str) -> Report:
    """Run it; `size` is a key of `PLANS`."""
    plan = PLANS[size]
    rng = np.random.default_rng(0)
    rows = []
    with one_thread():
        for recall in ("observed", "none"):
            traces = make_traces(recall, rng)
            rows += [measure(traces, states, recall, plan) for states in plan.states]
    title = (
        f"Front of {plan.tradeoffs} trade-offs, {len(traces):,} requests, a line of {NODES} nodes, one thread; medians"
    )
    columns = {
        "K": "K",
        "recall": "recall",
        "frontier ms": "front ms",
        "numpy ms": "numpy ms",
        "frontier/numpy": "front/numpy",
        "solving/numpy": "solving/numpy",
        "replay/numpy": "replay/numpy",
    }
    notes = (
        "numpy: one NumPy solve, for one trade-off, of a value without a policy. solving: all solves. replay: all "
        "policies over all requests.",
    )
    return Report((Table("rows", title, rows, columns),), (*notes, *thread_note()))
