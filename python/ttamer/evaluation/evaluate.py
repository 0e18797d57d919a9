"""What a policy costs and loses on recorded traces."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ttamer._base import checks
from ttamer._base.numbers import are_rates, loss_text, loss_word, number, with_unit
from ttamer._base.topologies import node_text
from ttamer.policy import Policy
from ttamer.policy.replay import answered
from ttamer.traces import Traces


@dataclass(frozen=True)
class Evaluation:
    """Summary of a replay against the full model, made by `evaluate`.

    Attributes
    ----------
    requests : int
    error, full_error : float
        Mean loss of the answers; of the policy and of always answering with the last node that can answer.
    mean_cost, p50_cost, p95_cost, full_cost, full_p50_cost, full_p95_cost : float
        In `unit`.
    stops, answers : (n,) float64
        Share of requests that stop at each node, and that each node answers.
    recall_rate : float
        Share of requests answered by a node other than the one consulted last.
    unit : str
        Unit of the costs, that of the policy.
    unit_costs, full_unit_costs : dict of str to float
        Where the traces' costs are in several units, the mean cost in each; else empty.
    are_rates : bool
        Whether the losses are 0/1 errors, so that `error` is a rate.
    nodes : tuple of str or None
        Names of the nodes, if the traces or the policy have some.
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
    full_p50_cost: float
    full_p95_cost: float
    unit: str
    unit_costs: dict[str, float]
    full_unit_costs: dict[str, float]
    are_rates: bool
    nodes: tuple[str, ...] | None = None

    def as_dict(self) -> dict[str, Any]:
        """All attributes as plain Python values, for JSON."""
        return {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in vars(self).items()}

    def __str__(self) -> str:
        saving = 1 - self.mean_cost / self.full_cost if self.full_cost > 0 else 0.0
        error, full_error = (loss_text(each, self.are_rates) for each in (self.error, self.full_error))
        mean, full = (with_unit(number(cost), self.unit) for cost in (self.mean_cost, self.full_cost))
        p50, p95 = number(self.p50_cost), with_unit(number(self.p95_cost), self.unit)
        full_p50, full_p95 = number(self.full_p50_cost), with_unit(number(self.full_p95_cost), self.unit)
        names = self.nodes or [None] * len(self.stops)
        shares = [f"{node_text(node, name)}: {self.stops[node]:.1%}" for node, name in enumerate(names)]
        return "\n".join(
            [
                f"requests   {self.requests}",
                f"{loss_word(self.are_rates):<9}  {error}  (full model {full_error})",
                f"mean cost  {mean}  (full model {full}, {saving:.1%} saved)",
                f"p50, p95   {p50}, {p95}  (full model {full_p50}, {full_p95})",
                *(
                    f"mean cost  {number(cost)} {each}  (full model {number(self.full_unit_costs[each])} {each})"
                    for each, cost in self.unit_costs.items()
                ),
                f"stops at   {'  '.join(shares)}",
                f"recalled   {self.recall_rate:.1%}",
            ]
        )


def evaluate(policy: Policy, traces: Traces) -> Evaluation:
    """Replay a policy and compare it with the full model.

    The full model consults the whole line and answers with its last node that can answer; on other topologies it is the
    last such node, reached by its cheapest walk.

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
    checks.instance("policy", policy, Policy)
    result = policy.replay(traces)
    nodes = traces.topology.nodes
    last = np.full(len(traces), traces._answering[-1])
    full = answered(traces, last, policy.unit)
    (p50, p95), (full_p50, full_p95) = (np.quantile(each.cost, [0.5, 0.95]).tolist() for each in (result, full))
    return Evaluation(
        requests=len(traces),
        error=result.error,
        mean_cost=result.mean_cost,
        p50_cost=p50,
        p95_cost=p95,
        stops=np.bincount(result.last_node, minlength=nodes) / len(traces),
        answers=np.bincount(result.answer_node, minlength=nodes) / len(traces),
        recall_rate=float(np.mean(result.answer_node != result.last_node)),
        full_error=full.error,
        full_cost=full.mean_cost,
        full_p50_cost=full_p50,
        full_p95_cost=full_p95,
        unit=policy.unit or traces.unit,
        unit_costs={unit: float(costs.mean()) for unit, costs in result.unit_costs.items()},
        full_unit_costs={unit: float(costs.mean()) for unit, costs in full.unit_costs.items()},
        are_rates=are_rates(traces.losses),
        nodes=traces.nodes or policy.nodes,
    )
