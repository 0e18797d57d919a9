"""What people use today, and the bound no policy beats: walks over the same traces as a policy's replay.

Every walk takes `Traces` and returns a `Replay`, as `Policy.replay` does. What has a parameter to choose also has a
curve: a list of `Setting`, made from calibration rows, that can be replayed on any traces of the same topology. All
but `routing_curve` walk a line; `ttamer.baselines.orders.best_order` finds the line to walk through independent models.
"""

from __future__ import annotations

from ttamer.baselines.exhaustive import search_thresholds
from ttamer.baselines.guarantee import certified_curve
from ttamer.baselines.isotonic import isotonic_curve
from ttamer.baselines.routing import routing_curve
from ttamer.baselines.schedule import schedule_curve
from ttamer.baselines.settings import (
    Setting,
    fixed_node,
    last_node,
    node_thresholds,
    patience,
    prophet,
    score_thresholds,
    threshold,
)
from ttamer.baselines.supermodels import route
from ttamer.baselines.temperature import temperature_curve
from ttamer.baselines.thresholds import patience_curve, threshold_curve, tune_thresholds

__all__ = [
    "Setting",
    "certified_curve",
    "fixed_node",
    "isotonic_curve",
    "last_node",
    "node_thresholds",
    "patience",
    "patience_curve",
    "prophet",
    "route",
    "routing_curve",
    "schedule_curve",
    "score_thresholds",
    "search_thresholds",
    "temperature_curve",
    "threshold",
    "threshold_curve",
    "tune_thresholds",
]
