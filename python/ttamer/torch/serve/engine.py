"""Requests that come at any time, in full batches: a queue before each stage, and answers that leave when known."""

from __future__ import annotations

import atexit
import heapq
import itertools
import re
import threading
import time
import weakref
from collections import defaultdict, deque
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from types import TracebackType
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ttamer._base import checks
from ttamer._base.topologies import topology_text
from ttamer._base.types import STOP
from ttamer.torch.decide.flight import refused, signalling
from ttamer.torch.output import ExitOutput
from ttamer.torch.parts import Network, run, unpacked
from ttamer.torch.serve import nested
from ttamer.torch.serve.graph_inputs import kind_of
from ttamer.torch.serve.queues import Chunk, Queue, Slots, joined
from ttamer.torch.serve.rows import Answers
from ttamer.torch.serve.serving import Serving, output_of

Mask = npt.NDArray[np.bool_]
Kind = tuple[Hashable, Hashable]
"""Of a hidden state, and of the keywords that come along."""

_SPARSE = 4
"""Rows that are at most one in so many are copied at once: those that wait must not keep much more than themselves."""


class _Request:
    """Rows that were handed over together, and who waits for them."""

    def __init__(self, x: Any, keywords: Any, rows: int, kind: Kind, deadline: float) -> None:
        self.x, self.keywords, self.rows, self.kind, self.deadline = x, keywords, rows, kind, deadline
        self.future: Future[ExitOutput] = Future()
        self.slots = np.zeros(0, np.int64)
        self.left = rows  # not answered yet

    def end(self, output: ExitOutput | BaseException | None) -> None:
        """Tell who waits: an answer, an error, or, None, that it was cancelled."""
        is_told = self.future.done() and not self.future.cancelled()
        if is_told or not self.future.set_running_or_notify_cancel():
            return
        if isinstance(output, StopIteration):  # asyncio cannot raise it, and would wait for ever
            error = RuntimeError(f"StopIteration: {output}")
            error.__cause__ = output
            output = error
        if isinstance(output, BaseException):
            self.future.set_exception(output)
        else:
            self.future.set_result(cast(ExitOutput, output))


class Engine:
    """Serves requests as they come; `EarlyExit.engine` makes it.

    A thread runs one stage after the other, each on at most `batch` of the rows that wait before it. Rows that the
    policy stops leave with their answer, the others wait before the next stage: batches are full although rows leave,
    and nobody waits for the slowest row of a batch. Answers are those of a call of the model.

    Of the stages before which a full batch waits the last one is next, otherwise the last one before which any row
    does. But rows that have waited for `max_wait` seconds come first.

    Threads and event loops may share an engine. As a context manager it is closed at the end.

    Parameters
    ----------
    model : EarlyExit
    serving : Serving
        The policy that is attached to the model, to which the engine keeps.
    slots, batch, max_wait
        See `EarlyExit.engine`.
    """

    def __init__(self, model: Network, serving: Serving, slots: int, batch: int, max_wait: float) -> None:
        self.slots, self.batch = checks.whole("slots", slots, 1), checks.whole("batch", batch, 1)
        self.max_wait = checks.real("max_wait", max_wait)
        if not self.max_wait >= 0:
            raise ValueError(f"max_wait: expected seconds >= 0, got {max_wait}")
        sizes, policy = serving.compaction.sizes, serving.decider.policy
        if sizes and self.batch > sizes[-1]:
            raise ValueError(f"batch: expected at most {sizes[-1]}, the largest bucket, got {batch}")
        if policy.topology.kind != "line":
            raise ValueError(f"engine: expected a policy over a line, got {topology_text(policy.topology)}")
        self._device = serving.decider.tables.device
        self._autocast = _autocast(self._device)
        if serving.capture and self._device.type == "cuda":
            raise ValueError("engine: expected a policy attached with capture=False; graphs hold calls from end to end")
        self._model, self._decider, self._compaction = model, serving.decider, serving.compaction
        self._network = serving.network(model._parts(), self._device)
        self._flight = serving.decider.start(self.slots, serving.nan)
        self._answers = Answers(self._network.recall, len(self._network.parts) * self._network.estimates)
        self._like: Tensor | None = None
        self._queues: list[dict[Kind, Queue]] = [defaultdict(Queue) for _ in self._network.parts]
        self._requests: list[_Request | None] = [None] * self.slots  # None: nobody waits for the row any more
        # Of each row: whether it is in a queue, has an answer, gets no other one, and is to leave with the next one.
        self._waits, self._is_answered, self._is_done, self._is_late = np.zeros((4, self.slots), bool)
        self._deadlines: list[tuple[float, int, weakref.ref[_Request]]] = []
        self._numbers = itertools.count()
        # What callers touch too, under the lock.
        self._lock = threading.Lock()
        self._work, self._room = threading.Condition(self._lock), threading.Condition(self._lock)
        self._backlog: deque[_Request] = deque()  # without slots so far
        self._open: set[_Request] = set()
        self._free = list(range(self.slots))
        self._under_way = 0  # rows handed over and not answered
        self._is_closed = False
        self._error: BaseException | None = None  # that ended the thread
        self._thread = threading.Thread(target=self._run, name="ttamer-engine", daemon=True)
        self._thread.start()
        _engines.add(self)

    # ------------------------------------------------------------ for callers

    def submit(self, x: Any = None, *, deadline: float | None = None, **keywords: Any) -> Future[ExitOutput]:
        """Hand rows over; waits while there are no slots for them.

        Parameters
        ----------
        x, **keywords
            What a call of the model takes, with 1 to `slots` rows. They must not change until they are answered.
        deadline : float, optional
            Seconds from now after which rows leave with the best answer so far, as soon as they have one.

        Returns
        -------
        concurrent.futures.Future of ExitOutput
            Done when all of its rows are answered, in their order. It raises what a stage, an exit or the decision
            raised for any of them. Once it is cancelled no further stage runs for them.

        Raises
        ------
        RuntimeError
            If the engine is closed, or the model is in training mode or has moved.
        TypeError, ValueError
            As a call of the model; or there are more rows than slots.
        """
        request = self._request(x, keywords, deadline)
        with self._lock:
            self._enter(request)
            # What is submitted by the callback of an answer must not wait for the thread that calls it.
            if self._under_way > self.slots and threading.current_thread() is not self._thread:
                while len(request.slots) == 0 and not request.future.done():
                    self._room.wait()
        return request.future

    async def __call__(self, x: Any = None, *, deadline: float | None = None, **keywords: Any) -> ExitOutput:
        """As `submit`, for asyncio: waits for slots and for the answer without blocking the event loop.

        How many tasks wait is not bounded here.
        """
        import asyncio

        request = self._request(x, keywords, deadline)
        with self._lock:
            self._enter(request)
        return await asyncio.wrap_future(request.future)

    def map(self, inputs: Iterable[Any], keywords: Iterable[Mapping[str, Any]] | None = None) -> Iterator[ExitOutput]:
        """Answers of many inputs, in their order.

        Parameters
        ----------
        inputs : iterable
            Of what `submit` takes. It is read as far as there are slots.
        keywords : iterable of mappings, optional
            Of each input.

        Yields
        ------
        ExitOutput

        Raises
        ------
        Exception
            What `submit`, or the answer whose turn it is, raises; requests that are under way are cancelled then.
        """
        pairs: Iterable[tuple[Any, Mapping[str, Any]]] = (
            ((x, {}) for x in inputs) if keywords is None else zip(inputs, keywords, strict=True)
        )
        futures: deque[Future[ExitOutput]] = deque()
        try:
            for x, named in pairs:
                futures.append(self.submit(x, **named))
                while futures and futures[0].done():
                    yield futures.popleft().result()
            while futures:
                yield futures.popleft().result()
        finally:
            for future in futures:
                future.cancel()

    def close(self) -> None:
        """Answer what was submitted, and stop."""
        with self._lock:
            self._is_closed = True
            self._work.notify()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def __enter__(self) -> Engine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _request(self, x: Any, keywords: dict[str, Any], deadline: float | None) -> _Request:
        """What was handed over, checked."""
        self._check_mode()
        x, keywords = unpacked(self._network.parts[0][0], x, keywords)
        rows, device = self._model._check(x, keywords)
        if device != self._device:
            raise RuntimeError(f"engine: the model was on {self._device} when it was made, and is on {device} now")
        if _autocast(device) != self._autocast:
            raise RuntimeError("engine: expected autocast as it was where the engine was made")
        if not 1 <= rows <= self.slots:
            raise ValueError(f"x: expected 1 to {self.slots} rows, as many as there are slots, got {rows}")
        end = np.inf
        if deadline is not None:
            seconds = checks.real("deadline", deadline)
            if not seconds >= 0:
                raise ValueError(f"deadline: expected seconds >= 0, got {deadline}")
            end = time.monotonic() + seconds
        return _Request(x, keywords, rows, (kind_of(x, "x"), kind_of(keywords, "keywords")), end)

    def _check_mode(self) -> None:
        if self._model.training:
            raise RuntimeError("engine: expected a model in evaluation mode; call eval() first")

    def _enter(self, request: _Request) -> None:
        """Under the lock."""
        if self._is_closed:
            raise RuntimeError("engine: it is closed") from self._error
        if not self._thread.is_alive():
            raise RuntimeError("engine: expected the process that made it; a fork has no thread of it")
        self._backlog.append(request)
        self._open.add(request)
        self._under_way += request.rows
        self._work.notify()

    # ------------------------------------------------------------ the thread

    def _run(self) -> None:
        try:
            is_on, dtype = self._autocast
            with torch.no_grad(), torch.autocast(self._device.type, dtype, is_on, cache_enabled=False):
                while self._take_in():
                    self._let_go()
                    self._advance(*self._next())
        except BaseException as error:  # nobody may wait for a thread that is gone
            with self._lock:
                self._is_closed, self._error = True, error
                requests = list(self._open)
            for request in requests:
                with suppress(BaseException):  # of callbacks: the others are told all the same
                    request.end(error)
            with self._lock:
                self._room.notify_all()
            raise

    def _take_in(self) -> bool:
        """Who was submitted gets slots, as far as there are some, and waits for the first stage.

        Waits where there is nothing to do. False at the end.
        """
        requests = []
        with self._lock:
            while not self._backlog and not any(self._queues):
                if self._is_closed:
                    return False
                self._work.wait()
            while self._backlog and self._backlog[0].rows <= len(self._free):
                request = self._backlog.popleft()
                request.slots = np.array(self._free[-request.rows :], np.int64)
                del self._free[-request.rows :]
                requests.append(request)
            if requests:
                self._room.notify_all()
        now = time.monotonic() if requests else 0.0
        for request in requests:
            for slot in request.slots.tolist():
                self._requests[slot] = request
            for facts in (self._is_answered, self._is_done, self._is_late):
                facts[request.slots] = False
            if request.deadline < np.inf:
                heapq.heappush(self._deadlines, (request.deadline, next(self._numbers), weakref.ref(request)))
            self._push(0, request.kind, Chunk(request.x, request.keywords, None, request.slots, now))
            request.x = request.keywords = None  # the queue holds them as long as they are needed
        return True

    def _push(self, node: int, kind: Kind, chunk: Chunk) -> None:
        self._waits[chunk.slots] = True
        self._queues[node][kind].push(chunk)

    def _let_go(self) -> None:
        """Rows that are late leave, if they have an answer."""
        while self._deadlines and self._deadlines[0][0] <= time.monotonic():
            request = heapq.heappop(self._deadlines)[2]()
            if request is None or self._requests[request.slots[0]] is not request:
                continue  # it has ended
            self._is_late[request.slots] = True
            self._leave(request.slots[self._is_answered[request.slots] & ~self._is_done[request.slots]])

    def _next(self) -> tuple[int, Kind]:
        """The stage that is to run, and of which kind of rows."""
        late = time.monotonic() - self.max_wait
        best: tuple[tuple[int, int, float], int, Kind] | None = None
        for node, queues in enumerate(self._queues):
            for kind, queue in queues.items():
                since = queue.chunks[0].since
                rank = (2, 0, -since) if since < late else (int(queue.rows >= self.batch), node, -since)
                if best is None or rank > best[0]:
                    best = rank, node, kind
        assert best is not None  # there is something to do
        return best[1:]

    def _advance(self, node: int, kind: Kind) -> None:
        """Run a stage for those who wait before it."""
        queue = self._queues[node][kind]
        chunks = queue.pop(self.batch)
        if not queue.rows:
            del self._queues[node][kind]
        slots = np.concatenate([chunk.slots for chunk in chunks])
        requests = self._requests_in(slots)
        cancelled = [request for request in requests if request.future.cancelled()]
        if cancelled:
            self._end(cancelled, [None] * len(cancelled))
        self._waits[slots] = False
        if self._is_done[slots].any():
            chunks = [part for chunk in chunks if (part := self._live(chunk)) is not None]
        if not chunks:
            return
        try:
            self._step(node, kind, chunks)
        except Exception as error:  # of a stage or an exit: these requests fail, others go on
            failed = [request for request in requests if request in self._open]
            self._end(failed, [error] * len(failed))

    def _requests_in(self, slots: Slots) -> list[_Request]:
        """Whose rows these are, each once."""
        requests = dict.fromkeys(self._requests[slot] for slot in slots.tolist())
        return [request for request in requests if request is not None]

    def _live(self, chunk: Chunk) -> Chunk | None:
        """Without rows that want no answer any more; None if that is all of them."""
        ended = np.array([self._requests[slot] is None for slot in chunk.slots.tolist()])
        self._free_up(chunk.slots[ended])
        (left,) = (~self._is_done[chunk.slots]).nonzero()
        return chunk.part(self._there(left), chunk.slots[left]) if len(left) else None

    def _step(self, node: int, kind: Kind, chunks: list[Chunk]) -> None:
        """Run a stage and its exit, decide, and let rows leave or wait for the next one."""
        self._check_mode()
        count = sum(len(chunk.slots) for chunk in chunks)
        size = self._compaction.fitting(count)
        hidden, keywords, slots = joined(chunks, size)
        stage, leave = self._network.parts[node]
        hidden = run(stage, hidden, keywords)
        nested.check_hidden(hidden, size, node)
        logits = nested.check_output(run(leave, hidden, keywords), size, node, self._like)[:count]
        self._like = logits[:1].clone() if self._like is None else self._like
        goes_on = self._decide(node, logits, slots) & ~self._is_late[slots]
        self._is_answered[slots] = True
        (left,) = goes_on.nonzero()
        ahead = (kind_of(hidden, f"stage {node}"), kind[1]) if len(left) else kind
        if len(left) < count:
            self._leave(slots[~goes_on])
        if len(left) == 0:
            return
        positions = None if len(left) == size else self._there(left)
        # Stages that are captured for fixed sizes give the same memory again.
        if self._compaction.sizes or _SPARSE * len(left) <= size:
            index, positions = self._there(left), None
            hidden, keywords = nested.select(hidden, index), nested.select(keywords, index)
        # After all that may raise: who fails must wait nowhere.
        self._push(node + 1, ahead, Chunk(hidden, keywords, positions, slots[left], time.monotonic()))

    def _decide(self, node: int, logits: Tensor, slots: Slots) -> Mask:
        """Which rows go on. Requests whose logits are refused fail by themselves, and go nowhere."""
        rows = self._there(slots)
        try:
            decision = self._decider(self._flight, node, signalling(logits, self._decider.signal), rows)
            self._flight.survivors(decision)  # raises what an accelerator refused
            goes_on: Mask = decision.next_node.cpu().numpy() != STOP
            if not self._answers.begun:
                self._answers.make_room(self.slots, logits)
            self._answers.consulted(node, logits, rows, self._flight)
            return goes_on
        except (TypeError, ValueError) as error:
            requests = self._requests_in(slots)
            if len(requests) == 1:
                own = requests[0].slots.tolist()
                self._end(requests, [_refused(node, logits, [own.index(slot) for slot in slots.tolist()], error)])
                return np.zeros(len(slots), bool)
        goes_on = np.zeros(len(slots), bool)
        for request in requests:
            (at,) = np.isin(slots, request.slots).nonzero()
            goes_on[at] = self._decide(node, logits.index_select(0, self._there(at)), slots[at])
        return goes_on

    def _leave(self, slots: Slots) -> None:
        """Rows keep the answer that they have; requests of which all rows do get theirs."""
        self._is_done[slots] = True
        complete = []
        for slot in slots.tolist():
            request = self._requests[slot]
            if request is not None:
                request.left -= 1
                if request.left == 0:
                    complete.append(request)
        if not complete:
            return
        rows = self._there(np.concatenate([request.slots for request in complete]))
        output = output_of(self._network, self._answers, self._flight, None, rows)
        counts = [request.rows for request in complete]
        parts = zip(*(torch.split_with_sizes(field, counts) for field in output), strict=True)
        # In memory of their own: a part of one that is shared would be pickled with all of it.
        self._end(complete, [ExitOutput(*(field.clone() for field in fields)) for fields in parts])

    def _end(self, requests: Sequence[_Request], outputs: Sequence[ExitOutput | BaseException | None]) -> None:
        """Tell who waits for requests; the slots of rows are free when they are in no queue."""
        slots = np.concatenate([request.slots for request in requests])
        for slot in slots.tolist():
            self._requests[slot] = None
        self._is_done[slots] = True
        self._free_up(slots[~self._waits[slots]])
        for request, output in zip(requests, outputs, strict=True):
            request.end(output)
            self._open.discard(request)

    def _free_up(self, slots: Slots) -> None:
        """Slots are for others."""
        self._flight.reset(self._there(slots))
        with self._lock:
            self._free.extend(slots.tolist())
            self._under_way -= len(slots)

    def _there(self, values: Slots) -> Tensor:
        """Positions or slots as a tensor where the model is."""
        tensor = torch.from_numpy(values)
        return tensor if self._device.type == "cpu" else tensor.to(self._device)


def _refused(node: int, logits: Tensor, rows: Sequence[int], error: TypeError | ValueError) -> Exception:
    """What to tell who waits for a request, whose rows these are: a flight's error would name slots."""
    if logits.ndim == 2:
        good = logits.float().logsumexp(dim=1).isfinite().tolist()
        if not all(good):
            numbers = ", ".join(map(str, sorted(row for row, is_good in zip(rows, good, strict=True) if not is_good)))
            return ValueError(
                f"exit {node}: logits: NaN, +inf or only -inf in rows {numbers} of the request; "
                'attach the policy with nan="worst"'
            )
    return refused(node, type(error)(re.sub(r" \(row \d+\)", " of the request", str(error))))


def _autocast(device: torch.device) -> tuple[bool, torch.dtype]:
    """Whether operations on a device choose lower precision in this thread, and which."""
    return torch.is_autocast_enabled(device.type), torch.get_autocast_dtype(device.type)


_engines: weakref.WeakSet[Engine] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    """Let no thread run into the end of the process: PyTorch would abort it."""
    for engine in list(_engines):
        for request in list(engine._open):
            request.future.cancel()
        engine.close()
