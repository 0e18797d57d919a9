"""Ways to decide over several models on the same requests: what they lose at what they cost.

Every way is fitted and chosen on the calibration requests and measured on the test requests. "Always one model" is
added to each; two neighbours on the lower hull of the *calibration* requests are mixed to meet a budget.

  loss        of a test request, mean over 25 log-spaced budgets, from 1.5 times the cheapest model's mean cost (at
              least 2% of the most accurate model's) to 1.5 times the most accurate model's
  same loss   test cost at which a way comes down to the loss of the most accurate model, as a share of its cost

  ttamer      the default `ttamer.frontier`
  fixed       always one model
  thresholds  one threshold on the scores, in any order of two or three models
  two calls   after a first model one other at most, by its answer and score
  routing     one model, by what is known before any is asked
  cascade routing
              at each step towards the set of models that is expected to be worth most, for right or wrong answers
  half the rows
              ttamer on every other calibration request: `ttamer.tune` fits on half, and tests on the others

Differences of ttamer to each way have paired 90% bootstrap intervals over the test requests. In the tables, + marks a
way that ttamer is better than, - one that it is worse than; without a mark, 0 is in the interval. A way that does not
apply, such as routing without a context, is left out. The format of the sets is that of ``bench/model_sets.py``.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import model_sets
import numpy as np
import numpy.typing as npt
from model_sets import Requests
from model_ways import WAYS, Point, fixed

from ttamer import compare, plots
from ttamer._base.hull import lower_hull
from ttamer.bench.harness import is_kept, machine, machine_line, one_thread, parser, print_rows, write
from ttamer.compare import Curve

Floats = npt.NDArray[np.float64]
Row = dict[str, Any]

RESULTS = Path(__file__).parent / "results"
OURS = next(iter(WAYS))
PICTURED = ("ttamer", "fixed", "thresholds", "two calls", "routing")
BUDGETS = 25
LOWEST, HIGHEST = 0.02, 1.5
RESAMPLES = 400
QUICK_ROWS, QUICK_SETS, QUICK_RESAMPLES = 400, 2, 50


def budgets_of(requests: Requests) -> Floats:
    """Budgets of a set, from its calibration requests."""
    costs = requests.costs.mean(axis=0)
    top = costs[best_model(requests)]
    return np.geomspace(max(1.5 * costs.min(), LOWEST * top), HIGHEST * top, BUDGETS)


def best_model(requests: Requests) -> int:
    """The most accurate model."""
    return int(requests.losses.mean(axis=0).argmin())


def curve(name: str, points: Sequence[Point], test: Requests) -> Curve:
    """The test requests at the points on the lower hull of the calibration requests, of which the means are kept."""
    cost, error = np.array([[point.cost, point.error] for point in points]).T
    usable = lower_hull(cost, error)
    replays = [points[k].replay(test) for k in usable]
    return Curve(
        name,
        tuple(f"point {k}" for k in usable),
        cost[usable, None],
        error[usable, None],
        np.stack([cost for cost, _ in replays]),
        np.stack([loss for _, loss in replays]),
        test.unit,
    )


def study(name: str, calibration: Requests, test: Requests, resamples: int, figures: Path | None = None) -> list[Row]:
    """A row a way; and a picture of their costs and losses on the test requests, if there is a folder for it."""
    always = fixed(calibration).points
    budgets, weights = budgets_of(calibration), compare.resample(len(test), resamples)
    best = best_model(calibration)
    level, full_cost = float(test.losses[:, best].mean()), float(test.costs[:, best].mean())
    rows: list[Row] = []
    samples: dict[str, Floats] = {}
    lines: list[Curve] = []
    for way, fit in WAYS.items():
        start = time.perf_counter()
        result = fit(calibration)
        seconds = time.perf_counter() - start
        if not result.points:
            continue
        line = curve(way, [*result.points, *always], test)
        lines.append(line)
        losses = [compare.error_at_cost(line, budget) for budget in budgets]
        samples[way] = compare.resampled_errors(line, budgets, weights).mean(axis=1)
        same = compare.cost_at_error(line, level)
        row: Row = {"set": name, "way": way, "loss": float(np.mean(losses)), "ttamer minus it": None}
        if way != OURS:
            gap = compare.difference(rows[0]["loss"], row["loss"], samples[OURS], samples[way])
            row["ttamer minus it"] = [gap.value, gap.low, gap.high]
        row["same loss"] = None if same is None else same / full_cost
        rows.append({**row, "seconds": seconds, "choice": result.choice})
    if figures is not None:
        figures.mkdir(parents=True, exist_ok=True)
        shown = [line for line in lines if line.name in PICTURED]
        plots.front(shown, figures / f"models-{name}.png", title=f"{name}: {len(test):,} test requests")
    return rows


def facts(name: str, calibration: Requests, test: Requests) -> Row:
    """What a set is."""
    return {
        "set": name,
        "models": len(calibration.models),
        "calibration": len(calibration),
        "test": len(test),
        "left out": calibration.left_out + test.left_out,
        "unit": calibration.unit,
    }


def mark(row: Row) -> str:
    """Whether ttamer is better, worse, or neither."""
    _, low, high = row["ttamer minus it"]
    return "+" if high < 0 else "-" if low > 0 else " "


def summary(rows: Sequence[Row]) -> list[Row]:
    """A row a way: on how many sets ttamer is better or worse than it, and the mean difference in 1e-4."""
    table = []
    for way in list(WAYS)[1:]:
        own = [row for row in rows if row["way"] == way]
        marks = [mark(row) for row in own]
        gap = 1e4 * float(np.mean([row["ttamer minus it"][0] for row in own])) if own else None
        counts = {"better": marks.count("+"), "worse": marks.count("-"), "neither": marks.count(" ")}
        table.append({"way": way, "sets": len(own), **counts, "mean difference": gap})
    return table


def draws(name: str, calibration: Requests, test: Requests, count: int) -> list[Row]:
    """A row a way: how it compares where the calibration requests are drawn anew, so many times."""
    gaps: dict[str, list[list[float]]] = {}
    same: dict[str, list[float]] = {}
    for seed in range(count):
        for row in study(name, *calibration.drawn_anew(test, seed), RESAMPLES):
            same.setdefault(row["way"], []).append(np.inf if row["same loss"] is None else row["same loss"])
            if row["way"] != OURS:
                gaps.setdefault(row["way"], []).append(row["ttamer minus it"])
    return [
        {
            "set": name,
            "way": way,
            "draws": count,
            "mean difference": 1e4 * float(np.mean([value for value, _, _ in own])),
            "better": sum(high < 0 for _, _, high in own),
            "worse": sum(low > 0 for _, low, _ in own),
            "its same loss": float(np.median(same[way])),
            "ttamer's": float(np.median(same[OURS])),
        }
        for way, own in gaps.items()
    ]


# ---------------------------------------------------------------- printing


def shown_losses(rows: Sequence[Row]) -> Row:
    """One set for a terminal: the loss of each way in 1e-4, with the ends of its interval."""
    table: Row = {"set": rows[0]["set"], **dict.fromkeys(WAYS)}
    for row in rows:
        cell = f"{1e4 * row['loss']:.0f}"
        if row["ttamer minus it"] is not None:
            _, low, high = row["ttamer minus it"]
            cell += f" [{1e4 * low:.0f}, {1e4 * high:.0f}] {mark(row)}"
        table[row["way"]] = cell
    return {**table, "choice": rows[0]["choice"], "seconds": f"{rows[0]['seconds']:.1f}"}


def shown_costs(rows: Sequence[Row]) -> Row:
    """One set for a terminal: the cost of each way at the loss of the most accurate model, as a share of its cost."""
    table: Row = {"set": rows[0]["set"], **dict.fromkeys(WAYS)}
    for row in rows:
        table[row["way"]] = "never" if row["same loss"] is None else f"{row['same loss']:.2f}"
    return table


TITLES = {
    "sets": "requests with everything recorded, and how many were left out",
    "losses": f"mean loss over {BUDGETS} budgets, 1e-4, and [5%, 95%] of ttamer's less it; ttamer's choice and seconds",
    "summary": "sets on which ttamer is better than each way, or worse, and the mean difference, 1e-4",
    "costs": "cost at the loss of the most accurate model, as a share of its cost",
    "draws": "calibration requests drawn anew: mean difference to each way, 1e-4, draws in which it is beyond 0, and "
    "the median cost at the loss of the most accurate model",
}


# ---------------------------------------------------------------- all of it


def main(arguments: Sequence[str] | None = None) -> int:
    command_line = parser(__doc__ or "", RESULTS)
    command_line.add_argument("folder", type=Path, help="where the sets are")
    command_line.add_argument("names", nargs="*", help="sets (default: all of the folder)")
    command_line.add_argument("--figures", type=Path, help="folder for a picture of each set")
    command_line.add_argument("--draws", type=int, default=0, help="draw the calibration requests anew so many times")
    options = command_line.parse_intermixed_args(arguments)
    names = model_sets.names_in(options.folder)
    selection = options.names or names[: QUICK_SETS if options.quick else None]
    if not names or not set(selection) <= set(names):
        choices, request = " or ".join(names) or "a recorded set", " and ".join(selection) or "an empty folder"
        print(f"names: expected {choices}, got {request}", file=sys.stderr)
        return 2
    title = "Ways to decide over several models on the same requests"
    print(f"{machine_line()}\n\n{title}")
    sets, results, drawn = [], [], []
    with one_thread():
        for name in selection:
            print(name, file=sys.stderr, flush=True)
            calibration, test = model_sets.load(options.folder, name)
            calibration = calibration.first(QUICK_ROWS if options.quick else None)
            sets.append(facts(name, calibration, test))
            results.append(
                study(name, calibration, test, QUICK_RESAMPLES if options.quick else RESAMPLES, options.figures)
            )
            drawn += draws(name, calibration, test, options.draws)
    ways = [row for rows in results for row in rows]
    tables = {"sets": sets, "ways": ways, "summary": summary(ways)}
    shown = {
        "sets": sets,
        "losses": [shown_losses(rows) for rows in results],
        "summary": tables["summary"],
        "costs": [shown_costs(rows) for rows in results],
    }
    if options.draws:
        shown["draws"] = drawn
    for key, rows in shown.items():
        print(f"\n{TITLES[key]}\n")
        print_rows(rows)
    if is_kept(options) and not options.draws:
        content = {"title": title, "machine": machine(), "quick": options.quick, "tables": tables}
        write("models", content, options.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
