"""Whether limits on what requests cost are kept where every request has its own cost.

Sets of several models on the same requests (`NAME-calibration.npz` and `NAME-test.npz` in a folder, with (N, n) arrays
`quality` in [0, 1], `signal`, and `cost` or another column of costs). Three models, the cheapest, one in the middle and
the dearest, make a line. Their rows are pooled, and the pool is the truth. Many times, rows are drawn from it, a policy
is tuned on them with 95% confidence, and it is looked up whether it truly keeps its limit on all rows.

  split       half of the rows, without replacement
  bootstrap   as many rows as there are, with replacement: the sharp test of the guarantee
  quantile    limit: 90% of requests cost at most what 90% of them would at the middle model
  mean        limit: the mean cost is at most that of the middle model
  mean costs  the same quantile certified on the same rows with one cost an edge, the mean: what is not recorded of
              each request cannot be promised of it

"allowed" is the number of violations that a method with a rate of exactly 5% exceeds once in a hundred such runs.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import binom

import ttamer
from ttamer.bench.harness import is_kept, machine, machine_line, parser, print_rows, write

RESULTS = Path(__file__).parent / "results"
QUANTILE = 0.9
TRADEOFFS = 1 / (1 + np.geomspace(1e-2, 30, 25))
Row = dict[str, Any]


def load(folder: Path, name: str, column: str, unit: str) -> ttamer.Traces:
    """Traces of three models, of the rows in which everything was recorded."""
    parts = [np.load(folder / f"{name}-{part}.npz") for part in ("calibration", "test")]
    quality, costs, scores = (np.concatenate([part[key] for part in parts]) for key in ("quality", column, "signal"))
    order = np.argsort(np.nanmean(costs, axis=0))
    models = order[[0, len(order) // 2, -1]]
    losses, costs, scores = (1 - quality[:, models], costs[:, models].astype(np.float64), scores[:, models])
    if np.isnan(scores).any():  # none of this model's, or not of all requests: its state is what came before
        scores = np.zeros_like(scores)
    traces = ttamer.Traces(scores.astype(np.float32), losses.astype(np.float32), costs, unit=unit)
    return traces[traces.complete]


def tuned(traces: ttamer.Traces, seed: int, **limits: Any) -> ttamer.Policy | None:
    """The certified policy, None where there is none."""
    try:
        return ttamer.tune(traces, estimate="signal", bins=8, tradeoffs=TRADEOFFS, seed=seed, **limits)
    except ttamer.InfeasibleError:
        return None


def measure(name: str, pool: ttamer.Traces, kind: str, draws: int) -> list[Row]:
    """One row a limit: how often it was certified, and how often broken."""
    reach = pool.request_reach_costs
    bound, mean, most = float(np.quantile(reach[:, 1], QUANTILE)), float(reach[:, 1].mean()), float(reach.max())
    broken = {"quantile": 0, "mean": 0, "mean costs": 0}
    certified = dict.fromkeys(broken, 0)
    for seed in range(draws):
        rng = np.random.default_rng(seed)
        count, replace = (len(pool), True) if kind == "bootstrap" else (len(pool) // 2, False)
        rows = pool[rng.choice(len(pool), count, replace=replace)]
        alike = ttamer.Traces(rows.signals, rows.losses, rows.costs, unit=rows.unit)
        policies = {
            "quantile": tuned(rows, seed, max_cost_quantile=(QUANTILE, bound)),
            "mean": tuned(rows, seed, max_cost=mean, max_cost_of_a_request=most),
            "mean costs": tuned(alike, seed, max_cost_quantile=(QUANTILE, bound)),
        }
        for limit, policy in policies.items():
            if policy is not None:
                certified[limit] += 1
                cost = policy.replay(pool).cost
                above = cost.mean() > mean if limit == "mean" else np.mean(cost > bound) > 1 - QUANTILE
                broken[limit] += int(above)
    allowed = int(binom.ppf(0.99, draws, 0.05))
    return [
        {
            "set": name,
            "drawn": kind,
            "limit": limit,
            "draws": draws,
            "certified": certified[limit],
            "violations": broken[limit],
            "allowed": allowed,
        }
        for limit in broken
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    command_line = parser(__doc__ or "", RESULTS)
    command_line.add_argument("folder", type=Path, help="where the sets are")
    command_line.add_argument("names", nargs="+", help="sets as NAME:COLUMN:UNIT, such as mmlu:cost:usd")
    command_line.add_argument("--draws", type=int, help="how often rows are drawn (default: 300, with --quick 20)")
    options = command_line.parse_args(arguments)
    title = f"Limits at 95% confidence on costs of each request: {QUANTILE:.0%} of requests, and the mean"
    print(f"{machine_line()}\n\n{title}\n")
    rows: list[Row] = []
    for text in options.names:
        name, column, unit = text.split(":")
        pool = load(options.folder, name, column, unit)
        for kind in ("split", "bootstrap"):
            rows += measure(name, pool, kind, options.draws or (20 if options.quick else 300))
    print_rows(rows)
    if is_kept(options):
        write(
            "request_costs",
            {"title": title, "machine": machine(), "quick": options.quick, "rows": rows},
            options.output,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
