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
    """Milliseconds a request, in batches of so many rows.

    Attributes
    ----------
    stages, exits : (n,) float64
        What a request adds by going through a part.
    fixed : float
        What parts take however many rows go on: a request's share of it.
    """

    stages: Floats
    exits: Floats
    fixed: float = 0.0

    @classmethod
    def of(cls, sizes: Sequence[int], times: Floats, is_line: bool) -> PartCosts:
        """Costs from times at several numbers of rows.

        Rows that leave make batches smaller, and a part takes a + b R for the R rows that reach it. If each of B rows
        does so with probability p, and independently, that is a (1 - (1 - p)^B) / B + b p a request, of which the
        tangent at p = 1/2 is taken, which is exact for B = 1 and for large B: going on adds its slope, and
        the rest is paid by every request. Parts that all rows reach cost what they take at B rows. For few rows the
        tangent is above what is paid if all go on: by up to 25% of a at B = 2, 19% at 4 and 3% at 8.

        Parameters
        ----------
        sizes : sequence of int
            Falling numbers of rows; B is the first.
        times : (S, 2 n) float64
            Milliseconds of each stage and exit in turn, at each size.
        is_line : bool
            Whether every row that reaches a stage shows itself to its exit. Elsewhere exits may be passed, and cost as
            much as if all rows consulted them.
        """
        rows, whole = sizes[0], times[0]
        missing = rows - np.array(sizes, float)
        # The line through the time at B rows that is closest to the others.
        slopes = missing @ (whole - times) / max(float(missing @ missing), 1.0)
        slopes = np.clip(slopes, 0.0, whole / rows) if len(sizes) > 1 else whole / rows
        constants = whole - rows * slopes
        half = 0.5**rows
        added = slopes + 2 * half * constants
        fixed = constants * ((1 - half) / rows - half)
        full = np.zeros(len(whole), bool)
        full[: 1 + is_line] = True  # the first stage, and the first exit of a line
        full[1::2] |= not is_line
        added[full], fixed[full] = whole[full] / rows, 0.0
        return cls(added[0::2], added[1::2], float(fixed.sum()))

    def edge_costs(self, topology: Topology) -> Floats:
        """(E,) float64 : cost of each edge; what it jumps over costs its stages, not its exits."""
        reach = np.concatenate([np.cumsum(self.stages), [0.0]])  # the root, -1, is the last
        sources, targets = topology.edges[:, 0], topology.edges[:, 1]
        is_next = targets == np.where(sources < 0, 0, sources + 1)
        # To the next exit it is one stage. Its cost is taken as it is: a difference of sums would round.
        through = np.where(is_next, self.stages[targets], reach[targets] - reach[sources])
        return through + self.exits[targets] + np.where(sources < 0, self.fixed, 0.0)


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


def sizes_up_to(rows: int) -> list[int]:
    """The numbers of rows at which parts are timed: from so many down to one, halved each time."""
    return [rows >> k for k in range(rows.bit_length())]


def measure(model: Network, samples: Sequence[Sample], repeats: int, device: torch.device) -> Floats:
    """Time every stage and exit.

    Parameters
    ----------
    model : Network
        In evaluation mode.
    samples : sequence of (input, keywords)
        Batches of as many requests each, on the device; runs take turns with them.
    repeats : int
        Runs whose median is taken.
    device : torch.device

    Returns
    -------
    (2 n,) float64
        Medians over the runs in milliseconds, of each stage and exit in turn.
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
    medians: Floats = np.median(laps, axis=0)
    return medians
