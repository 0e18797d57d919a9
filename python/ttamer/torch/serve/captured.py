"""A line of exits in CUDA graphs, one for each exit and number of rows.

Launched one by one, the kernels of a ramp cost the host more time than the device as soon as stages are short, and
every ramp begins with the device waiting. Captured, a ramp is one launch: stage, exit, decision, answers, and the rows
that go on brought together for the next stage. The host reads how many these are, and by that picks the next graph.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Hashable
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from ttamer.torch.decide.decider import Decider
from ttamer.torch.decide.flight import Decision, refused, signalling
from ttamer.torch.decide.ops import on_device
from ttamer.torch.parts import run
from ttamer.torch.serve import nested
from ttamer.torch.serve.answer_states import AnswerStates
from ttamer.torch.serve.graph_inputs import Places, kind_of
from ttamer.torch.serve.rows import Answers, Compaction, may_recall

_WARM_UPS = 2
"""Runs before the captures: libraries choose and load their kernels in the first."""


class CapturedLine:
    """The ramps of a line for inputs of one kind.

    What the graphs read and write stays where it is, so calls come one after the other, whichever thread or stream they
    are from. Off CUDA the same ramps run without graphs.

    Parameters
    ----------
    parts : list of (nn.Module, nn.Module)
        Stage and exit of each node.
    decider : Decider
    compaction : Compaction
        Its sizes are the numbers of rows to capture for.
    nan : {"error", "worst"}
    x, keywords
        Such an input, of at least one row, on the decider's device.

    Raises
    ------
    RuntimeError
        If a stage or exit cannot be captured.
    TypeError, ValueError
        If a stage or exit gives what it must not.
    """

    def __init__(
        self,
        parts: list[tuple[nn.Module, nn.Module]],
        decider: Decider,
        compaction: Compaction,
        nan: str,
        x: Any,
        keywords: dict[str, Any],
    ) -> None:
        self._parts, self._decider, self._compaction = parts, decider, compaction
        self._largest = compaction.sizes[-1]
        self._device = decider.tables.device
        self._states = AnswerStates.of(decider.policy)
        self._lock = threading.Lock()
        self._buffers: dict[Hashable, Tensor] = {}
        self._decisions: dict[int, Decision] = {}
        self._graphs: dict[tuple[int, int], torch.cuda.CUDAGraph] = {}
        self._like: Tensor | None = None
        with self._as_captured():
            self._flight = decider.start(self._largest + 1, nan)  # one row more: padding writes its answer there
            self._positions = torch.arange(self._largest, device=self._device)
            self._rows = torch.full_like(self._positions, -1)
            self._answers = Answers(may_recall(decider.policy, nan))
            self._hidden = [self._buffers_like(x, 0)]  # what each stage reads; made when the stage before has run
            self._keywords = self._buffers_like(keywords, -1)
            if self._device.type == "cuda":
                self._finish = torch.cuda.Event()  # type: ignore[no-untyped-call]
                self._capture(x, keywords)
                # After the warm-ups: a stage may make buffers in its first run.
            self._places = Places(self._readers(parts))

    def is_stale(self, parts: list[tuple[nn.Module, nn.Module]]) -> bool:
        """Whether the graphs are of other stages, exits, parameters or buffers than these have now."""
        return self._places.are_left(self._readers(parts))

    def _readers(self, parts: list[tuple[nn.Module, nn.Module]]) -> list[tuple[nn.Module, ...]]:
        """Modules that graphs run."""
        signal = self._decider.signal
        return [*parts, (signal,)] if isinstance(signal, nn.Module) else list(parts)

    def serve(
        self, x: Any, keywords: dict[str, Any], rows: int
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Serve an input of so many rows, at most the largest size.

        Returns
        -------
        logits : (rows, C) Tensor
            Of the exits that answer.
        answer_node, last_node : (rows,) int32 Tensor
        signal, state, expected_loss : (rows,) float32, int32 and float64 Tensor

        Raises
        ------
        ValueError
            If logits are NaN, naming the exit and the rows.
        """
        with self._lock, self._as_captured():
            if not self._graphs:
                return self._run_ramps(x, keywords, rows)
            self._finish.wait()  # the device may not be done with the call before, on another stream
            try:
                return self._run_ramps(x, keywords, rows)
            finally:
                self._finish.record()

    def _run_ramps(
        self, x: Any, keywords: dict[str, Any], rows: int
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
        """From ramp to ramp, as long as rows go on."""
        size = self._compaction.fitting(rows)
        self._begin(x, keywords, rows, size)
        for node in range(len(self._parts)):
            if self._graphs:
                self._graphs[node, size].replay()
            else:
                self._ramp(node, size)
            try:
                count = self._flight.survivors(self._decisions[size]).shape[0]  # the one read of this ramp
            except (TypeError, ValueError) as error:
                raise refused(node, error) from error
            if count == 0:
                break
            size = self._compaction.fitting(count)
        answer, last = self._answers.nodes(self._flight)
        logits = self._answers.logits(answer)[:rows].clone()
        return (
            logits,
            answer[:rows],
            last[:rows].clone(),
            *self._states.fields(self._flight, logits, self._positions[:rows]),
        )

    def _begin(self, x: Any, keywords: dict[str, Any], rows: int, size: int) -> None:
        """Bring an input to where the first ramp reads it, filled up to a size that is captured."""
        for buffers, value in ((self._hidden[0], x), (self._keywords, keywords)):
            for buffer, tensor in zip(nested.tensors_of(buffers), nested.tensors_of(value), strict=True):
                buffer[:rows].copy_(tensor)
                buffer[rows:size].copy_(tensor[:1])  # padding computes like any row
        self._rows[:rows].copy_(self._positions[:rows])
        self._rows[rows:size].fill_(-1)
        self._flight.reset()

    def _ramp(self, node: int, size: int) -> None:
        """What a graph holds: nothing here depends on values, or reads them. The first run of a node makes buffers."""
        (stage, leave), rows = self._parts[node], self._rows[:size]
        keywords = {name: _first(value, size) for name, value in self._keywords.items()}
        hidden = run(stage, _first(self._hidden[node], size), keywords)
        nested.check_hidden(hidden, size, node)
        like = self._like
        logits = nested.check_output(run(leave, hidden, keywords), size, node, like)
        decision = self._decisions[size] = self._decider(
            self._flight, node, signalling(logits, self._decider.signal), rows
        )
        if not self._answers.begun:
            self._answers.make_room(self._largest + 1, logits)
            self._like = logits
        self._answers.consulted(node, logits, torch.where(rows < 0, self._largest, rows), self._flight)
        if node + 1 < len(self._parts):
            if node + 1 == len(self._hidden):
                kind_of(hidden)
                self._hidden.append(self._buffers_like(hidden, (node + 1) % 2))
            self._bring(node + 1, hidden, decision, size)

    def _bring(self, node: int, hidden: Any, decision: Decision, size: int) -> None:
        """Rows that go on to the front of what the next node reads; behind them come copies of the first row."""
        live = self._positions[:size] < decision.count
        order = torch.where(live, decision.kept[:size], 0)
        for buffer, tensor in zip(nested.tensors_of(self._hidden[node]), nested.tensors_of(hidden), strict=True):
            torch.index_select(tensor, 0, order, out=buffer[:size])
        for buffer in nested.tensors_of(self._keywords):
            buffer[:size].copy_(buffer[:size].index_select(0, order))
        rows = self._rows[:size]
        rows.copy_(torch.where(live, rows.index_select(0, order), -1))

    def _buffers_like(self, value: Any, place: int) -> Any:
        """The same structure with room for the largest number of rows.

        Nodes of the same place share room: a stage reads one place, and what it gives is brought to another.
        """
        counts: Counter[Hashable] = Counter()

        def buffer(tensor: Tensor) -> Tensor:
            kind = (place, tensor.shape[1:], tensor.dtype)
            counts[kind] += 1
            name = (kind, counts[kind])
            if name not in self._buffers:
                self._buffers[name] = tensor.new_empty(self._largest, *tensor.shape[1:])
            return self._buffers[name]

        return nested.map_tensors(value, buffer)

    def _as_captured(self) -> ExitStack:
        """The state of PyTorch in which graphs are captured and buffers written."""
        kind, stack = self._device.type, ExitStack()
        stack.enter_context(on_device(self._device))
        # Buffers made in inference mode could not be written outside it.
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.no_grad())
        # Weights that autocast keeps are freed when its context ends, and graphs would still read them.
        stack.enter_context(
            torch.autocast(
                kind, torch.get_autocast_dtype(kind), enabled=torch.is_autocast_enabled(kind), cache_enabled=False
            )
        )
        return stack

    def _capture(self, x: Any, keywords: dict[str, Any]) -> None:
        sizes, nodes = self._compaction.sizes[::-1], range(len(self._parts))  # the largest first: graphs share memory
        current = torch.cuda.current_stream(self._device)
        # Captured on another stream than warmed up: workspaces, which libraries keep for each stream, then lie in the
        # graphs' own memory, and are not freed before these.
        warm, fresh = torch.cuda.Stream(self._device), torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
        warm.wait_stream(current)
        try:
            with torch.cuda.stream(warm):
                for size in sizes * _WARM_UPS:
                    some = min(size, next(nested.tensors_of(x)).shape[0])
                    self._begin(_first(x, some), _first(keywords, some), some, size)
                    for node in nodes:
                        self._ramp(node, size)
            with torch.cuda.stream(fresh):  # a failed capture must leave the stream too
                pool = torch.cuda.graph_pool_handle()
                for size in sizes:
                    for node in nodes:
                        self._graphs[node, size] = self._graph_of(node, size, pool, fresh)
        finally:
            current.wait_stream(warm)  # if this failed, buffers are freed next, which the warm-ups may still use

    def _graph_of(self, node: int, size: int, pool: Any, stream: torch.cuda.Stream) -> torch.cuda.CUDAGraph:
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, pool=pool, stream=stream, capture_error_mode="thread_local"):
                self._ramp(node, size)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            raise RuntimeError(
                f"capture: stage or exit {node} cannot be captured in a CUDA graph, as if it or the signal read values "
                "on the host; attach with capture=False"
            ) from error
        return graph


def _first(value: Any, size: int) -> Any:
    return nested.map_tensors(value, lambda tensor: tensor[:size])
