"""What costs by state add to the time of a solve: nothing is looked at twice for them.

Lines of 8 nodes, counted from 10,000 requests whose losses are seen. Once all requests cost the same, so that an edge
has one cost, and once each has its own costs, so that an edge has one in each state of the node that it leaves. Both
models are solved in turn, on one thread; the ratio is that of the medians.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import ttamer
from ttamer.bench.harness import is_kept, machine, machine_line, median_times, one_thread, parser, print_rows, write
from ttamer.bench.solve import NODES, seen_losses

RESULTS = Path(__file__).parent / "results"
STATES = (32, 64, 128, 256, 512, 1024)
TRADEOFF = 0.8
Row = dict[str, Any]


def measure(states: int, repeats: int) -> Row:
    """One row: milliseconds of solves with costs by state, and how many times those with one cost an edge."""
    rng = np.random.default_rng(0)
    losses = seen_losses(rng)
    alike, of_requests = np.full(NODES, 0.02), 0.02 * rng.lognormal(0, 0.5, losses.shape)
    one, by_state = (
        ttamer.fit(ttamer.Traces(losses, losses, costs, observed=True), bins=states) for costs in (alike, of_requests)
    )
    row: Row = {"K": max(map(len, one.losses))}
    for recall, name in (("observed", "recall"), ("none", "no recall")):
        arms = {
            "one cost": partial(ttamer.solve, one, TRADEOFF, recall),
            "by state": partial(ttamer.solve, by_state, TRADEOFF, recall),
        }
        seconds = median_times(arms, repeats if recall == "observed" else 10 * repeats)
        row[f"{name} ms"] = 1e3 * seconds["by state"]
        row[f"{name} by state/one"] = seconds["by state"] / seconds["one cost"]
    return row


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser(__doc__ or "", RESULTS).parse_args(arguments)
    title = f"Exact solve of a line of {NODES} nodes with a cost for each state, over one cost an edge; medians"
    print(f"{machine_line()}\n\n{title}\n")
    with one_thread():
        rows = [measure(states, 3 if options.quick else 31) for states in STATES[: 2 if options.quick else None]]
    print_rows(rows)
    if is_kept(options):
        write(
            "solve_costs", {"title": title, "machine": machine(), "quick": options.quick, "rows": rows}, options.output
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
