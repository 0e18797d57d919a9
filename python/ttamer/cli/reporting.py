"""The command that reports on logs."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

import ttamer
from ttamer._base import checks, files
from ttamer.cli.arguments import Json, check_written
from ttamer.cli.output import console, print_json
from ttamer.cli.report_page import lead, page


def report(
    logs: Annotated[list[Path], typer.Argument(metavar="LOG...", help="What `ttamer.serve.Log` wrote; in order.")],
    policy: Annotated[
        Path | None,
        typer.Option("--policy", metavar="FILE", help="A policy that decided requests of the logs."),
    ] = None,
    traces: Annotated[
        Path | None,
        typer.Option(
            "--traces",
            metavar="TRACES",
            help="Requests as they should be, which the policy was not fitted on: together with --policy the logs are "
            "watched for drift.",
        ),
    ] = None,
    output: Annotated[Path, typer.Option("--output", metavar="FILE", help="Where the page goes.")] = Path(
        "report.html"
    ),
    json: Json = False,
) -> None:
    """Write a page about requests that were served: one HTML file that needs nothing else.

    Why requests stopped, what they cost and how long they took, what was asked of each node, what answers lost where
    that is known, what was saved, and whether the traffic has changed. Savings and losses are stated of what is known
    alone, and the page says what that is.
    """
    from ttamer.serve.reporting import report as numbers_of

    if traces is not None and policy is None:
        raise ValueError("--traces: expected together with --policy FILE")
    check_written(output, read=[*logs, policy, traces])
    numbers = numbers_of(
        list(logs),
        None if policy is None else ttamer.Policy.load(policy),
        None if traces is None else ttamer.Traces.load(traces),
    )
    files.write(output, page(numbers, [checks.printable(log.name) for log in logs]).encode())
    if json:
        print_json({**asdict(numbers), "page": str(output)})
        return
    out = console()
    for words in numbers.cut:
        out.print(words, soft_wrap=True)
    out.print(lead(numbers), soft_wrap=True)
    out.print(f"wrote the page to {output}", soft_wrap=True)
