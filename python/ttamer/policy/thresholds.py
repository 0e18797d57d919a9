"""Policies as thresholds, for gateways that know nothing else."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from ttamer._base.types import STOP

if TYPE_CHECKING:
    from ttamer.policy.policy import Policy


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


def thresholds_of(policy: Policy) -> tuple[Threshold, ...]:
    """As `Policy.thresholds`."""
    if policy.estimator is not None or policy.steps.kind == "forest" or policy.recall != "none":
        what = f"estimate={policy.estimate!r}" if policy.estimator is not None else policy.steps.kind
        recall = "" if policy.recall == "none" else " with recall"
        raise ValueError(
            f"thresholds: expected a line, skip or dag of plain signals without recall, got {what}{recall}"
        )
    if policy.categories:
        raise ValueError(
            f"thresholds: expected signals that are numbers, node {min(policy.categories)}'s are categories"
        )
    reached, table = {policy.first_node}, []
    for node in range(policy.steps.nodes):
        if node not in reached:
            continue
        if policy.signal_nodes[node] != node:
            raise ValueError(f"thresholds: node {node} goes by the signal of node {policy.signal_nodes[node]}")
        following = [actions[0][1] for actions in policy.actions(node)]
        goes = [each for each in following if each != STOP]
        stops = [each == STOP for each in following]
        first = stops.index(True) if any(stops) else len(stops)
        if not all(stops[first:]) or len(set(goes)) > 1:
            raise ValueError(
                f"thresholds: node {node} does not stop at large signals and go on at small ones to one node; "
                f"what it does by state: {following}"
            )
        edges = [-math.inf, *policy.bin_edges(node).tolist(), math.inf]
        table.append(Threshold(node, edges[first], goes[0] if goes else STOP))
        reached |= set(goes)
    return tuple(table)
