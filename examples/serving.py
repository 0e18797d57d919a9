"""A cascade in an asyncio server: models that fail and hang, a deadline, tiers, and a log that becomes traces again.

Recorded answers of four models stand in for the calls. Requests come many at a time, each with a weight: how many times
the mean it costs. Every fifth call of one model fails and some hang; the cascade goes on with the best of the others.
Some requests are shown to all models for the log, from which the next policy would be fitted. Prints what was answered,
by whom, at what cost, and why requests stopped.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import ttamer
import ttamer.data
from ttamer.serve import Cascade, Dispatcher, Flight, Log, Outcome


class RateLimited(Exception):
    """A call that was refused, and cost nothing."""

    cost = 0.0


def model(requests: ttamer.Traces, node: int, unreliable: bool) -> Callable[[int, Flight], Awaitable[Outcome]]:
    """A model: an asynchronous function of the request and its flight."""
    draws = random.Random(node)

    async def call(request: int, flight: Flight) -> Outcome:
        await asyncio.sleep(0.001)  # here an API is called
        if unreliable and draws.random() < 0.2:
            raise RateLimited("try again later")
        if unreliable and draws.random() < 0.02:
            await asyncio.sleep(60)
        assert requests.predictions is not None
        answer = int(requests.predictions[request, node])
        return Outcome(answer, float(requests.signals[request, node]), cost=requests.costs[node] * flight.weight)

    return call


async def serve(cascade: Cascade, requests: int) -> list[Flight]:
    """Many at once, each with its own weight and half a second of time."""
    draws = random.Random(0)
    weights = [draws.lognormvariate(-0.5, 1.0) for _ in range(requests)]
    flights = await asyncio.gather(*(cascade(k, weight=weight, deadline=0.5) for k, weight in enumerate(weights)))
    await cascade.join()
    return flights


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=400, help="how many requests to serve")
    count = parser.parse_args(arguments).requests

    workload = ttamer.data.load("ferplus")
    test = workload.test
    names = test.nodes or ()
    front = ttamer.frontier(workload.calibration)
    dispatcher = Dispatcher(
        front, tradeoff=front.best(max_cost=4e-4).policy.tradeoff, seconds=dict.fromkeys(names, 0.01)
    )
    nodes = {name: model(test, node, unreliable=node == 2) for node, name in enumerate(names)}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "requests.jsonl"
        with Log(path) as log:
            cascade = Cascade(nodes, dispatcher, timeouts=dict.fromkeys(names, 0.1), shadow=0.1, log=log, seed=0)
            flights = asyncio.run(serve(cascade, min(count, len(test))))
        logged = ttamer.Traces.from_log(path, like=test)
    wrong = sum(float(test.losses[k, flight.answer_node]) for k, flight in enumerate(flights))
    print(f"{len(flights)} requests: error {wrong / len(flights):.4f}, {sum(f.cost for f in flights):.4f} {test.unit}")
    print("answered by", dict(Counter(names[flight.answer_node] for flight in flights)))
    print("stopped by", dict(Counter(flight.reason for flight in flights)))
    print("failed calls", dict(Counter(name for flight in flights for name in flight.causes)))
    print(f"logged: {logged}")


if __name__ == "__main__":
    main()
