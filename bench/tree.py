"""Trees of recorded models: the forest policy against every line in the tree, every node, and running all nodes.

The workloads are five classifiers each, trained independently, with a forest of who may follow whom; the format is
that of ``bench/bundle_workload.py --help``. The nodes' losses are not seen but estimated from confidences, so what is
optimal for observed losses need not be good here, and this measures whether it is.

  forest         the dynamic index, answering with the smallest estimated loss consulted
  line a-b-c     one path from the root to a leaf, walked without recall
  fixed nodes    every request to the same node; two neighbouring nodes may be mixed
  all nodes      consult all, answer with the smallest estimated loss

Everything is fitted and chosen on the calibration rows and measured on the test rows. Each of the first three brings
at most 120 settings and may mix two neighbours on the calibration hull. "Mean error" is the mean over 25 log-spaced
budgets, from 1.5 times the cheapest node's cost (at least 0.02 of the scale) to the scale, which is the cost of the
path to the most accurate node; a budget below the cheapest setting costs error 1. Differences are "forest minus the
other", with paired 90% bootstrap intervals; a tie is one that covers 0.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from workloads import load_recorded

import ttamer
from ttamer import baselines, compare
from ttamer.baselines import Setting
from ttamer.bench.harness import is_kept, machine, parser, print_rows, write
from ttamer.compare import Curve, Difference
from ttamer.fitting.budgets import default_tradeoffs

Floats = npt.NDArray[np.float64]
Row = dict[str, Any]

WORKLOADS = ("fashion-cascade", "agnews-cascade")
RESULTS = Path(__file__).parent / "results"
BINS = 16
BUDGETS = 25
LOWEST = 0.02
MARGINS = (0.0, 0.01, 0.02)
NO_FOLDER = "tree.py: the workload that comes with the package is a line; name a folder of recorded trees"


@dataclass(frozen=True, eq=False)
class Study:
    """Curves of one workload, and what they are compared with.

    Attributes
    ----------
    name : str
        Of the workload.
    curves : tuple of Curve
        The forest policy's first.
    points : tuple of Curve
        One setting each: every node alone, and all nodes.
    promises : list of dict
        What the most accurate setting of every policy was expected to lose, and what it lost.
    budgets : (25,) float64
        In the unit of the costs.
    best_node : int
        The most accurate one on the calibration rows.
    """

    name: str
    curves: tuple[Curve, ...]
    points: tuple[Curve, ...]
    promises: list[Row]
    budgets: Floats
    best_node: int


# ---------------------------------------------------------------- the methods


def paths(topology: ttamer.Topology) -> list[list[int]]:
    """Every path from the root to a leaf of a forest."""
    parents = topology.edges[:, 0].tolist()
    leaf_paths = []
    for leaf in range(topology.nodes):
        if leaf not in parents:
            path = [leaf]
            while parents[path[0]] >= 0:
                path.insert(0, parents[path[0]])
            leaf_paths.append(path)
    return leaf_paths


def all_nodes(traces: ttamer.Traces, model: ttamer.CascadeModel) -> ttamer.Replay:
    """Consult every node and answer with the smallest loss the model estimates; of equal ones the lowest node."""
    estimates = np.stack(
        [
            losses[np.searchsorted(edges, traces.signals[:, j], side="right")]
            for j, (losses, edges) in enumerate(zip(model.losses, model.bin_edges, strict=True))
        ],
        axis=1,
    )
    answers = estimates.argmin(axis=1)
    rows = np.arange(len(traces))
    last = np.full(len(traces), traces.topology.nodes - 1, np.int32)
    cost = np.full(len(traces), traces.costs.sum())
    return ttamer.Replay(last, answers.astype(np.int32), cost, traces.losses[rows, answers].astype(np.float64))


def budgets_for(reach_costs: Floats, errors: Floats) -> Floats:
    """Log-spaced budgets up to the cost of the most accurate node, given each node's cost and error."""
    scale = reach_costs[errors.argmin()]
    return np.geomspace(max(LOWEST * scale, 1.5 * reach_costs.min()), scale, BUDGETS)


def study(name: str, calibration: ttamer.Traces, test: ttamer.Traces, tradeoffs: npt.ArrayLike | None = None) -> Study:
    """Fit and sweep every method on the calibration rows, replay it on both."""
    grid = default_tradeoffs() if tradeoffs is None else np.asarray(tradeoffs)
    curves, promises = [], []

    def sweep(method: str, here: ttamer.Traces, there: ttamer.Traces) -> None:
        front = ttamer.frontier(here, grid, "signal", bins=BINS)
        curves.append(compare.curve_of_front(front, here, there, method))
        policy = front[-1].policy
        replays = policy.replay(here), policy.replay(there)
        promises.append(
            {
                "workload": name,
                "method": method,
                "tradeoff": policy.tradeoff,
                "cost ms": replays[0].mean_cost,
                "promised error": policy.expected_loss,
                "calibration error": replays[0].error,
                "test error": replays[1].error,
                "recalled": float((replays[1].answer_node != replays[1].last_node).mean()),
            }
        )

    sweep("forest", calibration, test)
    for path in paths(calibration.topology):
        # The edges of a forest are in the order of the nodes they lead to.
        costs = calibration.costs[path]
        sweep(f"line {'-'.join(map(str, path))}", calibration.path(path, costs), test.path(path, costs))
    nodes = range(calibration.topology.nodes)
    settings = [Setting(f"node {j}", {"node": j}, partial(baselines.fixed_node, node=j)) for j in nodes]
    curves.append(compare.curve_of_settings("fixed nodes", settings, calibration, test))
    everything = partial(all_nodes, model=ttamer.fit(calibration, bins=BINS))
    settings.append(Setting("all nodes", {}, everything))
    points = [
        compare.curve_of_replays(each.name, each.name, each.replay(calibration), each.replay(test), test.unit)
        for each in settings
    ]
    errors = calibration.losses.mean(axis=0, dtype=np.float64)
    budgets = budgets_for(calibration.reach_costs, errors)
    return Study(name, tuple(curves), tuple(points), promises, budgets, int(errors.argmin()))


# ---------------------------------------------------------------- the comparison


def mean_error_rows(results: Study, weights: Floats) -> list[Row]:
    """Mean test error over the budgets, in 1e-4, and the forest policy's difference to each method."""
    errors = [np.mean([compare.error_at_cost(curve, budget) for budget in results.budgets]) for curve in results.curves]
    resamples = [compare.resampled_errors(curve, results.budgets, weights).mean(axis=1) for curve in results.curves]
    rows = []
    for curve, error, own in zip(results.curves, errors, resamples, strict=True):
        row: Row = {"workload": results.name, "method": curve.name, "mean error 1e-4": 1e4 * float(error)}
        gap = compare.difference(float(errors[0]), float(error), resamples[0], own)
        rows.append({**row, **_compared(gap, curve.name, 1e4)})
    return rows


def point_rows(results: Study, weights: Floats) -> list[Row]:
    """Every node alone and all nodes, and the forest policy's error at the same cost, in 1e-4."""
    forest = results.curves[0]
    rows = []
    for point in results.points:
        cost, error = float(point.calibration_points[0][0]), float(point.test_points[1][0])
        ours = compare.error_at_cost(forest, cost)
        resamples = compare.resampled_errors(forest, [cost], weights)[:, 0]
        gap = compare.difference(ours, error, resamples, point.resampled_points(weights)[1][:, 0])
        row: Row = {"workload": results.name, "method": point.name, "cost ms": cost, "error 1e-4": 1e4 * error}
        rows.append({**row, "forest 1e-4": 1e4 * ours, **_compared(gap, point.name, 1e4)})
    return rows


def level_rows(results: Study, weights: Floats) -> list[Row]:
    """Test cost at the error of the most accurate node plus a margin, and the forest policy's difference."""
    reference = results.points[results.best_node]
    # In every resample of the rows the levels are those of that resample.
    level_samples = reference.resampled_points(weights)[1] + np.array(MARGINS)
    resamples = [compare.resampled_costs(curve, level_samples, weights) for curve in results.curves]
    rows = []
    for k, margin in enumerate(MARGINS):
        level = float(reference.test_points[1][0]) + margin
        costs = [compare.cost_at_error(curve, level) for curve in results.curves]
        for curve, cost, own in zip(results.curves, costs, resamples, strict=True):
            gap = compare.difference(costs[0], cost, resamples[0][:, k], own[:, k])
            row: Row = {"workload": results.name, "error": level, "method": curve.name, "cost ms": cost}
            row |= _compared(gap, curve.name, 1.0)
            if curve is not results.curves[0] and gap.value is None:
                names = [name for name, value in (("forest", costs[0]), (curve.name, cost)) if value is not None]
                row["better"] = names[0] if names else "neither reaches it"
            rows.append(row)
    return rows


def _compared(gap: Difference, other: str, scale: float) -> Row:
    """A difference with its interval and the better one; nothing for the forest policy itself."""
    if other == "forest":
        return {"forest minus it": None, "low": None, "high": None, "better": None}
    ends = [scale * end if np.isfinite(end) else None for end in (gap.low, gap.high)]
    value = None if gap.value is None else scale * gap.value
    better = "tie" if gap.is_tie else ("forest" if gap.high < 0 else other)
    return {"forest minus it": value, "low": ends[0], "high": ends[1], "better": better}


def run(folder: Path, quick: bool) -> dict[str, list[Row]]:
    """Compare on every workload and print the tables."""
    tables: dict[str, list[Row]] = {"mean error": [], "points": [], "levels": [], "promises": []}
    for name in WORKLOADS:
        calibration, test = load_recorded(folder, name)
        results = study(name, calibration, test, default_tradeoffs()[::8] if quick else None)
        weights = compare.resample(len(test), 200 if quick else 1000)
        tables["mean error"] += mean_error_rows(results, weights)
        tables["points"] += point_rows(results, weights)
        tables["levels"] += level_rows(results, weights)
        tables["promises"] += results.promises
    titles = (
        f"Mean test error over {BUDGETS} cost budgets",
        "Nodes alone, and all of them: test error, and that of the forest policy at the same cost",
        "Test cost at the error of the most accurate node, plus a margin",
        "The most accurate policy of each front: the error its model promised, and what came",
    )
    for title, rows in zip(titles, tables.values(), strict=True):
        print(f"\n{title}\n")
        print_rows(rows)
    return tables


def main(arguments: Sequence[str] | None = None) -> int:
    command_line = parser(__doc__ or "", RESULTS)
    command_line.add_argument("folder", type=Path, nargs="?", help="where the recorded workloads are")
    options = command_line.parse_args(arguments)
    if options.folder is None:
        print(NO_FOLDER, file=sys.stderr)
        return 2
    title = "Forest policies on recorded trees of models"
    facts = machine()
    print(f"{title}\n{facts['cpu']}, {facts['cores']} cores, Python {facts['python']}")
    tables = run(options.folder, options.quick)
    if is_kept(options):
        write("tree", {"title": title, "machine": facts, "quick": options.quick, "tables": tables}, options.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
