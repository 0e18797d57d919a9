"""What a log says of the requests that were served, in numbers."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

from ttamer._base import checks
from ttamer._base.numbers import are_rates
from ttamer._base.types import STOP, Floats
from ttamer.policy import Policy
from ttamer.serve.dispatcher import Dispatcher
from ttamer.serve.drift import Drift
from ttamer.serve.figures import Estimate, NodeReport, PolicySpan, Quantiles, Report, Saving, Watch
from ttamer.serve.flight import Flight
from ttamer.serve.plan import Plan
from ttamer.serve.refitting import CONFIDENCE, RESAMPLES
from ttamer.serve.telling import LARGEST_LABEL
from ttamer.traces import Traces
from ttamer.traces.costs import prices_in
from ttamer.traces.lines import read_log

MOST_POINTS = 300
"""Of the evidence over time, which is drawn."""
MOST_BARS = 30
"""Of the histogram of costs."""
_KEYS = ("policy", "tier", "reason", "answer_node", "cost", "unit", "is_shadowed", "seconds")


def report(
    path: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    policy: Policy | None = None,
    traces: Traces | None = None,
) -> Report:
    """Count what `Log` wrote.

    Parameters
    ----------
    path : str, os.PathLike, or a sequence of these
        Logs, in order.
    policy : Policy, optional
        One that decided requests of the log: what it expects is compared with what happened.
    traces : Traces, optional
        Requests as they should be, which the policy was not fitted on: with both `Drift` watches the log.

    Returns
    -------
    Report

    Raises
    ------
    OSError
        If a log cannot be opened.
    ValueError
        If a line is something else, there is no request, costs are in several units, or the policy did not decide any
        request of the log.
    """
    lines = _Lines()
    paths = [path] if isinstance(path, (str, os.PathLike)) else list(path)
    cut = read_log(paths, lines.add, lines.add_losses)
    where = checks.printable(", ".join(map(str, paths)))
    if not lines.rows:
        raise ValueError(f"{where}: expected at least one request, got none")
    plan = None if policy is None else Plan(checks.instance("policy", policy, Policy))
    try:
        lines.join(bool(cut))
        if plan is not None:
            lines.check(plan)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
    rows = lines.rows
    # The context of several models is a node that nobody is asked.
    known = () if plan is None else plan.names[plan.has_front :]
    names = list(dict.fromkeys([*known, *lines.calls]))
    basis, savings = _savings(rows, names, plan)
    watch, needs = _watch(rows, plan, traces)
    costs = np.array([row.cost for row in rows])
    counts, edges = np.histogram(costs, min(MOST_BARS, max(len(set(costs.tolist())), 2)))
    return Report(
        requests=len(rows),
        shadowed=sum(row.shadowed for row in rows),
        unit=lines.unit or "",
        tiers={
            tier: dict(Counter(row.reason for row in rows if row.tier == tier))
            for tier in dict.fromkeys(row.tier for row in rows)
        },
        cost=_quantiles(costs),
        seconds=_quantiles([row.seconds for row in rows]),
        shadow_cost=sum(cost for row in rows for cost in row.shadow_costs.values()),
        costs=(edges.tolist(), counts.tolist()),
        nodes=tuple(_node(name, lines.calls.get(name, _Calls()), rows) for name in names),
        policies=tuple(_span(digest, rows, plan) for digest in dict.fromkeys(row.digest for row in rows)),
        loss=_mean([row.loss for row in rows if row.loss is not None]),
        shadowed_loss=_mean([row.loss for row in rows if row.loss is not None and row.shadowed]),
        basis=basis,
        savings=savings,
        drift=watch,
        drift_needs=needs,
        cut=tuple(cut),
    )


@dataclass
class _Row:
    """One request."""

    digest: str
    tier: str
    reason: str
    answered: str | None
    cost: float
    seconds: float
    shadowed: bool
    last: str | None = None
    context: Any = None
    told: list[dict[str, Any]] = field(default_factory=list)  # visits, without shadows
    costs: dict[str, float] = field(default_factory=dict)  # of nodes that gave something
    shadow_costs: dict[str, float] = field(default_factory=dict)
    losses: dict[str, float] = field(default_factory=dict)

    @property
    def loss(self) -> float | None:
        return self.losses.get(self.answered or "")


@dataclass
class _Calls:
    """Of one node."""

    consulted: int = 0
    failed: int = 0
    down: int = 0
    shadowed: int = 0
    seconds: list[float] = field(default_factory=list)
    costs: list[float] = field(default_factory=list)


class _Lines:
    """What the lines of a log said so far."""

    def __init__(self) -> None:
        self.rows: list[_Row] = []
        self.calls: dict[str, _Calls] = {}
        self.unit: str | None = None
        self.prices: dict[str, float] = {}
        self.requests: dict[str, list[_Row]] = {}
        self.later: list[tuple[str, str, dict[str, Any]]] = []

    def add(self, record: dict[str, Any]) -> None:
        missing = [key for key in _KEYS if key not in record]
        if missing:
            raise ValueError(f"expected a record that ttamer.serve.Log wrote, got one without {', '.join(missing)}")
        unit = checks.text("unit", record["unit"])
        if self.unit not in (None, unit):
            raise ValueError(f"unit: expected costs in {self.unit!r} as before, got {unit!r}; report on each alone")
        self.unit, self.prices = unit, prices_in(unit)
        row = _Row(
            checks.text("policy", record["policy"]),
            checks.text("tier", record["tier"]),
            checks.text("reason", record["reason"] or "under way"),
            None if record["answer_node"] is None else _name("answer_node", record["answer_node"]),
            _amount("cost", record["cost"]),
            _amount("seconds", record["seconds"]),
            checks.flag("is_shadowed", record["is_shadowed"]),
            context=record.get("context"),
        )
        for k, visit in enumerate(record["visits"]):
            if not isinstance(visit, dict) or "node" not in visit:
                raise ValueError(f'visit {k}: expected {{"node": ...}}')
            self._add_visit(f"visit {k}: ", row, visit)
        row.losses |= _losses(record.get("losses", {}))
        if "request" in record:
            name = checks.text("request", record["request"])
            self.requests.setdefault(name, []).append(row)  # one that was tried again has several
        self.rows.append(row)

    def add_losses(self, line: str, request: str, losses: dict[str, Any]) -> None:
        self.later.append((line, request, _losses(losses)))

    def _add_visit(self, at: str, row: _Row, visit: dict[str, Any]) -> None:
        node, shadow = _name(f"{at}node", visit["node"]), bool(visit.get("shadow"))
        calls, error = self.calls.setdefault(node, _Calls()), visit.get("error")
        if not shadow:
            row.last = node
            row.told.append(visit)
        if str(error).startswith("NodeDown:"):
            calls.down += 1
            return
        if "seconds" in visit:
            calls.seconds.append(_amount(f"{at}seconds", visit["seconds"]))
        cost = visit.get("cost")
        if cost is not None:
            units = cost if isinstance(cost, Mapping) else None
            if units is not None and set(units) != set(self.prices):
                raise ValueError(f"{at}cost: expected {', '.join(self.prices)}, got {checks.quoted(list(units))}")
            paid = (
                _amount(f"{at}cost", cost)
                if units is None
                else sum(price * _amount(f"{at}cost", units[unit]) for unit, price in self.prices.items())
            )
            calls.costs.append(paid)
            if error is None:
                row.costs[node] = paid
            if shadow:
                row.shadow_costs[node] = paid
        calls.shadowed += shadow
        calls.consulted += not shadow
        calls.failed += not shadow and error is not None

    def join(self, has_cuts: bool) -> None:
        """Losses that became known later, to their requests, of which some may be among the lines that were cut off."""
        for line, name, losses in self.later:
            if name not in self.requests and not has_cuts:
                raise ValueError(
                    f"{line}: request: expected losses of requests that were logged, got {checks.quoted(repr(name))}"
                )
            for row in self.requests.get(name, ()):
                row.losses |= losses

    def check(self, plan: Plan) -> None:
        """Raise unless the policy decided requests of the log."""
        digests = dict.fromkeys(row.digest for row in self.rows)
        if plan.digest not in digests:
            raise ValueError(
                f"policy: expected one that decided requests, {checks.quoted(', '.join(digests))}, got {plan.digest}"
            )


def _name(name: str, value: object) -> str:
    return checks.text(name, value) if isinstance(value, str) else str(checks.whole(name, value, least=0))


def _amount(name: str, value: object) -> float:
    number = checks.real(name, value)
    if not 0 <= number < np.inf:
        raise ValueError(f"{name}: expected a finite number >= 0, got {number:g}")
    return number


def _losses(losses: object) -> dict[str, float]:
    if not isinstance(losses, dict):
        raise ValueError(f"losses: expected a loss by node, got {type(losses).__name__}")
    return {
        node: _amount(f"losses[{checks.quoted(repr(node))}]", float(loss) if isinstance(loss, bool) else loss)
        for node, loss in losses.items()
    }


def _quantiles(values: Sequence[float] | Floats) -> Quantiles:
    found = Quantiles.of(values)
    assert found is not None  # there is at least one request
    return found


def _node(name: str, calls: _Calls, rows: Sequence[_Row]) -> NodeReport:
    return NodeReport(
        name,
        calls.consulted,
        calls.failed,
        calls.down,
        calls.shadowed,
        stopped=sum(row.last == name for row in rows),
        answered=sum(row.answered == name for row in rows),
        seconds=Quantiles.of(calls.seconds),
        cost=float(np.mean(calls.costs)) if calls.costs else None,
        loss=_mean([row.losses[name] for row in rows if row.shadowed and name in row.losses]),
    )


def _span(digest: str, rows: Sequence[_Row], plan: Plan | None) -> PolicySpan:
    at = [number for number, row in enumerate(rows, start=1) if row.digest == digest]
    cost = float(np.mean([row.cost for row in rows if row.digest == digest]))
    expected = plan.policy.expected_cost if plan is not None and plan.digest == digest else None
    return PolicySpan(digest, len(at), at[0], at[-1], cost, expected)


def _mean(losses: Sequence[float]) -> Estimate | None:
    """A mean loss; the interval of a rate is Wilson's, which says something of no errors too."""
    values = np.array(losses, np.float64)
    count = len(values)
    if not count:
        return None
    mean = float(values.mean())
    if not are_rates(values):
        return Estimate(count, mean, *_interval(_resampled(values[:, None])[:, 0]))
    z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
    middle = (mean + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z * np.sqrt(mean * (1 - mean) / count + z**2 / (4 * count**2)) / (1 + z**2 / count)
    return Estimate(count, mean, max(float(middle - half), 0.0), min(float(middle + half), 1.0))


def _resampled(values: Floats) -> Floats:
    """Means of samples drawn with replacement, (RESAMPLES, columns)."""
    draws, count = np.random.default_rng(0), len(values)
    return np.array([values[draws.integers(0, count, count)].mean(axis=0) for _ in range(RESAMPLES)])


def _interval(values: Floats) -> npt.NDArray[np.float64]:
    return np.quantile(values, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])


def _savings(rows: Sequence[_Row], names: Sequence[str], plan: Plan | None) -> tuple[str | None, tuple[Saving, ...]]:
    """Against the best single node, and all nodes, on requests of which it is known what these cost.

    What has to be asked before a node, along a line of exits say, is known of a policy: without one there is no node to
    compare with.
    """
    shadowed = [row for row in rows if row.shadowed]
    basis = "shadowed" if any(set(names) <= set(row.costs) for row in shadowed) and names else "policy"
    if basis == "policy" and plan is None:
        return None, ()
    names = names if plan is None else plan.names[plan.has_front :]
    own = shadowed if basis == "shadowed" else [row for row in rows if plan and row.digest == plan.digest]
    savings = []
    for against, path in {**_best_path(shadowed, plan), "all nodes": list(names)}.items():
        if basis == "shadowed":
            known = [row for row in own if set(path) <= set(row.costs)]
            other = np.array([sum(row.costs[name] for name in path) for row in known])
        else:
            assert plan is not None
            known, numbers = own, [plan.names.index(name) for name in path]
            before = [plan.before_first, *numbers]
            other = np.full(len(own), sum(plan.cost_of(i, j) for i, j in zip(before, numbers, strict=False)))
        if len(known) and other.min() > 0:
            paid = np.array([row.cost for row in known])
            means = _resampled(np.column_stack([paid, other]))
            share = float(1 - paid.mean() / other.mean())
            ends = _interval(1 - means[:, 0] / means[:, 1]).tolist()
            savings.append(Saving(against, float(other.mean()), Estimate(len(paid), share, *ends)))
    return basis, tuple(savings)


def _best_path(rows: Sequence[_Row], plan: Plan | None) -> dict[str, list[str]]:
    """The node that lost least, without labels the dearest one, and all that has to be asked for its answer."""
    if plan is None:
        return {}
    answering = [plan.names[node] for node in plan.answering]
    labelled = [row.losses for row in rows if set(answering) <= set(row.losses)]
    paths = {plan.names[node]: plan.path_to(node) for node in plan.answering}

    def rank(name: str) -> tuple[float, float]:
        cost = paths[name][0]
        return sum(each[name] for each in labelled), cost if labelled else -cost

    best = min(answering, key=rank)
    return {best: [plan.names[node] for node in paths[best][1]]}


def _watch(rows: Sequence[_Row], plan: Plan | None, traces: Traces | None) -> tuple[Watch | None, str | None]:
    """The log as `Drift` sees it, or what is missing for that."""
    if plan is None or traces is None:
        needs = {"a policy": plan, "traces of how requests should be": traces}
        return None, f"It needs {' and '.join(name for name, value in needs.items() if value is None)}."
    if plan.class_count:
        return None, "Of logits logs keep only the largest: watch flights of this policy as they are served."
    drift = Drift(plan.policy, traces)
    signal = (plan.policy.signal or None) if plan.policy.estimator is None else None
    dispatcher = Dispatcher(plan.policy, signal=signal)
    history: dict[str, list[float]] = {test: [] for test in drift.evidence}
    alarm: tuple[str | None, int | None] = (None, None)
    for number, row in enumerate(rows, start=1):
        if row.digest != plan.digest or row.reason != "policy":
            continue
        try:
            drift.saw(_flown(dispatcher, row))
        except (TypeError, ValueError) as error:
            raise ValueError(f"request {number}: {checks.quoted(error)}") from None
        if row.shadowed and row.loss is not None:
            drift.labelled(row.loss)
        for test, value in drift.evidence.items():
            history[test].append(value)
        if alarm[0] is None and drift.alarm is not None:
            alarm = drift.alarm, number
    parts = {
        test: [float(part.max()) for part in np.array_split(values, min(MOST_POINTS, len(values)))] if values else []
        for test, values in history.items()
    }
    return Watch(drift.seen, drift.labels, drift.evidence, drift.psi, *alarm, parts), None


def _flown(dispatcher: Dispatcher, row: _Row) -> Flight:
    """A flight that is told what the log says of a request that its policy stopped."""
    flight = dispatcher.enter(context=row.context)
    for visit in row.told:
        label = visit.get("answer")
        if label is not None and label > LARGEST_LABEL:  # the number of an answer that was only compared
            flight.consulted(str(label), visit.get("signal"), node=visit["node"])
        else:
            flight.consulted(None, visit.get("signal"), label=label, node=visit["node"])
    if flight.node != STOP:
        raise ValueError(f"expected one that the policy stopped, got {flight!r}")
    return flight
