"""ttamer against what people use today, on any recorded traces: at matched error, and over budgets.

Everything is fitted and chosen on calibration rows and judged on test rows, by the protocol of `ttamer.compare`. A
winner is named only where the paired bootstrap interval of the difference excludes 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ttamer import baselines
from ttamer._base import checks
from ttamer._base.numbers import are_rates
from ttamer._base.types import Floats
from ttamer.baselines import Setting
from ttamer.compare.bootstrap import Difference, difference, resample, resampled_costs, resampled_errors
from ttamer.compare.curves import (
    Curve,
    cost_at_error,
    curve_of_front,
    curve_of_replays,
    curve_of_settings,
    error_at_cost,
)
from ttamer.compare.lines import best_lines, line_of
from ttamer.evaluation import frontier
from ttamer.fitting.budgets import default_budgets
from ttamer.fitting.chains import has_scores
from ttamer.traces import Traces, complete_traces
from ttamer.traces.costs import same_unit

FULL, OURS, TIE = "full model", "ttamer", "tie"
BEST = "best model"
"""Of independent models the most accurate one, in place of a full model."""
FIXED = "fixed mixing"
"""Always the same node, or two mixed request by request."""
COVERAGE = 0.9
MARGINS = (0.0, 0.005, 0.01, 0.02)
"""Error levels that are compared: the full model's error plus these."""
RELATIVE_MARGINS = (0.0, 0.05, 0.1, 0.2)
"""Where losses are not 0/1: the full model's mean loss times one plus these."""
STEPS = ("fit and sweep the trade-off", "tune the baselines", "bootstrap")

_BASELINES: dict[str, Callable[[Traces], Sequence[Setting]]] = {
    "one threshold": baselines.threshold_curve,
    "patience": baselines.patience_curve,
    "tuned thresholds": baselines.tune_thresholds,
}

_MOST_DRAWN = 2e7
"""Numbers of a bootstrap: 1000 resamples of up to 20,000 rows, fewer of more."""


@dataclass(frozen=True)
class Level:
    """One error level, and what each method costs there.

    Attributes
    ----------
    margin : float
        Error above the full model's.
    error : float
        The level: the full model's test error plus the margin.
    costs : dict of str to (float or None)
        Test cost of each method at the level; None if it does not reach it.
    best_baseline : str
        The cheapest of the others at this level on the test rows.
    difference : Difference
        ttamer's cost minus the cheapest baseline's; in the interval each resample of the test rows picks its own.
    winner : str
        Name of a method, or "tie" if the interval of the difference covers 0. A level that ttamer does not reach is
        never a tie.
    """

    margin: float
    error: float
    costs: dict[str, float | None]
    best_baseline: str
    difference: Difference
    winner: str

    def as_dict(self) -> dict[str, Any]:
        """Plain Python values for JSON."""
        return {
            "margin": self.margin,
            "error": self.error,
            "costs": self.costs,
            "best_baseline": self.best_baseline,
            **_difference_dict(self.difference),
            "winner": self.winner,
        }


@dataclass(frozen=True)
class MeanError:
    """Mean test error of a method over the budgets.

    Attributes
    ----------
    name : str
        Of the method.
    error : float
    difference : Difference or None
        ttamer's minus the method's; None of ttamer itself.
    winner : str or None
        "ttamer", the method or "tie"; None of ttamer itself.
    """

    name: str
    error: float
    difference: Difference | None
    winner: str | None

    def as_dict(self) -> dict[str, Any]:
        """Plain Python values for JSON."""
        compared = {} if self.difference is None else _difference_dict(self.difference)
        return {"method": self.name, "error": self.error, **compared, "winner": self.winner}


@dataclass(frozen=True, eq=False)
class Comparison:
    """What `run` found.

    Attributes
    ----------
    curves : tuple of Curve
        The full model's first, or of independent models the best one's; ttamer's last.
    levels : tuple of Level
    budgets : (25,) float64
        Mean costs of a request, log-spaced, in `unit`.
    means : tuple of MeanError
        Of the methods that trade cost for error: all but the full model.
    paths : dict of str to list of int
        The nodes that each baseline walks as a line, chosen on the calibration rows; empty if the traces are a line.
    nodes : tuple of str or None
        Names of the nodes, if the traces have some.
    left_out : tuple of str
        Baselines that these traces do not allow, and why.
    are_rates : bool
        Whether the losses are 0/1 errors.
    calibration_rows, test_rows : int
    unit : str
        Unit of the costs.
    """

    curves: tuple[Curve, ...]
    levels: tuple[Level, ...]
    budgets: Floats
    means: tuple[MeanError, ...]
    paths: dict[str, list[int]]
    left_out: tuple[str, ...]
    are_rates: bool
    calibration_rows: int
    test_rows: int
    unit: str
    nodes: tuple[str, ...] | None = None

    @property
    def full_cost(self) -> float:
        """float : test cost of the full model."""
        return float(self.curves[0].test_points[0][0])

    @property
    def full_error(self) -> float:
        """float : its test error."""
        return float(self.curves[0].test_points[1][0])

    def as_dict(self) -> dict[str, Any]:
        """Plain Python values for JSON; what is not reached or not bounded is None."""
        return {
            "calibration_rows": self.calibration_rows,
            "test_rows": self.test_rows,
            "unit": self.unit,
            "are_rates": self.are_rates,
            "full_model": {"name": self.curves[0].name, "cost": self.full_cost, "error": self.full_error},
            "levels": [level.as_dict() for level in self.levels],
            "budgets": self.budgets.tolist(),
            "mean_errors": [mean.as_dict() for mean in self.means],
            "paths": self.paths,
            "nodes": None if self.nodes is None else list(self.nodes),
            "left_out": list(self.left_out),
        }


def run(
    calibration: Traces, test: Traces | None = None, *, seed: int = 0, progress: Callable[[str], None] | None = None
) -> Comparison:
    """Compare ttamer's default front with the baselines.

    *Fixed mixing* always asks the same node, or one of two by chance. Thresholds and patience walk a line. On a forest
    that is each path from the root to a leaf and the one through all nodes, on a skip the one through all nodes, on a
    dag the cheapest way to each node; a baseline takes the line on which it has the least mean error over the budgets
    on the calibration rows. Nodes that cannot answer are left out of these lines, and paid for where the way leads by
    them.

    Independent models are asked in the order that is best for a baseline, of two or three models (of more than five: of
    two) or of all by rising cost. "Always one model" is added to every method, and budgets are those at which
    `ttamer.frontier` chooses: from half as much again as the cheapest model costs to half as much again as the most
    accurate one does.

    Parameters
    ----------
    calibration : Traces
        What everything is fitted and chosen on.
    test : Traces, optional
        What everything is judged on. Default: a random half of the rows, and the other half is left for calibration.
    seed : int
        Of the split and the bootstrap.
    progress : callable, optional
        Called with each of `STEPS` when it begins.

    Returns
    -------
    Comparison

    Raises
    ------
    TypeError
        If something that should be `Traces` is not.
    ValueError
        If there are too few rows to split, topologies or units differ, or nothing costs anything.
    """
    here, there = _parts(calibration, test, seed)
    full = _full_node(here)
    scale = float(here.reach_costs[full])
    if scale == 0:
        raise ValueError("traces: nothing to compare where consulting costs nothing")
    budgets = default_budgets(here, None if here.independent else scale)
    begin = progress or (lambda step: None)
    begin(STEPS[0])
    ours = curve_of_front(frontier(here), here, there, OURS)
    begin(STEPS[1])
    fixed = curve_of_settings(FIXED, baselines.fixed_curve(here), here, there)
    found, paths, left_out = _baseline_curves(here, there, budgets, fixed)
    if here.independent:
        ours = ours.beside(fixed)
    curves = (_alone(here, there, full), fixed, *found, ours)
    begin(STEPS[2])
    rates = are_rates(here.losses) and are_rates(there.losses)
    margins = (
        MARGINS if rates else tuple(share * float(curves[0].calibration_points[1][0]) for share in RELATIVE_MARGINS)
    )
    resamples = int(min(1000, max(100, _MOST_DRAWN / len(there))))
    return Comparison(
        curves=curves,
        levels=matched_levels(curves, seed, margins, resamples),
        budgets=budgets,
        means=mean_errors(curves[1:], budgets, seed, resamples),
        paths=paths,
        left_out=left_out,
        are_rates=rates,
        calibration_rows=len(here),
        test_rows=len(there),
        unit=there.unit,
        nodes=here.nodes,
    )


def references(calibration: Traces, test: Traces) -> tuple[Curve, ...]:
    """What a front is drawn beside: the full model and, where the traces allow it, one threshold, as `run` has them.

    Parameters
    ----------
    calibration : Traces
        What the threshold is chosen on.
    test : Traces
        What the points are measured on; may be the same.
    """
    full = _full_node(calibration)
    alone = _alone(calibration, test, full)
    scale = float(calibration.reach_costs[full])
    if scale == 0:
        return (alone,)
    budgets = default_budgets(calibration, None if calibration.independent else scale)
    fixed = curve_of_settings(FIXED, baselines.fixed_curve(calibration), calibration, test)
    return alone, *_baseline_curves(calibration, test, budgets, fixed, ("one threshold",))[0]


def matched_levels(
    curves: tuple[Curve, ...], seed: int = 0, margins: Sequence[float] = MARGINS, resamples: int = 1000
) -> tuple[Level, ...]:
    """Compare ttamer with the others at each error level.

    Parameters
    ----------
    curves : tuple of Curve
        The full model's first, ttamer's last.
    seed : int
        Of the bootstrap. Each resample has its own levels, those of the full model's error in it.
    margins : sequence of float
        The levels: the full model's error plus these.
    resamples : int
    """
    checks.instances("curves", curves, Curve)
    added = checks.as_array("margins", margins, "(L,) numbers").astype(np.float64)
    names = [curve.name for curve in curves]
    if added.ndim != 1 or OURS not in names or len(names) < 2:
        raise ValueError(f"curves, margins: expected {OURS!r}, other curves and (L,) numbers, got {names}, {margins}")
    weights = resample(curves[0].test_cost.shape[1], resamples, seed)
    full_error = float(curves[0].test_points[1][0])
    resampled_levels = curves[0].resampled_points(weights)[1] + added
    resampled = {curve.name: resampled_costs(curve, resampled_levels, weights) for curve in curves}
    # Which baseline is the cheapest is as uncertain as what it costs, so each resample picks its own.
    cheapest = np.min([resampled[curve.name] for curve in curves if curve.name != OURS], axis=0)
    levels = []
    for k, margin in enumerate(added.tolist()):
        error = full_error + margin
        costs = {curve.name: cost_at_error(curve, error) for curve in curves}
        reached = {name: cost for name, cost in costs.items() if cost is not None and name != OURS}
        best = min(reached, key=lambda name: reached[name])
        gap = difference(costs[OURS], costs[best], resampled[OURS][:, k], cheapest[:, k], coverage=COVERAGE)
        levels.append(Level(margin, error, costs, best, gap, best if gap.value is None else _winner(gap, best)))
    return tuple(levels)


def mean_errors(
    curves: Sequence[Curve], budgets: Floats, seed: int = 0, resamples: int = 1000
) -> tuple[MeanError, ...]:
    """Compare the mean test errors over budgets; ttamer's curve is the last, its row too."""
    curves = checks.instances("curves", curves, Curve)
    budgets = checks.as_array("budgets", budgets, "(L,) numbers")
    if not curves or budgets.ndim != 1 or len(budgets) == 0:
        raise ValueError(f"curves, budgets: expected at least one of each, got {len(curves)} and {budgets.shape}")
    weights = resample(curves[0].test_cost.shape[1], resamples, seed)
    errors = [float(np.mean([error_at_cost(curve, float(each)) for each in budgets])) for curve in curves]
    resampled = [resampled_errors(curve, budgets, weights).mean(axis=1) for curve in curves]
    rows = []
    for curve, error, own in zip(curves[:-1], errors[:-1], resampled[:-1], strict=True):
        gap = difference(errors[-1], error, resampled[-1], own, coverage=COVERAGE)
        rows.append(MeanError(curve.name, error, gap, _winner(gap, curve.name)))
    return (*rows, MeanError(OURS, errors[-1], None, None))


def _winner(gap: Difference, baseline: str) -> str:
    if gap.is_tie:
        return TIE
    return OURS if gap.high < 0 else baseline


# ---------------------------------------------------------------- rows, budgets, lines


def _parts(calibration: Traces, test: Traces | None, seed: int) -> tuple[Traces, Traces]:
    complete_traces(checks.instance("calibration", calibration, Traces))
    if test is not None:
        complete_traces(checks.instance("test", test, Traces))
        if test.topology != calibration.topology or not same_unit(test.unit, calibration.unit):
            raise ValueError(f"test: expected traces like {calibration!r}, got {test!r}")
        if np.array_equal(test.signals, calibration.signals) and np.array_equal(test.losses, calibration.losses):
            raise ValueError("test: expected other rows than calibration has, got the same")
        return calibration, test
    if len(calibration) < 2:
        raise ValueError("traces: expected at least 2 rows to choose on one half and judge on the other, got 1")
    rows = np.random.default_rng(seed).permutation(len(calibration))
    half = len(rows) // 2
    return calibration[np.sort(rows[half:])], calibration[np.sort(rows[:half])]


def _full_node(traces: Traces) -> int:
    """The last node of a line that can answer; elsewhere the most accurate one, which people would use alone."""
    if traces.topology.kind == "line":
        return traces._answering[-1]
    return int(traces.losses.mean(axis=0, dtype=np.float64).argmin())


def _alone(here: Traces, there: Traces, full: int) -> Curve:
    """The full model, or what people would use alone in its place."""
    node = here.nodes[full] if here.independent and here.nodes else f"node {here._node_text(full)}"
    name = FULL if here.topology.kind == "line" else BEST if here.independent else node
    replays = baselines.fixed_node(here, full), baselines.fixed_node(there, full)
    return curve_of_replays(name, node, *replays, there.unit)


def _baseline_curves(
    here: Traces, there: Traces, budgets: Floats, fixed: Curve, names: Iterable[str] = tuple(_BASELINES)
) -> tuple[list[Curve], dict[str, list[int]], tuple[str, ...]]:
    """A curve a baseline, the nodes it walks if that was a choice, and what had to be left out."""
    here, there = _confident(here), _confident(there)
    lines = best_lines(here, budgets)
    named = [node for node in here._answering if node in here.categories]
    curves, paths, left_out = [], {}, []
    for name in names:
        settings = _BASELINES[name]
        if name == "patience" and (here.predictions is None or there.predictions is None):
            left_out.append("patience: needs predictions, which these traces do not have")
            continue
        if name != "patience" and named:
            left_out.append(
                f"{name}: needs signals that are numbers, those of node {here._node_text(named[0])} are categories"
            )
            continue
        if name != "patience" and here.independent and not has_scores(here):
            left_out.append(f"{name}: needs scores that differ, which these traces do not have")
            continue
        tried = []
        for nodes, edges in lines:
            parts = [line_of(part, nodes, edges) for part in (here, there)]
            curve = curve_of_settings(name, settings(parts[0]), *parts)
            tried.append(curve.beside(fixed) if here.independent else curve)
        best = int(np.argmin([_calibration_error(curve, budgets) for curve in tried]))
        curves.append(tried[best])
        if here.topology.kind != "line":
            paths[name] = [node for node in lines[best][0] if node not in here.probes]
    return curves, paths, tuple(left_out)


def _confident(traces: Traces) -> Traces:
    """Traces whose larger signals are better: of an observed loss, which is its own signal, the negative."""
    if not traces.observed:
        return traces
    facts = {name: getattr(traces, name) for name in ("predictions", "unit", "labels", "evidence")}
    answers = np.where(np.isposinf(traces.losses), -traces.signals, traces.losses)  # a probe's signal is no loss
    facts |= {"losses": traces.losses, "costs": traces.paid_costs, "topology": traces.topology}
    return Traces._checked(signals=-answers, **facts)


def _calibration_error(curve: Curve, budgets: Floats) -> float:
    """Mean error over the budgets on the calibration rows; the worst one where a budget affords nothing."""
    cost, error = curve.calibration_points
    return float(np.where(budgets < cost[0], curve.worst, np.interp(budgets, cost, error)).mean())


def _difference_dict(gap: Difference) -> dict[str, Any]:
    ends = [end if np.isfinite(end) else None for end in (gap.low, gap.high)]
    return {"difference": gap.value, "interval": ends, "coverage": COVERAGE}
