"""Whether service levels are kept as often as `ttamer.tune` says, and what certainty costs.

The calibration and test rows of a workload are pooled, and the pool is the truth: a policy's true error and cost are
those on all of its rows. Many times, half as many rows as the pool has are drawn from it, a policy is tuned on them
with 95% confidence, and it is looked up whether it truly keeps its limits.

  split       drawn without replacement: calibration rows as one has them. The pool holds the rows that were tested
              on, so violations are somewhat rarer than for rows never seen
  bootstrap   drawn with replacement: the pool is then exactly the distribution that the rows come from, independently.
              This is the sharp test of the guarantee

A violation is a tuned policy that truly breaks a limit; no policy (infeasible) is no violation. "allowed" is the number
of violations that a method with a rate of exactly 5% exceeds once in a thousand such runs.

  tuned    `ttamer.tune`, on half of the rows drawn, tested on the other half
  naive    the best policy of the front of all rows drawn that keeps the limits on these same rows
  oracle   the best policy of that front that truly keeps the limits

With a limit on the error the best is the cheapest and the aim is the true mean cost; without one it is the most
accurate, and the aim is the true error. Aims are means over the draws in which all three found a policy. Levels are
the error of the most accurate node plus a margin, or, relative to the last node, the margin itself; costs are shares
of the cost of reaching the last node.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import binom
from workloads import load_recorded

import ttamer
from ttamer import tuning
from ttamer.bench.harness import is_kept, machine, machine_line, parser, print_rows, write
from ttamer.tuning.limits import Limit, Outcome, stated

Row = dict[str, Any]
Rows = npt.NDArray[np.intp]

RESULTS = Path(__file__).parent / "results"
CONFIDENCE = 0.95
DRAWS = ("split", "bootstrap")
ERROR_MARGINS = (0.005, 0.01, 0.02, 0.04)
LAST_MARGINS = (0.01, 0.03)
COST_SHARES = (0.2, 0.4)
SLACK = 1e-9


@dataclass(frozen=True)
class Question:
    """Limits that are asked for in every draw.

    Attributes
    ----------
    name : str
    relative_to : {"labels", "last"}
    limits : tuple of Limit
    """

    name: str
    relative_to: str
    limits: tuple[Limit, ...]

    @property
    def by_cost(self) -> bool:
        """bool : whether the best policy is the cheapest."""
        return any(limit.name == "max_error" for limit in self.limits)

    def aim(self, outcome: Outcome) -> float:
        """What the best policy has the least of."""
        return outcome.cost if self.by_cost else outcome.error

    def is_kept(self, outcome: Outcome) -> bool:
        """Whether a policy keeps all limits."""
        return all(limit.mean(outcome) <= limit.level + SLACK for limit in self.limits)


def pooled(calibration: ttamer.Traces, test: ttamer.Traces) -> ttamer.Traces:
    """Traces of the rows of both."""

    def both(name: str) -> npt.NDArray[Any]:
        return np.concatenate([getattr(calibration, name), getattr(test, name)])

    records = [traces.evidence for traces in (calibration, test)]
    evidence = ttamer.Evidence(
        np.concatenate([each.log_probs for each in records]),
        np.concatenate([each.classes for each in records]),
        records[0].class_count,
    )
    return ttamer.Traces(
        both("signals"),
        both("losses"),
        calibration.costs,
        calibration.topology,
        predictions=both("predictions"),
        labels=both("labels"),
        evidence=evidence,
        signal=calibration.signal,
        unit=calibration.unit,
    )


def questions(pool: ttamer.Traces) -> list[Question]:
    """The limits asked of a workload."""
    lowest = float(pool.losses.mean(axis=0, dtype=np.float64).min())
    full = float(pool.reach_costs[-1])
    pools = {"labels": pool, "last": tuning.relative_to_last(pool)}

    def ask(name: str, relative_to: str = "labels", **limits: Any) -> Question:
        arguments = {"max_error": None, "max_cost": None, "max_cost_quantile": None, **limits}
        return Question(name, relative_to, stated(pools[relative_to], **arguments, max_loss=1.0))

    catalogue = [ask(f"error {lowest + margin:.4f}", max_error=lowest + margin) for margin in ERROR_MARGINS]
    catalogue += [ask(f"error {margin:g} to last", "last", max_error=margin) for margin in LAST_MARGINS]
    catalogue += [ask(f"cost {share:.0%}", max_cost=share * full) for share in COST_SHARES]
    catalogue.append(ask("cost 60% at 0.9", max_cost_quantile=(0.9, 0.6 * full)))
    level = lowest + ERROR_MARGINS[2]
    catalogue.append(ask(f"error {level:.4f}, cost 60%", max_error=level, max_cost=0.6 * full))
    return catalogue


class Draw:
    """Policies made of rows drawn from the pool, for one kind of error."""

    def __init__(self, pool: ttamer.Traces, rows: Rows) -> None:
        self.pool = pool
        half = len(rows) // 2
        fit_part, test_part = pool[rows[half:]], pool[rows[:half]]
        self.trial = tuning.Trial(ttamer.frontier(fit_part), fit_part, test_part)
        self.sample = pool[rows]
        self._true: dict[float, Outcome] = {}

    @cached_property
    def front(self) -> list[tuple[Outcome, Outcome]]:
        """Outcomes on the rows drawn and true ones, of the policies made of all rows drawn."""
        policies = [point.policy for point in ttamer.frontier(self.sample)]
        return [(Outcome.of(policy.replay(self.sample)), Outcome.of(policy.replay(self.pool))) for policy in policies]

    def tuned(self, question: Question) -> Outcome | None:
        """True outcome of the tuned policy, None where there is none."""
        try:
            steps = self.trial.certify(question.limits, CONFIDENCE)
        except ttamer.InfeasibleError:
            return None
        best = [step.policy for step in steps if step.p_value <= 1 - CONFIDENCE][-1]
        if best.tradeoff not in self._true:
            self._true[best.tradeoff] = Outcome.of(best.replay(self.pool))
        return self._true[best.tradeoff]

    def naive(self, question: Question) -> Outcome | None:
        """True outcome of the best policy that keeps the limits on the rows it was made of."""
        pairs = [pair for pair in self.front if question.is_kept(pair[0])]
        return min(pairs, key=lambda pair: question.aim(pair[0]))[1] if pairs else None

    def oracle(self, question: Question) -> Outcome | None:
        """The best outcome that truly keeps the limits."""
        return min((true for _, true in self.front if question.is_kept(true)), key=question.aim, default=None)


def measure(name: str, pool: ttamer.Traces, kind: str, draws: int) -> list[Row]:
    """One row a question: how often its limits were broken, and what was paid."""
    catalogue = questions(pool)
    pools = {"labels": pool, "last": tuning.relative_to_last(pool)}
    results: dict[str, list[tuple[Outcome | None, ...]]] = {question.name: [] for question in catalogue}
    for seed in range(draws):
        rng = np.random.default_rng(seed)
        rows = rng.choice(len(pool), size=len(pool) // 2, replace=kind == "bootstrap")
        by_error = {relative_to: Draw(traces, rows) for relative_to, traces in pools.items()}
        for question in catalogue:
            draw = by_error[question.relative_to]
            results[question.name].append((draw.tuned(question), draw.naive(question), draw.oracle(question)))
    return [_row(name, kind, question, results[question.name]) for question in catalogue]


def _row(name: str, kind: str, question: Question, results: list[tuple[Outcome | None, ...]]) -> Row:
    draws = len(results)
    failures = [[each is not None and not question.is_kept(each) for each in outcomes] for outcomes in results]
    violations, naive_violations, _ = np.sum(failures, axis=0).tolist()
    aims = [[question.aim(each) for each in outcomes] for outcomes in results if None not in outcomes]
    tuned, naive, oracle = np.mean(aims, axis=0).tolist() if aims else (None, None, None)
    limit = int(binom.ppf(0.999, draws, 1 - CONFIDENCE))
    return {
        "workload": name,
        "drawn": kind,
        "limits": question.name,
        "draws": draws,
        "violations": violations,
        "allowed": limit,
        "kept": violations <= limit,
        "infeasible": sum(outcomes[0] is None for outcomes in results),
        "naive violations": naive_violations,
        "aim": "cost ms" if question.by_cost else "error",
        "tuned": tuned,
        "oracle": oracle,
        "naive": naive,
        "tuned/oracle": tuned / oracle if aims else None,
    }


def run(folder: Path | None, names: Sequence[str], draws: int) -> list[Row]:
    """Measure every workload, print its table."""
    rows: list[Row] = []
    for name in names:
        pool = pooled(*load_recorded(folder, name))
        measurements = [row for kind in DRAWS for row in measure(name, pool, kind, draws)]
        print(f"\n{name}: {len(pool)} rows pooled, {len(pool) // 2} drawn, {draws} times each way\n")
        print_rows(
            [{key: value for key, value in row.items() if key not in ("workload", "draws")} for row in measurements]
        )
        rows += measurements
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    command_line = parser(__doc__ or "", RESULTS)
    command_line.add_argument(
        "folder", type=Path, nargs="?", help="where recorded workloads are (default: the package's own)"
    )
    command_line.add_argument("names", nargs="*", help="workloads in the folder (default: fashion-vgg)")
    command_line.add_argument("--draws", type=int, help="how often rows are drawn (default: 1000, with --quick 20)")
    options = command_line.parse_args(arguments)
    title = f"Service levels at {CONFIDENCE:.0%} confidence: violations, and the price of certainty"
    print(f"{machine_line()}\n\n{title}")
    rows = run(options.folder, options.names or ["fashion-vgg"], options.draws or (20 if options.quick else 1000))
    if is_kept(options):
        write("guarantee", {"title": title, "machine": machine(), "quick": options.quick, "rows": rows}, options.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
