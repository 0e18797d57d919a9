"""Comparing methods that trade cost for error, fairly: chosen on calibration rows, judged on test rows.

Every method brings settings: policies of a sweep, thresholds, values of patience. The lower convex hull of
(mean cost, error) on the *calibration* rows says which settings are used, and in which order; two neighbours
may be mixed request by request. The same settings evaluated on the *test* rows trace a polyline, and methods
are compared along these polylines, at matched error or at matched budget. At a matched budget nothing is chosen on
the rows it is judged on; at a matched error the place on each polyline is read off the test rows, for all alike.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
import numpy.typing as npt

from ttamer import baselines
from ttamer._base import checks
from ttamer._base.hull import lower_hull, mixing_shares
from ttamer._base.types import Floats
from ttamer.baselines import Setting
from ttamer.fitting.budgets import cheapest_answer
from ttamer.policy import Front, Replay
from ttamer.traces import Traces
from ttamer.traces.costs import same_unit

Walk = Callable[[Traces], Replay]

MOST_SETTINGS = 120
"""Settings a method may bring besides "always the first node": more is a finer search than its rivals had."""

MOST_WEIGHT = 2.0**53
"""How often a resample may draw a row."""

TOLERANCE = 1e-12
"""Errors closer than this share of the largest are equal: sums of the same losses in another order differ slightly."""


@dataclass(frozen=True, eq=False)
class Curve:
    """What every setting of a method costs and loses on every row.

    Parameters
    ----------
    name : str
        Of the method.
    settings : tuple of P str
        What each setting is called.
    calibration_cost, calibration_loss : (P, N) float64
        Cost and loss of each calibration row under each setting.
    test_cost, test_loss : (P, M) float64
        The same for the test rows; the same rows in the same order for all methods that are compared.
    unit : str
        Unit of the costs.

    Raises
    ------
    ValueError
        If there is no setting, or the shapes do not fit.
    """

    name: str
    settings: tuple[str, ...]
    calibration_cost: Floats
    calibration_loss: Floats
    test_cost: Floats
    test_loss: Floats
    unit: str = ""

    def __post_init__(self) -> None:
        checks.text("name", self.name)
        checks.text("unit", self.unit)
        for name in ("calibration_cost", "calibration_loss", "test_cost", "test_loss"):
            object.__setattr__(self, name, checks.as_array(name, getattr(self, name), "(P, rows) float64"))
        count = len(self.settings)
        if count == 0:
            raise ValueError("settings: expected at least one, got none")
        for part in ("calibration", "test"):
            cost, loss = getattr(self, f"{part}_cost"), getattr(self, f"{part}_loss")
            if cost.ndim != 2 or len(cost) != count or cost.shape[1] == 0:
                raise ValueError(f"{part}_cost: expected ({count}, rows) float64, got {checks.describe(cost)}")
            checks.check_shape(f"{part}_loss", loss, cost.shape, f"{cost.shape} float64 like {part}_cost")

    @cached_property
    def hull(self) -> npt.NDArray[np.intp]:
        """(V,) : numbers of the usable settings, by rising cost and falling error on the calibration rows."""
        return lower_hull(self.calibration_cost.mean(axis=1), self.calibration_loss.mean(axis=1))

    @cached_property
    def worst(self) -> float:
        """float : the largest loss of any row, 1 of errors: what a budget counts for that affords no setting."""
        return max(float(self.calibration_loss.max()), float(self.test_loss.max())) or 1.0

    @cached_property
    def calibration_points(self) -> tuple[Floats, Floats]:
        """Two (V,) float64 : mean cost and error of the usable settings on the calibration rows."""
        return self.calibration_cost[self.hull].mean(axis=1), self.calibration_loss[self.hull].mean(axis=1)

    @cached_property
    def test_points(self) -> tuple[Floats, Floats]:
        """Two (V,) float64 : mean cost and error of the usable settings on the test rows."""
        return self.test_cost[self.hull].mean(axis=1), self.test_loss[self.hull].mean(axis=1)

    def beside(self, other: Curve) -> Curve:
        """A curve with the settings of both, of this one's name."""

        def both(table: str) -> Floats:
            return np.concatenate([getattr(self, table), getattr(other, table)])

        return Curve(
            self.name,
            (*self.settings, *other.settings),
            both("calibration_cost"),
            both("calibration_loss"),
            both("test_cost"),
            both("test_loss"),
            self.unit,
        )

    def resampled_points(self, weights: Floats) -> tuple[Floats, Floats]:
        """Two (B, V) float64 : `test_points` of B resamples of the test rows, weights (B, M) from `resample`."""
        rows = self.test_cost.shape[1]
        weights = checks.as_array("weights", weights, f"(B, {rows}) float64")
        if weights.ndim != 2 or weights.shape[1] != rows:
            raise ValueError(f"weights: expected (B, {rows}) float64, got {checks.describe(weights)}")
        weights = weights.astype(np.float64, copy=False)
        checks.check_values("weights", weights, 0.0, ("resample", "row"))
        if weights.max(initial=0.0) > MOST_WEIGHT:
            raise ValueError(f"weights: expected values <= {MOST_WEIGHT:g}, got {weights.max():g}")
        total = weights.sum(axis=1, keepdims=True)
        if not np.all(total > 0):
            raise ValueError("weights: expected a row in every resample, got none")
        return weights @ self.test_cost[self.hull].T / total, weights @ self.test_loss[self.hull].T / total


def curve_of_settings(name: str, settings: Sequence[Setting], calibration: Traces, test: Traces) -> Curve:
    """Curve of a baseline, "always the first node" added.

    Parameters
    ----------
    name : str
    settings : sequence of Setting
        At most `MOST_SETTINGS`, made from the calibration rows.
    calibration, test : Traces

    Raises
    ------
    ValueError
        If there are too many settings, or the traces differ in topology, unit or kind of signal.
    """
    own = checks.instances("settings", settings, Setting)
    return _curve(name, [(setting.name, setting.replay) for setting in own], calibration, test)


def curve_of_front(front: Front, calibration: Traces, test: Traces, name: str = "ttamer") -> Curve:
    """Curve of the policies of a front, made from the calibration rows; "always the first node" added.

    Parameters and errors are those of `curve_of_settings`.
    """
    policies = [point.policy for point in checks.instance("front", front, Front)]
    settings = [(f"tradeoff {policy.tradeoff:.6g}", policy.replay) for policy in policies]
    return _curve(name, settings, calibration, test)


def curve_of_replays(name: str, setting: str, calibration: Replay, test: Replay, unit: str = "") -> Curve:
    """Curve of one setting alone, such as the full model: a point."""
    checks.instance("calibration", calibration, Replay)
    checks.instance("test", test, Replay)
    return Curve(
        name,
        (checks.text("setting", setting),),
        calibration.cost[None, :],
        calibration.loss[None, :],
        test.cost[None, :],
        test.loss[None, :],
        unit,
    )


def _curve(name: str, settings: Sequence[tuple[str, Walk]], calibration: Traces, test: Traces) -> Curve:
    checks.instance("calibration", calibration, Traces)
    checks.instance("test", test, Traces)
    if len(settings) > MOST_SETTINGS:
        raise ValueError(f"settings: expected at most {MOST_SETTINGS} a method, got {len(settings)}")
    if test.topology != calibration.topology or not same_unit(test.unit, calibration.unit):
        raise ValueError(f"test: expected traces like {calibration!r}, got {test!r}")
    # A threshold means nothing on another kind.
    test = test._read_as(calibration.signal, calibration.categories)
    # On a line this is the first node that can answer; elsewhere the one that is cheapest to reach plays its part.
    first = cheapest_answer(calibration)
    walks: list[tuple[str, Walk]] = [*settings, (f"always node {first}", partial(baselines.fixed_node, node=first))]
    on_calibration = [walk(calibration) for _, walk in walks]
    on_test = [walk(test) for _, walk in walks]
    return Curve(
        name,
        tuple(setting for setting, _ in walks),
        np.stack([result.cost for result in on_calibration]),
        np.stack([result.loss for result in on_calibration]),
        np.stack([result.cost for result in on_test]),
        np.stack([result.loss for result in on_test]),
        calibration.unit,
    )


# ---------------------------------------------------------------- reading polylines


def cost_at_error(curve: Curve, level: float) -> float | None:
    """Test cost at which a method reaches an error level.

    Goes along the test polyline, in the order of calibration cost, to the first point whose test error is at
    most the level.

    Returns
    -------
    float or None
        In the curve's unit; None if the level is never reached.
    """
    cost, error = checks.instance("curve", curve, Curve).test_points
    wanted = np.array([[checks.real("level", level)]])
    found = first_crossing(cost[None, :], error[None, :], wanted)[0, 0]
    return float(found) if np.isfinite(found) else None


def error_at_cost(curve: Curve, budget: float) -> float:
    """Test error of a method that may spend a budget.

    Two neighbours on the calibration hull are mixed so that their mean cost on the *calibration* rows is the
    budget; beyond the last one it is used alone.

    Returns
    -------
    float
        Mean loss on the test rows; the worst of the curve if the budget is below the cheapest setting.
    """
    errors = checks.instance("curve", curve, Curve).test_points[1]
    return float(mixed(curve, [checks.real("budget", budget)], errors)[0])


def first_crossing(cost: Floats, error: Floats, levels: Floats) -> Floats:
    """Cost where each polyline (B, V) first comes down to each of its levels (B or 1, L): (B, L), inf if never."""
    reached = error[:, None, :] <= levels[:, :, None] + TOLERANCE * error.max()
    after = reached.argmax(axis=2)
    before = np.maximum(after - 1, 0)
    error_after, error_before = np.take_along_axis(error, after, 1), np.take_along_axis(error, before, 1)
    cost_after, cost_before = np.take_along_axis(cost, after, 1), np.take_along_axis(cost, before, 1)
    fall = error_before - error_after
    share = np.where(fall > 0, (error_before - levels) / np.where(fall > 0, fall, 1.0), 1.0)
    found = cost_before + np.clip(share, 0.0, 1.0) * (cost_after - cost_before)
    return np.where(reached.any(axis=2), found, np.inf)


def mixed(curve: Curve, budgets: npt.ArrayLike, errors: Floats) -> Floats:
    """Errors (..., L) of spending each budget, from those of the usable settings (..., V); `worst` if it has none."""
    cost = curve.calibration_points[0]
    wanted = checks.as_array("budgets", budgets, "(L,) numbers").astype(np.float64)
    return np.where(wanted < cost[0] * (1 - TOLERANCE), curve.worst, errors @ mixing_shares(cost, wanted))


# ---------------------------------------------------------------- paired bootstrap
