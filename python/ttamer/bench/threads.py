"""Two threads with a batch each on one policy, next to two processes, which are what the machine can do at best.

Every worker decides, or replays, its own signals with its own batch. The quotient of both scalings says what threads
lose to the GIL; what the cores lose to each other, or to others on a shared machine, is in both. What releasing the GIL
costs is timed on a C function that does nothing, called with and without doing so.
"""

from __future__ import annotations

import ctypes
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from ttamer._core import Batch
from ttamer.bench import call, logits, replay
from ttamer.bench.harness import Arms, Report, Row, Table, median_times
from ttamer.policy import solve as solve_policy

Worker = Callable[[int], None]
"""Does its work so many times."""

WORKERS = 2
REPLAY_STATES = 64
CLASSES = 1000


@dataclass(frozen=True)
class Plan:
    """How much is run.

    Attributes
    ----------
    works : tuple of (str, int)
        One of `WORKS`, and the requests of a call.
    sizes : tuple of int
        Requests of the calls that the price of the GIL is compared with.
    seconds : float
        That one worker is busy in each timing.
    repeats : int
    handovers : int
        Calls of the function that does nothing, of one timing.
    """

    works: tuple[tuple[str, int], ...]
    sizes: tuple[int, ...]
    seconds: float
    repeats: int
    handovers: int


WORKS = ("decide", "decide_logits", "replay")
PLANS = {
    "full": Plan(
        (
            ("decide", 64),
            ("decide", 512),
            ("decide", 4096),
            ("decide", 65536),
            ("decide_logits", 64),
            ("replay", 100_000),
        ),
        (512, 1024, 2048, 4096, 8192, 16384, 32768, 65536),
        seconds=0.2,
        repeats=11,
        handovers=100_000,
    ),
    "short": Plan(
        (("decide", 4096), ("decide", 65536), ("replay", 100_000)),
        (512, 4096, 32768),
        seconds=0.1,
        repeats=5,
        handovers=20_000,
    ),
    "tiny": Plan((("decide", 64), ("decide_logits", 8), ("replay", 100)), (64,), 1e-4, repeats=1, handovers=10),
}


# ---------------------------------------------------------------- the work


def make_workers(work: str, size: int, count: int) -> list[Worker]:
    """Workers with batches and signals of their own, on one policy."""
    rng = np.random.default_rng(0)
    if work == "replay":
        model, traces = replay.make(REPLAY_STATES, size, rng)
        policy = solve_policy(model, 0.95, "observed")
        return [partial(_repeat, partial(policy.replay, traces)) for _ in range(count)]
    if work == "decide_logits":
        policy = logits.policies(rng)["max_prob"]
        buffers = [3 * rng.standard_normal((size, CLASSES), np.float32) for _ in range(count)]
        return [partial(_repeat, _deciding_logits(policy.start(size), buffer)) for buffer in buffers]
    policy = call.make_front(rng)[0].policy
    pools = [rng.permutation(np.linspace(0, 1, max(1 << 20, size), dtype=np.float32)) for _ in range(count)]
    return [partial(_repeat, _deciding(policy.start(size), pool, size)) for pool in pools]


def _repeat(once: Callable[[], Any], calls: int) -> None:
    for _ in range(calls):
        once()


def _deciding(batch: Batch, pool: call.Signals, size: int) -> Callable[[], None]:
    """One call with the next signals of the pool."""
    parts = [pool[k : k + size] for k in range(0, len(pool) - size + 1, size)]
    position = 0

    def once() -> None:
        nonlocal position
        batch.reset()
        batch.decide(0, parts[position])
        position = (position + 1) % len(parts)

    return once


def _deciding_logits(batch: Batch, values: logits.Logits) -> Callable[[], None]:
    def once() -> None:
        batch.reset()
        batch.decide_logits(0, values)

    return once


# ---------------------------------------------------------------- threads and processes


class Child:
    """A worker in a process of its own."""

    def __init__(self, work: str, size: int) -> None:
        program = f"from ttamer.bench import threads; threads.serve({work!r}, {size})"
        self._process = subprocess.Popen(
            [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def begin(self, calls: int) -> None:
        """Tell it to do its work so many times."""
        assert self._process.stdin is not None
        print(calls, file=self._process.stdin, flush=True)

    def wait(self) -> None:
        """Until it has."""
        assert self._process.stdout is not None
        if not self._process.stdout.readline():
            raise RuntimeError(f"threads: a process ended early, with code {self._process.wait()}")

    def close(self) -> None:
        """End it: there is nothing more to read."""
        self._process.communicate()


def serve(work: str, size: int) -> None:
    """Work as often as each line on stdin says, and answer with one: what a `Child` runs."""
    (worker,) = make_workers(work, size, 1)
    for line in sys.stdin:
        worker(int(line))
        print("done", flush=True)


@contextmanager
def arms_for(work: str, size: int, seconds: float) -> Iterator[tuple[Arms, int]]:
    """One thread, two, one process and two at the same work; and how many calls each worker makes."""
    workers = make_workers(work, size, WORKERS)
    once = median_times({"once": lambda: workers[0](1)}, 3)["once"]
    calls = max(1, round(seconds / once))
    with ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor(WORKERS))
        children = [Child(work, size) for _ in workers]
        for child in children:
            stack.callback(child.close)

        def in_threads(count: int) -> None:
            for running in [pool.submit(worker, calls) for worker in workers[:count]]:
                running.result()

        def in_processes(count: int) -> None:
            for child in children[:count]:
                child.begin(calls)
            for child in children[:count]:
                child.wait()

        arms: Arms = {}
        for count in (1, WORKERS):
            arms[f"{count} threads"] = partial(in_threads, count)
            arms[f"{count} processes"] = partial(in_processes, count)
        yield arms, calls


def measure(work: str, size: int, plan: Plan) -> Row:
    """One row of the first table: requests a second, and by what more workers multiply them."""
    with arms_for(work, size, plan.seconds) as (arms, calls):
        seconds = median_times(arms, plan.repeats)
    rates = {name: 1e-6 * int(name[0]) * calls * size / value for name, value in seconds.items()}
    threads, processes = (rates[f"{WORKERS} {kind}"] / rates[f"1 {kind}"] for kind in ("threads", "processes"))
    return {
        "work": work,
        "B": size,
        "1 thread M/s": rates["1 threads"],
        "2 threads M/s": rates["2 threads"],
        "1 process M/s": rates["1 processes"],
        "2 processes M/s": rates["2 processes"],
        "threads": threads,
        "processes": processes,
        "threads/processes": threads / processes,
    }


# ---------------------------------------------------------------- the price of the GIL


def handover(calls: int, repeats: int) -> float:
    """Seconds that releasing the GIL and taking it back adds to a call where nobody waits for it."""
    library = ctypes.pythonapi
    keeping: Any = library.Py_IsInitialized
    releasing: Any = ctypes.CDLL(library._name, handle=library._handle).Py_IsInitialized
    seconds = median_times(
        {"keeping": lambda: _repeat(keeping, calls), "releasing": lambda: _repeat(releasing, calls)}, repeats
    )
    return (seconds["releasing"] - seconds["keeping"]) / calls


def price_rows(plan: Plan) -> list[Row]:
    """One row a size of a call: its time, and what releasing the GIL once would add."""
    price = handover(plan.handovers, plan.repeats)
    rows = []
    for size in plan.sizes:
        (worker,) = make_workers("decide", size, 1)
        calls = max(1, 20 * plan.handovers // size)
        seconds = median_times({"decide": partial(worker, calls)}, plan.repeats)["decide"] / calls
        rows.append(
            {
                "B": size,
                "decide and reset us": 1e6 * seconds,
                "release ns": 1e9 * price,
                "release/decide": price / seconds,
            }
        )
    return rows


def run(size: str) -> Report:
    """Run it; `size` is a key of `PLANS`."""
    plan = PLANS[size]
    rows = [measure(work, count, plan) for work, count in plan.works]
    prices = price_rows(plan)
    columns = {
        "work": "work",
        "B": "B",
        "1 thread M/s": "1 thread",
        "2 threads M/s": "2 threads",
        "threads": "threads",
        "processes": "processes",
        "threads/processes": "quotient",
    }
    tables = (
        Table(
            "rows", "Two threads on one policy, and two processes: million requests a second; medians", rows, columns
        ),
        Table(
            "release",
            "What releasing the GIL for a call adds to it, where no other thread waits for it",
            prices,
            {name: name for name in prices[0]},
        ),
    )
    notes = (
        "threads, processes: two of them / one. Processes are the ceiling: two cores may do less than twice the work "
        "of one. decide releases the GIL from 4096 requests on, replay always.",
    )
    return Report(tables, notes)
