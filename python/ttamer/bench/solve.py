"""Solving a line exactly, next to a NumPy solve of the same recursion.

Both do backward induction over the attainable losses on one thread: NumPy with one matrix product a node, the core
with the parts of that product that can matter. Models are dense random ones, and models counted from 10,000 requests,
whose transitions the core keeps sparse and NumPy multiplies as dense matrices.
"""

from __future__ import annotations

import numpy as np
from harness import median_times, parser, report
from threadpoolctl import threadpool_limits

import ttamer

NODES = 8
WEIGHT = 0.25  # (1 - tradeoff) / tradeoff at tradeoff 0.8


def dense_model(states: int, rng: np.random.Generator, common: bool) -> ttamer.CascadeModel:
    """Random Markov line; with `common`, all nodes share one grid of losses."""
    grid = np.sort(rng.random(states))
    losses = [grid if common else np.sort(rng.random(states)) for _ in range(NODES)]
    transitions = [rng.dirichlet(np.ones(states), size=states if j else 1) for j in range(NODES)]
    return ttamer.CascadeModel(ttamer.Topology.line(NODES), losses, transitions, np.full(NODES, 0.02), cost_scale=1.0)


def counted_model(states: int, rng: np.random.Generator) -> ttamer.CascadeModel:
    """A model counted from 10,000 requests whose losses are seen."""
    count = 10_000
    hardness = rng.random((count, 1))
    losses = np.clip(hardness * np.linspace(1, 0.3, NODES) + rng.normal(0, 0.1, (count, NODES)), 0, 1)
    losses = losses.astype(np.float32)
    traces = ttamer.Traces(losses, losses, np.full(NODES, 0.02), observed=True)
    return ttamer.fit(traces, bins=states)


def numpy_solve(losses: list[np.ndarray], transitions: list[np.ndarray], costs: np.ndarray, recall: bool) -> float:
    """Backward induction, vectorised: one matrix product a node over all attainable losses."""
    if not recall:
        ahead = losses[-1]
        for j in range(NODES - 1, 0, -1):
            ahead = np.minimum(losses[j - 1], costs[j] + transitions[j] @ ahead)
        return float(costs[0] + (transitions[0] @ ahead)[0])
    levels = np.unique(np.concatenate(losses))
    columns = np.append(levels, np.inf)
    reach = np.arange(len(columns))
    best: np.ndarray | None = None
    for j in range(NODES - 1, -1, -1):
        carried = np.minimum(reach, np.searchsorted(levels, losses[j])[:, None])
        ahead = columns[carried]
        if best is not None:
            ahead = np.minimum(ahead, np.take_along_axis(best, carried, axis=1))
        best = costs[j] + transitions[j] @ ahead
    assert best is not None
    return float(best[0, -1])


def main() -> None:
    options = parser(__doc__ or "").parse_args()
    rng = np.random.default_rng(0)
    rows = []
    for states in (32, 128, 512) if options.quick else (32, 64, 128, 256, 512, 1024):
        for kind in ("dense, own grids", "dense, one grid", "counted"):
            model = counted_model(states, rng) if kind == "counted" else dense_model(states, rng, "one" in kind)
            losses, transitions = list(model.losses), list(model.transitions)
            costs = model.costs / model.cost_scale * WEIGHT
            policy = ttamer.solve(model, 0.8, "observed")
            plain = numpy_solve(losses, transitions, costs, True)
            assert abs(plain - policy.value / 0.8) < 1e-10, (plain, policy.value / 0.8)
            seconds = median_times(
                {
                    "with recall": lambda m=model: ttamer.solve(m, 0.8, "observed"),
                    "numpy with recall": lambda a=(losses, transitions, costs): numpy_solve(*a, True),
                    "without": lambda m=model: ttamer.solve(m, 0.8, "none"),
                    "numpy without": lambda a=(losses, transitions, costs): numpy_solve(*a, False),
                },
                3 if options.quick or states > 256 else 9,
            )
            rows.append(
                {
                    "K": states,
                    "model": kind,
                    "recall ms": 1e3 * seconds["with recall"],
                    "numpy ms": 1e3 * seconds["numpy with recall"],
                    "numpy/ttamer": seconds["numpy with recall"] / seconds["with recall"],
                    "no recall ms": 1e3 * seconds["without"],
                    "numpy ms ": 1e3 * seconds["numpy without"],
                    "numpy/ttamer ": seconds["numpy without"] / seconds["without"],
                }
            )
    report(
        "solve", f"Exact solve of a line of {NODES} nodes, K states a node, one thread; medians", rows, options.output
    )


if __name__ == "__main__":
    with threadpool_limits(1):  # one thread for NumPy's BLAS as for the core: the comparison is of work, not of cores
        main()
