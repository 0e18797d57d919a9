"""Every policy on every recorded workload: what it errs and what it costs, against what people use today.

Everything is fitted and chosen on the calibration rows and measured on the test rows. Each method brings at most 120
settings and "always the first node"; two neighbours on the lower hull of the *calibration* rows may be mixed.

  mean error      over 25 log-spaced cost budgets, from 1.5 times the cheapest node's cost (at least 0.1 of the scale,
                  0.02 where models are independent) to the scale: the cost of the recorded path to the last node, or to
                  the most accurate one of independent models. A budget below the cheapest setting has error 1.
  cost            at matched error: that of the most accurate single node, plus a margin.

A workload whose recorded nodes form a line is a network with exits. Others are taken for independent models, each
a root: methods for lines walk the subset and order that is best for them on the calibration rows; cascade routing and
ttamer take any order. Differences have paired 90% bootstrap intervals over the test rows; a tie is one that covers 0.
The best baseline is the one with the least mean error on the calibration rows. What a method refuses is left out and
said. The format of the workloads is that of ``bench/bundle_workload.py --help``.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import quality_arms
import quality_learning
from quality_arms import OURS, REFERENCE, Plan, Workload
from workloads import load_recorded, recorded_names

from ttamer import Topology, Traces, baselines, compare, plots
from ttamer.bench.harness import is_kept, machine, one_thread, parser, print_rows, write
from ttamer.compare import Curve

Floats = npt.NDArray[np.float64]
Row = dict[str, Any]

RESULTS = Path(__file__).parent / "results"
FIGURES = Path(__file__).parent.parent / "docs"
BUDGETS = 25
LOWEST = {"line": 0.1, "independent": 0.02}
MARGINS = (0.0, 0.005, 0.01, 0.02)
PICTURE_METHODS = ("one threshold", "tuned thresholds", "patience", "recall, proxy")
"""Drawn besides ttamer and the best baseline."""


@dataclass(frozen=True, eq=False)
class Study:
    """Curves of one workload.

    Attributes
    ----------
    workload : Workload
    curves : dict of str to Curve
        By method, ttamer first.
    orders : dict of str to (tuple of int or None)
        In which order a method consults independent models.
    baselines : list of str
        Those of the methods that are others'.
    refusals : dict of str to str
        Methods that were left out, and why.
    """

    workload: Workload
    curves: dict[str, Curve] = field(default_factory=dict)
    orders: dict[str, tuple[int, ...] | None] = field(default_factory=dict)
    baselines: list[str] = field(default_factory=list)
    refusals: dict[str, str] = field(default_factory=dict)

    @property
    def best_baseline(self) -> str:
        """str : the baseline with the least mean error on the calibration rows."""
        return min(self.baselines, key=lambda name: calibration_error(self.curves[name], self.workload.budgets))


# ---------------------------------------------------------------- workloads and methods


def load(folder: Path | None, name: str, rows: int | None = None) -> Workload:
    """A workload with its budgets; `rows` limits the calibration rows."""
    calibration, test = load_recorded(folder, name)
    if calibration.topology.kind == "line":
        scale, least, cheapest = float(calibration.costs.sum()), LOWEST["line"], calibration.costs[0]
    else:
        best = calibration.losses.mean(axis=0, dtype=np.float64).argmin()
        scale, least, cheapest = float(calibration.reach_costs[best]), LOWEST["independent"], calibration.costs.min()
        calibration, test = as_roots(calibration), as_roots(test)
    budgets = np.geomspace(max(least * scale, 1.5 * cheapest), scale, BUDGETS)
    return Workload(name, calibration[:rows] if rows else calibration, test, budgets, scale)


def as_roots(traces: Traces) -> Traces:
    """Traces of a forest with every node a root: independent models, each at the cost of its own edge."""
    return Traces(
        traces.signals,
        traces.losses,
        traces.costs,
        Topology.forest([-1] * traces.topology.nodes),
        unit=traces.unit,
        labels=traces.labels,
        evidence=traces.evidence,
        signal=traces.signal,
    )


def study(workload: Workload, plan: Plan) -> Study:
    """Run every method; a progress line for each goes to the error output."""
    results = Study(workload)
    for arm in quality_arms.arms(workload):
        print(f"{workload.name}: {arm.name}", file=sys.stderr, flush=True)
        try:
            curve, order = arm.run(workload, plan)
        except ValueError as error:
            results.refusals[arm.name] = str(error)
            print(f"{workload.name}: {arm.name} is left out: {error}", file=sys.stderr, flush=True)
            continue
        results.curves[arm.name], results.orders[arm.name] = curve, order
        if arm.baseline:
            results.baselines.append(arm.name)
    return results


# ---------------------------------------------------------------- tables


def calibration_error(curve: Curve, budgets: Floats) -> float:
    """Mean error over budgets on the calibration rows."""
    cost, error = curve.calibration_points
    return float(np.where(budgets < cost[0], 1.0, np.interp(budgets, cost, error)).mean())


def test_error(curve: Curve, budgets: Floats) -> float:
    """Mean error over budgets on the test rows."""
    return float(np.mean([compare.error_at_cost(curve, budget) for budget in budgets]))


def error_rows(results: Study, weights: Floats) -> list[Row]:
    """Mean errors in 1e-4; differences of each method to one threshold, and of ttamer to each method."""
    budgets, curves = results.workload.budgets, results.curves
    error = {name: test_error(curve, budgets) for name, curve in curves.items()}
    resamples = {name: compare.resampled_errors(curve, budgets, weights).mean(axis=1) for name, curve in curves.items()}
    rows = []
    for name in curves:
        order = results.orders[name]
        row: Row = {
            "workload": results.workload.name,
            "method": name + (" *" if name == results.best_baseline else ""),
            "order": None if order is None else "-".join(map(str, order)),
            "calibration": 1e4 * calibration_error(curves[name], budgets),
            "test": 1e4 * error[name],
        }
        row["minus one threshold"] = _gap(name, REFERENCE, error, resamples)
        row["ttamer minus it"] = _gap(OURS, name, error, resamples)
        rows.append(row)
    return rows


def _gap(one: str, other: str, error: dict[str, float], resamples: dict[str, Floats]) -> list[float] | None:
    """A difference in 1e-4 and the ends of its interval; nothing for a method and itself."""
    if one == other:
        return None
    gap = compare.difference(error[one], error[other], resamples[one], resamples[other])
    return [1e4 * (error[one] - error[other]), 1e4 * gap.low, 1e4 * gap.high]


def level_rows(results: Study, weights: Floats) -> list[Row]:
    """Test cost at the error of the most accurate node plus a margin, of the scale, and ttamer's cost less it."""
    calibration, test = results.workload.calibration, results.workload.test
    node = int(calibration.losses.mean(axis=0, dtype=np.float64).argmin())
    replays = [baselines.fixed_node(traces, node) for traces in (calibration, test)]
    full = compare.curve_of_replays("full", f"node {node}", *replays, test.unit)
    # In every resample of the rows the levels are those of that resample.
    level_samples = full.resampled_points(weights)[1] + np.array(MARGINS)
    resamples = {name: compare.resampled_costs(curve, level_samples, weights) for name, curve in results.curves.items()}
    rows = []
    for name, curve in results.curves.items():
        for k, margin in enumerate(MARGINS):
            level = replays[1].error + margin
            cost, ours = compare.cost_at_error(curve, level), compare.cost_at_error(results.curves[OURS], level)
            gap = compare.difference(ours, cost, resamples[OURS][:, k], resamples[name][:, k])
            parts = [None if part is None else part / results.workload.scale for part in (cost, gap.value)]
            ends = [end / results.workload.scale if np.isfinite(end) else None for end in (gap.low, gap.high)]
            better = "tie" if gap.is_tie else (OURS if gap.high < 0 else name)
            row: Row = {"workload": results.workload.name, "method": name, "margin": margin, "error": level}
            rows.append({**row, "cost": parts[0], "ttamer minus it": [parts[1], *ends], "better": better})
    return rows


def budget_rows(results: Study) -> list[Row]:
    """Test error of every method at every budget."""
    return [
        {
            "workload": results.workload.name,
            "budget": float(budget / results.workload.scale),
            **{name: compare.error_at_cost(curve, budget) for name, curve in results.curves.items()},
        }
        for budget in results.workload.budgets
    ]


def draw(results: Study, folder: Path) -> Path:
    """Picture of the test polylines of ttamer, the best baseline and a few others."""
    names = dict.fromkeys((OURS, results.best_baseline, *PICTURE_METHODS))
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"quality-{results.workload.name}.png"
    plots.front([results.curves[name] for name in names if name in results.curves], path, title=results.workload.name)
    return path


# ---------------------------------------------------------------- printing


def shown_errors(rows: Sequence[Row]) -> list[Row]:
    """Error rows for a terminal: a difference with its interval in one cell."""
    return [{key: _cell(value) for key, value in row.items() if key != "workload"} for row in rows]


def _cell(value: Any) -> Any:
    if not isinstance(value, list):
        return f"{value:.1f}" if isinstance(value, float) else value
    middle, low, high = value
    return f"{middle:.1f} [{low:.1f}, {high:.1f}]{' tie' if low <= 0 <= high else ''}"


def shown_levels(rows: Sequence[Row]) -> list[Row]:
    """Level rows for a terminal: a row a method, a column a level; what is not a tie with ttamer is marked."""
    table: dict[str, Row] = {}
    for row in rows:
        cost = "not reached" if row["cost"] is None else f"{row['cost']:.3f}"
        mark = "" if row["better"] == "tie" else (" +" if row["better"] == OURS else " -")
        table.setdefault(row["method"], {"method": row["method"]})[f"error {row['error']:.4f}"] = cost + mark
    return list(table.values())


# ---------------------------------------------------------------- all of it


def run(folder: Path | None, only: Sequence[str], plan: Plan, figures: Path | None) -> dict[str, Any]:
    """Compare on every workload and print the tables."""
    tables: dict[str, list[Row]] = {"mean error": [], "levels": [], "budgets": [], "refused": []}
    with one_thread():
        for name in only:
            workload = load(folder, name, plan.rows)
            results = study(workload, plan)
            weights = compare.resample(len(workload.test), plan.resamples)
            errors, levels = error_rows(results, weights), level_rows(results, weights)
            print(f"\n{name}: {TITLES['mean error']}\n")
            print_rows(shown_errors(errors))
            print(f"\n{name}: {TITLES['levels']}\n")
            print_rows(shown_levels(levels))
            tables["mean error"] += errors
            tables["levels"] += levels
            tables["budgets"] += budget_rows(results)
            tables["refused"] += [{"workload": name, "method": m, "why": why} for m, why in results.refusals.items()]
            if figures is not None:
                print(f"\nwritten: {draw(results, figures)}")
    return tables


def learn(folder: Path | None, only: Sequence[str], plan: Plan) -> dict[str, Any]:
    """Draw learning curves on every workload and print them."""
    tables: dict[str, list[Row]] = {"learning": []}
    with one_thread():
        for name in only:
            rows = quality_learning.rows(load(folder, name, plan.rows), plan, test_error)
            print(f"\n{name}: {TITLES['learning']}\n")
            print_rows(rows)
            tables["learning"] += rows
    return tables


TITLES = {
    "mean error": f"mean error over {BUDGETS} budgets, 1e-4 (* the best baseline on the calibration rows)",
    "levels": "test cost at matched error, of the scale (+: ttamer is cheaper, -: dearer, beyond the 90% interval)",
    "learning": "learning curves: mean error minus that of one threshold fitted on the same rows, 1e-4, mean±its error",
}


def main(arguments: Sequence[str] | None = None) -> int:
    command_line = parser(__doc__ or "", RESULTS)
    command_line.add_argument(
        "folder", type=Path, nargs="?", help="where the recorded workloads are (default: the package's)"
    )
    command_line.add_argument("--only", action="append", metavar="NAME", help="only this workload; may be repeated")
    command_line.add_argument("--learning", action="store_true", help="learning curves over calibration rows instead")
    command_line.add_argument("--figures", type=Path, default=FIGURES, help="folder for the pictures (default: docs)")
    options = command_line.parse_args(arguments)
    names = recorded_names(options.folder)
    selection = options.only or names
    if not names or not set(selection) <= set(names):
        choices, request = " or ".join(names) or "a recorded workload", " and ".join(selection) or "an empty folder"
        print(f"--only: expected {choices}, got {request}", file=sys.stderr)
        return 2
    title, facts = "Policies on recorded workloads", machine()
    print(f"{title}\n{facts['cpu']}, {facts['cores']} cores, Python {facts['python']}")
    plan = quality_arms.QUICK if options.quick else quality_arms.FULL
    has_figures = not options.quick or options.figures != FIGURES
    if options.learning:
        tables = learn(options.folder, selection, plan)
    else:
        tables = run(options.folder, selection, plan, options.figures if has_figures else None)
    if is_kept(options):
        content = {"title": title, "machine": facts, "quick": options.quick, "tables": tables}
        write("learning" if options.learning else "quality", content, options.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
