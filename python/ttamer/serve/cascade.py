"""An asyncio loop around flights: asks nodes, with timeouts, until the policy stops."""

from __future__ import annotations

import asyncio
import logging
import math
import random
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, NamedTuple
from uuid import uuid4

import numpy.typing as npt

from ttamer._base import checks
from ttamer._base.types import STOP
from ttamer.serve.dispatcher import DEFAULT, Dispatcher
from ttamer.serve.flight import Flight
from ttamer.serve.log import Log
from ttamer.serve.metrics import Counts
from ttamer.serve.visits import AllFailed


class Outcome(NamedTuple):
    """What a node gives back: the arguments of `Flight.consulted`."""

    answer: Any
    signal: float | str | None = None
    logits: npt.ArrayLike | None = None
    label: int | None = None
    cost: float | Mapping[str, float] | None = None


Node = Callable[[Any, Flight], Awaitable[Outcome]]
"""Takes the request and its flight, whose earlier answers it may compare with. What it raises is a failure; its
attribute ``cost``, if there is one, is what the attempt cost."""


class Cascade:
    """Runs requests through nodes: ``flight = await cascade(request)``.

    Parameters
    ----------
    nodes : mapping of str or int to callable
        Of each node of the dispatcher, by name or number, an asynchronous function of the request and the flight that
        returns an `Outcome`. One that the policy cannot use counts as a failure that was paid, and is warned of.
    dispatcher : Dispatcher
    timeouts : float or mapping of str or int to float, optional
        Seconds after which a node counts as failed; one number for all of them.
    shadow : float
        Share of requests that go on to all other nodes once they are answered, in the background and for the log alone:
        it is the only way to know what a node that was not asked would have said.
    log : Log, optional
        Where each flight is recorded when it is over, shadows included.
    metrics : Metrics, optional
        Where each flight is counted then.
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
        timeouts: float | Mapping[str, float] | Mapping[int, float] | None = None,
        shadow: float = 0.0,
        log: Log | None = None,
        metrics: Counts | None = None,
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
        if timeouts is None or isinstance(timeouts, Mapping):
            self._timeouts = {
                dispatcher.number("timeouts", node): _seconds(f"timeouts[{node!r}]", limit)
                for node, limit in (timeouts or {}).items()
            }
        else:
            self._timeouts = dict.fromkeys(self._nodes, _seconds("timeouts", timeouts))
        if not 0 <= checks.real("shadow", shadow) <= 1:
            raise ValueError(f"shadow: expected a share from 0 to 1, got {shadow}")
        self._shadow = shadow
        self._log = None if log is None else checks.instance("log", log, Log)
        if not (metrics is None or isinstance(metrics, Counts)):
            raise TypeError(f"metrics: expected Metrics, got {type(metrics).__name__}")
        self._metrics = metrics
        self._on_decision = on_decision
        self._random = random.Random(seed)
        self._shadows: set[asyncio.Task[None]] = set()
        self._warned: set[int] = set()

    async def __call__(
        self,
        payload: Any,
        *,
        tier: str = DEFAULT,
        weight: float = 1.0,
        deadline: float | None = None,
        context: Mapping[str, Any] | None = None,
        request: str | None = None,
    ) -> Flight:
        """Ask nodes until the policy stops.

        Parameters are those of `Dispatcher.enter`, but for the payload, which nodes get. A node that overruns the
        deadline is left once there is an answer. With a log every request has a name, ``flight.request``.

        Returns
        -------
        Flight
            Stopped; ``flight.answer`` is the answer.

        Raises
        ------
        AllFailed
            If no node answered. It is recorded all the same, and so is a request that is cancelled.
        """
        if request is None and self._log is not None:
            request = uuid4().hex
        flight = self.dispatcher.enter(tier, weight, deadline, context, request)
        try:
            while flight.node != STOP:
                await self._ask(payload, flight)
                if self._on_decision is not None:
                    _quietly(self._on_decision, flight)
        except BaseException:
            flight.cancel()
            self._record(flight)
            raise
        if self._shadow and self._random.random() < self._shadow:
            flight.is_shadowed = True
            task = asyncio.ensure_future(self._go_on(payload, flight))
            self._shadows.add(task)
            task.add_done_callback(self._shadows.discard)
        else:
            self._record(flight)
        if flight.answer_node < 0:
            raise AllFailed(flight.causes)
        return flight

    async def join(self) -> None:
        """Wait for shadows that are under way, as before the log is closed."""
        while self._shadows:
            await asyncio.gather(*self._shadows, return_exceptions=True)

    async def _ask(self, payload: Any, flight: Flight) -> None:
        node, left = flight.node, flight.left
        limit = self._timeouts.get(node)
        if left is not None and flight.answer_node >= 0:
            limit = left if limit is None else min(limit, left)
        outcome = await self._call(node, payload, flight, limit)
        if flight.node == node:  # the node itself may have cancelled the request
            self._tell(node, outcome, flight.consulted, flight.failed)

    async def _go_on(self, payload: Any, flight: Flight) -> None:
        """Ask all nodes that were not asked, one after the other."""
        asked = {visit.node for visit in flight.visits}

        def is_resumed() -> bool:  # by somebody who tells the rest, and logs it
            return flight.node != STOP or sum(not visit.shadow for visit in flight.visits) != len(asked)

        try:
            for node in sorted(self._nodes):
                if node in asked or self.dispatcher.is_down(node):
                    continue
                outcome = await self._call(node, payload, flight, self._timeouts.get(node))
                if is_resumed():
                    return
                told = partial(flight.shadowed, node)
                self._tell(node, outcome, told, told)
        finally:
            if not is_resumed():
                self._record(flight)

    async def _call(self, node: int, payload: Any, flight: Flight, limit: float | None) -> object:
        """What a node gives back, or how it failed."""
        cancellations = _cancellations()
        try:
            called: object = self._nodes[node](payload, flight)
            if isinstance(called, Awaitable):
                return await _within(called, limit)
        except Exception as error:
            return _Failure(error, getattr(error, "cost", 0.0))
        except asyncio.CancelledError:
            if _cancellations() != cancellations:
                raise
            return _Failure(RuntimeError("what the node waited for was cancelled"), 0.0)
        wrong = TypeError(f"expected an asynchronous function, got one that returned {type(called).__name__}")
        self._warn(node, wrong)
        return _Failure(wrong, getattr(called, "cost", None))

    def _tell(self, node: int, outcome: object, tell: Callable[..., object], fail: Callable[..., object]) -> None:
        """Tell a flight what a node gave back, or that it failed, and what that cost."""
        if not isinstance(outcome, _Failure):
            try:
                if not isinstance(outcome, Outcome):
                    raise TypeError(f"expected an Outcome, got {type(outcome).__name__}")
                answer, signal, logits, label, cost = outcome
                tell(answer, signal, logits=logits, label=label, cost=cost)
                return
            except Exception as error:  # what cannot be used is a failure, and was paid
                self._warn(node, error)
                outcome = _Failure(error, getattr(outcome, "cost", None))
        try:
            fail(**outcome._asdict())
        except (TypeError, ValueError):  # no cost that the policy knows: then it is what the policy expects
            fail(error=outcome.error, cost=None)

    def _warn(self, node: int, error: Exception) -> None:
        """Of what a node returned that cannot be used: it may fail at every request, and others answer."""
        if node not in self._warned:
            self._warned.add(node)
            name = self.dispatcher.nodes[node]
            logging.getLogger("ttamer.serve").warning(
                "what %s returns cannot be used, it counts as failed: %s", name, error
            )

    def _record(self, flight: Flight) -> None:
        """A log that cannot be written costs no request its answer."""
        if self._log is not None:
            _quietly(self._log.write, flight)
        if self._metrics is not None:
            _quietly(self._metrics.saw, flight)


def _quietly(call: Callable[[Flight], object], flight: Flight) -> None:
    try:
        call(flight)
    except Exception:
        logging.getLogger("ttamer.serve").exception("after an answer to request %s", flight.request)


def _cancellations() -> float:
    """How often the request was cancelled. Python 3.10 does not tell: then any cancellation counts as the request's."""
    task = asyncio.current_task()
    return math.nan if task is None or not hasattr(task, "cancelling") else task.cancelling()


class _Failure(NamedTuple):
    """Why a node gave nothing, and what the attempt cost, None for what the policy expects of an answer."""

    error: Exception
    cost: Any


async def _within(call: Awaitable[Outcome], limit: float | None) -> Outcome:
    if limit is None:
        return await call
    try:
        return await asyncio.wait_for(call, limit)
    except asyncio.TimeoutError as error:
        if type(error) is not asyncio.TimeoutError or error.args or hasattr(error, "cost"):  # the node's own
            raise
        raise TimeoutError(f"no answer within {limit:g} s") from None


def _seconds(name: str, value: object) -> float:
    seconds = checks.real(name, value)
    if seconds <= 0:
        raise ValueError(f"{name}: expected more than 0 seconds, got {seconds:g}")
    return seconds
