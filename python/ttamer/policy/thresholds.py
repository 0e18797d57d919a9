"""Policies as thresholds, for gateways that know nothing else."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ttamer._base.types import STOP


class Threshold(NamedTuple):
    """What to do after one node.

    Attributes
    ----------
    node : int
    stops_from : float
        A request stops if its signal is at least this; -inf if every request does, inf if none.
    following : int
        The node that all others consult next, STOP if there are none.
    """

    node: int
    stops_from: float
    following: int


def thresholds_of(
    first_node: int,
    signal_nodes: Sequence[int],
    following: Callable[[int], list[int]],
    bin_edges: Callable[[int], npt.NDArray[np.float32]],
) -> tuple[Threshold, ...]:
    """Of a policy without recall, what follows each node by state; as `Policy.thresholds`."""
    reached, table = {first_node}, []
    for node, source in enumerate(signal_nodes):
        if node not in reached:
            continue
        if source != node:
            raise ValueError(f"thresholds: node {node} goes by the signal of node {source}")
        nodes = following(node)
        goes = [each for each in nodes if each != STOP]
        stops = [each == STOP for each in nodes]
        first = stops.index(True) if any(stops) else len(stops)
        if not all(stops[first:]) or len(set(goes)) > 1:
            raise ValueError(
                f"thresholds: node {node} does not stop at large signals and go on at small ones to one node; "
                f"what it does by state: {nodes}"
            )
        edges = [-math.inf, *bin_edges(node).tolist(), math.inf]
        table.append(Threshold(node, edges[first], goes[0] if goes else STOP))
        reached |= set(goes)
    return tuple(table)
