"""The commands: each reads its input, calls the package once, and prints tables or JSON."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, TextIO

import typer

import ttamer
from ttamer import bench
from ttamer.cli import demo
from ttamer.cli.arguments import Json, check_written
from ttamer.cli.bench_tables import bench_dict, print_bench
from ttamer.cli.demo_tables import print_demo
from ttamer.cli.exporting import export
from ttamer.cli.fitting import fit, tune
from ttamer.cli.importing import import_table
from ttamer.cli.judging import compare, evaluate, frontier
from ttamer.cli.output import console, print_json, steps, write_json
from ttamer.cli.refitting import refit
from ttamer.cli.reporting import report
from ttamer.cli.showing import show

app = typer.Typer(
    name="ttamer",
    help="Optimal early-exit policies for cascades of models: recorded traces in, a serving policy out.",
    epilog="Start with: ttamer demo",
    rich_markup_mode="markdown",
    add_completion=False,
    pretty_exceptions_enable=False,
)

# Typer brings its own copy of click or uses the installed one, depending on its version: what it raises for wrong
# usage is found through a class that both export.
_UsageError: type[Exception] = next(
    kind for kind in reversed(typer.BadParameter.__mro__) if hasattr(kind, "format_message")
)


def run(arguments: Sequence[str]) -> int:
    """Run the command line; whatever is wrong with the input is one line on stderr, and exit code 2."""
    show, warnings.showwarning = warnings.showwarning, _warn
    try:
        code = typer.main.get_command(app).main(
            args=list(arguments) or ["--help"], prog_name="ttamer", standalone_mode=False
        )
    except _UsageError as error:
        return _fail(_usage(error))
    except typer.Abort:
        return 130
    except OSError as error:
        return _fail(f"{error.filename}: {error.strerror}" if error.filename and error.strerror else str(error))
    except (ValueError, ImportError) as error:
        return _fail(str(error))
    finally:
        warnings.showwarning = show
    return code if isinstance(code, int) else 0


def _warn(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """One line, as of an error: whose line of code it was tells nobody anything here."""
    print("ttamer: warning:", " ".join(str(message).split()), file=sys.stderr)


def _fail(message: str) -> int:
    print("ttamer:", " ".join(message.split()), file=sys.stderr)
    return 2


def _usage(error: Any) -> str:
    command = getattr(getattr(error, "ctx", None), "command_path", "ttamer")
    return f"{error.format_message()} (see: {command} --help)"


def _version(flag: bool) -> None:
    if flag:
        print(f"ttamer {ttamer.__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


@app.command("demo", epilog="Example: ttamer demo")
def _demo(json: Json = False) -> None:
    """Fit the bundled workloads, a network with exits and several models, and compare with what people use today.

    Writes front.png and policy.safetensors into the current folder, over those of an earlier run, and prints the lines
    of Python that serve the policy. Needs no other input, and a few seconds.
    """
    check_written(Path(demo.PICTURE), Path(demo.POLICY))
    with steps(len(demo.STEPS)) as begin:
        result = demo.run(progress=begin)
    if json:
        print_json(result.as_dict())
    else:
        print_demo(console(), result)


app.command("fit", epilog="Example: ttamer fit calibration.npz --tradeoff 0.9 --policy policy.safetensors")(fit)
app.command("tune", epilog="Example: ttamer tune calibration.npz --max-error 0.08 --policy policy.safetensors")(tune)
app.command("evaluate", epilog="Example: ttamer evaluate policy.safetensors test.npz")(evaluate)
app.command("frontier", epilog="Example: ttamer frontier calibration.npz --test test.npz --plot front.png")(frontier)
app.command("compare", epilog="Example: ttamer compare calibration.npz --test test.npz --plot front.png")(compare)
app.command("show", epilog="Example: ttamer show policy.safetensors --all")(show)
app.command("import", epilog="Example: ttamer import answers.jsonl traces.npz --column loss=wrong --ignore prompt")(
    import_table
)
app.command(
    "refit", epilog="Example: ttamer refit requests.jsonl --traces recorded.npz --policy old.st --output new.st"
)(refit)
app.command("report", epilog="Example: ttamer report requests.jsonl --policy policy.safetensors --traces test.npz")(
    report
)
app.command("export", epilog="Example: ttamer export policy.safetensors --output thresholds.yaml")(export)


@app.command("bench", epilog="Example: ttamer bench --only call --only replay")
def _bench(
    only: Annotated[
        list[str] | None,
        typer.Option("--only", metavar="NAME", help=f"Run this one; repeatable. One of {', '.join(bench.NAMES)}."),
    ] = None,
    full: Annotated[
        bool, typer.Option("--full", help="More sizes and repeats: minutes, and figures that can be quoted.")
    ] = False,
    json: Annotated[Path | None, typer.Option("--json", help="Also write all that was measured there.")] = None,
    tiny: Annotated[bool, typer.Option("--tiny", hidden=True)] = False,
) -> None:
    """Measure ttamer on this machine, next to what it replaces.

    Each benchmark times ttamer and its baselines in one run, in turns, and prints their ratios: a call of decide, from
    logits to decisions, from scores and answers, solving, replaying, a front of trade-offs, two threads. All of them
    take about half a minute; on a machine that does other work the times mean little, the ratios more.
    """
    names = list(dict.fromkeys(only or bench.NAMES))
    bench.check(names, "--only")
    check_written(json)
    size = "full" if full else "tiny" if tiny else "short"
    with steps(len(names)) as begin:
        reports = {}
        for name in names:
            begin(name)
            reports[name] = bench.run(name, size)
    if json is not None:
        write_json(json, bench_dict(reports, size))
    print_bench(console(), reports)
    if json is not None:
        console().print(f"wrote {json}", soft_wrap=True)
