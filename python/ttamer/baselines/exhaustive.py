"""Thresholds for every node of a line, by trying all combinations of a grid."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ttamer._base import checks
from ttamer._base.hull import representative
from ttamer._base.types import Floats
from ttamer.baselines.settings import Setting, check_line, node_thresholds, setting_of
from ttamer.traces import Traces

MOST_COMBINATIONS = 1 << 20
MOST_LEVELS = 512
FEWEST_LEVELS = 4


def search_thresholds(traces: Traces, levels: int | None = None, points: int = 120) -> list[Setting]:
    """Settings of `node_thresholds` on the lower hull of all combinations of a grid.

    The grid of a node is never stopping, always stopping, and quantiles of its signals between them. What all
    combinations cost and lose is read off cumulative sums over the grid, so no combination is walked.

    Parameters
    ----------
    traces : Traces
        Calibration rows, on a line.
    levels : int, optional
        Thresholds a node, at least 2. Default: as many as make at most 2^20 combinations, at most 512.
    points : int
        How many settings at most, at least 2.

    Returns
    -------
    list of Setting
        By rising cost.

    Raises
    ------
    ValueError
        If the topology is not a line, there are more than 2^20 combinations, or the line is so long that fewer than
        4 levels a node are left.
    """
    check_line(traces, "search_thresholds")
    most = checks.whole("points", points, 2)
    grid = _grid(traces, _levels(traces.topology.nodes - 1, levels))
    cost, loss = _outcomes(traces, grid)
    candidates = np.lexsort((loss.ravel(), cost.ravel()))
    # Only what beats everything cheaper can lie on the hull.
    best = np.minimum.accumulate(loss.ravel()[candidates])
    falls = np.append(True, best[1:] < best[:-1])
    candidates = candidates[falls]
    vertices = candidates[representative(cost.ravel()[candidates], loss.ravel()[candidates], most)]
    settings = []
    for place in zip(*np.unravel_index(vertices, cost.shape), strict=True) if grid else [()]:
        values = tuple(float(grid[j][k]) for j, k in enumerate(place))
        name = f"searched thresholds {', '.join(f'{value:.4g}' for value in values)}"
        settings.append(setting_of(name, node_thresholds, values=values))
    return settings


def _levels(dimensions: int, levels: int | None) -> int:
    if dimensions == 0:
        return 2
    if levels is None:
        count = min(int(MOST_COMBINATIONS ** (1 / dimensions) + 1e-9), MOST_LEVELS)
        if count < FEWEST_LEVELS:
            raise ValueError(
                f"traces: search_thresholds tries all combinations, too many on a line of {dimensions + 1} nodes; "
                "tune_thresholds does not"
            )
        return count
    count = checks.whole("levels", levels, 2)
    if count**dimensions > MOST_COMBINATIONS:
        raise ValueError(
            f"levels: expected at most {MOST_COMBINATIONS} combinations, got {checks.brief(count)}^{dimensions}"
        )
    return count


def _grid(traces: Traces, levels: int) -> list[npt.NDArray[np.float32]]:
    """For each node but the last its thresholds, ascending, the lowest stopping all rows and the highest none."""
    grid = []
    for j in range(traces.topology.nodes - 1):
        signals = np.sort(traces.signals[:, j])
        places = np.rint(np.linspace(0, len(signals) - 1, levels)).astype(np.intp)[:-1]
        grid.append(np.append(np.unique(signals[places]), np.float32(np.inf)))
    return grid


def _outcomes(traces: Traces, grid: list[npt.NDArray[np.float32]]) -> tuple[Floats, Floats]:
    """Mean cost and loss of every combination, each of the grid's shape (0-dimensional on a line of one node)."""
    shape = tuple(len(values) for values in grid)
    reach, losses = traces.request_reach_costs, traces.losses.astype(np.float64)
    # Number of thresholds a row's signal reaches: it stops at node j where the chosen one is among these.
    counts = [np.searchsorted(values, traces.signals[:, j], side="right") for j, values in enumerate(grid)]
    cost, loss = np.zeros(shape), np.zeros(shape)
    for j in range(len(shape) + 1):
        cells = tuple(length + 1 for length in shape[: j + 1])
        place = np.ravel_multi_index(counts[: j + 1], cells) if cells else np.zeros(len(traces), np.intp)
        size = int(np.prod(cells, dtype=np.intp))
        for total, weights in ((cost, reach[:, j]), (loss, losses[:, j])):
            sums = np.bincount(place, weights, size).astype(np.float64).reshape(cells)
            for axis in range(len(cells)):
                stops_here = axis == j
                sums = _summed(sums, axis, above=stops_here)
            total += sums.reshape(sums.shape + (1,) * (len(shape) - len(cells)))
    return cost / len(traces), loss / len(traces)


def _summed(sums: Floats, axis: int, above: bool) -> Floats:
    """For each threshold k along an axis the sum over rows that reach it (count > k), or over those that do not."""
    running = np.cumsum(sums, axis=axis)
    below = np.take(running, range(sums.shape[axis] - 1), axis=axis)
    return np.take(running, [-1], axis=axis) - below if above else below
