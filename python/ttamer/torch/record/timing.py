"""What stages and exits cost, measured."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ttamer._base.types import Floats
from ttamer._core import Topology
from ttamer.torch.parts import Network, run

WARM_UP = 3
"""Runs whose times are thrown away: first calls allocate, choose kernels and fill caches."""

Sample = tuple[Any, dict[str, Any]]
"""Input and keywords of a call."""


@dataclass(frozen=True)
class PartCosts:
    """Milliseconds a request.

    Attributes
    ----------
    stages, exits : (n,) float64
    """

    stages: Floats
    exits: Floats

    def edge_costs(self, topology: Topology) -> Floats:
        """(E,) float64 : cost of each edge; what it jumps over costs its stages, not its exits."""
        reach = np.concatenate([np.cumsum(self.stages), [0.0]])  # the root, -1, is the last
        sources, targets = topology.edges[:, 0], topology.edges[:, 1]
        is_next = targets == np.where(sources < 0, 0, sources + 1)
        # To the next exit it is one stage. Its cost is taken as it is: a difference of sums would round.
        through = np.where(is_next, self.stages[targets], reach[targets] - reach[sources])
        return through + self.exits[targets]


class _Clock:
    """Laps in milliseconds: CUDA events on a GPU, so that nothing waits in between, else the host's clock."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._marks: list[Any] = []

    def mark(self) -> None:
        """One lap ends, the next begins."""
        if self._device.type == "cuda":
            event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
            event.record(torch.cuda.current_stream(self._device))
            self._marks.append(event)
        else:
            self._marks.append(time.perf_counter_ns())

    def laps(self) -> Floats:
        """Times between the marks."""
        pairs = list(zip(self._marks[:-1], self._marks[1:], strict=True))
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
            return np.array([a.elapsed_time(b) for a, b in pairs])
        return np.array([(b - a) / 1e6 for a, b in pairs])


def measure(model: Network, samples: Sequence[Sample], rows: int, repeats: int, device: torch.device) -> PartCosts:
    """Time every stage and exit.

    Parameters
    ----------
    model : Network
        In evaluation mode.
    samples : sequence of (input, keywords)
        Batches of `rows` requests each, on the device; runs take turns with them.
    rows : int
    repeats : int
        Runs whose median is taken.
    device : torch.device

    Returns
    -------
    PartCosts
        Medians over the runs, divided by `rows`.
    """
    laps = []
    for number in range(WARM_UP + repeats):
        x, keywords = samples[number % len(samples)]
        clock = _Clock(device)
        clock.mark()
        for stage, leave in zip(model.stages, model.exits, strict=True):
            x = run(stage, x, keywords)
            clock.mark()
            run(leave, x, keywords)
            clock.mark()
        if number >= WARM_UP:
            laps.append(clock.laps())
        elif device.type == "cuda":
            torch.cuda.synchronize(device)
    medians = np.median(laps, axis=0) / rows
    return PartCosts(medians[0::2], medians[1::2])
