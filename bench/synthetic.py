"""The synthetic study of T-Tamer (arXiv 2509.22992) on random Markov lines, skips and trees.

How an instance of n nodes and K states a node is drawn (NumPy's default generator, seeded by its number, n and K):

  parents       line, skip: the node before. Tree: uniform among the root and the nodes of lower number, node 0 from
                the root, so that there may be several roots.
  losses        K uniform draws from [0, 1], sorted; all nodes share them, and a state is the rank of its loss.
  mean losses   node j aims at m_j = 0.5 * 0.85^depth * U(0.8, 1.25): losses fall with depth on average, not always.
  transitions   given a parent's loss x, the loss y has weight w * band + (1 - w) * beta. Band: exp(-d / b) with
                d = |y - x m_j / m_parent|, b ~ U(0.03, 0.1), w ~ U(0.4, 0.8), one draw a node; beta: the density
                Beta(3 m_j, 3 (1 - m_j)). Both are normalised over the K losses, and every entry of the mixture is
                multiplied by an exponential of its own, which makes rows rough. A node without parent has the beta
                alone. Neighbours' losses are positively correlated; the tables say how much. After a jump of a skip
                the transition is the product of the steps jumped over: a line and a skip of one number have the same
                losses.
  costs         segment s_j ~ U(0.5, 1.5), ramp r_j ~ U(0.25, 0.75). Line, tree: s_j + r_j; skip: what is jumped over
                costs its segment, not its ramp. Divided by the costliest walk from the root to a leaf.

The objective is 0.8 * loss + 0.2 * cost. Values with and without recall, and of the best fixed node (cheapest walk
to it, its answer), are exact. The prophet is simulated, and so is the best single threshold on the observed loss:
consult nodes in a fixed order, stop at the first loss at or below the threshold, answer with it ("threshold") or with
the best seen ("threshold, recall"). A skip's order is the line; a tree's is any path to a leaf, or all nodes by number.
Order and threshold are chosen on one sample of requests and measured, like the prophet, on another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import synthetic_figures
from instances import SHAPES, Instance, States, draw
from threadpoolctl import threadpool_limits

import ttamer
from ttamer.bench.harness import is_kept, machine, median_times, parser, power, print_rows, write

Floats = npt.NDArray[np.float64]
Row = dict[str, Any]

TRADEOFF = 0.8
TIMED_SCALE = 12.0
"""What costs are divided by where times are measured: eight nodes then cost 1 on average."""
METHODS = ("recall", "no recall", "best node", "threshold", "threshold, recall")
FIGURES = Path(__file__).parent.parent / "docs"
RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Plan:
    """How much is run.

    Attributes
    ----------
    ratios : tuple of (n, K, instances)
        Sizes of the comparison with the prophet.
    requests : int
        Requests in each of its two samples.
    aggregation : (n, K, instances)
    groups : tuple of int
        Meta-states of the aggregation.
    over_nodes : (tuple of n, K)
        Sizes timed for the exponent in n.
    over_states : (n, tuple of K)
        Sizes timed for the exponent in K.
    repeats : int
        Of every timing.
    """

    ratios: tuple[tuple[int, int, int], ...]
    requests: int
    aggregation: tuple[int, int, int]
    groups: tuple[int, ...]
    over_nodes: tuple[tuple[int, ...], int]
    over_states: tuple[int, tuple[int, ...]]
    repeats: int


FULL = Plan(
    ratios=(
        *((n, 100, 20) for n in (2, 3, 4, 6, 8, 10, 12)),
        *((8, states, 20 if states < 300 else 5) for states in (10, 30, 300, 1000)),
    ),
    requests=20_000,
    aggregation=(8, 1000, 3),
    groups=(50, 100, 200, 400, 800),
    over_nodes=((2, 3, 4, 6, 8, 10, 12), 250),
    over_states=(8, (125, 250, 500, 1000)),
    repeats=5,
)
QUICK = Plan(
    ratios=((2, 30, 3), (6, 30, 3), (6, 100, 3)),
    requests=20_000,
    aggregation=(4, 250, 1),
    groups=(25, 50, 100, 200),
    over_nodes=((2, 4, 8), 60),
    over_states=(4, (60, 120, 240)),
    repeats=3,
)


# ---------------------------------------------------------------- against the prophet


def threshold_values(states: States, support: Floats, costs: Floats, recall: bool) -> Floats:
    """Mean objective of every threshold on the observed loss.

    Parameters
    ----------
    states : (N, m) intp
        Of the nodes in the order they are consulted.
    support : (K,) float64
        Rising losses of the states.
    costs : (m,) float64
        Scaled cost up to and including each node.
    recall : bool
        Answer with the best node consulted, else with the last.

    Returns
    -------
    (K + 1,) float64
        Entry t stops at the first of the t smallest losses, or at the last node; entry 0 never stops early.
    """
    best = np.minimum.accumulate(states, axis=1)
    values = TRADEOFF * support[best if recall else states] + (1 - TRADEOFF) * costs
    # A request stops at a node for the thresholds above its best loss so far and at most that of the node before.
    first = np.concatenate([best[:, :-1] + 1, np.zeros_like(best[:, :1])], axis=1)
    beyond = np.concatenate([np.full_like(best[:, :1], len(support)), best[:, :-1]], axis=1) + 1
    size = len(support) + 2
    changes = np.bincount(first.ravel(), values.ravel(), size) - np.bincount(beyond.ravel(), values.ravel(), size)
    return np.cumsum(changes)[:-1] / len(states)


def best_threshold(instance: Instance, first_sample: States, second_sample: States, recall: bool) -> float:
    """Objective of the best order and threshold of the first sample, on the second."""
    curves = [
        threshold_values(first_sample[:, path], instance.support, costs, recall) for path, costs in instance.walks()
    ]
    walk = int(np.argmin([curve.min() for curve in curves]))
    path, costs = instance.walks()[walk]
    outcomes = threshold_values(second_sample[:, path], instance.support, costs, recall)
    return float(outcomes[curves[walk].argmin()])


def objectives(instance: Instance, requests: int) -> dict[str, float | None]:
    """Expected objective of the prophet and of each method; None where a method is not defined."""
    model = instance.model()
    reach = (1 - TRADEOFF) * instance.reach_costs()
    rng = np.random.default_rng(0)
    first_sample, second_sample = instance.sample(requests, rng), instance.sample(requests, rng)
    values = {
        "prophet": float((TRADEOFF * instance.support[second_sample] + reach).min(axis=1).mean()),
        "recall": ttamer.solve(model, TRADEOFF, "observed").value,
        "no recall": None,
        "best node": float((TRADEOFF * instance.marginals() @ instance.support + reach).min()),
        "threshold": best_threshold(instance, first_sample, second_sample, False),
        "threshold, recall": best_threshold(instance, first_sample, second_sample, True),
    }
    if instance.topology.kind != "forest":
        values["no recall"] = ttamer.solve(model, TRADEOFF, "none").value
    return values


def ratio_rows(plan: Plan) -> list[Row]:
    """One row a shape and size: mean and standard deviation over instances of objective / prophet's objective."""
    rows = []
    for shape in SHAPES:
        for nodes, states, count in plan.ratios:
            instances = [draw(shape, nodes, states, seed) for seed in range(count)]
            correlations = [value for instance in instances for value in instance.correlations()]
            outcomes = [objectives(instance, plan.requests) for instance in instances]
            row: Row = {"shape": shape, "n": nodes, "K": states, "instances": count}
            row["correlation"] = float(np.mean(correlations)) if correlations else None
            row["prophet"] = float(np.mean([values["prophet"] for values in outcomes]))
            for method in METHODS:
                ratios = [values[method] / values["prophet"] for values in outcomes if values[method] is not None]
                row[method] = (float(np.mean(ratios)), float(np.std(ratios))) if ratios else None
            rows.append(row)
    return rows


# ---------------------------------------------------------------- soft state aggregation


def aggregation_rows(plan: Plan) -> list[Row]:
    """One row a shape and number of meta-states: how far the value is from the exact one, and the time.

    The regret, what the policy is worth under the exact model less the optimum, takes longer to work out than to solve:
    it is that of the first instance, and missing for trees, where it would be simulated.
    """
    nodes, states, count = plan.aggregation
    rows = []
    for shape in SHAPES:
        models = [draw(shape, nodes, states, seed).model() for seed in range(count)]
        exact = [ttamer.solve(model, TRADEOFF, "observed").value for model in models]
        exact_time = _solve_time(models, plan.repeats)
        for groups in plan.groups:
            policies = [ttamer.solve(model, TRADEOFF, "observed", aggregate=groups) for model in models]
            errors = np.array([policy.value for policy in policies]) - exact
            time = _solve_time(models, plan.repeats, aggregate=groups)
            rows.append(
                {
                    "shape": shape,
                    "n": nodes,
                    "K": states,
                    "instances": count,
                    "q": groups,
                    "value": float(np.mean(exact)),
                    "mean |error|": float(np.abs(errors).mean()),
                    "largest |error|": float(np.abs(errors).max()),
                    "regret of one": None if shape == "tree" else policies[0].aggregation.regret,
                    "exact ms": 1e3 * exact_time,
                    "aggregate ms": 1e3 * time,
                    "exact/aggregate": exact_time / time,
                }
            )
    return rows


def _solve_time(models: Sequence[ttamer.CascadeModel], repeats: int, **options: Any) -> float:
    """Seconds of solving one model with recall: median over repeats, mean over models."""
    arms = {str(k): lambda m=model: ttamer.solve(m, TRADEOFF, "observed", **options) for k, model in enumerate(models)}
    return float(np.mean(list(median_times(arms, repeats).values())))


# ---------------------------------------------------------------- preprocessing time


def time_rows(plan: Plan) -> list[Row]:
    """One row a shape and size: milliseconds of a solve.

    Trees are binary here, so that one size is one shape. Costs are not divided by those of the costliest walk: nodes
    would get cheaper with their number, requests would go on for longer, and the solver would have less to leave out.
    """
    over_nodes = [(n, plan.over_nodes[1]) for n in plan.over_nodes[0]]
    over_states = [(plan.over_states[0], states) for states in plan.over_states[1]]
    rows = []
    for shape in SHAPES:
        for variable, sizes in (("n", over_nodes), ("K", over_states)):
            for nodes, states in sizes:
                binary = [(j - 1) // 2 for j in range(nodes)] if shape == "tree" else None
                rows.append({"shape": shape, "swept": variable, **_timed(draw(shape, nodes, states, 0, binary), plan)})
    return rows


def _timed(instance: Instance, plan: Plan) -> Row:
    model = instance.model(cost_scale=TIMED_SCALE)
    arms = {"recall": lambda: ttamer.solve(model, TRADEOFF, "observed")}
    if instance.topology.kind != "forest":
        arms["no recall"] = lambda: ttamer.solve(model, TRADEOFF, "none")
    seconds = median_times(arms, plan.repeats)
    states = len(instance.support)
    breakpoints = instance.support
    if instance.topology.kind == "forest":
        policy = ttamer.solve(model, TRADEOFF, "observed")
        breakpoints = np.unique(np.concatenate([instance.support, *map(policy.index, range(len(instance.parents)))]))
    return {
        "n": len(instance.parents),
        "K": states,
        "transitions": int((instance.topology.edges[:, 0] >= 0).sum()),
        "columns": len(breakpoints),
        "recall ms": 1e3 * seconds["recall"],
        "recall us/column": 1e6 * seconds["recall"] / len(breakpoints),
        "no recall ms": 1e3 * seconds["no recall"] if "no recall" in seconds else None,
    }


def exponent_rows(times: Sequence[Row]) -> list[Row]:
    """Fitted exponents of the time against n, the number of (K, K) transitions, and K.

    The transitions take the time, and a line of n nodes has n - 1 of them, a skip n (n - 1) / 2: over a few small n the
    exponent in n lies above that of large n, the one in transitions does not.
    """
    rows = []
    for shape in dict.fromkeys(row["shape"] for row in times):
        for kind in ("recall", "no recall"):
            by_nodes = [row for row in times if (row["shape"], row["swept"]) == (shape, "n")]
            by_states = [row for row in times if (row["shape"], row["swept"]) == (shape, "K")]
            if by_nodes[0][f"{kind} ms"] is None:
                continue
            one = [row for row in by_nodes if row["transitions"] > 0]
            rows.append(
                {
                    "shape": shape,
                    "answer": kind,
                    "in n": _exponent(by_nodes, "n", f"{kind} ms"),
                    "in transitions": _exponent(one, "transitions", f"{kind} ms"),
                    "in K": _exponent(by_states, "K", f"{kind} ms"),
                    "in K, a column": _exponent(by_states, "K", f"{kind} us/column") if kind == "recall" else None,
                }
            )
    return rows


def _exponent(rows: Sequence[Row], size: str, time: str) -> float:
    return power([row[size] for row in rows], [row[time] for row in rows])


# ---------------------------------------------------------------- all of it


def run(plan: Plan) -> dict[str, list[Row]]:
    """Run everything and print the tables; on one thread."""
    tables: dict[str, list[Row]] = {}

    def add(name: str, title: str, rows: list[Row]) -> None:
        tables[name] = rows
        print(f"\n{title}\n")
        print_rows(rows)

    # One thread for NumPy's BLAS as for the core: times are of work, not of cores.
    with threadpool_limits(1):
        add("ratios", "Objective / prophet's objective: mean±standard deviation over instances", ratio_rows(plan))
        add("aggregation", "Soft state aggregation: q meta-states for K states", aggregation_rows(plan))
        add("times", f"Time of a solve; medians of {plan.repeats}", time_rows(plan))
        add("exponents", "Exponents fitted to these times", exponent_rows(tables["times"]))
    return tables


def main() -> None:
    command_line = parser(__doc__ or "", RESULTS)
    command_line.add_argument("--figures", type=Path, default=FIGURES, help="folder for the pictures (default: docs)")
    options = command_line.parse_args()
    facts = machine()
    print(f"Random Markov cascades\n{facts['cpu']}, {facts['cores']} cores, Python {facts['python']}")
    tables = run(QUICK if options.quick else FULL)
    content = {"title": "Random Markov cascades", "machine": facts, "tradeoff": TRADEOFF, "quick": options.quick}
    if is_kept(options):
        write("synthetic", {**content, "tables": tables}, options.output)
    if not options.quick or options.figures != FIGURES:
        for path in synthetic_figures.draw(tables, METHODS, options.figures):
            print(f"written: {path}")


if __name__ == "__main__":
    main()
