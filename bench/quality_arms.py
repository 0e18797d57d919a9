"""The methods that bench/quality.py compares, and how each is brought to a workload."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
from baselines.guarantee import certified_curve
from baselines.isotonic import isotonic_curve
from baselines.orders import best_order, line_through
from baselines.routing import routing_curve
from baselines.schedule import schedule_curve
from baselines.temperature import temperature_curve

import ttamer
from ttamer import Traces, baselines, compare
from ttamer.baselines import Setting
from ttamer.compare import Curve
from ttamer.fitting.budgets import default_tradeoffs

Floats = npt.NDArray[np.float64]
Method = Callable[[Traces], Sequence[Setting]]

OURS, REFERENCE = "ttamer", "one threshold"
ESTIMATES = ("signal", "posterior", "sets")
BINS = 16


@dataclass(frozen=True)
class Plan:
    """How much is run.

    Attributes
    ----------
    points : int
        Settings a method may bring; ttamer one less, for its trade-offs are as many.
    rank_points, rank_rows, rank_keep : int
        Settings, rows and orders that go on, in the search for the order of independent models.
    resamples : int
        Of the bootstrap.
    rows : int or None
        Calibration rows used; None for all.
    learning : tuple of (rows, draws)
        Sizes of the learning curves; all rows come last by themselves.
    """

    points: int
    rank_points: int
    rank_rows: int
    rank_keep: int
    resamples: int
    rows: int | None
    learning: tuple[tuple[int, int], ...]


FULL = Plan(120, 24, 4000, 24, 2000, None, ((250, 12), (500, 8), (1000, 6), (2500, 4)))
QUICK = Plan(12, 6, 150, 2, 100, 500, ((100, 2),))


@dataclass(frozen=True, eq=False)
class Workload:
    """Traces on a line, or on a forest of roots where the models are independent; and what may be spent.

    Attributes
    ----------
    name : str
    calibration, test : Traces
    budgets : (L,) float64
        In the unit of the costs.
    scale : float
        The cost that budgets are fractions of.
    """

    name: str
    calibration: Traces
    test: Traces
    budgets: Floats
    scale: float

    @property
    def independent(self) -> bool:
        """bool : whether models may be consulted in any order."""
        return self.calibration.topology.kind != "line"

    def with_calibration(self, rows: npt.NDArray[np.intp]) -> Workload:
        """The same workload with some of its calibration rows."""
        return Workload(self.name, self.calibration[rows], self.test, self.budgets, self.scale)


@dataclass(frozen=True, eq=False)
class Arm:
    """One method.

    Attributes
    ----------
    name : str
    run : callable
        Takes a workload and a plan; returns the curve and the order of the models, None if it chooses none. Raises
        ValueError where the method refuses the workload.
    baseline : bool
        Whether it is what others do.
    """

    name: str
    run: Callable[[Workload, Plan], tuple[Curve, tuple[int, ...] | None]]
    baseline: bool


def arms(workload: Workload) -> list[Arm]:
    """All methods, ttamer's default first and one threshold next."""
    methods = [Arm(OURS, partial(_front, OURS, {}), False)]
    methods += [Arm(name, partial(_on_lines, name, *method), True) for name, method in _LINES.items()]
    if workload.independent:
        methods.append(Arm("cascade routing", partial(_as_it_is, "cascade routing", routing_curve), True))
    for estimate in ESTIMATES:
        name = f"{OURS}, {estimate}"
        methods.append(Arm(name, partial(_front, name, {"estimate": estimate}), False))
    for name, sweep in (
        ("no recall", _no_recall),
        ("recall, proxy", _recall_on_proxy),
        ("recall, calibrated", _recall_calibrated),
    ):
        methods.append(Arm(name, partial(_on_lines, name, sweep, None), False))
    return methods


# ---------------------------------------------------------------- on a line, in the best order


def _on_lines(
    name: str, method: Callable[..., Sequence[Setting]], quick: dict[str, int] | None, workload: Workload, plan: Plan
) -> tuple[Curve, tuple[int, ...] | None]:
    """A method for lines; through independent models in the order that is best for it on the calibration rows."""
    full = _PLAIN.get(name, {"points": plan.points})
    if not workload.independent:
        return compare.curve_of_settings(name, method(workload.calibration, **full), *_parts(workload)), None
    rank = partial(method, **({**_PLAIN.get(name, {"points": plan.rank_points}), **(quick or {})}))
    order = best_order(workload.calibration, rank, workload.budgets, rows=plan.rank_rows, keep=plan.rank_keep)
    here, there = line_through(workload.calibration, order), line_through(workload.test, order)
    return compare.curve_of_settings(name, method(here, **full), here, there), order


def _parts(workload: Workload) -> tuple[Traces, Traces]:
    return workload.calibration, workload.test


_LINES: dict[str, tuple[Callable[..., Sequence[Setting]], dict[str, int] | None]] = {
    REFERENCE: (partial(baselines.threshold_curve, signal="max_prob"), None),
    "one threshold, margin": (partial(baselines.threshold_curve, signal="margin"), None),
    "one threshold, entropy": (partial(baselines.threshold_curve, signal="entropy"), None),
    "one threshold, logit margin": (partial(baselines.threshold_curve, signal="logit_margin"), None),
    "temperature-scaled threshold": (temperature_curve, None),
    "tuned thresholds": (baselines.tune_thresholds, None),
    "searched thresholds": (baselines.search_thresholds, {"levels": 8}),
    "budgeted schedule": (schedule_curve, None),
    "patience": (baselines.patience_curve, None),
    "certified threshold": (certified_curve, None),
    "isotonic cascade": (isotonic_curve, None),
    "isotonic cascade, cost": (partial(isotonic_curve, rule="cost"), None),
    "expected-cost search": (routing_curve, None),
}
"""Baselines on lines: the method, and what makes it quicker where orders are ranked."""

_PLAIN: dict[str, dict[str, int]] = {"patience": {}}
"""Arguments of the methods that do not take a number of points."""


# ---------------------------------------------------------------- ttamer and its relatives


def _as_it_is(
    name: str, method: Callable[..., Sequence[Setting]], workload: Workload, plan: Plan
) -> tuple[Curve, tuple[int, ...] | None]:
    return compare.curve_of_settings(name, method(workload.calibration, points=plan.points), *_parts(workload)), None


def _front(name: str, options: dict[str, str], workload: Workload, plan: Plan) -> tuple[Curve, tuple[int, ...] | None]:
    front = ttamer.frontier(workload.calibration, _tradeoffs(plan.points), **options)
    return compare.curve_of_front(front, *_parts(workload), name), None


def _tradeoffs(points: int) -> Floats:
    """At most `points` trade-offs, evenly taken from the default ones, the ends among them."""
    grid = default_tradeoffs()
    return grid[np.unique(np.rint(np.linspace(0, len(grid) - 1, min(points, len(grid)))).astype(np.intp))]


def _solved(model: ttamer.CascadeModel, recall: str, points: int, view: Callable[[Traces], Traces]) -> list[Setting]:
    """One setting a trade-off; `view` makes the traces whose signals the policy reads."""
    settings = []
    for tradeoff in _tradeoffs(points).tolist():
        policy = ttamer.solve(model, tradeoff, recall)
        walk = partial(_replay, policy, view)
        settings.append(Setting(f"tradeoff {tradeoff:.6g}", {"tradeoff": tradeoff}, walk))
    return settings


def _replay(policy: ttamer.Policy, view: Callable[[Traces], Traces], traces: Traces) -> ttamer.Replay:
    return policy.replay(view(traces))


def _no_recall(traces: Traces, points: int) -> list[Setting]:
    """Backward induction on binned confidences; the answer is the last node's."""
    return _solved(ttamer.fit(traces, bins=BINS), "none", points, _unchanged)


def _recall_calibrated(traces: Traces, points: int) -> list[Setting]:
    """The recall index on calibrated losses, as if they were observed."""
    return _solved(ttamer.fit(traces, bins=BINS), "observed", points, _unchanged)


def _recall_on_proxy(traces: Traces, points: int) -> list[Setting]:
    """The recall index on the paper's proxy: one minus the confidence is taken for an observed loss."""
    proxy = _doubts(traces).signals
    model = ttamer.fit(Traces(proxy, proxy, traces.costs, traces.topology, observed=True, unit=traces.unit), bins=BINS)
    return _solved(model, "observed", points, _doubts)


def _unchanged(traces: Traces) -> Traces:
    return traces


def _doubts(traces: Traces) -> Traces:
    """The same rows with one minus the largest probability as the signal."""
    doubts = np.maximum(np.float32(1) - traces.with_signal("max_prob").signals, np.float32(0))
    return Traces(doubts, traces.losses, traces.costs, traces.topology, unit=traces.unit)
