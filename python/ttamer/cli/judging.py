"""The commands that judge policies on recorded traces: one, all of a front, and what people use today."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import ttamer
from ttamer import compare as comparing
from ttamer import plots
from ttamer._base.numbers import are_rates
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
    check_written,
    prices_of,
)
from ttamer.cli.comparison_tables import print_comparison
from ttamer.cli.output import console, plotted, print_json, print_plot, steps
from ttamer.cli.tables import points_of, print_choice, print_evaluation, print_points, print_serving, signal_text


def evaluate(policy: PolicyFile, traces: TracesFile, plot: Plot = None, json: Json = False) -> None:
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
        print_json({**report.as_dict(), **plotted(plot)})
        return
    print_evaluation(console(), report, f"{policy.name} on {report.requests} requests of {traces.name}")
    print_plot(plot)


def frontier(
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
    if save is not None:
        if save.exists() and (not save.is_dir() or any(save.iterdir())):
            raise ValueError(f"--save: expected a new or empty folder, got {save}")
        for path in (plot, whole):
            if path is not None and path.parent.resolve() == save.resolve():
                raise ValueError(f"{path}: expected a path outside the folder of --save, which is for policies alone")
    with steps(4) as begin:
        begin("read")
        prices = prices_of(price)
        recording = ttamer.Traces.load(traces)._at_prices(prices)
        test_traces = None if test is None else ttamer.Traces.load(test)._at_prices(prices)
        begin("sweep")
        front = ttamer.frontier(recording, estimate=estimate, bins=bins_of(bins))
        points = points_of(front)
        begin("test")
        if test_traces is not None:
            for point, row in zip(front.points, points, strict=True):
                replay = point.policy.replay(test_traces)
                row |= {"test_cost": replay.mean_cost, "test_error": replay.error}
        begin("write")
        if plot is not None:
            judged = recording if test_traces is None else test_traces
            curves = [comparing.curve_of_front(front, recording, judged)]
            curves += comparing.references(recording, judged)[::-1]
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
    print_plot(plot)
    if files:
        out.print(f"wrote {len(files)} policies, {files[0]} to {files[-1]}", soft_wrap=True)
    if whole is not None:
        out.print(f"wrote the front to {whole}", soft_wrap=True)
    if files or whole is not None:
        print_serving(out, front[0].policy)


def compare(
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
    with steps(len(comparing.STEPS) + 2) as begin:
        begin("read")
        prices = prices_of(price)
        recording = ttamer.Traces.load(traces)._at_prices(prices)
        test_traces = None if test is None else ttamer.Traces.load(test)._at_prices(prices)
        comparison = comparing.run(recording, test_traces, seed=seed, progress=begin)
        begin("draw")
        if plot is not None:
            title = f"ttamer and what people use today, {comparison.test_rows:,} requests that nothing was chosen on"
            plots.front(comparison.curves[::-1], plot, title=title, coverage=comparing.COVERAGE, seed=seed)
    if json:
        print_json({**comparison.as_dict(), "plot": plot and str(plot)})
        return
    print_comparison(console(), comparison, traces.name if test is None else f"{traces.name}, {test.name}")
    print_plot(plot)


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
