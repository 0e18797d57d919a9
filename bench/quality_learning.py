"""Learning curves of bench/quality.py: what the methods err when they are fitted on few calibration rows."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import quality_arms
from quality_arms import OURS, REFERENCE, Plan, Workload

from ttamer.compare import Curve

Row = dict[str, Any]
Error = Callable[[Curve, npt.NDArray[np.float64]], float]

METHODS = (OURS, "tuned thresholds", "budgeted schedule", "expected-cost search")
"""Those whose difference to one threshold is drawn, all fitted on the same rows."""


def rows(workload: Workload, plan: Plan, error: Error) -> list[Row]:
    """One row a number of calibration rows: mean over draws, and its standard error, of the difference in test error.

    Parameters
    ----------
    workload : Workload
    plan : Plan
    error : callable
        Takes a curve and budgets, returns the mean error on the test rows.
    """
    total = len(workload.calibration)
    # Choosing an order of independent models takes many times as long: half as many draws.
    parts = 2 if workload.independent else 1
    sizes = [(size, -(-draws // parts)) for size, draws in plan.learning if size < total] + [(total, 1)]
    table = []
    for size, draws in sizes:
        gaps: dict[str, list[float]] = {}
        reference = []
        for draw in range(draws):
            print(f"{workload.name}: {size} rows, draw {draw + 1} of {draws}", file=sys.stderr, flush=True)
            some = np.random.default_rng([size, draw]).permutation(total)[:size]
            errors = _errors(workload.with_calibration(some), plan, error)
            reference.append(errors[REFERENCE])
            for name in errors:
                if name != REFERENCE:
                    gaps.setdefault(name, []).append(1e4 * (errors[name] - errors[REFERENCE]))
        row: Row = {"workload": workload.name, "rows": size, "draws": draws, REFERENCE: 1e4 * float(np.mean(reference))}
        for name in METHODS:
            # A method that refused one draw is not compared over the others.
            row[name] = _mean_with_error(gaps[name]) if len(gaps.get(name, [])) == draws else None
        table.append(row)
    return table


def _errors(workload: Workload, plan: Plan, error: Error) -> dict[str, float]:
    errors = {}
    for arm in quality_arms.arms(workload):
        if arm.name in (*METHODS, REFERENCE):
            try:
                errors[arm.name] = error(arm.run(workload, plan)[0], workload.budgets)
            except ValueError as reason:
                print(f"{workload.name}: {arm.name} is left out: {reason}", file=sys.stderr, flush=True)
    return errors


def _mean_with_error(values: list[float]) -> tuple[float, ...]:
    if len(values) == 1:
        return (values[0],)
    return float(np.mean(values)), float(np.std(values, ddof=1) / np.sqrt(len(values)))
