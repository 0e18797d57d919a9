"""What a policy costs and how often it is wrong, on recorded traces."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from ttamer.policy import Policy
    from ttamer.traces import Traces


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
    """

    last_node: npt.NDArray[np.int32]
    answer_node: npt.NDArray[np.int32]
    cost: npt.NDArray[np.float64]
    loss: npt.NDArray[np.float64]

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


@dataclass(frozen=True)
class Evaluation:
    """Summary of a replay against the full model, made by `evaluate`.

    Attributes
    ----------
    requests : int
    error, full_error : float
        Mean loss of the answers; of the policy and of always answering with the last node.
    mean_cost, p50_cost, p95_cost, full_cost : float
        In `unit`.
    stops, answers : (n,) float64
        Share of requests that stop at each node, and that each node answers.
    recall_rate : float
        Share of requests answered by a node other than the one consulted last.
    unit : str
        Unit of the costs.
    """

    requests: int
    error: float
    mean_cost: float
    p50_cost: float
    p95_cost: float
    stops: npt.NDArray[np.float64]
    answers: npt.NDArray[np.float64]
    recall_rate: float
    full_error: float
    full_cost: float
    unit: str

    def as_dict(self) -> dict[str, Any]:
        """All attributes as plain Python values, for JSON."""
        return {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in vars(self).items()}

    def __str__(self) -> str:
        unit = f" {self.unit}" if self.unit else ""
        saved = 1 - self.mean_cost / self.full_cost if self.full_cost > 0 else 0.0
        return "\n".join(
            [
                f"requests   {self.requests}",
                f"error      {self.error:.4f}  (full model {self.full_error:.4f})",
                f"mean cost  {self.mean_cost:.4g}{unit}  (full model {self.full_cost:.4g}{unit}, {saved:.1%} saved)",
                f"p50, p95   {self.p50_cost:.4g}, {self.p95_cost:.4g}{unit}",
                f"stops at   {'  '.join(f'{j}: {share:.1%}' for j, share in enumerate(self.stops))}",
                f"recalled   {self.recall_rate:.1%}",
            ]
        )


def evaluate(policy: Policy, traces: Traces) -> Evaluation:
    """Replay a policy and compare it with the full model.

    The full model consults the whole line and answers with its last node; on other topologies it is the last node of
    the topology, reached by its cheapest walk.

    Parameters
    ----------
    policy : Policy
    traces : Traces
        Requests the policy was not fitted on, of the same topology.

    Returns
    -------
    Evaluation

    Raises
    ------
    ValueError
        If the topologies differ.
    """
    # Imported here because both use the Replay defined above.
    from ttamer.baselines import fixed_node
    from ttamer.policy import Policy

    if not isinstance(policy, Policy):
        raise TypeError(f"policy: expected a Policy, got {type(policy).__name__}")
    result = policy.replay(traces)
    full = fixed_node(traces, traces.topology.nodes - 1)
    nodes = traces.topology.nodes
    p50, p95 = np.quantile(result.cost, [0.5, 0.95])
    return Evaluation(
        requests=len(traces),
        error=result.error,
        mean_cost=result.mean_cost,
        p50_cost=float(p50),
        p95_cost=float(p95),
        stops=np.bincount(result.last_node, minlength=nodes) / len(traces),
        answers=np.bincount(result.answer_node, minlength=nodes) / len(traces),
        recall_rate=float(np.mean(result.answer_node != result.last_node)),
        full_error=full.error,
        full_cost=full.mean_cost,
        unit=traces.unit,
    )
