"""What ``compare`` prints, and what ``demo`` prints of the same."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from rich.console import Console

from ttamer._base.numbers import loss_word, number
from ttamer._base.topologies import node_text
from ttamer.cli.output import in_unit, print_table, table
from ttamer.compare import BEST, COVERAGE, FULL, OURS, TIE, Comparison, Difference, Level

INTERVAL = f"{COVERAGE:.0%} interval"


def print_comparison(console: Console, comparison: Comparison, title: str) -> None:
    """Costs at matched error, mean errors over the budgets, and who wins where."""
    full, setting = comparison.curves[0].name, comparison.curves[0].settings[0]
    alone = {FULL: f"The {FULL}", BEST: f"The {BEST}, {setting},"}.get(full, f"{full[0].upper()}{full[1:]} alone")
    error = comparison.full_error
    loss = f"error is {error:.2%}" if comparison.are_rates else f"mean loss is {number(error)}"
    console.print(
        f"{title}: everything chosen on {comparison.calibration_rows} rows, measured on "
        f"{comparison.test_rows} others.\n"
        f"{alone} costs {number(comparison.full_cost)}{comparison.unit and ' ' + comparison.unit} a request; its "
        f"{loss}.\n",
        soft_wrap=True,
    )
    print_costs(console, comparison.levels, comparison.full_cost, comparison.unit, are_rates=comparison.are_rates)
    print_winners(console, comparison.levels, comparison.unit, comparison.full_cost, are_rates=comparison.are_rates)
    _print_means(console, comparison)
    for name, nodes in comparison.paths.items():
        names = comparison.nodes
        line = ", ".join(node_text(node, None if names is None else names[node]) for node in nodes)
        console.print(f"{name}: on the line {line}, the best one on the calibration rows.", soft_wrap=True)
    for reason in comparison.left_out:
        console.print(f"left out {reason}.")
    console.print(_closing(comparison))


def print_costs(
    console: Console, levels: Sequence[Level], full_cost: float, unit: str, *, are_rates: bool = True
) -> None:
    """A row a method, a column a level."""
    heads = [f"{level.error:.2%} (+{points(level.margin)})" if are_rates else number(level.error) for level in levels]
    digits = _digits(full_cost)
    rows = table("", *heads)
    for name in levels[0].costs:
        costs = [level.costs[name] for level in levels]
        rows.add_row(
            name, *("not reached" if cost is None else f"{cost:.{digits}f} ({cost / full_cost:.0%})" for cost in costs)
        )
    name, what = next(iter(levels[0].costs)), loss_word(are_rates)
    the = "the " if name in (FULL, BEST) else ""
    print_table(console, f"cost{unit and ' in ' + unit} (% of {the}{name}) at matched test {what}", rows)
    console.print()


def print_winners(
    console: Console, levels: Sequence[Level], unit: str, full_cost: float, *, are_rates: bool = True
) -> None:
    """A row a level."""
    heads = (loss_word(are_rates), "cheapest baseline", "winner", in_unit("difference", unit), INTERVAL)
    rows = table(*heads, text=3)
    for level in levels:
        error = f"{level.error:.2%}" if are_rates else number(level.error)
        rows.add_row(error, level.best_baseline, level.winner, *_difference(level.difference, _digits(full_cost) + 1))
    print_table(console, f"{OURS} minus the cheapest baseline at each level (paired bootstrap)", rows)
    console.print()


def _print_means(console: Console, comparison: Comparison) -> None:
    scale, what, digits = (
        (1e4, "error, 1e-4", 0) if comparison.are_rates else (1.0, "loss", _digits(comparison.full_error))
    )
    rows = table("", f"mean {what}", "difference", INTERVAL, "winner")
    for mean in comparison.means:
        cells = ("", "")
        if mean.difference is not None:
            cells = _difference(mean.difference, digits, scale)
        rows.add_row(mean.name, f"{scale * mean.error:.{digits}f}", *cells, mean.winner or "")
    first, last = number(float(comparison.budgets[0])), number(float(comparison.budgets[-1]))
    loss = loss_word(comparison.are_rates)
    title = f"{OURS} minus the others, mean test {loss} over {len(comparison.budgets)} budgets"
    print_table(console, f"{title}, {first} to {last}{comparison.unit and ' ' + comparison.unit}", rows)
    console.print()


def _closing(comparison: Comparison) -> str:
    """One sentence: the tally of both tables."""
    winners = [level.winner for level in comparison.levels]
    wins, ties = winners.count(OURS), winners.count(TIE)
    by_mean = {mean.name: mean.winner for mean in comparison.means if mean.winner is not None}
    parts = [
        f"{verb} {', '.join(names)}"
        for verb, outcomes in (("beats", {OURS}), ("ties with", {TIE}), ("loses to", set(by_mean)))
        if (names := [name for name, winner in by_mean.items() if winner in outcomes])
    ]
    return (
        f"{OURS} wins {wins} of {len(winners)} levels, ties {ties} and loses {len(winners) - wins - ties}; over the "
        f"budgets it {' and '.join(parts)}."
    )


def points(margin: float) -> str:
    """A margin of error in percentage points."""
    return f"{100 * margin:.1f}"


def _digits(scale: float) -> int:
    """Digits after the point that leave four of a number of this size."""
    return max(0, 3 - math.floor(math.log10(scale))) if scale > 0 else 3


def _difference(gap: Difference, digits: int, scale: float = 1.0) -> tuple[str, str]:
    if gap.value is None:
        return "not reached", ""
    low, high = ("unbounded" if np.isinf(end) else f"{scale * end:+.{digits}f}" for end in (gap.low, gap.high))
    return f"{scale * gap.value:+.{digits}f}", f"{low} to {high}"
