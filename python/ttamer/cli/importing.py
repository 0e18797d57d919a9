"""The command that makes traces of a table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import ttamer
from ttamer.cli.arguments import Json, check_written
from ttamer.cli.output import console, print_json
from ttamer.cli.tables import print_summary
from ttamer.traces.tables import SUFFIXES, CommandWording, read_table


def import_table(
    table: Annotated[
        Path,
        typer.Argument(metavar="TABLE", help="A row a request and model: .csv, .jsonl, .ndjson, .json or .parquet."),
    ],
    traces: Annotated[Path, typer.Argument(metavar="TRACES", help="Where the traces go (.npz).")],
    column: Annotated[
        list[str] | None,
        typer.Option("--column", metavar="NAME=COLUMN", help="What the file calls one of the columns; repeatable."),
    ] = None,
    ignore: Annotated[
        list[str] | None, typer.Option("--ignore", metavar="COLUMN", help="Leave this column out; repeatable.")
    ] = None,
    like: Annotated[
        Path | None,
        typer.Option("--like", metavar="TRACES", help="Models in the order of these traces. [default: by mean cost]"),
    ] = None,
    category: Annotated[
        list[str] | None,
        typer.Option(
            "--category",
            metavar="COLUMN",
            help="This column of the context holds categories, though they look like numbers; repeatable.",
        ),
    ] = None,
    context: Annotated[
        str | None,
        typer.Option("--context", metavar="COLUMN", help="The column that the probe shows. [default: the first]"),
    ] = None,
    complete: Annotated[
        bool,
        typer.Option(
            "--complete",
            help="Leave out requests of which something was not recorded: policies are judged on complete ones. Not if "
            "they are complete because an old policy asked all models.",
        ),
    ] = False,
    json: Json = False,
) -> None:
    """Make traces of a table of what several models answered, cost and lost on the same requests.

    Columns are request, model, loss (or correct, or label and answer), cost (or cost_usd, cost_ms and the like), score
    and answer; all others are what is known of a request beforehand, one of which a probe shows. A loss is 1 for a
    wrong answer. CSV and Parquet need pyarrow.
    """
    if traces.suffix.lower() in SUFFIXES:
        raise ValueError(f"traces: expected a file to write, {traces.stem}.npz say, got a table by its name, {traces}")
    check_written(traces, read=[table, like])
    columns = {}
    for pair in column or []:
        name, equals, of_file = pair.partition("=")
        if not equals:
            raise ValueError(f"--column: expected NAME=COLUMN, got {pair!r}")
        columns[name] = of_file
    nodes = None
    if like is not None:
        nodes = ttamer.Traces.load(like).nodes
        if nodes is None:
            raise ValueError(f"--like: expected traces whose nodes have names, got {like}")
    recording, roles = read_table(
        table, columns, ignore or [], nodes, category or [], ttamer.Traces.from_models, CommandWording()
    )
    if context is not None:
        if context not in recording.context:
            raise ValueError(f"{table}: --context: expected one of {list(recording.context)}, got {context!r}")
        recording = recording.with_context(context)
    rows = len(recording)
    if complete:
        if not recording.complete.any():
            raise ValueError(f"{table}: --complete: expected requests of which everything was recorded, got none")
        recording = recording[recording.complete]
    recording.save(traces)
    probe = recording.nodes[0] if recording.nodes and recording.context else None
    if json:
        facts = {"columns": roles, "probe": probe, "left_out": rows - len(recording), "traces": str(traces)}
        print_json({**recording.summary().as_dict(), **facts})
        return
    out = console()
    print_summary(out, recording, table.name)
    taken = ", ".join(f"{', '.join(names)} as {role}" for role, names in roles.items() if names)
    out.print(f"took the columns {taken}", soft_wrap=True)
    if complete:
        out.print(f"left out {rows - len(recording)} of {rows} requests, of which something was not recorded")
    if len(recording.context) > 1:
        out.print(f"of the context the probe shows {probe}; --context COLUMN chooses another", soft_wrap=True)
    out.print(f"wrote the traces to {traces}", soft_wrap=True)
