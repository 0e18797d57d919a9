"""An asyncio loop around flights: asks nodes, with timeouts, until the policy stops."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple

import numpy.typing as npt

from ttamer._base import checks
from ttamer._base.types import STOP
from ttamer.serve.dispatcher import DEFAULT, Dispatcher
from ttamer.serve.flight import AllFailed, Flight
from ttamer.serve.log import Log


class Outcome(NamedTuple):
    """What a node gives back: the arguments of `Flight.consulted`."""

    answer: Any
    signal: float | str | None = None
    logits: npt.ArrayLike | None = None
    label: int | None = None
    cost: float | None = None


Node = Callable[[Any, Flight], Awaitable[Outcome]]
"""Takes the request and its flight, whose earlier answers it may compare with. What it raises is a failure; its
attribute ``cost``, if there is one, is what the attempt cost."""


class Cascade:
    """Runs requests through nodes: ``flight = await cascade(request)``.

    Parameters
    ----------
    nodes : mapping of str or int to callable
        Of each node of the dispatcher, by name or number, an asynchronous function of the request and the flight that
        returns an `Outcome`.
    dispatcher : Dispatcher
    timeouts : mapping of str or int to float, optional
        Seconds after which a node counts as failed.
    shadow : float
        Share of requests that go on to all other nodes once they are answered, in the background and for the log alone:
        it is the only way to know what a node that was not asked would have said.
    log : Log, optional
        Where each flight is recorded when it is over, shadows included.
    on_decision : callable, optional
        Called with the flight after every answer and every failure.
    seed : int, optional
        Of the draw of shadows.

    Raises
    ------
    TypeError, ValueError
        If a node of the dispatcher is missing or one is unknown, or a number is out of range.
    """

    def __init__(
        self,
        nodes: Mapping[str, Node] | Mapping[int, Node],
        dispatcher: Dispatcher,
        *,
        timeouts: Mapping[str, float] | Mapping[int, float] | None = None,
        shadow: float = 0.0,
        log: Log | None = None,
        on_decision: Callable[[Flight], None] | None = None,
        seed: int | None = None,
    ) -> None:
        checks.instance("dispatcher", dispatcher, Dispatcher)
        self.dispatcher = dispatcher
        self._nodes: dict[int, Node] = {dispatcher.number("nodes", node): call for node, call in nodes.items()}
        missing = [
            name
            for node, name in enumerate(dispatcher.nodes)
            if node not in self._nodes and node not in dispatcher.context_nodes
        ]
        if missing:
            raise ValueError(f"nodes: expected a function for each node, got none for {', '.join(missing)}")
        self._timeouts = {
            dispatcher.number("timeouts", node): _seconds(f"timeouts[{node!r}]", limit)
            for node, limit in (timeouts or {}).items()
        }
        if not 0 <= checks.real("shadow", shadow) <= 1:
            raise ValueError(f"shadow: expected a share from 0 to 1, got {shadow}")
        self._shadow = shadow
        self._log = log
        self._on_decision = on_decision
        self._random = random.Random(seed)
        self._shadows: set[asyncio.Task[None]] = set()

    async def __call__(
        self,
        request: Any,
        *,
        tier: str = DEFAULT,
        weight: float = 1.0,
        deadline: float | None = None,
        context: Mapping[str, Any] | None = None,
    ) -> Flight:
        """Ask nodes until the policy stops.

        Parameters are those of `Dispatcher.enter`. A node that overruns the deadline is left once there is an answer.

        Returns
        -------
        Flight
            Stopped; ``flight.answer`` is the answer.

        Raises
        ------
        AllFailed
            If no node answered. It is recorded all the same.
        """
        flight = self.dispatcher.enter(tier, weight, deadline, context)
        while flight.node != STOP:
            await self._ask(request, flight)
            if self._on_decision is not None:
                self._on_decision(flight)
        if self._shadow and self._random.random() < self._shadow:
            task = asyncio.ensure_future(self._go_on(request, flight))
            self._shadows.add(task)
            task.add_done_callback(self._shadows.discard)
        elif self._log is not None:
            self._log.write(flight)
        if flight.answer_node < 0:
            raise AllFailed(flight.causes)
        return flight

    async def join(self) -> None:
        """Wait for shadows that are under way."""
        while self._shadows:
            await asyncio.gather(*self._shadows)

    async def _ask(self, request: Any, flight: Flight) -> None:
        node = flight.node
        limit = self._timeouts.get(node)
        left = flight.left
        if left is not None and flight.answer_node >= 0:
            limit = left if limit is None else min(limit, left)
        try:
            outcome = await _within(self._nodes[node](request, flight), limit)
        except Exception as error:
            flight.failed(error, getattr(error, "cost", 0.0))
        else:
            flight.consulted(
                outcome.answer, outcome.signal, logits=outcome.logits, label=outcome.label, cost=outcome.cost
            )

    async def _go_on(self, request: Any, flight: Flight) -> None:
        """Ask all nodes that were not asked, one after the other."""
        asked = {visit.node for visit in flight.visits}
        for node, call in sorted(self._nodes.items()):
            if node in asked:
                continue
            try:
                outcome = await _within(call(request, flight), self._timeouts.get(node))
            except Exception as error:
                flight.shadowed(node, error=error, cost=getattr(error, "cost", 0.0))
            else:
                flight.shadowed(node, outcome.answer, outcome.signal, label=outcome.label, cost=outcome.cost)
        if self._log is not None:
            self._log.write(flight)


async def _within(call: Awaitable[Outcome], limit: float | None) -> Outcome:
    return await (call if limit is None else asyncio.wait_for(call, limit))


def _seconds(name: str, value: object) -> float:
    seconds = checks.real(name, value)
    if seconds <= 0:
        raise ValueError(f"{name}: expected more than 0 seconds, got {seconds:g}")
    return seconds
