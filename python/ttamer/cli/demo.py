"""The demo: bundled workloads, from recorded traces to a saved policy, against what people use today.

First the exits of one network, then several models on the same requests. Everything is fitted and chosen on the
calibration rows; every figure is of the test rows.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ttamer import baselines, compare, data, plots
from ttamer.compare import FULL, OURS, Comparison, Curve, Level, matched_levels
from ttamer.evaluation import frontier
from ttamer.policy import FrontPoint, Policy

WORKLOAD, MODELS = "fashion-vgg", "ferplus"
POLICY_MARGIN = 0.005
"""The saved policy is the cheapest within this of the full model's error, on the calibration rows."""
PICTURE, POLICY = "front.png", "policy.safetensors"

STEPS = (
    "load the workload",
    "fit and sweep the trade-off",
    "tune the baselines",
    "bootstrap",
    "draw and save",
    "several models",
)

SERVE = f"""\
import numpy as np
import ttamer, ttamer.data

policy = ttamer.Policy.load("{POLICY}")
recorded = ttamer.data.load("{WORKLOAD}").test[:64]  # stands in for a network
requests = recorded.with_signal(policy.signal)
batch = policy.start(capacity=len(requests), signal=requests.signal)
rows = np.arange(len(requests))
node = np.full(len(requests), policy.first_node, dtype=np.int32)
while len(rows):
    signals = requests.signals[rows, node]  # run the network up to `node`, take its `policy.signal`
    node = batch.decide(node, signals, rows)
    rows, node = rows[node != ttamer.STOP], node[node != ttamer.STOP]
wrong = requests.losses[np.arange(len(requests)), batch.answer_node]
print(f"{{1 - wrong.mean():.1%}} right, answered by node {{batch.answer_node.tolist()}}")
"""
"""A program that serves the saved policy; it runs as it stands in the folder of the policy."""


@dataclass(frozen=True, eq=False)
class Demo:
    """What the demo found and wrote: of one network, and in `models` of several models."""

    curves: tuple[Curve, ...]
    levels: tuple[Level, ...]
    full_cost: float
    full_error: float
    policy: Policy
    policy_cost: float
    policy_error: float
    calibration_rows: int
    test_rows: int
    unit: str
    files: tuple[Path, ...]
    models: Comparison

    def as_dict(self) -> dict[str, Any]:
        """Plain Python values for JSON; what is not reached or not bounded is None."""
        return {
            "workload": WORKLOAD,
            "calibration_rows": self.calibration_rows,
            "test_rows": self.test_rows,
            "unit": self.unit,
            "full_model": {"cost": self.full_cost, "error": self.full_error},
            "levels": [level.as_dict() for level in self.levels],
            "policy": {"tradeoff": self.policy.tradeoff, "cost": self.policy_cost, "error": self.policy_error},
            "files": [str(path) for path in self.files],
            "serve": SERVE,
            "models": {"workload": MODELS, **self.models.as_dict()},
        }


def run(folder: str | os.PathLike[str] = ".", seed: int = 0, progress: Callable[[str], None] | None = None) -> Demo:
    """Run the demo; writes ``front.png`` and ``policy.safetensors``, over those of an earlier run.

    Parameters
    ----------
    folder : path
        Where the two files go.
    seed : int
        Of the bootstrap.
    progress : callable, optional
        Called with each of `STEPS` when it begins.

    Returns
    -------
    Demo

    Raises
    ------
    ImportError
        If matplotlib is missing.
    OSError
        If a file cannot be written.
    """
    begin = progress or (lambda step: None)
    begin(STEPS[0])
    workload = data.load(WORKLOAD)
    calibration, test = workload.calibration, workload.test
    full, full_test = baselines.last_node(calibration), baselines.last_node(test)
    begin(STEPS[1])
    front = frontier(calibration)
    ours = compare.curve_of_front(front, calibration, test, OURS)
    begin(STEPS[2])
    curves = (
        compare.curve_of_replays(FULL, "last node", full, full_test, test.unit),
        *(
            compare.curve_of_settings(name, settings, calibration, test)
            for name, settings in (
                ("one threshold", baselines.threshold_curve(calibration)),
                ("patience", baselines.patience_curve(calibration)),
                ("tuned thresholds", baselines.tune_thresholds(calibration)),
            )
        ),
        ours,
    )
    begin(STEPS[3])
    levels = matched_levels(curves, seed)
    begin(STEPS[4])
    point = front.cheapest(full.error + POLICY_MARGIN)
    files = _write(Path(folder), curves, point)
    replay = point.policy.replay(test)
    begin(STEPS[5])
    several = data.load(MODELS)
    return Demo(
        curves=curves,
        levels=levels,
        full_cost=full_test.mean_cost,
        full_error=full_test.error,
        policy=point.policy,
        policy_cost=replay.mean_cost,
        policy_error=replay.error,
        calibration_rows=len(calibration),
        test_rows=len(test),
        unit=test.unit,
        files=files,
        models=compare.run(several.calibration, several.test, seed=seed),
    )


def _write(folder: Path, curves: tuple[Curve, ...], point: FrontPoint) -> tuple[Path, ...]:
    picture, policy = folder / PICTURE, folder / POLICY
    plots.front(curves[::-1], picture, title=f"An 8-exit network ({WORKLOAD}), 5,000 test requests")
    point.policy.save(policy)
    return picture, policy
