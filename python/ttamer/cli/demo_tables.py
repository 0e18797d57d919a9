"""What ``demo`` prints."""

from __future__ import annotations

import numpy as np
from rich.console import Console

from ttamer.cli.output import in_unit, print_table, table
from ttamer.demo import COVERAGE, FULL, OURS, POLICY_MARGIN, SERVE, TIE, WORKLOAD, Demo, Level


def print_demo(console: Console, demo: Demo) -> None:
    """Costs at matched error, who wins where, what was written, and the program that serves it."""
    console.print(
        f"{WORKLOAD}: {demo.policy.topology.nodes} exits, everything chosen on {demo.calibration_rows} calibration "
        f"rows, measured on {demo.test_rows} test rows.\n"
        f"The full model costs {demo.full_cost:.3f} {demo.unit} a request; its error is {demo.full_error:.2%}.\n"
    )
    _print_costs(console, demo)
    _print_winners(console, demo)
    console.print(_closing(demo) + "\n")
    names = " and ".join(path.name for path in demo.files)
    console.print(
        f"Wrote {names}: the cheapest policy within {_points(POLICY_MARGIN)} points of the full model's error on the "
        f"calibration rows. On the test rows it costs {demo.policy_cost:.3f} {demo.unit} with error "
        f"{demo.policy_error:.2%}. These lines serve it:\n"
    )
    # Never wrapped: the lines are there to be copied and run.
    console.print(SERVE, soft_wrap=True, end="")


def _print_costs(console: Console, demo: Demo) -> None:
    heads = [f"{level.error:.2%} (+{_points(level.margin)})" for level in demo.levels]
    rows = table("", *heads)
    for name in demo.levels[0].costs:
        rows.add_row(name, *(_cost(level.costs[name], demo.full_cost) for level in demo.levels))
    print_table(console, f"cost in {demo.unit} (% of the full model) at matched test error", rows)
    console.print()


def _print_winners(console: Console, demo: Demo) -> None:
    rows = table(
        "error",
        "cheapest baseline",
        "winner",
        in_unit("difference", demo.unit),
        f"{COVERAGE:.0%} interval",
        text=3,
    )
    for level in demo.levels:
        rows.add_row(f"{level.error:.2%}", level.best_baseline, level.winner, *_difference(level))
    print_table(console, "ttamer minus the cheapest baseline at each level (paired bootstrap)", rows)
    console.print()


def _cost(cost: float | None, full: float) -> str:
    return "not reached" if cost is None else f"{cost:.3f} ({cost / full:.0%})"


def _difference(level: Level) -> tuple[str, str]:
    gap = level.difference
    if gap.value is None:
        return "not reached", ""
    low, high = ("unbounded" if np.isinf(end) else f"{end:+.4f}" for end in (gap.low, gap.high))
    return f"{gap.value:+.4f}", f"{low} to {high}"


def _closing(demo: Demo) -> str:
    """One sentence: the saving nearest to the full model's error, and the tally."""
    winners = [level.winner for level in demo.levels]
    won, tied = winners.count(OURS), winners.count(TIE)
    tally = f"wins {won} of {len(winners)} levels, ties {tied} and loses {len(winners) - won - tied}"
    reached = [level for level in demo.levels if level.costs[OURS] is not None]
    if not reached:
        return f"ttamer reaches none of these levels; against the cheapest baseline it {tally}."
    level = reached[0]
    cost = level.costs[OURS]
    assert cost is not None
    return (
        f"Within {_points(level.margin)} points of the {FULL}'s error ttamer costs {cost / demo.full_cost:.0%} of it; "
        f"against the cheapest baseline of each level it {tally}."
    )


def _points(margin: float) -> str:
    return f"{100 * margin:.1f}"
