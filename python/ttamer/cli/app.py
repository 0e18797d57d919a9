"""The commands: each reads its input, calls the package once, and prints tables or JSON."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, TextIO

import typer

import ttamer
from ttamer import bench, compare, plots, tuning
from ttamer._base.numbers import are_rates
from ttamer.cli import demo
from ttamer.cli.arguments import (
    Bins,
    Estimate,
    Every,
    Json,
    Plot,
    PolicyFile,
    Prices,
    TracesFile,
    bins_of,
    bounds_of,
    check_written,
    policy_or_front,
    prices_of,
    quantile_of,
)
from ttamer.cli.bench_tables import bench_dict, print_bench
from ttamer.cli.comparison_tables import print_comparison
from ttamer.cli.demo_tables import print_demo
from ttamer.cli.exporting import export
from ttamer.cli.importing import import_table
from ttamer.cli.output import console, print_json, steps, write_json
from ttamer.cli.policy_tables import policy_dict, print_policy
from ttamer.cli.refitting import refit
from ttamer.cli.reporting import report
from ttamer.cli.tables import (
    model_dict,
    print_certificate,
    print_choice,
    print_evaluation,
    print_model,
    print_points,
    print_serving,
    print_summary,
    signal_text,
)

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
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _warn
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


@app.command("fit", epilog="Example: ttamer fit calibration.npz --tradeoff 0.9 --policy policy.safetensors")
def _fit(
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


@app.command("tune", epilog="Example: ttamer tune calibration.npz --max-error 0.08 --policy policy.safetensors")
def _tune(
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


@app.command("evaluate", epilog="Example: ttamer evaluate policy.safetensors test.npz")
def _evaluate(policy: PolicyFile, traces: TracesFile, plot: Plot = None, json: Json = False) -> None:
    """Replay a policy over recorded traces and compare it with the full model.

    Use traces of requests that the policy was not fitted on. --plot draws where they stop.
    """
    check_written(plot, read=[policy, traces])
    with steps(2) as begin:
        begin("read")
        contents, recording = ttamer.Policy.load(policy), ttamer.Traces.load(traces)
        begin("replay")
        report = ttamer.evaluate(contents, recording)
        if plot is not None:
            plots.exits(report, plot, title=f"Where {report.requests:,} requests stop")
    if json:
        print_json({**report.as_dict(), **_plotted(plot)})
        return
    print_evaluation(console(), report, f"{policy.name} on {report.requests} requests of {traces.name}")
    _print_plot(plot)


@app.command("frontier", epilog="Example: ttamer frontier calibration.npz --test test.npz --plot front.png")
def _frontier(
    traces: TracesFile,
    test: Annotated[Path | None, typer.Option("--test", help="Also measure every policy on these traces.")] = None,
    plot: Annotated[Path | None, typer.Option("--plot", help="Draw the front there (.png, .svg, .pdf).")] = None,
    save: Annotated[
        Path | None, typer.Option("--save", help="Write one policy a point into this new or empty folder.")
    ] = None,
    whole: Annotated[
        Path | None,
        typer.Option("--front", metavar="FILE", help="Write all of it there, with its model, for `Front.load`."),
    ] = None,
    bins: Bins = "auto",
    estimate: Estimate = "auto",
    price: Prices = None,
    every: Every = False,
    json: Json = False,
) -> None:
    """Sweep the trade-off: the policies that no other one beats in both cost and error.

    The front is that of TRACES, on which the model is fitted; figures to quote are those of --test.
    """
    check_written(plot, save, whole, read=[traces, test])
    if save is not None and save.exists() and (not save.is_dir() or any(save.iterdir())):
        raise ValueError(f"--save: expected a new or empty folder, got {save}")
    with steps(4) as begin:
        begin("read")
        prices = prices_of(price)
        recording = ttamer.Traces.load(traces)._at_prices(prices)
        test_traces = None if test is None else ttamer.Traces.load(test)._at_prices(prices)
        begin("sweep")
        front = ttamer.frontier(recording, estimate=estimate, bins=bins_of(bins))
        points = _points_of(front)
        begin("test")
        if test_traces is not None:
            for point, row in zip(front.points, points, strict=True):
                replay = point.policy.replay(test_traces)
                row |= {"test_cost": replay.mean_cost, "test_error": replay.error}
        begin("write")
        if plot is not None:
            judged = recording if test_traces is None else test_traces
            curves = [compare.curve_of_front(front, recording, judged)]
            curves += compare.references(recording, judged)[::-1]
            rows = "calibration rows" if test_traces is None else "test rows"
            plots.front(curves, plot, title=f"Policies of ttamer, {len(judged):,} requests", rows=rows)
        files = [] if save is None else _save_points(front, save)
        if whole is not None:
            front.save(whole)
    rates = all(are_rates(part.losses) for part in (recording, test_traces) if part is not None)
    if json:
        facts = {
            "unit": front.unit,
            "are_rates": rates,
            "rows": len(recording),
            "estimate": front.estimate,
            "signal": front[0].policy.signal,
            "recorded_signal": front[0].policy.recorded_signal,
        }
        choice = [candidate._asdict() for candidate in front.choice]
        written = {"plot": plot and str(plot), "front": whole and str(whole), "files": files}
        print_json({**facts, "choice": choice, "points": points, **written})
        return
    out = console()
    print_points(out, points, front.unit, _front_title(front, traces), every, rates)
    print_choice(out, front)
    _print_plot(plot)
    if files:
        out.print(f"wrote {len(files)} policies, {files[0]} to {files[-1]}", soft_wrap=True)
    if whole is not None:
        out.print(f"wrote the front to {whole}", soft_wrap=True)
    if files or whole is not None:
        print_serving(out, front[0].policy)


@app.command("compare", epilog="Example: ttamer compare calibration.npz --test test.npz --plot front.png")
def _compare(
    traces: TracesFile,
    test: Annotated[
        Path | None,
        typer.Option("--test", help="Judge on these traces. [default: on a random half of TRACES, kept from choosing]"),
    ] = None,
    plot: Annotated[
        Path | None, typer.Option("--plot", help="Draw cost against error there, with intervals (.png, .svg, .pdf).")
    ] = None,
    price: Prices = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the random half and the bootstrap.")] = 0,
    json: Json = False,
) -> None:
    """Compare ttamer with fixed mixing, one threshold, thresholds tuned per node and patience.

    Everything is fitted and chosen on TRACES, and measured on rows that took no part in it: the cost at the error of
    the full model and a little above, and the mean error over budgets. A winner is named only where the paired
    bootstrap interval of the difference excludes 0; else it is a tie.
    """
    check_written(plot, read=[traces, test])
    with steps(len(compare.STEPS) + 2) as begin:
        begin("read")
        prices = prices_of(price)
        recording = ttamer.Traces.load(traces)._at_prices(prices)
        test_traces = None if test is None else ttamer.Traces.load(test)._at_prices(prices)
        comparison = compare.run(recording, test_traces, seed=seed, progress=begin)
        begin("draw")
        if plot is not None:
            title = f"ttamer and what people use today, {comparison.test_rows:,} requests that nothing was chosen on"
            plots.front(comparison.curves[::-1], plot, title=title, coverage=compare.COVERAGE, seed=seed)
    if json:
        print_json({**comparison.as_dict(), "plot": plot and str(plot)})
        return
    print_comparison(console(), comparison, traces.name if test is None else f"{traces.name}, {test.name}")
    _print_plot(plot)


@app.command("show", epilog="Example: ttamer show policy.safetensors --all")
def _show(
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
            print_json({**recording.summary().as_dict(), **_plotted(plot)})
        else:
            print_summary(console(), recording, file.name)
    else:
        _show_policy(policy_or_front(file), file.name, every, plot, json)
    if not json:
        _print_plot(plot)


def _show_policy(contents: ttamer.Policy | ttamer.Front, name: str, every: bool, plot: Path | None, json: bool) -> None:
    if isinstance(contents, ttamer.Front):
        points = _points_of(contents)
        if plot is not None:
            plots.front(contents, plot, title=f"{len(points)} policies, each the best at its trade-off")
        if json:
            print_json({"unit": contents.unit, "estimate": contents.estimate, "points": points, **_plotted(plot)})
        else:
            print_points(console(), points, contents.unit, name, every, rates=False)
        return
    if plot is not None:
        plots.index(contents, plot, title=f"What the policy does in each state, trade-off {contents.tradeoff:.3g}")
    if json:
        print_json({**policy_dict(contents), **_plotted(plot)})
    else:
        print_policy(console(), contents, name, every)


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


def _plotted(plot: Path | None) -> dict[str, str]:
    """The picture, for JSON; nothing where none was asked for."""
    return {} if plot is None else {"plot": str(plot)}


def _print_plot(plot: Path | None) -> None:
    if plot is not None:
        console().print(f"drew {plot}", soft_wrap=True)


def _points_of(front: ttamer.Front) -> list[dict[str, Any]]:
    return [{"tradeoff": point.policy.tradeoff, "cost": point.cost, "error": point.error} for point in front.points]


def _save_points(front: ttamer.Front, folder: Path) -> list[str]:
    folder.mkdir(exist_ok=True)
    files = []
    for k, point in enumerate(front.points):
        path = folder / f"policy-{k:03d}.safetensors"
        point.policy.save(path)
        files.append(str(path))
    return files


def _front_title(front: ttamer.Front, traces: Path) -> str:
    title, policy = f"front of {traces.name}", front[0].policy
    if front.estimate != "signal":
        return f"{title}, estimate {front.estimate}"
    return f"{title}, signal {signal_text(policy)}" if policy.signal else title


def _summary(policy: ttamer.Policy) -> dict[str, Any]:
    names = ("tradeoff", "recall", "estimate", "signal", "recorded_signal", "value", "first_node", "expected_cost")
    return {name: getattr(policy, name) for name in names}
