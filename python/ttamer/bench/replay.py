"""Replaying a policy over recorded requests, next to NumPy moving the active ones from node to node."""

from __future__ import annotations

import numpy as np
from harness import median_times, parser, report

import ttamer

REQUESTS = 100_000
NODES = 8


def make(states: int, rng: np.random.Generator) -> tuple[ttamer.CascadeModel, ttamer.Traces]:
    """Requests of varying hardness: confidence grows with depth."""
    hardness = rng.random((REQUESTS, 1))
    signals = 1 - hardness * np.linspace(0.7, 0.1, NODES) * rng.random((REQUESTS, NODES))
    signals = signals.astype(np.float32)
    losses = (rng.random((REQUESTS, NODES)) > signals).astype(np.float32)
    traces = ttamer.Traces(signals, losses, np.ones(NODES))
    return ttamer.fit(traces[:20_000], bins=states), traces


class NumpyReplay:
    """Bin, look up, keep the best, and go on with the requests that do not stop."""

    def __init__(self, policy: ttamer.Policy) -> None:
        self.recall = policy.recall == "observed"
        self.edges = [policy.bin_edges(j) for j in range(NODES)]
        self.losses = [policy.losses(j) for j in range(NODES)]
        self.stop = [
            np.array([first[0] if first[1] == ttamer.STOP else -np.inf for first, *_ in policy.actions(j)])
            for j in range(NODES)
        ]

    def run(self, traces: ttamer.Traces) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        last = np.empty(len(traces), np.int32)
        answer = np.empty(len(traces), np.int32)
        cost = np.zeros(len(traces))
        best = np.full(len(traces), np.inf)
        active = np.arange(len(traces))
        for j in range(NODES):
            cost[active] += traces.costs[j]
            state = np.searchsorted(self.edges[j], traces.signals[active, j], side="right")
            loss = self.losses[j][state]
            better = loss < best[active] if self.recall else np.ones(len(active), bool)
            best[active[better]] = loss[better]
            answer[active[better]] = j
            last[active] = j
            active = active[best[active] > self.stop[j][state]]
        return last, answer, cost


def main() -> None:
    options = parser(__doc__ or "").parse_args()
    rng = np.random.default_rng(0)
    rows = []
    for states in (16, 64, 1024):
        model, traces = make(states, rng)
        for recall in ("observed", "none"):
            policy = ttamer.solve(model, 0.95, recall)
            plain = NumpyReplay(policy)
            result, expected = policy.replay(traces), plain.run(traces)
            for found, wanted in zip((result.last_node, result.answer_node, result.cost), expected, strict=True):
                assert np.array_equal(found, wanted)
            core, signals, costs = policy._core, traces.signals, traces.costs
            seconds = median_times(
                {
                    "core": lambda c=core, s=signals, e=costs: c.replay(s, e),
                    "replay": lambda p=policy, t=traces: p.replay(t),
                    "numpy": lambda p=plain, t=traces: p.run(t),
                },
                3 if options.quick else 15,
            )
            rows.append(
                {
                    "K": states,
                    "recall": recall,
                    "nodes/request": float(np.mean(result.last_node + 1.0)),
                    "core ns/request": 1e9 * seconds["core"] / REQUESTS,
                    "replay ns/request": 1e9 * seconds["replay"] / REQUESTS,
                    "numpy ns/request": 1e9 * seconds["numpy"] / REQUESTS,
                    "numpy/core": seconds["numpy"] / seconds["core"],
                    "numpy/replay": seconds["numpy"] / seconds["replay"],
                }
            )
    report(
        "replay", f"Replay of {REQUESTS:,} requests, line of {NODES} nodes, one thread; medians", rows, options.output
    )


if __name__ == "__main__":
    main()
