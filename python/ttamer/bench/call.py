"""What one call of `Batch.decide` costs, next to NumPy doing the same and to an empty bound method.

Signals rotate through two million distinct values in every arm: a repeated batch would train the branch predictor.
Every arm resets its own recall state before each call; the reset is timed alone and taken off. So is what brings the
requests to different nodes, for calls with a node drawn at random for each row; the plain calls that these are compared
with come after as many calls on another batch. Where PyTorch is installed: what a tensor in place of an array adds to a
call, and its own threshold.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ttamer._base.types import STOP
from ttamer._core import Batch
from ttamer.bench.harness import Arms, Report, Row, Table, median_times, on_one_thread, optional
from ttamer.fitting import fit
from ttamer.policy import Front, FrontPoint, Policy
from ttamer.policy import solve as solve_policy
from ttamer.traces import Traces

Signals = npt.NDArray[np.float32]

STATES = 1024
NODES = 4
TENSORS = 1 << 14  # at most: one for every slice of a single signal would be gigabytes of headers
MIXTURES = 16
TRADEOFFS = (0.6, 0.5, 0.53, 0.56, 0.58, 0.62, 0.65, 0.7)
POOR = 0.1  # a signal after which a request goes on, at every node but the last


@dataclass(frozen=True)
class Plan:
    """How much is run.

    Attributes
    ----------
    sizes : tuple of int
        Requests of a call, B.
    requests : int
        Of all calls of one timing together; at most a twentieth as many calls, at least four.
    repeats : int
    pool : int
        Distinct signals that the calls rotate through.
    """

    sizes: tuple[int, ...]
    requests: int
    repeats: int
    pool: int = 1 << 21


SIZES = (1, 8, 64, 512, 4096, 65536)
PLANS = {
    "full": Plan(SIZES, requests=400_000, repeats=21),
    "short": Plan(SIZES, requests=100_000, repeats=7),
    "tiny": Plan((1, 64), requests=4000, repeats=2, pool=1 << 12),
}


def make_front(rng: np.random.Generator) -> Front:
    """Of a line with recall; the first node of the first policy stops about half of its requests."""
    count = 20_000
    quality = rng.random((count, 1))
    signals = np.clip(quality + rng.normal(0, 0.15, (count, NODES)), 0.0, 1.0).astype(np.float32)
    losses = (rng.random((count, NODES)) > signals).astype(np.float32)
    traces = Traces(signals, losses, np.ones(NODES))
    model = fit(traces, bins=STATES)
    policies = [solve_policy(model, tradeoff, recall="observed") for tradeoff in TRADEOFFS]
    return Front([FrontPoint(0.0, 0.0, policy) for policy in policies])  # benchmarks measure neither cost nor error


class NumpyReference:
    """The first node's decision in NumPy: bin, two look-ups, keep the best with its node, compare, list who goes on."""

    def __init__(self, policy: Policy, capacity: int) -> None:
        self.edges = policy.bin_edges(0)
        actions = policy.actions(0)
        self.loss = policy.losses(0)
        self.stop = np.array([first[0] if first[1] == STOP else -np.inf for first, *_ in actions])
        self.best = np.full(capacity, np.inf)
        self.node = np.full(capacity, -1, np.int32)

    def reset(self, count: int) -> None:
        """Forget what was consulted."""
        self.best[:count] = np.inf
        self.node[:count] = -1

    def decide(self, signals: Signals) -> npt.NDArray[np.intp]:
        """The requests that go on."""
        best = self.best[: len(signals)]
        state = np.searchsorted(self.edges, signals, side="right")
        loss = self.loss[state]
        better = loss < best
        np.minimum(best, loss, out=best)
        self.node[: len(signals)][better] = 0
        return np.flatnonzero(best > self.stop[state])


class Mixture:
    """Requests that stand before nodes drawn at random, and how a batch is brought there from its start."""

    def __init__(self, rng: np.random.Generator, size: int) -> None:
        self.nodes = rng.integers(0, NODES, size).astype(np.int32)
        self.rows = [np.flatnonzero(self.nodes > node) for node in range(NODES - 1)]
        self.signals = [np.full(len(rows), POOR, np.float32) for rows in self.rows]

    def prepare(self, batch: Batch) -> None:
        """Bring every request to its node."""
        batch.reset()
        for node, (rows, signals) in enumerate(zip(self.rows, self.signals, strict=True)):
            batch.decide(node, signals, rows)


def arms_for(policy: Policy, pool: Signals, size: int, calls: int, torch: Any) -> Arms:
    """All that is timed with `size` requests a call; each arm makes `calls` calls."""
    slices = [pool[k : k + size] for k in range(0, len(pool) - size + 1, size)]
    position = 0

    def next_of(pieces: Sequence[Any]) -> list[Any]:
        nonlocal position
        selection = [pieces[(position + k) % len(pieces)] for k in range(calls)]
        position = (position + calls) % len(pool)
        return selection

    batch = policy.start(capacity=size)
    reference = NumpyReference(policy, size)
    nodes = np.zeros(size, np.int32)
    permutation = np.random.default_rng(1).permutation(size)
    larger = policy.start(capacity=2 * size)
    other = policy.start(capacity=size)
    ascending = np.sort(np.random.default_rng(2).permutation(2 * size)[:size])
    threshold = float(np.median(pool))

    def plain(signals: Signals) -> None:
        batch.reset()
        batch.decide(0, signals)

    def node_per_row(signals: Signals) -> None:
        batch.reset()
        batch.decide(nodes, signals)

    def rows_ascending(signals: Signals) -> None:
        larger.reset()
        larger.decide(0, signals, ascending)

    def rows_shuffled(signals: Signals) -> None:
        batch.reset()
        batch.decide(0, signals, permutation)

    def in_numpy(signals: Signals) -> None:
        reference.reset(size)
        reference.decide(signals)

    mixtures = itertools.cycle([Mixture(np.random.default_rng(seed), size) for seed in range(MIXTURES)])

    def prepare(signals: Signals) -> None:
        next(mixtures).prepare(batch)

    def mixed_nodes(signals: Signals) -> None:
        mixture = next(mixtures)
        mixture.prepare(batch)
        batch.decide(mixture.nodes, signals)

    def after_others(signals: Signals) -> None:
        batch.reset()
        next(mixtures).prepare(other)
        batch.decide(0, signals)

    def loop(body: Callable[[Any], Any], pieces: Sequence[Any] = slices) -> Callable[[], None]:
        def run() -> None:
            for signals in next_of(pieces):
                body(signals)

        return run

    arms = {
        "decide": loop(plain),
        "node per row": loop(node_per_row),
        "rows ascending": loop(rows_ascending),
        "rows shuffled": loop(rows_shuffled),
        "numpy reference": loop(in_numpy),
        "numpy threshold": loop(lambda signals: np.flatnonzero(signals >= threshold)),
        "empty method": loop(lambda signals: batch._nothing(0, signals)),
        "reset": loop(lambda signals: batch.reset()),
        "larger reset": loop(lambda signals: larger.reset()),
        "numpy reset": loop(lambda signals: reference.reset(size)),
        "mixed nodes": loop(mixed_nodes),
        "prepare": loop(prepare),
        "after others": loop(after_others),
        "loop": loop(lambda signals: None),
    }
    if torch is not None:
        tensors = [torch.from_numpy(piece) for piece in slices[:TENSORS]]
        arms["tensors"] = loop(plain, tensors)
        arms["arrays"] = loop(plain, slices[:TENSORS])
        arms["torch threshold"] = loop(lambda signals: torch.nonzero(signals >= threshold), tensors)
    return arms


def measure(policy: Policy, pool: Signals, size: int, plan: Plan, torch: Any) -> Row:
    """One row of the table: times of a call of `size` requests, resets and the loop around it taken off."""
    calls = max(4, plan.requests // max(size, 20))
    with on_one_thread(torch), contextlib.nullcontext() if torch is None else torch.inference_mode():
        arms = arms_for(policy, pool, size, calls, torch)
        # Timed apart from the others, so that each finds the caches as the other one of the two leaves them.
        pair: Arms = {name: arms.pop(name) for name in ("tensors", "arrays") if name in arms}
        seconds = median_times(arms, plan.repeats) | median_times(pair, plan.repeats)
    per_call = {name: 1e9 * (value - seconds["loop"]) / calls for name, value in seconds.items()}
    net = {name: per_call[name] - per_call["reset"] for name in ("decide", "node per row", "rows shuffled")}
    net["rows ascending"] = per_call["rows ascending"] - per_call["larger reset"]
    # Both come straight after the same other calls, and so find the same in caches and branch predictors.
    net["mixed nodes"] = per_call["mixed nodes"] - per_call["prepare"]
    net["after others"] = per_call["after others"] - per_call["prepare"] - per_call["reset"]
    reference = per_call["numpy reference"] - per_call["numpy reset"]
    return {
        "B": size,
        "decide ns": net["decide"],
        "ns/request": net["decide"] / size,
        "node per row": net["node per row"] / net["decide"],
        "rows ascending": net["rows ascending"] / net["decide"],
        "rows shuffled": net["rows shuffled"] / net["decide"],
        "mixed nodes": net["mixed nodes"] / net["after others"],
        "empty method ns": per_call["empty method"],
        "vs empty": net["decide"] / per_call["empty method"],
        "numpy ref ns": reference,
        "ref/decide": reference / net["decide"],
        "numpy thr ns": per_call["numpy threshold"],
        "decide/thr": net["decide"] / per_call["numpy threshold"],
        "reset ns": per_call["reset"],
        "tensor adds ns": None if torch is None else per_call["tensors"] - per_call["arrays"],
        "torch thr ns": None if torch is None else per_call["torch threshold"],
        "decide/torch thr": None if torch is None else net["decide"] / per_call["torch threshold"],
    }


def measure_tiers(front: Front, pool: Signals, size: int, plan: Plan) -> Row:
    """One row of the second table: the same calls where each request has one policy of a front, drawn at random."""
    calls = max(4, plan.requests // max(size, 20))
    slices = itertools.cycle([pool[k : k + size] for k in range(0, len(pool) - size + 1, size)])
    one, tiers = front[0].policy.start(capacity=size), front.start(capacity=size)
    places = np.random.default_rng(3).integers(0, len(front), size).astype(np.int32)

    def loop(*steps: Callable[[Signals], object]) -> Callable[[], None]:
        def run() -> None:
            for signals in itertools.islice(slices, calls):
                for step in steps:
                    step(signals)

        return run

    def reset(signals: Signals) -> None:
        one.reset()

    def enter(signals: Signals) -> None:
        tiers.enter(places)

    arms = {
        "one": loop(reset, lambda signals: one.decide(0, signals)),
        "tiers": loop(enter, lambda signals: tiers.decide(0, signals)),
        "reset": loop(reset),
        "enter": loop(enter),
        "loop": loop(),
    }
    per_call = {name: 1e9 * value / calls for name, value in median_times(arms, plan.repeats).items()}
    single, mixed = per_call["one"] - per_call["reset"], per_call["tiers"] - per_call["enter"]
    return {
        "B": size,
        "one policy ns": single,
        "a policy each ns": mixed,
        "ratio": mixed / single,
        "enter ns": per_call["enter"] - per_call["loop"],
    }


def run(size: str) -> Report:
    """Run it; `size` is a key of `PLANS`."""
    plan, torch = PLANS[size], optional("torch")
    rng = np.random.default_rng(0)
    front = make_front(rng)
    pool = rng.permutation(np.linspace(0.0, 1.0, plan.pool, dtype=np.float32))
    table = Table(
        "rows",
        f"Batch.decide on a line, {STATES} states a node, one thread; medians, resets taken off",
        [measure(front[0].policy, pool, count, plan, torch) for count in plan.sizes],
        {
            "B": "B",
            "decide ns": "ns",
            "ns/request": "each",
            "ref/decide": "ref/ns",
            "decide/thr": "ns/thr",
            "vs empty": "empty",
            "node per row": "nodes",
            "rows ascending": "rows",
            "rows shuffled": "random",
            "mixed nodes": "mixed",
            "tensor adds ns": "tensor",
        },
    )
    notes = (
        "each: ns a request. ref: the same decision in NumPy (bin, look up, running minimum, compare). thr: NumPy's "
        "conf >= t and flatnonzero, which keeps no state. empty: ns / a bound method that does nothing. nodes: with a "
        "node for each row / with one. rows: with half of a batch's rows, ascending as those that go on are found, / "
        "without; random: with all rows in random order. mixed: rows before nodes drawn at random, straight after "
        "the calls that bring them there / before one, straight after such calls on another batch. tensor: the ns that "
        "a PyTorch tensor in place of an array adds.",
    )
    tiers = Table(
        "tiers",
        f"The same where each request has one of {len(front)} policies of a front; entering taken off",
        [measure_tiers(front, pool, count, plan) for count in plan.sizes],
        {"B": "B", "one policy ns": "one", "a policy each ns": "tiers", "ratio": "ratio", "enter ns": "enter"},
    )
    return Report((table, tiers), notes)
