"""Policies for a service level, with a guarantee on finite data: learn, then test.

The rows are split at random. On the fitting part a front of policies is made and put in an order; on the held-back
part they are tested in that order, each for "it breaks a limit", until one fails. Whatever passed keeps all limits,
all of it at once, with probability at least `confidence` over the rows (fixed-sequence testing, Angelopoulos et al.,
*Learn then Test*, arXiv 2110.01052), so that the best may be picked from it freely.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from math import ceil, floor
from typing import Any, ParamSpec

import numpy as np
import numpy.typing as npt

from ttamer._base import checks
from ttamer._base.numbers import are_rates, loss_text, loss_word, number, with_unit
from ttamer.evaluation import frontier
from ttamer.policy import Guarantee, Policy
from ttamer.policy.guarantee import ServiceLevel
from ttamer.traces import Traces, complete_traces
from ttamer.tuning import pvalues
from ttamer.tuning.limits import Limit, stated
from ttamer.tuning.trial import InfeasibleError, Step, Trial

P = ParamSpec("P")


@dataclass(frozen=True)
class Certificate:
    """A certified policy, and how it came to be.

    Attributes
    ----------
    best : Step
        The test of the policy that was chosen. Its outcome took part in the choice and is slightly too good.
    limits : tuple of Limit
        What the policy keeps, all at once, with probability `confidence`.
    confidence : float
    relative_to : {"labels", "last"}
    fitted_rows, tested_rows : int
        Sizes of the two parts.
    candidates : int
        Policies on the front of the fitting part.
    steps : tuple of Step
        Every test in its order; all passed but the last, unless the order came to its end.
    are_rates : bool
        Whether the losses are 0/1 errors.
    guarantee : Guarantee
        What of this the file of the policy keeps.
    """

    best: Step
    limits: tuple[Limit, ...]
    confidence: float
    relative_to: str
    fitted_rows: int
    tested_rows: int
    candidates: int
    steps: tuple[Step, ...]
    are_rates: bool
    guarantee: Guarantee

    @property
    def policy(self) -> Policy:
        """Policy : the one that was chosen, with its guarantee."""
        return self.best.policy._with_guarantee(self.guarantee)

    @property
    def failed(self) -> Step | None:
        """Step or None : the test that ended the sequence; what comes after it in the order was not tested."""
        return self.steps[-1] if self.steps[-1] is not self.best else None

    def end_of_tests(self) -> str:
        """Why no better policy was chosen, in words; empty where all passed."""
        if self.failed is None:
            return ""
        aim = "cheaper" if any(limit.name == "max_error" for limit in self.limits) else "more accurate"
        return f"the next, {aim} one failed its test with p-value {self.failed.p_value:.2g}, which ends the tests"

    def as_dict(self) -> dict[str, Any]:
        """Everything but the policies as plain Python values, for JSON."""
        names = ("confidence", "relative_to", "fitted_rows", "tested_rows", "candidates", "are_rates")
        signals = {"signal": self.policy.signal, "recorded_signal": self.policy.recorded_signal}
        limits = [
            {
                "name": limit.name,
                "bound": limit.bound,
                "quantile": limit.quantile,
                "unit": limit.unit,
                "held_back": limit.observed(self.best.outcome),
                "p_value": p_value,
            }
            for limit, p_value in zip(self.limits, self.best.p_values, strict=True)
        ]
        steps = [_step_dict(step) for step in self.steps]
        return {
            **{name: getattr(self, name) for name in names},
            **signals,
            **_step_dict(self.best),
            "limits": limits,
            "steps": steps,
        }

    def __str__(self) -> str:
        kept = " and ".join(limit.text() for limit in self.limits)
        tested = self.best.outcome
        loss = f"{'an' if self.are_rates else 'a'} {loss_word(self.are_rates)} of"
        return (
            f"{kept}, with confidence {self.confidence:g} (p-value {self.best.p_value:.2g}); on {self.tested_rows} "
            f"held-back rows {loss} {loss_text(tested.error, self.are_rates)} and a mean cost of "
            f"{with_unit(number(tested.cost), self.policy.unit)}"
            f"{f'; {self.end_of_tests()}' if self.failed else ''}"
        )


def _step_dict(step: Step) -> dict[str, Any]:
    outcome = step.outcome
    return {
        "tradeoff": step.policy.tradeoff,
        "error": outcome.error,
        "cost": outcome.cost,
        "unit_costs": {unit: each.cost for unit, each in outcome.units.items()},
        "p_values": list(step.p_values),
    }


def certify(
    traces: Traces,
    *,
    max_error: float | None = None,
    max_cost: float | Mapping[str, float] | None = None,
    max_cost_quantile: tuple[float, float] | Mapping[str, tuple[float, float]] | None = None,
    relative_to: str = "labels",
    confidence: float = 0.95,
    estimate: str = "auto",
    bins: int | str = "auto",
    tradeoffs: npt.ArrayLike | None = None,
    held_back: float = 0.5,
    max_loss: float = 1.0,
    max_cost_of_a_request: float | Mapping[str, float] | None = None,
    prices: Mapping[str, float] | None = None,
    seed: int = 0,
) -> Certificate:
    """`tune`, with an account of what was tested and how. Parameters and errors are those of `tune`."""
    complete_traces(traces)
    if relative_to not in ("labels", "last"):
        raise ValueError(f"relative_to: expected 'labels' or 'last', got {relative_to!r}")
    judged = traces if relative_to == "labels" else relative_to_last(traces)
    limits = stated(judged, max_error, max_cost, max_cost_quantile, max_loss, max_cost_of_a_request)
    risk = 1.0 - _inside("confidence", confidence)
    fit_rows, test_rows = _split(len(judged), _inside("held_back", held_back), checks.whole("seed", seed, least=0))
    _check_rows(limits, confidence, held_back, len(judged), len(test_rows))
    pvalues.require_scipy()  # now, not after the fit
    fit_part = judged[fit_rows]
    if prices is None and len(traces.unit_costs) > 1 and isinstance(max_cost, Mapping):
        # Each limit weighs alike, in numbers that can be read.
        prices = {unit: float(f"{1 / bound:.3g}") for unit, bound in max_cost.items() if bound > 0}
    front = frontier(fit_part, tradeoffs, estimate, bins=bins, prices=prices)
    steps = Trial(front, fit_part, judged[test_rows]).certify(limits, confidence)
    guarantee = guaranteed(limits, confidence, relative_to, len(fit_rows), len(test_rows), traces.digest)
    return Certificate(
        best=[step for step in steps if step.p_value <= risk][-1],
        limits=limits,
        confidence=float(confidence),
        relative_to=relative_to,
        fitted_rows=len(fit_rows),
        tested_rows=len(test_rows),
        candidates=len(front),
        steps=steps,
        are_rates=are_rates(judged.losses),
        guarantee=guarantee,
    )


def guaranteed(
    limits: Sequence[ServiceLevel],
    confidence: float,
    relative_to: str,
    fitted_rows: int,
    tested_rows: int,
    traces: str,
) -> Guarantee:
    """The guarantee of a test that was passed today; parameters are its attributes."""
    levels = tuple(ServiceLevel(**asdict(limit)) for limit in limits)
    today = datetime.now(timezone.utc).date().isoformat()
    return Guarantee(levels, float(confidence), relative_to, fitted_rows, tested_rows, traces, today)


def _with_parameters_of(
    function: Callable[P, Any],
) -> Callable[[Callable[..., Policy]], Callable[P, Policy]]:
    """Give a function the parameters of another one, for type checkers and for `help`."""

    def decorate(decorated: Callable[..., Policy]) -> Callable[P, Policy]:
        signature = inspect.signature(function).replace(return_annotation="Policy")
        decorated.__signature__ = signature  # type: ignore[attr-defined]
        return decorated

    return decorate


@_with_parameters_of(certify)
def tune(*arguments: Any, **options: Any) -> Policy:
    """The best policy that keeps one or more service levels on future requests, with a stated confidence.

    With a limit on the error: the cheapest policy that could be certified. With limits on the cost only: the most
    accurate one. Tests end with the first policy that fails, so a better one that would have kept the limits may be
    left out. `ttamer.tuning.certify` takes the same arguments and also says how the policy was tested.

    Parameters
    ----------
    traces : Traces
        Calibration requests. They are split in two: policies are fitted on one part and tested on the other.
    max_error : float, optional
        Limit on the mean loss, in (0, max_loss).
    max_cost : float or mapping of str to float, optional
        Limit on the mean cost, in the traces' unit; of costs in several units one for each unit that is limited:
        ``{"usd": 1e-3, "ms": 20}``.
    max_cost_quantile : (float, float) or mapping of str to (float, float), optional
        (q, t): a request costs more than t with probability at most 1 - q; likewise of each unit.
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
    max_cost_of_a_request : float or mapping of str to float, optional
        The most that a request can cost, known beforehand; needed by `max_cost` where the traces have costs of each
        request (`Traces.request_costs`). A limit on a quantile needs none.
    prices : mapping of str to float, optional
        What one of each unit of the costs is worth, where they are in several: policies are solved for their sum, and
        the cheapest one is that of the smallest sum. By default each limit of `max_cost` weighs alike.
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
    return certify(*arguments, **options).policy


def relative_to_last(traces: Traces) -> Traces:
    """The same traces judged by the last node that can answer: a loss is 1 where a node predicts otherwise, else 0.

    Raises
    ------
    ValueError
        If there are no predictions.
    """
    checks.instance("traces", traces, Traces)
    if traces.predictions is None:
        raise ValueError("relative_to: 'last' needs predictions, and these traces have none")
    probes = np.isin(np.arange(traces.topology.nodes), traces.probes)
    last = traces.predictions[:, np.flatnonzero(~probes)[-1]]
    differs = (traces.predictions != last[:, None]) | (traces.predictions < 0)  # -1 is no answer
    differs[:, np.flatnonzero(~probes)[-1]] = False
    losses = np.where(probes, np.inf, differs).astype(np.float32)
    return traces._with(losses=losses, labels=last.copy(), observed=False)


# ---------------------------------------------------------------- rows, and having too few


def _inside(name: str, value: float) -> float:
    share = checks.real(name, value)
    if not 0 < share < 1:
        raise ValueError(f"{name}: expected a number in (0, 1), got {share:g}")
    return share


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
            total = max(floor(min((needed - 1) / share, 2.0**53)) + 1, needed + 1)
            raise InfeasibleError(
                f"{limit.name}: {limit.text()} with confidence {confidence:g} needs at least {total} rows, {needed} of "
                f"them held back, got {rows} and {tested}",
                rows=total,
            )
