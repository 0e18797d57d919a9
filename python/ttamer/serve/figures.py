"""What `report` says of a log."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ttamer._base.types import Floats


@dataclass(frozen=True)
class Quantiles:
    """The mean of some numbers, and how they spread."""

    mean: float
    p50: float
    p95: float
    p99: float
    largest: float

    @classmethod
    def of(cls, values: Sequence[float] | Floats) -> Quantiles | None:
        """None of nothing."""
        return cls(float(np.mean(values)), *np.quantile(values, (0.5, 0.95, 0.99, 1)).tolist()) if len(values) else None


@dataclass(frozen=True)
class Estimate:
    """A mean of so many requests, with the ends of its 95% interval."""

    requests: int
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class NodeReport:
    """What became of one node.

    Attributes
    ----------
    consulted : int
        Calls for an answer; shadows, and requests that came while it was down, are not among them.
    failed, down, shadowed : int
        Calls that gave nothing; requests that passed it over because it was down; calls for the log alone.
    stopped, answered : int
        Requests that consulted it last, and that it answered.
    seconds : Quantiles or None
        Of calls of all kinds.
    cost : float or None
        The mean of a call.
    loss : Estimate or None
        Of its answers to labelled requests that were shown to all nodes.
    """

    node: str
    consulted: int
    failed: int
    down: int
    shadowed: int
    stopped: int
    answered: int
    seconds: Quantiles | None
    cost: float | None
    loss: Estimate | None


@dataclass(frozen=True)
class PolicySpan:
    """A policy by its digest: how many requests it decided, at what mean cost, and which were the first and the last.

    `expected_cost` is what its model says of that cost, where the policy is at hand.
    """

    digest: str
    requests: int
    first: int
    last: int
    cost: float
    expected_cost: float | None


@dataclass(frozen=True)
class Saving:
    """The share of the cost that is saved against always asking the same.

    Attributes
    ----------
    against : str
        A node, or "all nodes".
    cost : float
        What a request costs that way.
    share : Estimate
        Of that cost.
    """

    against: str
    cost: float
    share: Estimate


@dataclass(frozen=True)
class Watch:
    """What `Drift` says of the requests that one policy stopped.

    Attributes
    ----------
    requests, labels : int
    evidence : dict of str to float
        At the end, by test, as a share of what an alarm takes.
    psi : float
    alarm : str or None
        The first test that gave one.
    alarm_at : int or None
        The number of that request in the log.
    history : dict of str to list of float
        Largest evidence in equal parts of the requests, by test.
    """

    requests: int
    labels: int
    evidence: dict[str, float]
    psi: float
    alarm: str | None
    alarm_at: int | None
    history: dict[str, list[float]]


@dataclass(frozen=True)
class Report:
    """What `report` says of logs.

    Attributes
    ----------
    requests, shadowed : int
        All, and those that were drawn to be shown to all nodes: the only ones that are representative.
    unit : str
        Of costs.
    tiers : dict of str to dict of str to int
        Requests by tier and reason.
    cost, seconds : Quantiles
        Of requests, without shadows.
    shadow_cost : float
        Of all shadows together.
    costs : (list of float, list of int)
        The edges of a histogram of costs, and how many requests lie between them.
    nodes : tuple of NodeReport
    policies : tuple of PolicySpan
    loss, shadowed_loss : Estimate or None
        Of answers whose loss is known: of all, and of requests that were shown to all nodes.
    basis : str or None
        What savings are computed from: "shadowed", the costs of requests that were shown to all nodes; "policy", what
        the policy expects nodes to cost. None where neither is known.
    savings : tuple of Saving
    drift : Watch or None
    drift_needs : str or None
        What is missing for it.
    cut : tuple of str
        Lines that were cut off and are left out.
    """

    requests: int
    shadowed: int
    unit: str
    tiers: dict[str, dict[str, int]]
    cost: Quantiles
    seconds: Quantiles
    shadow_cost: float
    costs: tuple[list[float], list[int]]
    nodes: tuple[NodeReport, ...]
    policies: tuple[PolicySpan, ...]
    loss: Estimate | None
    shadowed_loss: Estimate | None
    basis: str | None
    savings: tuple[Saving, ...]
    drift: Watch | None
    drift_needs: str | None
    cut: tuple[str, ...]
