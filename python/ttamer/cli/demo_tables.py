"""What ``demo`` prints."""

from __future__ import annotations

from rich.console import Console

from ttamer.cli.comparison_tables import points, print_costs, print_winners
from ttamer.cli.demo import POLICY_MARGIN, SERVE, WORKLOAD, Demo
from ttamer.compare import FULL, OURS, TIE


def print_demo(console: Console, demo: Demo) -> None:
    """Costs at matched error, who wins where, what was written, and the program that serves it."""
    console.print(
        f"{WORKLOAD}: {demo.policy.topology.nodes} exits, everything chosen on {demo.calibration_rows} calibration "
        f"rows, measured on {demo.test_rows} test rows.\n"
        f"The full model costs {demo.full_cost:.3f} {demo.unit} a request; its error is {demo.full_error:.2%}.\n"
    )
    print_costs(console, demo.levels, demo.full_cost, demo.unit)
    print_winners(console, demo.levels, demo.unit, demo.full_cost)
    console.print(_closing(demo) + "\n")
    names = " and ".join(path.name for path in demo.files)
    console.print(
        f"Wrote {names}: the cheapest policy within {points(POLICY_MARGIN)} points of the full model's error on the "
        f"calibration rows. On the test rows it costs {demo.policy_cost:.3f} {demo.unit} with error "
        f"{demo.policy_error:.2%}. These lines serve it:\n"
    )
    # Never wrapped: the lines are there to be copied and run.
    console.print(SERVE, soft_wrap=True, end="")


def _closing(demo: Demo) -> str:
    """One sentence: the saving nearest to the full model's error, and the tally."""
    winners = [level.winner for level in demo.levels]
    wins, ties = winners.count(OURS), winners.count(TIE)
    tally = f"wins {wins} of {len(winners)} levels, ties {ties} and loses {len(winners) - wins - ties}"
    levels = [level for level in demo.levels if level.costs[OURS] is not None]
    if not levels:
        return f"ttamer reaches none of these levels; against the cheapest baseline it {tally}."
    level = levels[0]
    cost = level.costs[OURS]
    assert cost is not None
    return (
        f"Within {points(level.margin)} points of the {FULL}'s error ttamer costs {cost / demo.full_cost:.0%} of it; "
        f"against the cheapest baseline of each level it {tally}."
    )
