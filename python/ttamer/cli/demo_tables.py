"""What ``demo`` prints."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console

from ttamer.cli.comparison_tables import points, print_costs, print_winners
from ttamer.cli.demo import MODELS, POLICY_MARGIN, SERVE, WORKLOAD, Demo
from ttamer.compare import FULL, OURS, TIE, Comparison, Level

MODEL_MARGINS = (0.0, 0.01, 0.02)
"""Levels of the second page, whose prices of a request take many digits."""


def print_demo(console: Console, demo: Demo) -> None:
    """Costs at matched error, who wins where, what was written, and the program that serves it."""
    console.print(
        f"{WORKLOAD}: {demo.policy.topology.nodes} exits, everything chosen on {demo.calibration_rows} calibration "
        f"rows, measured on {demo.test_rows} test rows.\n"
        f"The full model costs {demo.full_cost:.3f} {demo.unit} a request; its error is {demo.full_error:.2%}.\n"
    )
    print_costs(console, demo.levels, demo.full_cost, demo.unit)
    print_winners(console, demo.levels, demo.unit, demo.full_cost)
    console.print(_closing(demo.levels, FULL, demo.full_cost) + "\n")
    _print_models(console, demo.models)
    names = " and ".join(path.name for path in demo.files)
    console.print(
        f"Wrote {names}, of {WORKLOAD}: the cheapest policy within {points(POLICY_MARGIN)} points of the full "
        f"model's error on the calibration rows. On the test rows it costs {demo.policy_cost:.3f} {demo.unit} with "
        f"error {demo.policy_error:.2%}. These lines serve it:\n"
    )
    # Never wrapped: the lines are there to be copied and run.
    console.print(SERVE, soft_wrap=True, end="")


def _print_models(console: Console, models: Comparison) -> None:
    """The second page: several models, any of which may be asked first."""
    name, setting = models.curves[0].name, models.curves[0].settings[0]
    console.print(
        f"{MODELS}: several models on the same requests, chosen on {models.calibration_rows} calibration rows, "
        f"measured on {models.test_rows} test rows.\n"
        f"The {name}, {setting}, costs {models.full_cost:g} {models.unit} a request; its error is "
        f"{models.full_error:.2%}. Fixed mixing asks one model, or one of two by chance; thresholds have the best "
        "order of the models.\n"
    )
    levels = [level for level in models.levels if level.margin in MODEL_MARGINS]
    print_costs(console, levels, models.full_cost, models.unit)
    print_winners(console, levels, models.unit, models.full_cost)
    console.print(_closing(levels, name, models.full_cost) + "\n")


def _closing(levels: Sequence[Level], full: str, full_cost: float) -> str:
    """One sentence: the saving nearest to the full model's error, and the tally."""
    winners = [level.winner for level in levels]
    wins, ties = winners.count(OURS), winners.count(TIE)
    tally = f"wins {wins} of {len(winners)} levels, ties {ties} and loses {len(winners) - wins - ties}"
    reached = [level for level in levels if level.costs[OURS] is not None]
    if not reached:
        return f"ttamer reaches none of these levels; against the cheapest baseline it {tally}."
    level = reached[0]
    cost = level.costs[OURS]
    assert cost is not None
    return (
        f"Within {points(level.margin)} points of the {full}'s error ttamer costs {cost / full_cost:.0%} of it; "
        f"against the cheapest baseline of each level it {tally}."
    )
