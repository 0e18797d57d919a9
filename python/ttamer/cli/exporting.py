"""The command that writes a policy as thresholds."""

from __future__ import annotations

import json
import math
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

import ttamer
from ttamer._base import files
from ttamer._base.types import STOP
from ttamer.cli.arguments import check_written


class Format(str, Enum):
    """How thresholds are written."""

    yaml = "yaml"
    json = "json"


def export(
    policy: Annotated[Path, typer.Argument(metavar="POLICY", help="A policy that `ttamer fit` or `tune` wrote.")],
    format: Annotated[Format, typer.Option("--format", help="yaml or json.")] = Format.yaml,
    output: Annotated[
        Path | None, typer.Option("--output", metavar="FILE", help="Where they go. [default: standard output]")
    ] = None,
) -> None:
    """Write a policy as one threshold a node, for gateways that know nothing else.

    A request stops at a node if its signal is at least stops_from, and else goes on to the node named. Most policies on
    lines are thresholds; one that is none is refused, and the node that does something else is named.
    """
    check_written(output, read=[policy])
    content = table(ttamer.Policy.load(policy))
    text = json.dumps(content, indent=1) + "\n" if format is Format.json else yaml(content)
    if output is None:
        typer.echo(text, nl=False)
    else:
        files.write(output, text.encode())


def table(policy: ttamer.Policy) -> dict[str, Any]:
    """The thresholds, by names of nodes where there are some; None for never."""

    def name(node: int) -> Any:
        return None if node == STOP else node if policy.nodes is None else policy.nodes[node]

    return {
        "signal": policy.signal or "own",
        "unit": policy.unit,
        "first": name(policy.first_node),
        "nodes": [
            {
                "node": name(each.node),
                "stops_from": {math.inf: "never", -math.inf: "always"}.get(each.stops_from, each.stops_from),
                "goes_on_to": name(each.following),
            }
            for each in policy.thresholds()
        ],
    }


def yaml(content: dict[str, Any]) -> str:
    """Scalars as JSON has them, which YAML takes too."""
    lines = [f"{key}: {json.dumps(value)}" for key, value in content.items() if key != "nodes"]
    lines.append("nodes:")
    for node in content["nodes"]:
        pairs = [f"{key}: {json.dumps(value)}" for key, value in node.items()]
        lines += [f"- {pairs[0]}", *(f"  {pair}" for pair in pairs[1:])]
    return "\n".join(lines) + "\n"
