"""Serving requests one by one: what a flight costs, what a failure costs, and what weights save.

  flight      microseconds a request of three consultations: `Dispatcher` and `Flight`, beside a loop over if and else
              that keeps the same answers and adds up the same costs; and the bytes that a flight holds
  cascade     microseconds a request of an asyncio loop over nodes that yield once: `Cascade` beside if and else, so
              many requests at a time
  failure     test error and cost while the middle one of three exits always fails: with the best answer so far, as if
              it were in its worst state, and by the policy for silent nodes
  weights     cost at equal error where requests have token counts, lognormal with sigma 1: a policy for each request's
              weight out of a front, beside one policy for all; at the errors of single policies, on test rows of the
              bundled workloads and of those in the folder

Times are medians over rounds in which all arms are run one after the other.
"""

from __future__ import annotations

import asyncio
import sys
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from workloads import load_recorded, recorded_names

import ttamer
import ttamer.data
from ttamer import STOP, compare
from ttamer.bench.harness import is_kept, machine, machine_line, median_times, one_thread, parser, print_rows, write
from ttamer.serve import Cascade, Dispatcher, Flight, Outcome

RESULTS = Path(__file__).parent / "results"
REPEATS, QUICK_REPEATS = 15, 3
REQUESTS = 2000
AT_ONCE = (1, 32, 256)
EXITS = [0, 2, 7]
Floats = npt.NDArray[np.float64]
Row = dict[str, Any]


def exits() -> tuple[ttamer.Traces, ttamer.Traces]:
    """Three exits of the bundled network: calibration and test rows."""
    workload = ttamer.data.load("fashion-vgg")
    reach = workload.calibration.reach_costs[EXITS]
    costs = np.diff(reach, prepend=0.0)
    return workload.calibration.path(EXITS, costs), workload.test.path(EXITS, costs)


# ---------------------------------------------------------------- time


def flight_rows(repeats: int) -> list[Row]:
    """A row an arm; nodes are nearly never sure enough, so that requests consult all three."""
    known, _ = exits()
    policy = ttamer.solve(ttamer.fit(known), 1.0)
    dispatcher = Dispatcher(policy)
    signals, costs = [1e-3, 1e-3, 1e-3], policy.costs.tolist()

    def bare() -> None:
        for _ in range(REQUESTS):
            answers, cost = [], 0.0
            for signal, price in zip(signals, costs, strict=True):
                answers.append(signal)
                cost += price
                if signal > 0.99:
                    break

    def flights() -> None:
        for _ in range(REQUESTS):
            flight = dispatcher.enter()
            while flight.node != STOP:
                flight.consulted(None, signals[flight.node])

    def enter() -> None:
        for _ in range(REQUESTS):
            dispatcher.enter()

    times = median_times({"if and else": bare, "flight": flights, "of it, enter": enter}, repeats)
    rows = [{"arm": arm, "us": 1e6 * seconds / REQUESTS, "bytes": None} for arm, seconds in times.items()]
    rows[1]["bytes"] = bytes_of_flight(dispatcher, signals)
    return [*rows, {"arm": "flight less if and else", "us": rows[1]["us"] - rows[0]["us"], "bytes": None}]


def bytes_of_flight(dispatcher: Dispatcher, signals: Sequence[float]) -> int:
    """Of one that has consulted all three."""
    tracemalloc.start()
    flights = [dispatcher.enter() for _ in range(REQUESTS)]
    for flight in flights:
        while flight.node != STOP:
            flight.consulted(None, signals[flight.node])
    size = tracemalloc.get_traced_memory()[0] // REQUESTS
    tracemalloc.stop()
    return size


def cascade_rows(repeats: int) -> list[Row]:
    """A row a number of requests at a time."""
    known, held = exits()
    policy = ttamer.solve(ttamer.fit(known), 0.9)
    table = held.signals[:REQUESTS].tolist()

    async def ask(request: int, node: int) -> float:
        await asyncio.sleep(0)
        return table[request][node]

    def node_of(node: int) -> Callable[[int, Flight], Any]:
        async def call(request: int, flight: Flight) -> Outcome:
            return Outcome(node, await ask(request, node))

        return call

    async def plain(request: int) -> int:
        for node in range(3):
            if await ask(request, node) > 0.8:
                break
        return node

    cascade = Cascade({node: node_of(node) for node in range(3)}, Dispatcher(policy))

    async def serve(one: Callable[[int], Any], at_once: int) -> None:
        requests = iter(range(REQUESTS))

        async def work() -> None:
            for request in requests:
                await one(request)

        await asyncio.gather(*(work() for _ in range(at_once)))

    rows = []
    for at_once in AT_ONCE:
        arms = {
            "if and else": lambda at_once=at_once: asyncio.run(serve(plain, at_once)),
            "Cascade": lambda at_once=at_once: asyncio.run(serve(cascade, at_once)),
        }
        times = {arm: 1e6 * seconds / REQUESTS for arm, seconds in median_times(arms, repeats).items()}
        rows.append({"at once": at_once, **times, "more": times["Cascade"] - times["if and else"]})
    return rows


# ---------------------------------------------------------------- what is decided


def failure_rows() -> list[Row]:
    """A row a trade-off."""
    known, held = exits()
    model = ttamer.fit(known)
    costs = known.costs
    rows = []
    for tradeoff in (0.6, 0.8, 0.9, 0.95):
        policy = ttamer.solve(model, tradeoff)
        replay = policy.replay(held)
        asked = replay.last_node > 0
        so_far = np.where(asked, held.losses[:, 0], replay.loss)
        row: Row = {"trade-off": tradeoff, "no failure": replay.error, "best so far": float(so_far.mean())}
        for name, dispatcher in {"worst state": Dispatcher(policy), "silent": Dispatcher(policy, model=model)}.items():
            losses, paid = [], []
            for request in range(len(held)):
                flight = dispatcher.enter()
                while flight.node != STOP:
                    if flight.node == 1:
                        flight.failed("down", cost=costs[1])
                    else:
                        flight.consulted(None, float(held.signals[request, flight.node]))
                losses.append(held.losses[request, flight.answer_node])
                paid.append(flight.cost)
            row |= {name: float(np.mean(losses)), f"{name}, cost": float(np.mean(paid))}
        rows.append({**row, "no failure, cost": replay.mean_cost})
    return rows


def weight_rows(resamples: int, folder: Path | None) -> list[Row]:
    """A row a workload and error: what weights save, with an interval over test rows."""
    rows = []
    bundled = {name: ttamer.data.load(name) for name in ("fashion-vgg", "ferplus")}
    workloads = {name: (each.calibration, each.test) for name, each in bundled.items()}
    if folder is not None:
        workloads |= {name: load_recorded(folder, name) for name in recorded_names(folder) if name not in bundled}
    for name, (calibration, test) in workloads.items():
        front = ttamer.frontier(calibration)
        weights = np.random.default_rng(0).lognormal(-0.5, 1.0, len(test))
        replays = [point.policy.replay(test) for point in front]
        costs, losses = np.stack([each.cost for each in replays]), np.stack([each.loss for each in replays])
        prices = np.array([(1 - point.policy.tradeoff) / point.policy.tradeoff for point in front])
        every = np.arange(len(weights))
        places = np.array([[front.place(price * weight) for weight in weights] for price in prices])
        lines = {
            "one policy": _line("one policy", front, costs * weights, losses, test.unit),
            "by weight": _line("by weight", front, costs[places, every] * weights, losses[places, every], test.unit),
        }
        best, least = losses.mean(axis=1).min(), losses[0].mean()
        counts = compare.resample(len(weights), resamples)
        for share in (0.2, 0.4, 0.6):
            level = best + share * (least - best)
            paid = {arm: compare.cost_at_error(line, level) for arm, line in lines.items()}
            samples = {arm: compare.resampled_costs(line, [level], counts)[:, 0] for arm, line in lines.items()}
            gap = compare.difference(*paid.values(), *samples.values())  # one policy less by weight
            rows.append(
                {
                    "workload": name,
                    "error": float(level),
                    "one policy": paid["one policy"],
                    "by weight": paid["by weight"],
                    "saved": gap.value / paid["one policy"],
                    "low": gap.low / paid["one policy"],
                    "high": gap.high / paid["one policy"],
                }
            )
    return rows


def _line(name: str, front: ttamer.Front, costs: Floats, losses: Floats, unit: str) -> compare.Curve:
    figures = np.array([[point.cost, point.error] for point in front])
    settings = tuple(f"trade-off {point.policy.tradeoff:.4g}" for point in front)
    return compare.Curve(name, settings, figures[:, :1], figures[:, 1:], costs, losses, unit)


# ---------------------------------------------------------------- all of it

TITLES = {
    "flight": "a request of three consultations, microseconds, and bytes",
    "cascade": f"a request through asyncio, microseconds, {REQUESTS:,} requests",
    "failure": "the middle one of three exits always fails: test error, and mean cost in ms",
    "weights": "token counts lognormal, sigma 1: cost at equal test error, and the share that weights save, [5%, 95%]",
}


def main(arguments: Sequence[str] | None = None) -> int:
    command_line = parser(__doc__ or "", RESULTS)
    command_line.add_argument("folder", nargs="?", type=Path, help="recorded workloads, for the weights")
    options = command_line.parse_args(arguments)
    repeats = QUICK_REPEATS if options.quick else REPEATS
    title = "Serving requests one by one"
    print(f"{machine_line()}\n\n{title}")
    tables = {}
    with one_thread():
        for name, rows_of in {
            "flight": lambda: flight_rows(repeats),
            "cascade": lambda: cascade_rows(repeats),
            "failure": failure_rows,
            "weights": lambda: weight_rows(50 if options.quick else 1000, options.folder),
        }.items():
            tables[name] = rows_of()
            print(f"\n{TITLES[name]}\n")
            print_rows(tables[name])
    if is_kept(options):
        content = {"title": title, "machine": machine(), "quick": options.quick, "tables": tables}
        write("serve", content, options.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
