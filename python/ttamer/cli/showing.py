"""The command that prints what a file holds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import ttamer
from ttamer import plots
from ttamer.cli.arguments import Every, Json, Plot, check_written, policy_or_front
from ttamer.cli.output import console, plotted, print_json, print_plot
from ttamer.cli.policy_tables import policy_dict, print_policy
from ttamer.cli.tables import points_of, print_points, print_summary


def show(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A policy, a front, or traces (.npz).")],
    every: Every = False,
    plot: Plot = None,
    json: Json = False,
) -> None:
    """Print a policy: its nodes, and what it does in each state.

    Of traces: what each node loses and costs alone. Of a front: its points, as measured on the traces of its model.
    --plot draws the same.

    By default neighbouring states that act alike share a line; --all prints each. The best loss is the expected loss
    of the best answer so far; the index of a node is the best loss up to which a request stops instead of consulting
    it. Visits and stops are shares of requests expected under the model.
    """
    check_written(plot, read=[file])
    if file.suffix == ".npz":
        recording = ttamer.Traces.load(file)
        if plot is not None:
            plots.nodes(recording, plot, title=f"What each node costs and loses alone, {len(recording):,} requests")
        if json:
            print_json({**recording.summary().as_dict(), **plotted(plot)})
        else:
            print_summary(console(), recording, file.name)
    else:
        _show_policy(policy_or_front(file), file.name, every, plot, json)
    if not json:
        print_plot(plot)


def _show_policy(contents: ttamer.Policy | ttamer.Front, name: str, every: bool, plot: Path | None, json: bool) -> None:
    if isinstance(contents, ttamer.Front):
        points = points_of(contents)
        if plot is not None:
            plots.front(contents, plot, title=f"{len(points)} policies, each the best at its trade-off")
        if json:
            print_json({"unit": contents.unit, "estimate": contents.estimate, "points": points, **plotted(plot)})
        else:
            print_points(console(), points, contents.unit, name, every, rates=False)
        return
    if plot is not None:
        plots.index(contents, plot, title=f"What the policy does in each state, trade-off {contents.tradeoff:.3g}")
    if json:
        print_json({**policy_dict(contents), **plotted(plot)})
    else:
        print_policy(console(), contents, name, every)
