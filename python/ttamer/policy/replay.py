"""What a policy, or a baseline, did with each recorded request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from ttamer.traces import Traces
from ttamer.traces.paths import costs_along


@dataclass(frozen=True)
class Replay:
    """Outcome of a policy, or of a baseline, for each recorded request.

    Attributes
    ----------
    last_node : (N,) int32
        Node consulted last.
    answer_node : (N,) int32
        Node whose answer is returned.
    cost : (N,) float64
        Cost of all edges used, in the traces' unit.
    loss : (N,) float64
        Recorded loss of the answer.
    unit_costs : dict of str to (N,) float64
        Where the traces' costs are in several units, what was paid in each of them; else empty.
    """

    last_node: npt.NDArray[np.int32]
    answer_node: npt.NDArray[np.int32]
    cost: npt.NDArray[np.float64]
    loss: npt.NDArray[np.float64]
    unit_costs: Mapping[str, npt.NDArray[np.float64]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.cost)

    @property
    def error(self) -> float:
        """float : mean loss of the answers; for 0/1 losses the error rate."""
        return float(self.loss.mean())

    @property
    def mean_cost(self) -> float:
        """float : mean cost, in the traces' unit."""
        return float(self.cost.mean())


def answered(traces: Traces, nodes: npt.NDArray[np.intp], unit: str | None = None) -> Replay:
    """The replay in which every request takes the cheapest path to its node of `nodes` (N,), which answers it.

    The cheapest in this unit, where costs are in several.
    """
    several = traces.unit_costs if len(traces.unit_costs) > 1 else {}
    traces = traces._in_unit(unit) if unit is not None else traces
    return Replay(
        last_node=nodes.astype(np.int32),
        answer_node=nodes.astype(np.int32),
        cost=traces.request_reach_costs[np.arange(len(traces)), nodes],
        unit_costs=costs_along(traces.topology, traces.paid_costs, nodes, several),
        loss=traces.losses[np.arange(len(traces)), nodes].astype(np.float64),
    )
