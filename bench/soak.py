"""Ten minutes of serving: threads, swaps, nodes that fail and are slow; is anything wrong, and does memory grow?

Eight threads, each with an asyncio loop of 32 requests at a time. Policies are exchanged every second, nodes taken out
and in, calls fail or are slow at random.

  wrong       requests whose answer, path or cost is another than the replay's of the policy that they entered with; of
              requests with failures: answers of a node that failed, or none though one node answered
  p50, p99    microseconds of `Flight.consulted`, of every 20th call
  growth      of the process's memory from the first tenth of the time to the end
"""

from __future__ import annotations

import asyncio
import random
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import ttamer
import ttamer.data
from ttamer import STOP
from ttamer.bench.harness import is_kept, machine, machine_line, one_thread, parser, print_rows, write
from ttamer.serve import Dispatcher, Flight

RESULTS = Path(__file__).parent / "results"
SECONDS, QUICK_SECONDS = 600.0, 5.0
THREADS, AT_ONCE = 8, 32
KEPT = 100_000
FAILS, IS_SLOW, SLOW = 0.03, 0.02, 0.05
Row = dict[str, Any]


class Soak:
    """What all threads share."""

    def __init__(self, name: str, seconds: float) -> None:
        workload = ttamer.data.load(name)
        self.test = workload.test
        front = ttamer.frontier(workload.calibration, estimate="sets" if self.test.independent else "signal")
        self.model = front.model
        self.policies = [front[k].policy for k in np.linspace(0, len(front) - 1, 5).astype(int)]
        self.dispatcher = Dispatcher(self.policies[0], model=self.model)
        self.replays = {}
        for policy in self.policies:
            probe = Dispatcher(policy).enter()
            self.replays[probe.record()["policy"]] = policy.replay(self.test)
        self.end = time.monotonic() + seconds
        self.requests, self.failures, self.wrong, self.swaps = 0, 0, 0, 0
        self.times, self.calls = np.zeros(KEPT), 0  # the latest ones: memory is what is measured
        self.lock = threading.Lock()

    def exchange(self) -> None:
        """Another policy, and a node out or in, every second."""
        draws = random.Random(0)
        while time.monotonic() < self.end:
            self.dispatcher.swap(draws.choice(self.policies), model=self.model)
            self.swaps += 1
            node = draws.randrange(len(self.dispatcher.nodes))
            if draws.random() < 0.3:
                self.dispatcher.down(node)
            time.sleep(min(1.0, max(self.end - time.monotonic(), 0.0)))
            self.dispatcher.up(node)

    def serve(self, seed: int) -> None:
        """One thread's requests."""
        asyncio.run(self._serve_many(seed))

    async def _serve_many(self, seed: int) -> None:
        await asyncio.gather(*(self._serve(random.Random(1000 * seed + k)) for k in range(AT_ONCE)))

    async def _serve(self, draws: random.Random) -> None:
        while time.monotonic() < self.end:
            row = draws.randrange(len(self.test))
            flight = self.dispatcher.enter()
            while flight.node != STOP:
                await asyncio.sleep(SLOW if draws.random() < IS_SLOW else 0.001)
                if draws.random() < FAILS:
                    flight.failed("no")
                else:
                    self._tell(flight, row, draws.random() < 0.05)
            self._check(flight, row)

    def _tell(self, flight: Flight, row: int, timed: bool) -> None:
        node = flight.node
        answer = None if self.test.predictions is None else int(self.test.predictions[row, node])
        signal, cost = float(self.test.signals[row, node]), float(self.test.reach_costs[node])
        cost = cost if self.test.independent else float(self.test.costs[node])
        start = time.perf_counter()
        flight.consulted(answer, signal, cost=cost)
        if timed:
            self.times[self.calls % KEPT] = time.perf_counter() - start
            self.calls += 1

    def _check(self, flight: Flight, row: int) -> None:
        replay = self.replays[flight.record()["policy"]]
        silent = {visit.node for visit in flight.visits if visit.error is not None}
        if silent:
            answered = len(flight.visits) > len(silent)
            wrong = flight.answer_node in silent or (flight.answer_node < 0 and answered)
        else:
            path = (flight.answer_node, flight.visits[-1].node)
            expected = (replay.answer_node[row], replay.last_node[row])
            wrong = path != expected or abs(flight.cost - replay.cost[row]) > 1e-9
        with self.lock:
            self.requests += 1
            self.failures += bool(silent)
            self.wrong += bool(wrong)


def memory() -> float:
    """Resident, in MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 2**20


def run(name: str, seconds: float) -> Row:
    soak = Soak(name, seconds)
    threads = [threading.Thread(target=soak.serve, args=(seed,)) for seed in range(THREADS)]
    threads.append(threading.Thread(target=soak.exchange))
    for thread in threads:
        thread.start()
    time.sleep(seconds / 10)
    before = memory()
    for thread in threads:
        thread.join()
    p50, p99 = 1e6 * np.quantile(soak.times[: min(soak.calls, KEPT)], [0.5, 0.99])
    return {
        "workload": name,
        "seconds": seconds,
        "requests": soak.requests,
        "with failures": soak.failures,
        "swaps": soak.swaps,
        "wrong": soak.wrong,
        "p50": float(p50),
        "p99": float(p99),
        "memory, MB": memory(),
        "growth": memory() / before - 1,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    command_line = parser(__doc__ or "", RESULTS)
    command_line.add_argument("--seconds", type=float, default=SECONDS, help="of each workload (default: 600)")
    options = command_line.parse_args(arguments)
    title = "Serving for a while"
    print(f"{machine_line()}\n\n{title}\n")
    with one_thread():
        seconds = QUICK_SECONDS if options.quick else options.seconds
        rows = [run(name, seconds) for name in ("fashion-vgg", "ferplus")]
    print_rows(rows)
    if is_kept(options):
        content = {"title": title, "machine": machine(), "quick": options.quick, "tables": {"soak": rows}}
        write("soak", content, options.output)
    return 0 if all(row["wrong"] == 0 for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
