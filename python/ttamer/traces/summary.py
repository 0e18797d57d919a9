"""What recorded traces hold, node by node."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ttamer._base.types import Floats

SORTED = 5.0
"""Standard errors by which the two halves of the rows may differ in the loss of a node before they look sorted."""


@dataclass(frozen=True)
class Summary:
    """What each node loses and costs alone, made by `Traces.summary`.

    Attributes
    ----------
    requests : int
    loss : (n,) float64
        Mean loss of each node's answers.
    cost, p50_cost, p95_cost : (n,) float64
        Mean and quantiles of what requests pay that go straight to the node, in `unit`.
    agreement : (n,) float64 or None
        Share of the requests that the node answers as the last node does; None without predictions.
    best : int
        The node of the smallest mean loss, the cheapest of equal ones.
    sorted_nodes : tuple of int
        Nodes that lose much more in one half of the rows than in the other. Rows in such an order must be shuffled
        before they are split.
    unit : str
        Unit of the costs.
    """

    requests: int
    loss: Floats
    cost: Floats
    p50_cost: Floats
    p95_cost: Floats
    agreement: Floats | None
    best: int
    sorted_nodes: tuple[int, ...]
    unit: str

    def as_dict(self) -> dict[str, Any]:
        """All attributes as plain Python values, for JSON."""
        return {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in vars(self).items()}

    def __str__(self) -> str:
        unit = f" {self.unit}" if self.unit else ""
        lines = [f"{self.requests} requests"]
        for node, (loss, cost, p95) in enumerate(zip(self.loss, self.cost, self.p95_cost, strict=True)):
            agreement = "" if self.agreement is None else f"  as the last {self.agreement[node]:.1%}"
            best = "  best" if node == self.best else ""
            lines.append(f"node {node}  loss {loss:.4g}  cost {cost:.4g}{unit}, p95 {p95:.4g}{agreement}{best}")
        if self.sorted_nodes:
            lines.append(self.warning())
        return "\n".join(lines)

    def warning(self) -> str:
        """What is wrong with rows that look sorted."""
        nodes = ", ".join(map(str, self.sorted_nodes))
        return f"rows look sorted: losses differ much between halves (node {nodes}); shuffle before splitting them"


def summarise(
    losses: npt.NDArray[np.float32], reach: Floats, predictions: npt.NDArray[np.int32] | None, unit: str
) -> Summary:
    """See `Traces.summary`; `reach` is what each request pays that goes straight to each node, (N, n)."""
    mean, cost = losses.mean(axis=0, dtype=np.float64), reach.mean(axis=0)
    p50, p95 = np.quantile(reach, [0.5, 0.95], axis=0)
    return Summary(
        requests=len(losses),
        loss=mean,
        cost=cost,
        p50_cost=p50,
        p95_cost=p95,
        agreement=None if predictions is None else (predictions == predictions[:, -1:]).mean(axis=0),
        best=min(range(len(mean)), key=lambda node: (mean[node], cost[node])),
        sorted_nodes=_sorted_nodes(losses),
        unit=unit,
    )


def _sorted_nodes(losses: npt.NDArray[np.float32]) -> tuple[int, ...]:
    half = len(losses) // 2
    if half < 2:
        return ()
    gap = losses[:half].mean(axis=0, dtype=np.float64) - losses[half:].mean(axis=0, dtype=np.float64)
    error = losses.std(axis=0, dtype=np.float64) * (1 / half + 1 / (len(losses) - half)) ** 0.5
    return tuple(np.flatnonzero(abs(gap) > SORTED * error + 1e-12).tolist())
