"""How soon a change of the traffic is noticed, and how often one is that is none.

The rows of a bundled workload are cut anew for every stream: a reference, and requests that come one by one. The policy
is the cheapest of the front with at most a stated error.

  none    nothing changes: streams with an alarm, and the most that the rate of false alarms allows
  hard    from request 500 on half of the requests are ones that the first node gets wrong
  noise   from request 500 on 24% more of the answers are wrong, and nothing else changes; 2% of requests are labelled

"delay" is the number of requests from the change to the alarm; a stream that ends before counts as none.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import ttamer
import ttamer.data
from ttamer.bench.harness import is_kept, machine, machine_line, one_thread, parser, print_rows, write
from ttamer.serve import Drift
from ttamer.serve.drift import walked

RESULTS = Path(__file__).parent / "results"
STREAMS, QUICK_STREAMS = 1000, 20
RATE = 1e-4
CHANGE, LENGTH = 500, {"none": 2500, "hard": 2500, "noise": 3500}
LABELLED, MORE_WRONG = 0.02, 0.24
ERRORS = {"fashion-vgg": 0.10, "ferplus": 0.19}
Row = dict[str, Any]


class Stream:
    """What a policy does with all rows of a workload."""

    def __init__(self, name: str) -> None:
        workload = ttamer.data.load(name)
        self.name = name
        self.policy = ttamer.frontier(workload.calibration).cheapest(ERRORS[name]).policy
        self.pool = workload.calibration + workload.test
        self.replay = self.policy.replay(self.pool)
        self.costs, self.promises = walked(self.policy, self.pool)
        self.hard = np.flatnonzero(self.pool.losses[:, self.policy.first_node] > 0)

    def alarm(self, drift: Drift, kind: str, rows: npt.NDArray[np.intp], rng: np.random.Generator) -> int | None:
        """The request at which there is an alarm."""
        hard = rows[np.isin(rows, self.hard)]
        for k in range(LENGTH[kind] if kind != "none" else min(LENGTH[kind], len(rows))):
            row = rows[k % len(rows)]
            changed = k >= CHANGE
            if changed and kind == "hard" and rng.random() < 0.5:
                row = hard[rng.integers(len(hard))]
            drift.look(int(self.replay.last_node[row]), self.costs[row], self.promises[row])
            if rng.random() < LABELLED:
                wrong = changed and kind == "noise" and rng.random() < MORE_WRONG / (1 - self.replay.error)
                drift.labelled(1.0 if wrong else float(self.replay.loss[row]))
            if drift.alarm is not None:
                return k
        return None


def rows_of(name: str, streams: int) -> list[Row]:
    """A row a kind of change."""
    stream = Stream(name)
    count, held = len(stream.pool), min(LENGTH["none"], len(stream.pool) // 3)
    alarms: dict[str, list[int | None]] = {kind: [] for kind in LENGTH}
    for seed in range(streams):
        rng = np.random.default_rng(seed)
        rows = rng.permutation(count)
        fresh = Drift(stream.policy, stream.pool[rows[held:]], RATE, seed)
        for kind, found in alarms.items():
            found.append(stream.alarm(copy.deepcopy(fresh), kind, rows[:held], rng))
    table = []
    for kind, found in alarms.items():
        delays = [np.inf if each is None else each - CHANGE for each in found]
        late = [delay for delay in delays if delay >= 0]
        table.append(
            {
                "workload": name,
                "change": kind,
                "error": stream.replay.error,
                "streams": streams,
                "alarms": sum(each is not None for each in found),
                "allowed": held * RATE * streams if kind == "none" else None,
                "before the change": None if kind == "none" else len(delays) - len(late),
                "median delay": None if kind == "none" else float(np.median(late)),
                "95% of delays": None if kind == "none" else _finite(np.quantile(late, 0.95, method="higher")),
            }
        )
    return table


def _finite(delay: float) -> float | None:
    return float(delay) if np.isfinite(delay) else None


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser(__doc__ or "", RESULTS).parse_args(arguments)
    title = "Alarms for traffic that has changed"
    print(f"{machine_line()}\n\n{title}\n")
    with one_thread():
        rows = [row for name in ERRORS for row in rows_of(name, QUICK_STREAMS if options.quick else STREAMS)]
    print_rows(rows)
    if is_kept(options):
        content = {"title": title, "machine": machine(), "quick": options.quick, "tables": {"drift": rows}}
        write("drift", content, options.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
