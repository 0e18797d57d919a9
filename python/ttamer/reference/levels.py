"""When two values count as one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

SNAP = 1e-12
"""Two values closer than this times the largest loss are the same value."""


def snap_tolerance(levels: Floats) -> float:
    """Distance below which two values count as one; an infinite level, that of probes, is no loss."""
    largest = float(levels[np.isfinite(levels)][-1])
    return SNAP * largest if largest > 0 else SNAP


def snap(levels: Floats, index: Sequence[Floats]) -> list[Floats]:
    """Move each index within tolerance of an attainable loss, or of another index, onto it.

    A loss attracts first, the nearest one; of the others, each group within tolerance of its smallest becomes that. An
    index of inf stays.
    """
    tolerance = snap_tolerance(levels)
    finite = levels[np.isfinite(levels)]

    def to_level(value: float) -> float:
        nearest = finite[np.argmin(np.abs(finite - value))]
        return float(nearest if abs(nearest - value) <= tolerance else value)

    moved = [np.array([to_level(value) for value in row]) for row in index]
    anchors = list(levels)
    for value in np.unique(np.concatenate(moved)):
        if value not in levels and not any(0 <= value - anchor <= tolerance for anchor in anchors[len(levels) :]):
            anchors.append(value)
    grouped = np.sort(np.array(anchors))
    return [
        np.array(
            [value if value in levels else grouped[np.searchsorted(grouped, value, side="right") - 1] for value in row]
        )
        for row in moved
    ]
