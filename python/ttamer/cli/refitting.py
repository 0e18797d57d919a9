"""The command that makes the next policy of a log."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import ttamer
from ttamer.cli.arguments import Json, check_written, policy_or_front
from ttamer.cli.output import console, print_json


def refit(
    logs: Annotated[list[Path], typer.Argument(metavar="LOG...", help="What `ttamer.serve.Log` wrote; in order.")],
    traces: Annotated[Path, typer.Option("--traces", metavar="TRACES", help="What the old policy was fitted on.")],
    policy: Annotated[Path, typer.Option("--policy", metavar="OLD", help="The policy, or the front, that serves now.")],
    output: Annotated[Path, typer.Option("--output", metavar="NEW", help="Where the new one goes, if it is better.")],
    tradeoff: Annotated[
        float | None, typer.Option("--tradeoff", help="Of a front: the trade-off of a request of weight 1.")
    ] = None,
    newer: Annotated[float, typer.Option("--newer", help="Share of the logged requests that is judged on.")] = 0.5,
    json: Json = False,
) -> None:
    """Fit the next policy on what was recorded and the older part of a log, and judge it on the newer part.

    Only requests that were drawn to be shown to all nodes count, as a policy's own choices are no fair sample. The new
    policy is written if it is better beyond a 95% interval, in loss and in cost at what the old one's trade-off says
    it is worth, and, where the old one was certified, keeps the same limits with the same confidence. Else nothing is
    written, and the exit status is 1.
    """
    from ttamer.serve.refitting import comparable
    from ttamer.serve.refitting import refit as fit_again

    check_written(output, read=[*logs, traces])  # the old policy may be replaced
    old = policy_or_front(policy)
    recording = comparable(old if isinstance(old, ttamer.Policy) else old[0].policy, ttamer.Traces.load(traces))
    logged = ttamer.Traces.from_log(list(logs), like=recording, shadowed=True)
    result = fit_again(old, recording, logged, tradeoff=tradeoff, newer=newer)
    if result.replaces:
        (result.front or result.policy).save(output)
    if json:
        value, low, high = result.change
        print_json(
            {
                "better": result.is_better,
                "broken": list(result.broken),
                "change": {"value": value, "low": low, "high": high},
                "old": {"loss": result.old[0], "cost": result.old[1]},
                "new": {"loss": result.new[0], "cost": result.new[1]},
                "fitted": result.fitted,
                "judged": result.judged,
                "unit": result.policy.unit,
                "tradeoff": result.policy.tradeoff,
                "policy": str(output) if result.replaces else None,
            }
        )
    else:
        out = console()
        out.print(str(result), soft_wrap=True)
        what = "policy" if result.front is None else "front"
        out.print(f"wrote the {what} to {output}" if result.replaces else "wrote nothing", soft_wrap=True)
        if result.replaces and result.front is not None:
            out.print(f"a request of weight 1 has the trade-off {result.policy.tradeoff:.6g} there", soft_wrap=True)
    if not result.replaces:
        raise typer.Exit(1)
