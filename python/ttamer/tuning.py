"""Policies for a service level, with a guarantee on finite data: learn, then test.

The rows are split at random. On the fitting part a front of policies is made and put in an order; on the held-back
part they are tested in that order, each for "it breaks a limit", until one fails. Whatever passed keeps all limits,
all of it at once, with probability at least `confidence` over the rows (fixed-sequence testing, Angelopoulos et al.,
*Learn then Test*, arXiv 2110.01052), so that the best may be picked from it freely.

The argument: let the first policy in the order that breaks a limit be the k-th. The order does not depend on the
held-back rows, so neither does k; a policy that breaks a limit is certified only if the k-th one is, and its p-value
is at most 1 - confidence with probability at most 1 - confidence. Of several limits the largest p-value counts: it is
at most x only if that of the broken limit is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil, floor, log10
from typing import Any

import numpy as np
import numpy.typing as npt

from ttamer import pvalues
from ttamer._checks import real, whole
from ttamer.frontier import Front, frontier
from ttamer.limits import Limit, Outcome, stated
from ttamer.policy import Policy
from ttamer.traces import Traces

__all__ = ["Certificate", "InfeasibleError", "Step", "Trial", "certify", "relative_to_last", "testing_order", "tune"]


class InfeasibleError(ValueError):
    """No policy could be certified.

    Attributes
    ----------
    max_error, max_cost, max_cost_quantile : float or None
        The smallest bound of each limit that is certified on the same rows, the other limits unchanged; None where the
        limit was not asked for, or even its loosest bound does not help. A quantile's is a cost.
    rows : int or None
        How many rows are needed where there are too few for the confidence, even if none of them broke a limit.
    """

    def __init__(
        self,
        message: str,
        *,
        max_error: float | None = None,
        max_cost: float | None = None,
        max_cost_quantile: float | None = None,
        rows: int | None = None,
    ) -> None:
        super().__init__(message)
        self.max_error = max_error
        self.max_cost = max_cost
        self.max_cost_quantile = max_cost_quantile
        self.rows = rows


@dataclass(frozen=True)
class Step:
    """One test.

    Attributes
    ----------
    policy : Policy
    error, cost : float
        Mean loss and mean cost on the held-back rows.
    p_values : tuple of float
        One a limit.
    """

    policy: Policy
    error: float
    cost: float
    p_values: tuple[float, ...]

    @property
    def p_value(self) -> float:
        """float : the largest over the limits; the policy passed if it is at most 1 - confidence."""
        return max(self.p_values)


@dataclass(frozen=True)
class Certificate:
    """A certified policy, and how it came to be.

    Attributes
    ----------
    policy : Policy
    limits : tuple of Limit
        What the policy keeps, all at once, with probability `confidence`.
    confidence : float
    error, cost : float
        Mean loss and mean cost on the held-back rows. They took part in the choice and are slightly too good.
    p_value : float
        The largest over the limits.
    fitted_rows, tested_rows : int
        Sizes of the two parts.
    candidates : int
        Policies on the front of the fitting part.
    steps : tuple of Step
        Every test in its order; all passed but the last, unless the order came to its end.
    relative_to : {"labels", "last"}
    unit : str
        Unit of the costs.
    """

    policy: Policy
    limits: tuple[Limit, ...]
    confidence: float
    error: float
    cost: float
    p_value: float
    fitted_rows: int
    tested_rows: int
    candidates: int
    steps: tuple[Step, ...]
    relative_to: str
    unit: str

    def as_dict(self) -> dict[str, Any]:
        """Everything but the policies as plain Python values, for JSON."""
        plain = {name: value for name, value in vars(self).items() if name not in ("policy", "limits", "steps")}
        limits = [{"name": each.name, "bound": each.bound, "quantile": each.quantile} for each in self.limits]
        steps = [
            {"tradeoff": each.policy.tradeoff, "error": each.error, "cost": each.cost, "p_values": list(each.p_values)}
            for each in self.steps
        ]
        return {"tradeoff": self.policy.tradeoff, **plain, "limits": limits, "steps": steps}

    def __str__(self) -> str:
        unit = f" {self.unit}" if self.unit else ""
        kept = " and ".join(limit.text() for limit in self.limits)
        return (
            f"{kept}, with {self.confidence:.4g} confidence (p {self.p_value:.2g}); "
            f"on {self.tested_rows} held-back rows: error {self.error:.4f}, mean cost {self.cost:.4g}{unit}"
        )


def tune(
    traces: Traces,
    *,
    max_error: float | None = None,
    max_cost: float | None = None,
    max_cost_quantile: tuple[float, float] | None = None,
    relative_to: str = "labels",
    confidence: float = 0.95,
    estimate: str = "auto",
    bins: int = 16,
    tradeoffs: npt.ArrayLike | None = None,
    held_back: float = 0.5,
    max_loss: float = 1.0,
    seed: int = 0,
) -> Policy:
    """The best policy that keeps one or more service levels on future requests, with a stated confidence.

    With a limit on the error: the cheapest policy that could be certified. With limits on the cost only: the most
    accurate one. `ttamer.tuning.certify` takes the same arguments and also says how the policy was tested.

    Parameters
    ----------
    traces : Traces
        Calibration requests. They are split in two: policies are fitted on one part and tested on the other.
    max_error : float, optional
        Limit on the mean loss, in (0, max_loss).
    max_cost : float, optional
        Limit on the mean cost, in the traces' unit.
    max_cost_quantile : (float, float), optional
        (q, t): a request costs more than t with probability at most 1 - q.
    relative_to : {"labels", "last"}
        What an error is: an answer other than the label (the traces' own losses), or other than that of the last node,
        which is the full model (this needs predictions).
    confidence : float
        Probability, over the traces, that the policy keeps all limits; in (0, 1).
    estimate, bins, tradeoffs
        As for `frontier`.
    held_back : float
        Share of the rows that policies are tested on, in (0, 1).
    max_loss : float
        The largest loss there can be, known beforehand. Losses of 0 and `max_loss` alone are tested by the exact
        binomial tail, others, and mean costs, by Hoeffding and Bentkus' bounds.
    seed : int
        Of the split. Choosing it, or a limit, by what comes out voids the guarantee.

    Returns
    -------
    Policy

    Raises
    ------
    InfeasibleError
        If no policy could be certified; it says what can be, or how many rows are needed.
    TypeError, ValueError
        If an argument is wrong.
    ImportError
        If SciPy is missing.

    Notes
    -----
    The guarantee is that of independent rows drawn as future requests are; nothing holds after a shift.
    """
    return certify(
        traces,
        max_error=max_error,
        max_cost=max_cost,
        max_cost_quantile=max_cost_quantile,
        relative_to=relative_to,
        confidence=confidence,
        estimate=estimate,
        bins=bins,
        tradeoffs=tradeoffs,
        held_back=held_back,
        max_loss=max_loss,
        seed=seed,
    ).policy


def certify(
    traces: Traces,
    *,
    max_error: float | None = None,
    max_cost: float | None = None,
    max_cost_quantile: tuple[float, float] | None = None,
    relative_to: str = "labels",
    confidence: float = 0.95,
    estimate: str = "auto",
    bins: int = 16,
    tradeoffs: npt.ArrayLike | None = None,
    held_back: float = 0.5,
    max_loss: float = 1.0,
    seed: int = 0,
) -> Certificate:
    """`tune`, with an account of what was tested and how. Parameters and errors are those of `tune`."""
    if not isinstance(traces, Traces):
        raise TypeError(f"traces: expected Traces, got {type(traces).__name__}")
    if relative_to not in ("labels", "last"):
        raise ValueError(f"relative_to: expected 'labels' or 'last', got {relative_to!r}")
    judged = traces if relative_to == "labels" else relative_to_last(traces)
    limits = stated(judged, max_error, max_cost, max_cost_quantile, max_loss)
    risk = 1.0 - _inside("confidence", confidence)
    fit_rows, test_rows = _split(len(judged), _inside("held_back", held_back), whole("seed", seed, least=0))
    _check_rows(limits, confidence, held_back, len(judged), len(test_rows))
    fit_part = judged[fit_rows]
    front = frontier(fit_part, tradeoffs, estimate, bins=bins)
    steps = Trial(front, fit_part, judged[test_rows]).certify(limits, confidence)
    best = [step for step in steps if step.p_value <= risk][-1]
    return Certificate(
        policy=best.policy,
        limits=limits,
        confidence=float(confidence),
        error=best.error,
        cost=best.cost,
        p_value=best.p_value,
        fitted_rows=len(fit_rows),
        tested_rows=len(test_rows),
        candidates=len(front),
        steps=steps,
        relative_to=relative_to,
        unit=traces.unit,
    )


def relative_to_last(traces: Traces) -> Traces:
    """The same traces judged by the last node: a loss is 1 where a node's prediction is not the last node's, else 0.

    Raises
    ------
    ValueError
        If there are no predictions.
    """
    if traces.predictions is None:
        raise ValueError("relative_to: 'last' needs predictions, and these traces have none")
    last = traces.predictions[:, -1]
    losses = (traces.predictions != last[:, None]).astype(np.float32)
    return traces._with(losses=losses, labels=last.copy(), observed=False)


# ---------------------------------------------------------------- testing


def testing_order(outcomes: Sequence[Outcome], limits: Sequence[Limit]) -> list[int]:
    """Numbers of the policies worth testing, the safest first; `outcomes` are those on the fitting part.

    The safest has the largest margin, the smallest over the limits. After it only what is better than all before is
    worth a test, cheaper with a limit on the error and more accurate without, by falling margin: if a policy passes,
    nobody wants what is worse, and every test can end the sequence.
    """
    margins = [min(limit.margin(outcome) for limit in limits) for outcome in outcomes]
    by_cost = any(limit.name == "max_error" for limit in limits)
    aims = [outcome.cost if by_cost else outcome.error for outcome in outcomes]
    order: list[int] = []
    # Of equal margins the one that spends most, or errs most, is tested first: it is the safer.
    for k in sorted(range(len(outcomes)), key=lambda k: (-margins[k], -aims[k])):
        if not order or aims[k] < aims[order[-1]]:
            order.append(k)
    return order


class Trial:
    """A front of policies, and the held-back rows to test them on.

    Limits may be asked of one trial one after another: each answer has its own guarantee, not all of them together.

    Parameters
    ----------
    front : Front
        Made on `fit_part`; one of relative losses, if that is what is to be limited.
    fit_part, test_part : Traces
        Requests that have no row in common.
    """

    def __init__(self, front: Front, fit_part: Traces, test_part: Traces) -> None:
        self.policies = [point.policy for point in front]
        self.fitted = [Outcome.of(policy.replay(fit_part)) for policy in self.policies]
        self.test_part = test_part
        self._tested: dict[int, Outcome] = {}

    def certify(self, limits: Sequence[Limit], confidence: float) -> tuple[Step, ...]:
        """Test the policies in order, up to the first that fails.

        Returns
        -------
        tuple of Step
            All that were tested. Each that passed is better than those before it, so the last of them is the best; at
            most the last of all has failed.

        Raises
        ------
        InfeasibleError
            If none passes.
        """
        risk = 1.0 - confidence
        steps = []
        for step in self._tests(limits):
            steps.append(step)
            if step.p_value > risk:
                break
        if steps[0].p_value > risk:
            raise self._infeasible(limits, confidence)
        return tuple(steps)

    def _tests(self, limits: Sequence[Limit]) -> Iterator[Step]:
        for k in testing_order(self.fitted, limits):
            if k not in self._tested:
                self._tested[k] = Outcome.of(self.policies[k].replay(self.test_part))
            outcome = self._tested[k]
            p_values = tuple(limit.p_value(outcome) for limit in limits)
            yield Step(self.policies[k], outcome.error, outcome.cost, p_values)

    def _smallest(self, limits: Sequence[Limit], place: int, risk: float) -> float | None:
        """The smallest bound of one limit that is certified, the others unchanged; None if there is none."""

        def certified(bound: float) -> bool:
            tried = [limit.at(bound) if k == place else limit for k, limit in enumerate(limits)]
            return next(self._tests(tried)).p_value <= risk

        below, bound = limits[place].bound, limits[place].high
        if not certified(bound):
            return None
        while bound - below > 1e-6 * limits[place].high:
            middle = (below + bound) / 2
            below, bound = (below, middle) if certified(middle) else (middle, bound)
        return bound

    def _infeasible(self, limits: Sequence[Limit], confidence: float) -> InfeasibleError:
        found = {limit.name: self._smallest(limits, k, 1.0 - confidence) for k, limit in enumerate(limits)}
        reachable = [limit.text(_rounded_up(bound)) for limit in limits if (bound := found[limit.name]) is not None]
        asked = " and ".join(limit.text() for limit in limits)
        others = ", the other limits unchanged" if len(limits) > 1 else ""
        hint = f"{' or '.join(reachable)} can be{others}" if reachable else "to relax one of them is not enough"
        return InfeasibleError(
            f"{', '.join(limit.name for limit in limits)}: {asked} cannot be certified with confidence {confidence:g} "
            f"on {len(self.test_part)} held-back rows; {hint}",
            max_error=found.get("max_error"),
            max_cost=found.get("max_cost"),
            max_cost_quantile=found.get("max_cost_quantile"),
        )


# ---------------------------------------------------------------- rows, and having too few


def _inside(name: str, value: float) -> float:
    number = real(name, value)
    if not 0 < number < 1:
        raise ValueError(f"{name}: expected a number in (0, 1), got {number:g}")
    return number


def _split(rows: int, share: float, seed: int) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Rows to fit on and rows to test on, at least one each."""
    if rows < 2:
        raise ValueError("traces: expected at least 2 rows, to fit on and to test on, got 1")
    shuffled = np.random.default_rng(seed).permutation(rows)
    tested = min(ceil(rows * share), rows - 1)
    return shuffled[tested:], shuffled[:tested]


def _check_rows(limits: Sequence[Limit], confidence: float, share: float, rows: int, tested: int) -> None:
    """Raise before any work if even rows without a loss could not show what is asked for."""
    for limit in limits:
        if not 0 < limit.level < 1:
            continue
        needed = pvalues.rows_needed(limit.level, confidence)
        if tested < needed:
            total = max(floor((needed - 1) / share) + 1, needed + 1)
            raise InfeasibleError(
                f"{limit.name}: {limit.text()} with confidence {confidence:g} needs at least {total} rows, {needed} of "
                f"them held back, got {rows} and {tested}",
                rows=total,
            )


def _rounded_up(value: float) -> float:
    """To four significant digits, upwards: what is printed can be asked for."""
    if value <= 0:
        return 0.0
    scale = 10.0 ** (3 - floor(log10(value)))
    return ceil(value * scale) / scale
