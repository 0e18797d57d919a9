"""Testing policies on rows that were held back, one after another, so that all that pass keep their limits.

Fixed-sequence testing (Angelopoulos et al., *Learn then Test*, arXiv 2110.01052).

The argument: let the first policy in the order that breaks a limit be the k-th. The order does not depend on the
held-back rows, so neither does k; a policy that breaks a limit is certified only if the k-th one is, and its p-value
is at most 1 - confidence with probability at most 1 - confidence. Of several limits the largest p-value counts: it is
at most x only if that of the broken limit is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil, floor, isfinite, log10

from ttamer._base import checks
from ttamer.policy import Front, Policy
from ttamer.traces import Traces
from ttamer.tuning.limits import Limit, Outcome


class InfeasibleError(ValueError):
    """No policy could be certified.

    Attributes
    ----------
    max_error, max_cost, max_cost_quantile : float or None
        The smallest bound of each limit that is certified on the same rows, the other limits unchanged; None where the
        limit was not asked for, or even its loosest bound does not help. A quantile's is a cost. Of costs in several
        units a dict of them.
    rows : int or None
        How many rows are needed where there are too few for the confidence, even if none of them broke a limit.
    """

    def __init__(
        self,
        message: str,
        *,
        max_error: float | None = None,
        max_cost: float | dict[str, float] | None = None,
        max_cost_quantile: float | dict[str, float] | None = None,
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
    outcome : Outcome
        What it did on the held-back rows.
    p_values : tuple of float
        One a limit.
    """

    policy: Policy
    outcome: Outcome
    p_values: tuple[float, ...]

    @property
    def p_value(self) -> float:
        """float : the largest over the limits; the policy passed if it is at most 1 - confidence."""
        return max(self.p_values)


def testing_order(outcomes: Sequence[Outcome], limits: Sequence[Limit]) -> list[int]:
    """Numbers of the policies worth testing, the safest first; `outcomes` are those on the fitting part.

    The safest has the largest margin, the smallest over the limits. After it only what is better than all before is
    worth a test, cheaper with a limit on the error and more accurate without, by falling margin: if a policy passes,
    nobody wants what is worse, and every test can end the sequence.
    """
    outcomes, limits = checks.instances("outcomes", outcomes, Outcome), checks.instances("limits", limits, Limit)
    if not limits:
        raise ValueError("limits: expected at least one, got none")
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
        self.policies = [point.policy for point in checks.instance("front", front, Front)]
        checks.instance("test_part", test_part, Traces)
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
        risk = 1.0 - checks.real("confidence", confidence)
        for limit in limits:
            if limit.name != "max_error" and limit.unit not in self.test_part.unit_costs:
                units = ", ".join(self.test_part.unit_costs)
                raise ValueError(f"{limit.name}: expected a limit in {units}, got one in {limit.unit}")
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
            yield Step(self.policies[k], outcome, p_values)

    def _smallest(self, limits: Sequence[Limit], place: int, risk: float) -> float | None:
        """The smallest bound of one limit that is certified, the others unchanged; None if there is none."""

        def certified(bound: float) -> bool:
            tried = [limit.at(bound) if k == place else limit for k, limit in enumerate(limits)]
            return next(self._tests(tried)).p_value <= risk

        highest = limits[place].high
        if not isfinite(highest):  # a cost above which no held-back request is
            part = self.test_part.priced({limits[place].unit: 1}) if limits[place].unit else self.test_part
            highest = float(part.paid_costs.sum(axis=-1).max())
        below, bound = limits[place].bound, highest
        if not certified(bound):
            return None
        while bound - below > 1e-6 * highest:
            middle = (below + bound) / 2
            below, bound = (below, middle) if certified(middle) else (middle, bound)
        return bound

    def _bounds(self, name: str, certified: Sequence[tuple[Limit, float]]) -> float | dict[str, float] | None:
        """Bounds of costs by their unit where there are several, else the only one."""
        bounds = {limit.unit: bound for limit, bound in certified if limit.name == name}
        return bounds if len(self.test_part.unit_costs) > 1 and bounds else next(iter(bounds.values()), None)

    def _infeasible(self, limits: Sequence[Limit], confidence: float) -> InfeasibleError:
        found = [self._smallest(limits, k, 1.0 - confidence) for k in range(len(limits))]
        certified = [(limit, bound) for limit, bound in zip(limits, found, strict=True) if bound is not None]
        reachable = [limit.text(_rounded_up(bound)) for limit, bound in certified]
        asked = " and ".join(limit.text() for limit in limits)
        others = ", the other limits unchanged" if len(limits) > 1 else ""
        hint = f"{' or '.join(reachable)} can be{others}" if reachable else "to relax one of them is not enough"
        return InfeasibleError(
            f"{', '.join(limit.name for limit in limits)}: {asked} cannot be certified with confidence {confidence:g} "
            f"on {len(self.test_part)} held-back rows; {hint}",
            max_error=next((bound for limit, bound in certified if limit.name == "max_error"), None),
            max_cost=self._bounds("max_cost", certified),
            max_cost_quantile=self._bounds("max_cost_quantile", certified),
        )


def _rounded_up(value: float) -> float:
    """To four significant digits, upwards: what is printed can be asked for."""
    if value <= 0:
        return 0.0
    scale = 10.0 ** (3 - floor(log10(value)))
    return ceil(value * scale) / scale
