"""A line of three nodes that answer what was recorded."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from helpers import random_traces

import ttamer
from ttamer import Topology, Traces
from ttamer.serve import Flight, Outcome

LINE = random_traces(Topology.line(3), 300, 3)._with(nodes=("small", "middle", "large"))
MODEL = ttamer.fit(LINE, 6)
POLICY = ttamer.solve(MODEL, 0.9)


def node_of(traces: Traces, node: int) -> Callable[[int, Flight], Awaitable[Outcome]]:
    """Answers with its number and the row."""

    async def call(request: int, flight: Flight) -> Outcome:
        await asyncio.sleep(0)
        label = None if traces.predictions is None else int(traces.predictions[request, node])
        return Outcome((node, request), float(traces.signals[request, node]), label=label)

    return call


def nodes_of(traces: Traces, **changes: Any) -> dict[str, Any]:
    assert traces.nodes is not None
    return {name: node_of(traces, node) for node, name in enumerate(traces.nodes)} | changes


async def hang(request: int, flight: Flight) -> Outcome:
    await asyncio.sleep(60)
    raise AssertionError("nobody waits so long")
