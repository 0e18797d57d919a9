"""One batch through the stages: rows leave where the policy says so, the others go on.

On a line every row that goes on goes to the next exit: one number a ramp, how many these are, is all that the host
reads. On a walk with jumps (skip, dag) rows pass exits, and the host reads how many rows wait for each. Nothing else
synchronises with the device, but capturing graphs.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ttamer._base.types import STOP
from ttamer.policy import Policy
from ttamer.torch.decide.decider import Decider
from ttamer.torch.decide.flight import Flight, refused, signalling
from ttamer.torch.output import ExitOutput
from ttamer.torch.serve.answer_states import AnswerStates
from ttamer.torch.serve.captured import CapturedLine
from ttamer.torch.serve.graph_inputs import kind_of
from ttamer.torch.serve.rows import Answers, Compaction, StageInput, may_recall

OnExit = Callable[[Tensor, ExitOutput], object]
"""Is told which rows of the input leave, and what they get."""
_MOST_KINDS = 32
"""Kinds of inputs that graphs are captured for: each takes time and memory."""

# One capture at a time in a process: a capture begins by waiting for the device, and nobody may wait for the device
# while another capture lasts.
_capturing = threading.Lock()


@dataclass(frozen=True)
class Network:
    """What serving calls, and what consulting costs.

    Attributes
    ----------
    parts : list of (nn.Module, nn.Module)
        Stage and exit of each node.
    recall : bool
        Whether an answer may be an earlier exit's than the last one consulted.
    estimates : bool
        Whether it may then be any of these.
    costs : float64 Tensor
        On a line (n,): of reaching each node. On a walk (n + 1, n): of each edge, the root's in the last row.
    states : AnswerStates
    """

    parts: list[tuple[nn.Module, nn.Module]]
    recall: bool
    estimates: bool
    costs: Tensor
    states: AnswerStates


@dataclass
class Serving:
    """A policy at work: what is attached to a model."""

    decider: Decider
    compaction: Compaction
    nan: str
    capture: bool
    states: AnswerStates
    _costs: dict[torch.device, Tensor] = field(default_factory=dict)
    _lines: dict[Hashable, CapturedLine] = field(default_factory=dict)

    def __getstate__(self) -> dict[str, Any]:
        """What a copy gets: graphs stay with the model that they were captured from."""
        return {**self.__dict__, "_lines": {}}

    def network(self, parts: list[tuple[nn.Module, nn.Module]], device: torch.device) -> Network:
        """What is served on a device."""
        policy = self.decider.policy
        if device not in self._costs:
            # Not a buffer of a module: `half` and `to(dtype)` would round it.
            self._costs[device] = _cost_table(policy).to(device)
        recall, estimates = may_recall(policy, self.nan), policy.estimator is not None
        return Network(parts, recall, estimates, self._costs[device], self.states)

    def forget_graphs(self) -> None:
        """Free what graphs hold, old parameters too: the model's are about to be elsewhere."""
        self._lines.clear()

    def serve(
        self,
        parts: list[tuple[nn.Module, nn.Module]],
        x: Any,
        keywords: dict[str, Any],
        rows: int,
        device: torch.device,
        on_exit: OnExit | None,
    ) -> ExitOutput:
        """Serve a batch of so many rows on a device, through stages and exits."""
        sizes, policy = self.compaction.sizes, self.decider.policy
        if sizes and rows > sizes[-1]:
            raise ValueError(
                f"x: expected at most {sizes[-1]} rows, the largest bucket, got {rows}; "
                "split the batch, or attach the policy with a larger bucket"
            )
        network = self.network(parts, device)
        # Graphs leave answers where they are until the end.
        if self.capture and device.type == "cuda" and rows > 0 and on_exit is None:
            line = self._captured(parts, x, keywords, device)
            if line is not None:
                logits, answer, last, *fields = line.serve(x, keywords, rows)
                return ExitOutput(logits, answer, last, network.costs.index_select(0, last), *fields)
        # A new flight for every call: calls on several threads or streams may overlap.
        flight = self.decider.start(rows, self.nan)
        inputs = StageInput(x, keywords, rows, self.compaction)
        if policy.topology.kind == "line":
            return serve_line(network, self.decider, flight, inputs, on_exit)
        return serve_walk(network, self.decider, flight, inputs, policy.first_node, on_exit)

    def _captured(
        self, parts: list[tuple[nn.Module, nn.Module]], x: Any, keywords: dict[str, Any], device: torch.device
    ) -> CapturedLine | None:
        """Graphs for inputs of this kind; None where there are too many kinds."""
        autocast = torch.get_autocast_dtype("cuda") if torch.is_autocast_enabled("cuda") else None
        kind = (device, kind_of(x), kind_of(keywords), autocast)
        with _capturing:
            line = self._lines.get(kind)
            if line is None and len(self._lines) >= _MOST_KINDS:
                warnings.warn(
                    f"capture: inputs of more than {_MOST_KINDS} kinds; others than the first are served without "
                    "graphs. Pad what varies in length to few lengths",
                    stacklevel=2,
                )
                return None
            if line is None or line.is_stale(parts):
                # The old one first: there may not be room for both.
                self._lines.pop(kind, None)
                del line
                line = CapturedLine(parts, self.decider, self.compaction, self.nan, x, keywords)
                self._lines[kind] = line
            return line


def serve_line(
    network: Network, decider: Decider, flight: Flight, inputs: StageInput, on_exit: OnExit | None
) -> ExitOutput:
    """Serve rows along a line of exits."""
    answers = Answers(network.recall, len(network.parts) * network.estimates)
    like: Tensor | None = None
    for node, (stage, leave) in enumerate(network.parts):
        inputs.advance(stage, node)
        like = logits = inputs.consult(leave, node, like)
        try:
            decision = decider(flight, node, signalling(logits, decider.signal), inputs.rows)
            positions = flight.survivors(decision)  # the one read of this ramp
        except (TypeError, ValueError) as error:
            raise refused(node, error) from error
        live_count = positions.shape[0]
        # Without recall, logits of rows that all go on are nobody's answer.
        if network.recall or live_count < inputs.count or live_count == 0:
            answers.consulted(node, logits, inputs.rows, flight)
        if on_exit is not None and live_count < inputs.count:
            rows = inputs.rows_at(_positions(decision.next_node == STOP, inputs.count - live_count))
            on_exit(rows, output_of(network, answers, flight, None, rows))
        if live_count == 0:
            break
        if live_count < inputs.count:
            inputs.keep(positions)
    return output_of(network, answers, flight, None, None)


def serve_walk(
    network: Network, decider: Decider, flight: Flight, inputs: StageInput, first: int, on_exit: OnExit | None
) -> ExitOutput:
    """Serve rows along a walk whose edges lead forward: a stage runs for every row, an exit for those that wait."""
    answers = Answers(network.recall, len(network.parts) * network.estimates)
    bill = _Bill(network.costs, inputs.count)
    like: Tensor | None = None
    nodes = torch.arange(len(network.parts), dtype=torch.int32, device=network.costs.device)
    # Which exit each live row waits for, and how many wait for each.
    waiting = torch.full((inputs.count,), first, dtype=torch.int32, device=nodes.device)
    waiting_for = [inputs.count if node == first else 0 for node in range(len(network.parts))]
    for node, (stage, leave) in enumerate(network.parts):
        inputs.advance(stage, node)
        count = waiting_for[node]
        if count == 0 and node != first:
            continue
        at = None if count == inputs.count else _positions(waiting == node, count)
        rows = inputs.rows if at is None else inputs.rows_at(at)
        like = logits = inputs.consult(leave, node, like, at)
        try:
            decision = decider(flight, node, signalling(logits, decider.signal), rows)
        except (TypeError, ValueError) as error:
            raise refused(node, error) from error
        answers.consulted(node, logits, rows, flight)
        bill.consulted(node, rows)
        ahead = decision.next_node
        waiting = ahead.clone() if at is None else waiting.index_copy(0, at, ahead)
        per_node = (waiting == nodes[:, None]).sum(dim=1, dtype=torch.int32)
        *waiting_for, decision_count = torch.cat([per_node, decision.count]).tolist()  # the one read of this ramp
        if decision_count < 0:
            try:
                flight.check()
            except (TypeError, ValueError) as error:
                raise refused(node, error) from error
        live_count = sum(waiting_for)
        if on_exit is not None and live_count < inputs.count:
            left = inputs.rows_at(_positions(waiting == STOP, inputs.count - live_count))
            on_exit(left, output_of(network, answers, flight, bill.cost, left))
        if live_count == 0:
            break
        if live_count < inputs.count:
            positions = _positions(waiting != STOP, live_count)
            waiting = waiting.index_select(0, positions)
            inputs.keep(positions)
    return output_of(network, answers, flight, bill.cost, None)


def output_of(
    network: Network, answers: Answers, flight: Flight, cost: Tensor | None, rows: Tensor | None
) -> ExitOutput:
    """What some rows get, None for all; `cost` is what each row of the batch paid, on a line None."""
    answer, last = answers.nodes(flight)
    logits = answers.logits(answer, rows)
    if rows is not None:
        answer, last = answer.index_select(0, rows), last.index_select(0, rows)
        cost = None if cost is None else cost.index_select(0, rows)
    paid = network.costs.index_select(0, last) if cost is None else cost
    return ExitOutput(logits, answer, last, paid, *network.states.fields(flight, logits, rows))


class _Bill:
    """Costs of the edges that every row used so far."""

    def __init__(self, costs: Tensor, rows: int) -> None:
        self._costs = costs
        self._last_node = torch.full((rows,), costs.shape[1], dtype=torch.int64, device=costs.device)
        self.cost = torch.zeros(rows, dtype=torch.float64, device=costs.device)

    def consulted(self, node: int, rows: Tensor | None) -> None:
        """Rows (None: all) have consulted a node, coming from where they were."""
        if rows is None:
            self.cost += self._costs[:, node].index_select(0, self._last_node)
            self._last_node.fill_(node)
            return
        last_node = self._last_node.index_select(0, rows)
        # Not index_add_, which on CUDA is an atomic and warns where results must be deterministic.
        cost = self.cost.index_select(0, rows) + self._costs[:, node].index_select(0, last_node)
        self.cost.index_copy_(0, rows, cost)
        self._last_node.index_fill_(0, rows, node)


def _positions(mask: Tensor, count: int) -> Tensor:
    """Where a mask is True, in order, the number of such places being known."""
    if mask.device.type == "cpu":
        return mask.nonzero().flatten()
    # nonzero would wait for the device to learn how many there are.
    return torch.argsort(mask, descending=True, stable=True)[:count]


def _cost_table(policy: Policy) -> Tensor:
    """Costs as `Network` holds them."""
    topology, costs = policy.topology, policy.costs
    if policy.estimator is not None:  # of the edges between steps
        by_edge = np.full(len(topology.edges), np.nan)
        by_edge[policy.estimator.walk.outer] = costs
        costs = by_edge
    if topology.kind == "line":
        return torch.from_numpy(np.cumsum(costs))
    table = np.full((topology.nodes + 1, topology.nodes), np.nan)
    table[topology.edges[:, 0], topology.edges[:, 1]] = costs  # the root, -1, is the last row
    return torch.from_numpy(table)
