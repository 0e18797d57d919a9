"""The next policy, from the log of the last one: fitted on the older requests, judged on the newer ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ttamer._base import checks
from ttamer.evaluation.frontier import undominated
from ttamer.fitting import fit
from ttamer.model import CascadeModel
from ttamer.policy import Front, FrontPoint, Guarantee, Policy, solve
from ttamer.policy.guarantee import NAMES
from ttamer.traces import Traces
from ttamer.traces.costs import prices_in
from ttamer.tuning import pvalues, relative_to_last
from ttamer.tuning.certificate import guaranteed
from ttamer.tuning.limits import Limit, Outcome, stated

FEWEST_ROWS = 100
"""To judge on; with fewer an interval says nothing."""
CONFIDENCE = 0.95
RESAMPLES = 2000


@dataclass(frozen=True)
class Refit:
    """A new policy, and how it does beside the old one.

    Attributes
    ----------
    policy : Policy
    model : CascadeModel
        That it was solved for.
    fitted, judged : int
        Requests it was fitted on, and requests that both were judged on.
    old, new : (float, float)
        Mean loss and mean cost of each on the latter.
    change : (float, float, float)
        Of the new one less the old one: loss, and cost at what the old policy's trade-off says it is worth; the mean
        and the ends of its 95% interval.
    broken : tuple of str
        Limits of the old policy's guarantee, in words, that the new one could not be shown to keep on the requests that
        were judged on. Without any it has a guarantee itself.
    front : Front or None
        Where the old one is of a front: new policies for what losses are worth in it, those that no other beats on what
        they were fitted on. `policy` is that of a request of weight 1: ``Dispatcher(front,
        tradeoff=policy.tradeoff)``.
    """

    policy: Policy
    model: CascadeModel
    fitted: int
    judged: int
    old: tuple[float, float]
    new: tuple[float, float]
    change: tuple[float, float, float]
    broken: tuple[str, ...] = ()
    front: Front | None = None

    @property
    def is_better(self) -> bool:
        """bool : whether the interval is below 0."""
        return self.change[2] < 0

    @property
    def replaces(self) -> bool:
        """bool : whether the new policy is better, and keeps what was certified of the old one."""
        return self.is_better and not self.broken

    def __str__(self) -> str:
        value, low, high = self.change
        verdict = "better" if self.is_better else "worse" if low > 0 else "no better, as far as these requests tell"
        if self.broken:
            verdict += f", but not shown to keep {' and '.join(self.broken)}"
        (loss, cost), (new_loss, new_cost) = self.old, self.new
        return (
            f"{verdict}: loss and priced cost {value:+.4g} [{low:+.4g}, {high:+.4g}] on {self.judged:,} requests; "
            f"loss {loss:.4f} -> {new_loss:.4f}, cost {cost:.4g} -> {new_cost:.4g} {self.policy.unit}"
        ).rstrip()


def refit(
    policy: Policy | Front,
    traces: Traces,
    logged: Traces,
    *,
    tradeoff: float | None = None,
    newer: float = 0.5,
    seed: int = 0,
) -> Refit:
    """Fit a policy like the old one on what was recorded and the older part of a log, and compare the two on the rest.

    Parameters
    ----------
    policy : Policy or Front
        The old one, whose kind of states and trade-off the new one has. Of a front, all policies are made anew, and
        compared is the one for `tradeoff`.
    traces : Traces
        That it was fitted on, or as much of these as still counts; `Traces.weighted` cannot be judged on.
    logged : Traces
        Requests in the order in which they came, a random share of all: ``Traces.from_log(path, like=traces,
        shadowed=True)``. Incomplete ones are left out.
    tradeoff : float, optional
        Of a front: that of a request of weight 1, as for `Dispatcher`.
    newer : float
        Share of these that is judged on.
    seed : int
        Of the folds, and of the interval.

    Returns
    -------
    Refit

    Raises
    ------
    ValueError
        If fewer than 100 complete requests are left to judge on, these are of another cascade, or lose or cost more
        than the old policy's guarantee takes for possible.
    ImportError
        If the old policy has a guarantee and SciPy is missing.
    """
    front = policy if isinstance(policy, Front) else None
    if (front is None) != (tradeoff is None):
        raise ValueError(f"tradeoff: expected {'None without' if front is None else 'one of'} a front, got {tradeoff}")
    if front is not None and tradeoff is not None:
        policy = front.at(tradeoff).policy
    policy = checks.instance("policy", policy, Policy)
    for name, value in (("traces", traces), ("logged", logged)):
        checks.instance(name, value, Traces)
    if not 0 < checks.real("newer", newer) < 1:
        raise ValueError(f"newer: expected a share between 0 and 1, got {newer}")
    traces, logged = comparable(policy, traces), comparable(policy, logged)
    for name in ("predictions", "labels", "evidence"):  # what a log does not say
        if getattr(traces, name) is None or getattr(logged, name) is None:
            traces, logged = traces._with(**{name: None}), logged._with(**{name: None})
    judged = round(newer * int(logged.complete.sum()))
    if judged < FEWEST_ROWS:
        raise ValueError(
            f"logged: expected at least {FEWEST_ROWS} complete requests to judge on, got {judged} of {len(logged)}; "
            "show more of them to all nodes, and label them"
        )
    whole = logged[logged.complete]
    known, rest = traces + whole[: len(whole) - judged], whole[len(whole) - judged :]
    model = _fitted(policy, known, seed)
    worth, made = _worth(policy), _like(policy, model)
    before, after = policy.replay(rest), made.replay(rest)
    change = (after.loss - before.loss) + (after.cost - before.cost) / worth
    made, broken = _certified(made, policy.guarantee, len(known), rest)
    draws = np.random.default_rng(seed).integers(0, judged, (RESAMPLES, judged))
    low, high = np.quantile(change[draws].mean(axis=1), [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Refit(
        made,
        model,
        len(known),
        judged,
        (before.error, before.mean_cost),
        (after.error, after.mean_cost),
        (float(change.mean()), float(low), float(high)),
        broken,
        None if front is None else _front_like(front, model, known),
    )


def comparable(policy: Policy, traces: Traces) -> Traces:
    """The traces with the kind of signal that the policy decides on, as its flights log it."""
    if policy.estimator is None and policy.signal not in ("", traces.signal):
        return traces.with_signal(policy.signal)
    return traces


def _worth(policy: Policy) -> float:
    """What a loss of 1 is worth in costs, by the policy's trade-off."""
    return policy.cost_scale * policy.tradeoff / (1 - policy.tradeoff) if policy.tradeoff < 1 else np.inf


def _like(policy: Policy, model: CascadeModel) -> Policy:
    """The optimal policy of a model where losses are worth what they are to another one."""
    prices, worth = prices_in(policy.unit) if len(model.unit_costs) > 1 else None, _worth(policy)
    return solve(model, 1.0, prices=prices) if np.isinf(worth) else solve(model, prices=prices, error_price=worth)


def _front_like(front: Front, model: CascadeModel, traces: Traces) -> Front:
    whole = traces[traces.complete]
    policies = [_like(point.policy, model) for point in front]
    replays = [policy.replay(whole) for policy in policies]
    points = [
        FrontPoint(replay.mean_cost, replay.error, policy) for replay, policy in zip(replays, policies, strict=True)
    ]
    return Front(undominated(points), front.unit, model)


def _certified(
    policy: Policy, guarantee: Guarantee | None, fitted: int, rest: Traces
) -> tuple[Policy, tuple[str, ...]]:
    """The policy with a guarantee like the old one's, or the limits that it cannot be shown to keep.

    One policy is tested, which these rows had no part in choosing: nothing is to be corrected for.
    """
    if guarantee is None:
        return policy, ()
    pvalues.require_scipy()
    judged = rest if guarantee.relative_to == "labels" else relative_to_last(rest)
    outcome = Outcome.of(policy.replay(judged))
    limits = _restated(guarantee, judged)
    risk = 1.0 - guarantee.confidence
    broken = tuple(limit.text() for limit in limits if limit.p_value(outcome) > risk)
    if broken:
        return policy, broken
    made = guaranteed(limits, guarantee.confidence, guarantee.relative_to, fitted, len(rest), judged.digest)
    return policy._with_guarantee(made), ()


def _restated(guarantee: Guarantee, traces: Traces) -> tuple[Limit, ...]:
    """The same limits of other traces; ValueError if these have losses or costs that were said to be impossible."""
    levels = {name: [level for level in guarantee.limits if level.name == name] for name in NAMES}
    largest = {}
    if traces.request_costs is not None:  # a limit on a quantile alone needs none
        costs = [*levels["max_cost"], *levels["max_cost_quantile"]]
        largest = {level.unit: level.high for level in costs if np.isfinite(level.high)}
    return stated(
        traces,
        next((level.bound for level in levels["max_error"]), None),
        {level.unit: level.bound for level in levels["max_cost"]} or None,
        {level.unit: (level.quantile or 0.0, level.bound) for level in levels["max_cost_quantile"]} or None,
        next((level.high for level in levels["max_error"]), np.inf),
        largest or None,
    )


def _fitted(policy: Policy, traces: Traces, seed: int) -> CascadeModel:
    """A model whose states are made of what those of the policy are made of."""
    if policy.estimator is not None and policy.estimate not in ("posterior", "sets", "chains"):
        raise ValueError(f"policy: expected one that can be fitted today, got estimate={policy.estimate!r}")
    return fit(traces, "auto", policy.estimate, seed=seed, progress=lambda words: None)
