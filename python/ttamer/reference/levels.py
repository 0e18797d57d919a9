"""When two values count as one."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

SNAP = 1e-12
"""Two values closer than this (times the largest loss, if that is above 1) are the same value."""


def snap_tolerance(levels: Floats) -> float:
    """Distance below which two values count as one."""
    return SNAP * max(1.0, float(levels[-1]))
