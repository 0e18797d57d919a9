"""Greedy hill climbing over the thresholds of a line: the way Apparate tunes its ramps (arXiv 2312.05385)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ttamer._base.hull import representative

_LIMITS = 40
"""Limits on the error that are raised one after the other."""


@dataclass(frozen=True, eq=False)
class Step:
    """Where a climb has been: thresholds (n-1,) float32, and the sums of costs and losses over all rows."""

    thresholds: npt.NDArray[np.float32]
    cost: float
    loss: float


@dataclass(frozen=True)
class _Move:
    """Lower the threshold of a node so that `count` more rows stop there."""

    node: int
    count: int
    added: float
    saving: float

    @property
    def merit(self) -> tuple[float, float]:
        """Cost saved for each error added; a move that adds none comes first."""
        return (self.saving / self.added if self.added > 0 else np.inf, self.saving)


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
        # Rows that pass a node, by descending signal, and those signals negated: ascending, as searchsorted
        # wants.
        self.passing = [np.argsort(-signals[:, i], kind="stable") for i in range(self.nodes - 1)]
        self.negated = [-signals[rows, i] for i, rows in enumerate(self.passing)]
        self.thresholds = np.full(self.nodes - 1, np.inf, np.float32)
        self.cost = float(self.reach[self.last].sum())
        self.loss = float(self.losses[:, -1].sum())

    def move(self, node: int, step: int) -> _Move | None:
        """The next `step` rows stop at the node, with all whose signal is equal; None if that is no gain."""
        passing, negated = self.passing[node], self.negated[node]
        if len(passing) == 0:
            return None
        lowest = negated[min(step, len(passing)) - 1]
        count = int(np.searchsorted(negated, lowest, side="right"))
        rows = passing[:count]
        last = self.last[rows]
        added = float(self.losses[rows, node].sum() - self.losses[rows, last].sum())
        saving = float(self.reach[last].sum() - count * self.reach[node])
        return _Move(node, count, added, saving) if saving > 0 or added < 0 else None

    def make(self, move: _Move) -> Step:
        node, count = move.node, move.count
        self.thresholds[node] = -self.negated[node][count - 1]
        self.last[self.passing[node][:count]] = node
        for i in range(node, self.nodes - 1):
            still = self.last[self.passing[i]] > i
            self.passing[i], self.negated[i] = self.passing[i][still], self.negated[i][still]
        self.cost -= move.saving
        self.loss += move.added
        return self.step()

    def step(self) -> Step:
        return Step(self.thresholds.copy(), self.cost, self.loss)


def climb(
    signals: npt.NDArray[np.float32], losses: npt.NDArray[np.float32], reach: npt.NDArray[np.float64]
) -> list[Step]:
    """Thresholds from never stopping early to stopping as early as saves anything.

    Every round looks at one move a node, which makes as many more rows stop there as the node's step size
    says, and makes the move that saves most cost for each error added. The step size of its node is doubled;
    that of a node whose move would exceed the limit on the error is halved. When no move fits, the limit is
    raised.

    Parameters
    ----------
    signals, losses : (N, n) float32
    reach : (n,) float64
        Cost of walking to each node.

    Returns
    -------
    list of Step
        All that were accepted, costs descending, from infinite thresholds on.
    """
    rows = _Rows(signals, losses, reach)
    path = [rows.step()]
    first, least = max(1, len(signals) // 100), max(1, len(signals) // 2000)
    highest = float(rows.losses[:, 0].sum())
    # Quadratic: most of the saving comes with the first errors. The last limit lets the climb go to its end.
    raised = rows.loss + max(highest - rows.loss, 0.0) * np.linspace(0, 1, _LIMITS) ** 2
    for limit in [*raised.tolist(), np.inf]:
        steps = [first] * (rows.nodes - 1)
        while any(step >= least for step in steps):
            best: _Move | None = None
            for node, step in enumerate(steps):
                move = rows.move(node, step) if step >= least else None
                if move is None or rows.loss + move.added > limit:
                    steps[node] = step // 2
                elif best is None or move.merit > best.merit:
                    best = move
            if best is not None:
                path.append(rows.make(best))
                steps[best.node] *= 2
    return path


def thinned(path: list[Step], points: int) -> list[Step]:
    """At most `points` steps of a path: ends, vertices of the lower hull of cost and loss, others between them."""
    cost, loss = np.array([[step.cost, step.loss] for step in path]).T
    return [path[k] for k in representative(cost, loss, points)]
