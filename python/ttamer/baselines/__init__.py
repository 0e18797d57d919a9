"""What people use today, and the bound no policy beats: walks over the same traces as a policy's replay.

Every walk takes `Traces` and returns a `Replay`, as `Policy.replay` does. What has a parameter to choose also has a
curve: a list of `Setting`, made from calibration rows, that can be replayed on any traces of the same topology.
All but that of fixed nodes walk a line. What only the studies compare with stands beside them, in ``bench/baselines``.
"""

from __future__ import annotations

from ttamer.baselines.exhaustive import search_thresholds
from ttamer.baselines.fixed import fixed_curve
from ttamer.baselines.settings import (
    Setting,
    fixed_node,
    last_node,
    node_thresholds,
    patience,
    prophet,
    threshold,
)
from ttamer.baselines.thresholds import patience_curve, threshold_curve, tune_thresholds

__all__ = [
    "Setting",
    "fixed_curve",
    "fixed_node",
    "last_node",
    "node_thresholds",
    "patience",
    "patience_curve",
    "prophet",
    "search_thresholds",
    "threshold",
    "threshold_curve",
    "tune_thresholds",
]
