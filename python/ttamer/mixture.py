"""Two policies mixed request by request: what meets a budget between two points of a front exactly."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ttamer._checks import real, whole
from ttamer.evaluate import Replay
from ttamer.frontier import Front
from ttamer.hull import lower_hull
from ttamer.policy import Policy
from ttamer.traces import Traces


@dataclass(frozen=True)
class Mixture:
    """Each request is served by the second policy with a probability, else by the first; made by `Front.mix`.

    Attributes
    ----------
    policies : (Policy, Policy)
        The cheaper one first; twice the same where one alone is best.
    probability : float
        Of the second policy, in [0, 1].
    cost, error : float
        Expected mean cost and mean loss on the rows that the front was measured on.
    unit : str
        Unit of the cost.
    """

    policies: tuple[Policy, Policy]
    probability: float
    cost: float
    error: float
    unit: str = ""

    def choose(self, count: int, rng: np.random.Generator) -> npt.NDArray[np.int8]:
        """Draw which policy serves each of `count` requests.

        Returns
        -------
        (count,) int8
            0 or 1, a place in `policies`; independent draws.
        """
        if not isinstance(rng, np.random.Generator):
            raise TypeError(f"rng: expected a numpy.random.Generator, got {type(rng).__name__}")
        return (rng.random(whole("count", count, least=0)) < self.probability).astype(np.int8)

    def replay(self, traces: Traces, seed: int = 0) -> Replay:
        """Run the mixture over recorded traces, each row with the policy drawn for it.

        Parameters and errors are those of `Policy.replay`; `seed` is that of the draws.
        """
        first, second = (policy.replay(traces) for policy in self.policies)
        chosen = self.choose(len(traces), np.random.default_rng(whole("seed", seed, least=0))).astype(np.bool_)
        return Replay(
            np.where(chosen, second.last_node, first.last_node),
            np.where(chosen, second.answer_node, first.answer_node),
            np.where(chosen, second.cost, first.cost),
            np.where(chosen, second.loss, first.loss),
        )

    def __repr__(self) -> str:
        unit = f" {self.unit}" if self.unit else ""
        first, second = (f"{policy.tradeoff:.6g}" for policy in self.policies)
        return (
            f"Mixture(tradeoff {first} or, with probability {self.probability:.4g}, {second}; "
            f"cost {self.cost:.4g}{unit}, error {self.error:.4f})"
        )


def mix(front: Front, max_cost: float) -> Mixture:
    """`Front.mix`."""
    budget = real("max_cost", max_cost)
    cost, error = (np.array([getattr(point, name) for point in front]) for name in ("cost", "error"))
    hull = lower_hull(cost, error)
    after = int(np.searchsorted(cost[hull], budget, side="right"))
    if after == 0:
        raise ValueError(f"max_cost: no point costs at most {budget:g}, the cheapest costs {cost[0]:g}")
    first = int(hull[after - 1])
    if after == len(hull):
        return Mixture((front[first].policy,) * 2, 0.0, float(cost[first]), float(error[first]), front.unit)
    second = int(hull[after])
    share = float((budget - cost[first]) / (cost[second] - cost[first]))
    mixed = (1 - share) * error[first] + share * error[second]
    return Mixture((front[first].policy, front[second].policy), share, budget, float(mixed), front.unit)
