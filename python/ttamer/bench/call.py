"""What one call of `Batch.decide` costs, next to NumPy doing the same and to an empty bound method.

Signals rotate through two million distinct values in every arm: a repeated batch would train the branch predictor.
Every arm resets its own recall state before each call; the reset is timed alone and taken off.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from harness import median_times, parser, report

import ttamer

STATES = 1024
NODES = 4
POOL = 1 << 21


def make_policy(rng: np.random.Generator) -> ttamer.Policy:
    """A line with recall whose first node stops about half of its requests."""
    count = 20_000
    quality = rng.random((count, 1))
    signals = np.clip(quality + rng.normal(0, 0.15, (count, NODES)), 0.0, 1.0).astype(np.float32)
    losses = (rng.random((count, NODES)) > signals).astype(np.float32)
    traces = ttamer.Traces(signals, losses, np.ones(NODES))
    return ttamer.solve(ttamer.fit(traces, bins=STATES), tradeoff=0.6, recall="observed")


class NumpyReference:
    """The first node's decision in NumPy: bin, two look-ups, keep the best with its node, compare, list who goes on."""

    def __init__(self, policy: ttamer.Policy, capacity: int) -> None:
        self.edges = policy.bin_edges(0)
        actions = policy.actions(0)
        self.loss = policy.losses(0)
        self.stop = np.array([first[0] if first[1] == ttamer.STOP else -np.inf for first, *_ in actions])
        self.best = np.full(capacity, np.inf)
        self.node = np.full(capacity, -1, np.int32)

    def reset(self, count: int) -> None:
        self.best[:count] = np.inf
        self.node[:count] = -1

    def decide(self, signals: np.ndarray) -> np.ndarray:
        best = self.best[: len(signals)]
        state = np.searchsorted(self.edges, signals, side="right")
        loss = self.loss[state]
        better = loss < best
        np.minimum(best, loss, out=best)
        self.node[: len(signals)][better] = 0
        return np.flatnonzero(best > self.stop[state])


def arms_for(policy: ttamer.Policy, pool: np.ndarray, size: int, calls: int) -> dict[str, Callable[[], Any]]:
    slices = [pool[k : k + size] for k in range(0, POOL - size + 1, size)]
    position = 0

    def next_slices() -> list[np.ndarray]:
        nonlocal position
        taken = [slices[(position + k) % len(slices)] for k in range(calls)]
        position = (position + calls) % len(slices)
        return taken

    batch = policy.start(capacity=size)
    reference = NumpyReference(policy, size)
    nodes = np.zeros(size, np.int32)
    rows = np.random.default_rng(1).permutation(size)
    threshold = float(np.median(pool))

    def plain(signals: np.ndarray) -> None:
        batch.reset()
        batch.decide(0, signals)

    def node_per_row(signals: np.ndarray) -> None:
        batch.reset()
        batch.decide(nodes, signals)

    def with_rows(signals: np.ndarray) -> None:
        batch.reset()
        batch.decide(0, signals, rows)

    def in_numpy(signals: np.ndarray) -> None:
        reference.reset(size)
        reference.decide(signals)

    def loop(body: Callable[[np.ndarray], None]) -> Callable[[], None]:
        def run() -> None:
            for signals in next_slices():
                body(signals)

        return run

    return {
        "decide": loop(plain),
        "node per row": loop(node_per_row),
        "with rows": loop(with_rows),
        "numpy reference": loop(in_numpy),
        "numpy threshold": loop(lambda signals: np.flatnonzero(signals >= threshold)),
        "empty method": loop(lambda signals: batch._nothing(0, signals)),
        "reset": loop(lambda signals: batch.reset()),
        "numpy reset": loop(lambda signals: reference.reset(size)),
        "loop": loop(lambda signals: None),
    }


def main() -> None:
    options = parser(__doc__ or "").parse_args()
    rng = np.random.default_rng(0)
    policy = make_policy(rng)
    pool = rng.permutation(np.linspace(0.0, 1.0, POOL, dtype=np.float32))
    rows = []
    for size in (1, 8, 64, 512, 4096, 65536):
        calls = max(4, min(20_000, 400_000 // size)) // (10 if options.quick else 1) or 1
        seconds = median_times(arms_for(policy, pool, size, calls), 3 if options.quick else 21)
        per_call = {name: 1e9 * (value - seconds["loop"]) / calls for name, value in seconds.items()}
        net = {name: per_call[name] - per_call["reset"] for name in ("decide", "node per row", "with rows")}
        reference = per_call["numpy reference"] - per_call["numpy reset"]
        rows.append(
            {
                "B": size,
                "decide ns": net["decide"],
                "ns/request": net["decide"] / size,
                "node per row": net["node per row"] / net["decide"],
                "with rows": net["with rows"] / net["decide"],
                "empty method ns": per_call["empty method"],
                "vs empty": net["decide"] / per_call["empty method"],
                "numpy ref ns": reference,
                "ref/decide": reference / net["decide"],
                "numpy thr ns": per_call["numpy threshold"],
                "decide/thr": net["decide"] / per_call["numpy threshold"],
                "reset ns": per_call["reset"],
            }
        )
    report(
        "call",
        f"Batch.decide on a line, {STATES} states a node, one thread; medians, resets taken off",
        rows,
        options.output,
    )


if __name__ == "__main__":
    main()
