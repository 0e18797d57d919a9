"""Continuous batching: requests arrive at any time, stand at different nodes, and leave when the policy says so.

A row of the batch is a request in flight. Each step consults, for every row, the node it stands at, whichever that is,
and one call decides them all: `Batch.decide(nodes, signals, rows)`. Rows that stop are handed to requests that wait.
Here recorded signals stand in for the network, and a clock of costs for a device that runs rows side by side: a step
takes as long as the costliest edge in it. Prints latencies with the policy and with every request going through all
nodes, at the same arrivals.
"""

from __future__ import annotations

import argparse
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

import ttamer
import ttamer.data

Ints = npt.NDArray[np.int32]
Decide = Callable[[Ints, npt.NDArray[np.float32], npt.NDArray[np.int64]], Ints]
BINS, WIDTH = 12, 50  # of the histograms


@dataclass
class Served:
    """What came of the requests: (N,) each, and the seconds that deciding took."""

    latency: npt.NDArray[np.float64]
    last_node: Ints
    answer_node: Ints
    seconds: float
    calls: int


def serve(
    requests: ttamer.Traces,
    arrivals: npt.NDArray[np.float64],
    capacity: int,
    decide: Decide,
    batch: ttamer.Batch | None,
) -> Served:
    """Serve requests as they arrive; `batch` is asked for answers and told which rows are handed over."""
    count, costs = len(requests), requests.costs
    request = np.full(capacity, -1)  # which request is in a row
    node = np.zeros(capacity, np.int32)
    free, waiting = deque(range(capacity)), deque(range(count))
    latency, last, answer = np.empty(count), np.empty(count, np.int32), np.empty(count, np.int32)
    clock, done, seconds, calls = 0.0, 0, 0.0, 0
    while done < count:
        if len(free) == capacity:
            clock = max(clock, arrivals[waiting[0]])  # nothing to do before the next one comes
        while waiting and free and arrivals[waiting[0]] <= clock:
            row = free.popleft()
            request[row], node[row] = waiting.popleft(), 0
        rows = np.flatnonzero(request >= 0)
        here, who = node[rows], request[rows]
        clock += costs[here].max()
        start = time.perf_counter()
        ahead = decide(here, requests.signals[who, here], rows)
        seconds, calls = seconds + time.perf_counter() - start, calls + 1
        stopped = ahead == ttamer.STOP
        leaving, gone = rows[stopped], who[stopped]
        latency[gone], last[gone] = clock - arrivals[gone], here[stopped]
        answer[gone] = here[stopped] if batch is None else batch.answer_node[leaving]
        if batch is not None and len(leaving):
            batch.reset(leaving)
        node[rows] = ahead
        request[leaving] = -1
        free.extend(leaving.tolist())
        done += len(leaving)
    return Served(latency, last, answer, seconds, calls)


def histogram(latency: npt.NDArray[np.float64], unit: str) -> list[str]:
    """Text lines: bins of equal width up to the 99th percentile, and what is beyond."""
    limit = float(np.quantile(latency, 0.99))
    counts, edges = np.histogram(latency, np.append(np.linspace(0, limit, BINS + 1), np.inf))
    most = counts.max()
    lines = []
    for k, number in enumerate(counts.tolist()):
        upper = f"{edges[k + 1]:6.2f}" if k < BINS else "  more"
        bar = "#" * int(np.ceil(WIDTH * number / most))
        lines.append(f"{edges[k]:6.2f} - {upper} {unit} {number:>7} {bar}")
    return lines


def describe(name: str, served: Served, traces: ttamer.Traces) -> None:
    """Print what came of the requests."""
    p50, p95, p99 = np.quantile(served.latency, [0.5, 0.95, 0.99])
    error = traces.losses[np.arange(len(traces)), served.answer_node].mean()
    print(f"\n{name}: error {error:.4f}, mean depth {served.last_node.mean() + 1:.2f} nodes")
    print(f"latency p50 {p50:.2f}, p95 {p95:.2f}, p99 {p99:.2f} {traces.unit}")
    if served.seconds:
        print(f"deciding took {served.seconds / served.calls * 1e6:.1f} us a step, {served.calls} steps")
    print("\n".join(histogram(served.latency, traces.unit)))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Continuous batching with requests at different nodes.")
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--capacity", type=int, default=64, help="requests in flight at once")
    parser.add_argument("--load", type=float, default=0.8, help="arrivals, as a share of what all nodes could serve")
    options = parser.parse_args(arguments)

    workload = ttamer.data.load("fashion-vgg")
    policy = ttamer.frontier(workload.calibration, estimate="signal").cheapest(max_error=0.068).policy
    rng = np.random.default_rng(0)
    traces = workload.test[rng.integers(0, len(workload.test), options.requests)]
    # A step never takes longer than the costliest edge, and a request through all nodes takes as many steps.
    spacing = float(traces.costs.max()) * traces.topology.nodes / options.capacity / options.load
    arrivals = np.cumsum(rng.exponential(spacing, options.requests))
    print(f"{options.requests} requests, one every {spacing:.3f} {traces.unit}, {options.capacity} rows")

    last = traces.topology.nodes - 1
    everything = serve(
        traces,
        arrivals,
        options.capacity,
        lambda nodes, signals, rows: np.where(nodes == last, ttamer.STOP, nodes + 1).astype(np.int32),
        None,
    )
    describe("all nodes", everything, traces)
    batch = policy.start(options.capacity, signal=traces.signal)
    describe("policy", serve(traces, arrivals, options.capacity, batch.decide, batch), traces)


if __name__ == "__main__":
    main()
