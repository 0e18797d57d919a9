"""Greedy hill climbing over the thresholds of a line: the way Apparate tunes its ramps (arXiv 2312.05385)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ttamer._base.hull import representative

_LIMITS = 40
"""Limits on the error that are raised one after the other."""


@dataclass(frozen=True, eq=False)
class Position:
    """Where a climb has been: thresholds (n-1,) float32, and the sums of costs and losses over all rows."""

    thresholds: npt.NDArray[np.float32]
    cost: float
    loss: float


@dataclass(frozen=True)
class _Move:
    """Lower the threshold of a node so that `count` more rows stop there."""

    node: int
    count: int
    rise: float
    saving: float

    @property
    def merit(self) -> tuple[float, float]:
        """Cost saved for each error added; a move that adds none comes first."""
        return (self.saving / self.rise if self.rise > 0 else np.inf, self.saving)


class _Rows:
    """Which rows stop where, and who would be next to stop at each node."""

    def __init__(
        self,
        signals: npt.NDArray[np.float32],
        losses: npt.NDArray[np.float32],
        reach: npt.NDArray[np.float64],
    ) -> None:
        self.losses = losses.astype(np.float64)
        self.reach = reach
        self.nodes = signals.shape[1]
        self.last = np.full(len(signals), self.nodes - 1)
        # Rows that pass a node, by descending signal, and minus those signals: searchsorted needs them to ascend.
        self.passing = [np.argsort(-signals[:, i], kind="stable") for i in range(self.nodes - 1)]
        self.negatives = [-signals[rows, i] for i, rows in enumerate(self.passing)]
        self.thresholds = np.full(self.nodes - 1, np.inf, np.float32)
        self.cost = float(self.reach[:, -1].sum())
        self.loss = float(self.losses[:, -1].sum())

    def move(self, node: int, size: int) -> _Move | None:
        """The next `size` rows stop at the node, with all of an equal signal; more if that gains nothing, or None."""
        passing, negatives = self.passing[node], self.negatives[node]
        count = 0
        while count < len(passing):
            lowest = negatives[min(max(size, 2 * count), len(passing)) - 1]
            count = int(np.searchsorted(negatives, lowest, side="right"))
            rows = passing[:count]
            last = self.last[rows]
            rise = float(self.losses[rows, node].sum() - self.losses[rows, last].sum())
            saving = float(self.reach[rows, last].sum() - self.reach[rows, node].sum())
            if saving > 0 or rise < 0:
                return _Move(node, count, rise, saving)
        return None

    def make(self, move: _Move) -> Position:
        node, count = move.node, move.count
        self.thresholds[node] = -self.negatives[node][count - 1]
        self.last[self.passing[node][:count]] = node
        for i in range(node, self.nodes - 1):
            still = self.last[self.passing[i]] > i
            self.passing[i], self.negatives[i] = self.passing[i][still], self.negatives[i][still]
        self.cost -= move.saving
        self.loss += move.rise
        return self.position()

    def position(self) -> Position:
        return Position(self.thresholds.copy(), self.cost, self.loss)


def climb(
    signals: npt.NDArray[np.float32], losses: npt.NDArray[np.float32], reach: npt.NDArray[np.float64]
) -> list[Position]:
    """Thresholds from never stopping early to stopping as early as saves anything.

    Every node has a size: how many more rows a move makes stop there. Every round looks at one move a node and makes
    the one that saves most cost for each error added. The size of its node is doubled; that of a node whose move would
    exceed the limit on the error is halved. When no move fits, the limit is raised.

    Parameters
    ----------
    signals, losses : (N, n) float32
    reach : (N, n) float64
        Cost of walking to each node.

    Returns
    -------
    list of Position
        The first and those after each move, costs descending, from infinite thresholds on.
    """
    rows = _Rows(signals, losses, reach)
    path = [rows.position()]
    first, least = max(1, len(signals) // 100), max(1, len(signals) // 2000)
    highest = float(rows.losses[:, 0].sum())
    # Quadratic: most of the saving comes with the first errors. The last limit lets the climb go to its end.
    limits = rows.loss + max(highest - rows.loss, 0.0) * np.linspace(0, 1, _LIMITS) ** 2
    for limit in [*limits.tolist(), np.inf]:
        sizes = [first] * (rows.nodes - 1)
        while any(size >= least for size in sizes):
            best: _Move | None = None
            for node, size in enumerate(sizes):
                move = rows.move(node, size) if size >= least else None
                if move is None or rows.loss + move.rise > limit:
                    sizes[node] = size // 2
                elif best is None or move.merit > best.merit:
                    best = move
            if best is not None:
                path.append(rows.make(best))
                sizes[best.node] *= 2
    return path


def thinned(path: list[Position], points: int) -> list[Position]:
    """At most `points` positions of a path: ends, vertices of the lower hull of cost and loss, others between them."""
    cost, loss = np.array([[position.cost, position.loss] for position in path]).T
    return [path[k] for k in representative(cost, loss, points)]
