"""Methods that trade cost for error, compared fairly: chosen on calibration rows, judged on test rows."""

from ttamer.compare.bootstrap import Difference, difference, resample, resampled_costs, resampled_errors
from ttamer.compare.comparison import (
    COVERAGE,
    FULL,
    MARGINS,
    OURS,
    STEPS,
    TIE,
    Comparison,
    Level,
    MeanError,
    matched_levels,
    mean_errors,
    run,
)
from ttamer.compare.curves import (
    MOST_SETTINGS,
    Curve,
    cost_at_error,
    curve_of_front,
    curve_of_replays,
    curve_of_settings,
    error_at_cost,
)

__all__ = [
    "COVERAGE",
    "FULL",
    "MARGINS",
    "MOST_SETTINGS",
    "OURS",
    "STEPS",
    "TIE",
    "Comparison",
    "Curve",
    "Difference",
    "Level",
    "MeanError",
    "cost_at_error",
    "curve_of_front",
    "curve_of_replays",
    "curve_of_settings",
    "difference",
    "error_at_cost",
    "matched_levels",
    "mean_errors",
    "resample",
    "resampled_costs",
    "resampled_errors",
    "run",
]
