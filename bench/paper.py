"""The vision and text experiments of the T-Tamer paper (arXiv 2509.22992), repeated on recorded early-exit networks.

Its protocol: an answer is right if it is the backbone's own, that of the last exit; latency is divided by that of the
full path. So no labels are needed. Its methods, each on the largest probability of every exit:

  recall       the dynamic index, taking 1 - confidence for the loss: what is seen is this proxy, and the answer is the
               most confident exit consulted
  threshold    stop at the first exit that is confident enough
  patience K   stop when K exits in a row have agreed with the one before

and beside them ttamer's default front, which calibrates the confidences and does not recall on them. Models are fitted
and settings chosen on the calibration rows; accuracy and latency are those of the test rows, along the polyline of the
usable settings (`ttamer.compare`), with 90% bootstrap intervals, paired where methods are compared.

The claims that are checked, and when they count as confirmed:

  saving         recall saves about half of the latency at 95% relative accuracy on vision, about 90% at 75% on text:
                 if the interval of the saving does not lie below
  better         recall has a better front than one threshold and patience: if the interval of the difference lies below
                 0, of the mean error over 25 budgets (threshold) or of the error at the same latency (patience)
  not monotone   a larger threshold may cost more and be *less* accurate: if it is so on test rows for the pair of
                 thresholds where it is most so on calibration rows; the same is asked of recall and against the labels
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
from ttamer.bench.harness import is_kept, machine, machine_line, parser, print_rows, write
from ttamer.compare import Curve
from ttamer.fitting.budgets import default_tradeoffs

Floats = npt.NDArray[np.float64]
Row = dict[str, Any]

RESULTS = Path(__file__).parent / "results"
RECALL, SAME_WALK, THRESHOLD, OURS = "recall", "the same walk, last exit", "threshold", "ttamer"
BINS = 256  # of the proxies. Recall is to look its best: it did worse with 16 and 64, also on test rows
BUDGETS = 25
LEVELS = (0.75, 0.9, 0.95, 0.99)


@dataclass(frozen=True)
class Claim:
    """Share of the latency that recall is said to save at a relative accuracy."""

    field: str
    accuracy: float
    saved: float


VISION, TEXT = Claim("vision", 0.95, 0.5), Claim("text", 0.75, 0.9)
WORKLOADS = {"fashion-vgg": VISION, "sst2-minilm": TEXT, "agnews-minilm": TEXT}


@dataclass(frozen=True, eq=False)
class Study:
    """What each method did on one workload.

    Attributes
    ----------
    curves : dict of str to Curve
        Recall, its walk without recalling, threshold and ttamer's default, the loss that of the backbone's own answer.
    patience : dict of int to Curve
        One setting each.
    labelled : dict of str to Curve
        The first three, the loss that of the labels.
    first : float
        Relative accuracy of the first exit alone, on test rows.
    budgets : (25,) float64
        Shares of the latency of the full path.
    """

    name: str
    claim: Claim
    curves: dict[str, Curve]
    patience: dict[int, Curve]
    labelled: dict[str, Curve]
    first: float
    budgets: Floats


# ---------------------------------------------------------------- the protocol


def relative(traces: ttamer.Traces, *, to_labels: bool = False) -> ttamer.Traces:
    """Right is what the last exit says, or the label; latency is a share of the full path's."""
    predictions = traces.predictions
    if predictions is None:
        raise ValueError("traces: expected predictions, to compare them with the last exit's")
    labels = predictions[:, -1] if not to_labels else traces.labels
    losses = traces.losses if to_labels else (predictions != predictions[:, -1:]).astype(np.float32)
    return ttamer.Traces(
        traces.signals,
        losses,
        traces.costs / traces.costs.sum(),
        predictions=predictions,
        labels=labels,
        evidence=traces.evidence,
        signal=traces.signal,
        unit="of the full path",
    )


def on_proxy(traces: ttamer.Traces) -> ttamer.Traces:
    """The paper's proxy: the loss is 1 - confidence, and is seen."""
    proxy = 1 - traces.signals
    return ttamer.Traces(proxy, proxy, traces.costs, observed=True, unit=traces.unit)


def recall(traces: ttamer.Traces, policy: ttamer.Policy, *, recalls: bool = True) -> ttamer.Replay:
    """Walk by the proxies, answer with the smallest or with the last, and pay the real loss of that answer."""
    replay = policy.replay(on_proxy(traces))
    answers = replay.answer_node if recalls else replay.last_node
    losses = traces.losses[np.arange(len(traces)), answers].astype(np.float64)
    return ttamer.Replay(replay.last_node, answers, replay.cost, losses)


def study(
    name: str, calibration: ttamer.Traces, test: ttamer.Traces, claim: Claim, tradeoffs: npt.ArrayLike | None = None
) -> Study:
    """Fit and choose on the calibration rows, replay on both."""
    grid = default_tradeoffs() if tradeoffs is None else np.asarray(tradeoffs)
    here, there = relative(calibration), relative(test)
    label_traces = relative(calibration, to_labels=True), relative(test, to_labels=True)
    model = ttamer.fit(on_proxy(here), bins=BINS)
    policies = [ttamer.solve(model, float(each), "observed") for each in grid]

    def walks(recalls: bool) -> list[Setting]:
        return [Setting(f"{each.tradeoff:.4g}", {}, partial(recall, policy=each, recalls=recalls)) for each in policies]

    settings = {RECALL: walks(True), SAME_WALK: walks(False), THRESHOLD: baselines.threshold_curve(here)}
    curves = {method: compare.curve_of_settings(method, each, here, there) for method, each in settings.items()}
    curves[OURS] = compare.curve_of_front(ttamer.frontier(here, grid), here, there, OURS)
    patience = {
        k: compare.curve_of_replays(f"patience {k}", f"{k}", baselines.patience(here, k), baselines.patience(there, k))
        for k in (1, 2)
    }
    lowest = max(0.1, 1.5 * float(here.costs[0]))
    return Study(
        name,
        claim,
        curves,
        patience,
        {method: compare.curve_of_settings(method, each, *label_traces) for method, each in settings.items()},
        1 - float(there.losses[:, 0].mean()),
        np.geomspace(lowest, 1.0, BUDGETS),
    )


# ---------------------------------------------------------------- the claims


def interval(samples: Floats) -> tuple[float, float]:
    """Ends of the 90% percentile interval; infinity stays infinity."""
    low, high = np.quantile(samples, [0.05, 0.95], method="inverted_cdf")
    return float(low), float(high)


def saving_row(results: Study, weights: Floats) -> Row:
    """Latency that recall saves at the claimed accuracy, and what the others save there."""
    level = 1 - results.claim.accuracy
    savings = {name: _saved(compare.cost_at_error(curve, level)) for name, curve in results.curves.items()}
    low, high = interval(1 - compare.resampled_costs(results.curves[RECALL], [level], weights)[:, 0])
    return {
        "workload": results.name,
        "claim": f"recall saves latency at {results.claim.accuracy:.0%} relative accuracy",
        "paper": results.claim.saved,
        "ours": savings[RECALL],
        "low": _finite(low),
        "high": _finite(high),
        "verdict": "confirmed" if savings[RECALL] is not None and high >= results.claim.saved else "not confirmed",
        "threshold": savings[THRESHOLD],
        OURS: savings[OURS],
        "first exit alone": results.first,
    }


def better_rows(results: Study, weights: Floats) -> list[Row]:
    """Recall's relative error minus that of the others over budgets, and of patience at its latency, in 1e-4."""
    ours = results.curves[RECALL]
    rows = []
    for other in (results.curves[name] for name in (THRESHOLD, SAME_WALK, OURS)):
        values = [np.mean([compare.error_at_cost(each, float(b)) for b in results.budgets]) for each in (ours, other)]
        resamples = [compare.resampled_errors(each, results.budgets, weights).mean(axis=1) for each in (ours, other)]
        rows.append(_difference_row(results, other.name, "mean over budgets", values, resamples))
    for point in results.patience.values():
        cost = float(point.calibration_points[0][0])
        values = [compare.error_at_cost(ours, cost), float(point.test_points[1][0])]
        resamples = [compare.resampled_errors(ours, [cost], weights)[:, 0], point.resampled_points(weights)[1][:, 0]]
        rows.append(_difference_row(results, point.name, f"at latency {cost:.3f}", values, resamples))
    return rows


def _difference_row(
    results: Study, other: str, where: str, values: Sequence[float], resamples: Sequence[Floats]
) -> Row:
    gap = compare.difference(float(values[0]), float(values[1]), *resamples)
    verdict = "tie" if gap.is_tie else "recall is better" if gap.high < 0 else "recall is worse"
    return {
        "workload": results.name,
        "other": other,
        "where": where,
        "recall 1e-4": 1e4 * float(values[0]),
        "other 1e-4": 1e4 * float(values[1]),
        "difference": 1e4 * (float(values[0]) - float(values[1])),
        "low": 1e4 * gap.low,
        "high": 1e4 * gap.high,
        "verdict": verdict,
    }


def rise(curve: Curve) -> tuple[int, int]:
    """The two settings, the second dearer, between which the calibration error rises most."""
    cost, error = curve.calibration_cost.mean(axis=1), curve.calibration_loss.mean(axis=1)
    order = np.argsort(cost, kind="stable")
    below = np.minimum.accumulate(error[order])
    last = int(np.argmax(error[order] - below))
    first = int(np.argmin(error[order][: last + 1]))
    return int(order[first]), int(order[last])


def monotone_row(results: Study, method: str, against: str, curve: Curve, weights: Floats) -> Row:
    """By how much the error rises, in 1e-4, between two settings that were chosen on the calibration rows."""
    cheap, dear = rise(curve)
    row: Row = {"workload": results.name, "method": method, "right is": against}
    if cheap == dear:
        nothing = dict.fromkeys(("from latency", "to latency", "calibration rise", "test rise", "low", "high"))
        return {**row, **nothing, "not monotone": "no rise on calibration rows"}
    gaps = curve.test_loss[dear] - curve.test_loss[cheap]
    low, high = interval(weights @ gaps / weights.sum(axis=1))
    return {
        **row,
        "from latency": float(curve.test_cost[cheap].mean()),
        "to latency": float(curve.test_cost[dear].mean()),
        "calibration rise": 1e4 * float((curve.calibration_loss[dear] - curve.calibration_loss[cheap]).mean()),
        "test rise": 1e4 * float(gaps.mean()),
        "low": 1e4 * low,
        "high": 1e4 * high,
        "not monotone": "confirmed" if low > 0 else "not confirmed",
    }


def level_rows(results: Study) -> list[Row]:
    """Latency of every method at each relative accuracy."""
    curves = {**results.curves, **{curve.name: curve for curve in results.patience.values()}}
    return [
        {
            "workload": results.name,
            "method": name,
            **{f"{level:.0%}": compare.cost_at_error(curve, 1 - level) for level in LEVELS},
        }
        for name, curve in curves.items()
    ]


def _saved(cost: float | None) -> float | None:
    return None if cost is None else 1 - cost


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None


def run(folder: Path | None, quick: bool) -> dict[str, list[Row]]:
    """Repeat the experiments and print the tables."""
    tables: dict[str, list[Row]] = {"saving": [], "better": [], "monotone": [], "levels": []}
    for name, claim in WORKLOADS.items():
        if folder is None and claim is not VISION:
            continue
        calibration, test = load_recorded(folder, name)
        results = study(name, calibration, test, claim, default_tradeoffs()[::8] if quick else None)
        weights = compare.resample(len(test), 200 if quick else 1000)
        tables["saving"].append(saving_row(results, weights))
        tables["better"] += better_rows(results, weights)
        for against, curves in (("the last exit's answer", results.curves), ("the label", results.labelled)):
            for method in (THRESHOLD, RECALL):
                tables["monotone"].append(monotone_row(results, method, against, curves[method], weights))
        tables["levels"] += level_rows(results)
    titles = (
        "Share of the latency saved, at the accuracy relative to the last exit that the paper names",
        "Relative error, recall on 1 - confidence minus the others",
        "Where the error rises with latency: the pair of settings is the worst one on calibration rows",
        "Latency, as a share of the full path's, at each relative accuracy",
    )
    for title, rows in zip(titles, tables.values(), strict=True):
        print(f"\n{title}\n")
        print_rows(rows)
    return tables


def main(arguments: Sequence[str] | None = None) -> int:
    command_line = parser(__doc__ or "", RESULTS)
    command_line.add_argument(
        "folder", type=Path, nargs="?", help="recorded workloads (default: the bundled one, vision only)"
    )
    options = command_line.parse_args(arguments)
    title = "The paper's vision and text experiments"
    print(f"{title}\n{machine_line()}")
    tables = run(options.folder, options.quick)
    if is_kept(options):
        write("paper", {"title": title, "machine": machine(), "quick": options.quick, "tables": tables}, options.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
