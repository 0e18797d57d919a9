"""What ``fit``, ``tune``, ``evaluate`` and ``frontier`` print."""

from __future__ import annotations

from typing import Any

import numpy as np
from rich.console import Console

from ttamer._base.numbers import loss_text, loss_word, number, with_unit
from ttamer._base.topologies import node_text
from ttamer.cli.output import in_unit, loss_span, print_table, share, table
from ttamer.evaluation import Evaluation
from ttamer.model import CascadeModel
from ttamer.model.set_estimators import SetEstimator
from ttamer.policy import Front, Policy
from ttamer.traces import Traces
from ttamer.traces.arguments import SUMS, look_like_sums
from ttamer.tuning import Certificate
from ttamer.tuning.limits import Limit

FEW = 12
"""Points of a front that are printed unless all are asked for."""


def model_dict(model: CascadeModel) -> dict[str, Any]:
    """A model for JSON."""
    return {
        "topology": model.topology.kind,
        "nodes": model.topology.nodes,
        "estimate": "signal" if model.estimator is None else model.estimator.kind,
        "signal": model.signal,
        "recorded_signal": model.recorded_signal,
        "walk": None if model.estimator is None else [list(nodes) for nodes in model.estimator.walk.sets],
        "requests": model.requests,
        "states": [len(losses) for losses in model.losses],
        "losses": [losses.tolist() for losses in model.losses],
        "cost_scale": model.cost_scale if len(model.unit_costs) == 1 else None,
        "unit": model.unit,
    }


def print_model(console: Console, model: CascadeModel) -> None:
    """Nodes of a fitted model."""
    kind = f"{model.topology.kind} of {model.topology.nodes} nodes"
    if model.requests is not None:
        kind += f", {model.requests:.10g} requests"
    if model.estimator is not None:
        kind += f", estimate {model.estimator.kind}"
    elif model.signal:
        kind += f", signal {signal_text(model)}"
    nodes = table("node", "states", "expected loss")
    walk = None if model.estimator is None else model.estimator.walk
    for k, losses in enumerate(model.losses):
        name = None if model.nodes is None else model.nodes[k if walk is None else walk.last[k]]
        node = node_text(k if walk is None else walk.names[k], name)
        nodes.add_row(node, str(len(losses)), loss_span(losses.min(), losses.max()))
    print_table(console, kind, nodes)
    if any(look_like_sums(model.topology, costs.mean) for costs in model.unit_costs.values()):
        console.print(SUMS, style="dim")


def signal_text(shape: CascadeModel | Policy) -> str:
    """The kind of signal that is decided on, and the recorded one where that is another."""
    recorded = shape.recorded_signal or "the user's own"
    return shape.signal if shape.signal == shape.recorded_signal else f"{shape.signal} (the traces recorded {recorded})"


def print_summary(console: Console, traces: Traces, title: str) -> None:
    """What each node of recorded traces loses and costs alone."""
    summary = traces.summary()
    gaps = summary.complete < summary.requests
    several = len(summary.costs) > 1  # then only what fits a page
    units = [
        column
        for unit in summary.costs
        for column in (in_unit("mean cost", unit), *([] if several else ["p50"]), "p95")
    ]
    agrees = [] if summary.agreement is None else ["as the last"]
    nodes = table("node", *(["consulted", "judged"] if gaps else []), "mean loss", *units, *agrees)
    for node, loss in enumerate(summary.loss.tolist()):
        counts = [str(summary.consulted[node]), str(summary.judged[node])] if gaps else []
        costs = [
            number(float(values[node]))
            for each in summary.costs.values()
            for values in ((each.mean, each.p95) if several else each)
        ]
        agreement = [] if summary.agreement is None else [share(float(summary.agreement[node]))]
        row = [summary.labels[node], *counts, "cannot answer" if loss == np.inf else number(loss), *costs, *agreement]
        nodes.add_row(*("" if cell in ("nan", "nan%") else cell for cell in row))
    print_table(console, f"{title}: {traces!r}", nodes)
    best = "" if summary.best is None else f"best alone: node {summary.labels[summary.best]}; "
    console.print(f"{best}a cost is that of going straight to the node", style="dim")
    for line in summary.known():
        console.print(line, soft_wrap=True)
    for warning in summary.warnings():
        console.print(warning, soft_wrap=True)


def print_serving(console: Console, policy: Policy) -> None:
    """What has to be known to serve a policy that does not decide on what was recorded."""
    if policy.estimator is not None:
        call = "decide_answers" if isinstance(policy.estimator, SetEstimator) else "decide_logits"
        console.print(f"it decides on estimates ({policy.estimate}): serve it with {call}", soft_wrap=True)
    elif policy.signal != policy.recorded_signal:
        console.print(f"it decides on {signal_text(policy)}: serve it with decide_logits", soft_wrap=True)


def print_choice(console: Console, front: Front) -> None:
    """What ``estimate="auto"`` compared."""
    for candidate in front.choice[1:]:
        chosen = front.choice[0]
        console.print(
            f"in cross-validation {chosen.name} lost {number(chosen.loss)}, {candidate.name} "
            f"{'+' if candidate.behind >= 0 else ''}{number(candidate.behind, 2)} ± {number(candidate.error, 1)}",
            soft_wrap=True,
        )


def print_certificate(console: Console, certificate: Certificate, name: str) -> None:
    """The limits that a tuned policy keeps, and what it did on the rows it was tested on."""
    outcome, unit = certificate.best.outcome, certificate.policy.unit
    limits = table("limit", "asked", "held-back rows", "p-value")
    rates = certificate.are_rates
    for limit, p_value in zip(certificate.limits, certificate.best.p_values, strict=True):
        limits.add_row(_limited(limit), *_figures(limit, limit.observed(outcome), rates), f"{p_value:.2g}")
    rows = f"tuned on {certificate.fitted_rows} requests of {name}, tested on {certificate.tested_rows} others"
    print_table(console, rows, limits)
    passes = sum(step.p_value <= 1 - certificate.confidence for step in certificate.steps)
    console.print(
        f"{'kept' if len(certificate.limits) == 1 else 'all kept'} with confidence {certificate.confidence:g}; "
        f"{len(certificate.steps)} of {certificate.candidates} policies tested, {passes} passed"
    )
    if certificate.failed is not None:
        console.print(certificate.end_of_tests())
    against = " relative to the last node" if certificate.relative_to == "last" else ""
    cost = with_unit(number(outcome.cost), unit)
    loss = f"{loss_word(rates)} {loss_text(outcome.error, rates)}"
    units = "".join(f", {number(each.cost)} {name}" for name, each in outcome.units.items())
    console.print(f"on the held-back rows: {loss}{against}, mean cost {cost}{units}", soft_wrap=True)


def _limited(limit: Limit) -> str:
    if limit.quantile is not None:
        return f"requests that cost at most {number(limit.bound)}{f' {limit.unit}' if limit.unit else ''}"
    return loss_word(not limit.graded) if limit.name == "max_error" else in_unit("mean cost", limit.unit)


def _figures(limit: Limit, figure: float, rates: bool) -> tuple[str, str]:
    if limit.quantile is not None:
        return f"{100 * limit.quantile:.4g}%", share(figure)
    return (number(limit.bound), loss_text(figure, rates) if limit.name == "max_error" else number(figure))


def print_evaluation(console: Console, report: Evaluation, title: str) -> None:
    """A policy against the full model, and where its requests stop."""
    both = table("", "policy", "full model")
    rates = report.are_rates
    both.add_row(loss_word(rates), loss_text(report.error, rates), loss_text(report.full_error, rates))
    both.add_row(in_unit("mean cost", report.unit), number(report.mean_cost), number(report.full_cost))
    both.add_row(in_unit("median cost", report.unit), number(report.p50_cost), number(report.full_p50_cost))
    both.add_row(in_unit("95th percentile", report.unit), number(report.p95_cost), number(report.full_p95_cost))
    for unit, cost in report.unit_costs.items():
        both.add_row(in_unit("mean cost", unit), number(cost), number(report.full_unit_costs[unit]))
    if report.full_cost > 0:
        both.add_row("cost saved", share(1 - report.mean_cost / report.full_cost), share(0.0))
    both.add_row("recalled an earlier answer", share(report.recall_rate), share(0.0))
    print_table(console, title, both)
    console.print()
    nodes = table("node", "stop here", "answered by it")
    names = report.nodes or [None] * len(report.stops)
    for node, (name, stops, answers) in enumerate(zip(names, report.stops, report.answers, strict=True)):
        nodes.add_row(node_text(node, name), share(stops), share(answers))
    print_table(console, "where requests end", nodes)


def print_points(
    console: Console, points: list[dict[str, Any]], unit: str, title: str, every: bool, rates: bool
) -> None:
    """Points of a front; a few, evenly spread, unless every one is asked for."""
    has_test = "test_cost" in points[0]
    word = loss_word(rates)
    columns = ["tradeoff", in_unit("cost", unit), word]
    columns += [in_unit("test cost", unit), f"test {word}"] if has_test else []
    numbers = list(range(len(points)))
    if not every and len(points) > FEW:
        numbers = np.linspace(0, len(points) - 1, FEW).round().astype(int).tolist()
        title += f" ({len(numbers)} of {len(points)} points; --all prints the others)"
    rows = table("point", *columns)
    for k in numbers:
        point = points[k]
        # Of graded losses a trade-off may be of any size.
        tradeoff = f"{point['tradeoff']:.4f}" if rates else number(point["tradeoff"])
        cells = [tradeoff, number(point["cost"]), loss_text(point["error"], rates)]
        cells += [number(point["test_cost"]), loss_text(point["test_error"], rates)] if has_test else []
        rows.add_row(str(k), *cells)
    print_table(console, title, rows)


def points_of(front: Front) -> list[dict[str, Any]]:
    """A front for JSON and for tables."""
    return [{"tradeoff": point.policy.tradeoff, "cost": point.cost, "error": point.error} for point in front.points]
