"""The commands that fit: a model and its policy, and a policy that keeps service levels."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

import ttamer
from ttamer import tuning
from ttamer.cli.arguments import (
    Bins,
    Estimate,
    Json,
    Prices,
    TracesFile,
    bins_of,
    bounds_of,
    check_written,
    prices_of,
    quantile_of,
)
from ttamer.cli.output import console, print_json, steps
from ttamer.cli.tables import model_dict, print_certificate, print_model, print_serving


def fit(
    traces: TracesFile,
    bins: Annotated[
        str | None,
        typer.Option("--bins", metavar="N|auto", help="Most states a node may have. [default: 64]", show_default=False),
    ] = None,
    estimate: Estimate = "signal",
    output: Annotated[Path, typer.Option("--output", help="Where the model goes.")] = Path("model.safetensors"),
    tradeoff: Annotated[
        float | None, typer.Option("--tradeoff", help="Weight of the loss in (0, 1], for --policy. [default: 0.8]")
    ] = None,
    policy: Annotated[Path | None, typer.Option("--policy", help="Also solve, and write the policy there.")] = None,
    recall: Annotated[
        str | None,
        typer.Option(
            "--recall",
            help="For --policy: 'observed' answers with the best node consulted, 'none' with the last, 'auto' picks "
            "'observed' if losses are seen in service. [default: auto]",
        ),
    ] = None,
    price: Prices = None,
    error_price: Annotated[
        float | None,
        typer.Option("--error-price", help="For --policy: what a loss of 1 costs, in place of a trade-off."),
    ] = None,
    json: Json = False,
) -> None:
    """Estimate a model from recorded traces; with --policy also solve it for a trade-off."""
    if policy is None and (price or error_price is not None):
        raise ValueError(f"{'--price' if price else '--error-price'}: expected together with --policy FILE")
    if policy is None and (tradeoff is not None or recall is not None):
        raise ValueError(f"{'--recall' if tradeoff is None else '--tradeoff'}: expected together with --policy FILE")
    check_written(output, policy, read=[traces])
    with steps(3) as begin:
        begin("read")
        recording = ttamer.Traces.load(traces)
        begin("fit")
        model = ttamer.fit(recording, None if bins is None else bins_of(bins), estimate)
        begin("solve and write")
        solution = None
        if policy is not None:
            prices = prices_of(price)
            solution = ttamer.solve(model, tradeoff, recall or "auto", prices=prices, error_price=error_price)
        model.save(output)
        files = {"model": str(output)}
        if solution is not None and policy is not None:
            solution.save(policy)
            files["policy"] = str(policy)
    if json:
        print_json({**model_dict(model), "files": files, "solved": None if solution is None else _summary(solution)})
        return
    out = console()
    print_model(out, model)
    for kind, name in files.items():
        out.print(f"wrote the {kind} to {name}", soft_wrap=True)
    if policy is not None and solution is not None:
        print_serving(out, solution)
        out.print(f"look at it with: ttamer show {policy}", soft_wrap=True)


def tune(
    traces: TracesFile,
    max_error: Annotated[float | None, typer.Option("--max-error", help="Limit on the mean loss.")] = None,
    max_cost: Annotated[
        list[str] | None,
        typer.Option(
            "--max-cost",
            metavar="[UNIT=]COST",
            help="Limit on the mean cost; of several units one each: --max-cost usd=0.001 --max-cost ms=20.",
        ),
    ] = None,
    cost_quantile: Annotated[
        tuple[float, str] | None,
        typer.Option(
            "--cost-quantile", metavar="Q [UNIT=]T", help="At least this share Q of requests costs at most T."
        ),
    ] = None,
    relative_to: Annotated[
        str,
        typer.Option(
            "--relative-to",
            help="What an error is: another answer than the label's ('labels') or the last node's ('last').",
        ),
    ] = "labels",
    confidence: Annotated[float, typer.Option("--confidence", help="Probability that all limits are kept.")] = 0.95,
    policy: Annotated[Path, typer.Option("--policy", help="Where the policy goes.")] = Path("policy.safetensors"),
    max_loss: Annotated[float, typer.Option("--max-loss", help="The largest loss there can be.")] = 1.0,
    max_request: Annotated[
        list[str] | None,
        typer.Option(
            "--max-cost-of-a-request",
            metavar="[UNIT=]COST",
            help="The most that a request can cost; --max-cost needs it where the traces have costs of each request.",
        ),
    ] = None,
    bins: Bins = "auto",
    price: Prices = None,
    seed: Annotated[int, typer.Option("--seed", help="Of the split into fitting and testing rows.")] = 0,
    json: Json = False,
) -> None:
    """Find the best policy that keeps service levels on future requests, with a stated confidence.

    Policies are fitted on half of the rows and tested on the other half. With a limit on the error the cheapest one
    that could be certified is written, with limits on the cost only the most accurate one.
    """
    check_written(policy, read=[traces])
    with steps(3) as begin:
        begin("read")
        recording = ttamer.Traces.load(traces)
        begin("fit and test")
        certificate = tuning.certify(
            recording,
            max_error=max_error,
            max_cost=bounds_of("--max-cost", max_cost),
            max_cost_quantile=quantile_of("--cost-quantile", cost_quantile),
            relative_to=relative_to,
            confidence=confidence,
            bins=bins_of(bins),
            max_loss=max_loss,
            max_cost_of_a_request=bounds_of("--max-cost-of-a-request", max_request),
            prices=prices_of(price),
            seed=seed,
        )
        begin("write")
        certificate.policy.save(policy)
    if json:
        print_json({**certificate.as_dict(), "unit": certificate.policy.unit, "policy": str(policy)})
        return
    out = console()
    print_certificate(out, certificate, traces.name)
    out.print(f"wrote the policy to {policy}", soft_wrap=True)
    print_serving(out, certificate.policy)


def _summary(policy: ttamer.Policy) -> dict[str, Any]:
    names = ("tradeoff", "recall", "estimate", "signal", "recorded_signal", "value", "first_node", "expected_cost")
    return {name: getattr(policy, name) for name in names}
