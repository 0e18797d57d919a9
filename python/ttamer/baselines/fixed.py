"""Always the same node, or two of them mixed: what can be had without looking at requests."""

from __future__ import annotations

import numpy as np

from ttamer._base import checks
from ttamer._base.hull import lower_hull, representative
from ttamer.baselines.settings import Setting, fixed_node, setting_of
from ttamer.traces import Traces, complete_traces


def fixed_curve(traces: Traces, points: int = 120) -> list[Setting]:
    """Settings of `fixed_node`: the nodes that no mixture of two others is better than.

    Between two of them a budget is met by *fixed mixing*: each request goes to one or the other by chance.

    Parameters
    ----------
    traces : Traces
        Calibration rows, on any topology.
    points : int
        How many settings at most, at least 2.

    Returns
    -------
    list of Setting
        By rising cost.
    """
    most = checks.whole("points", points, 2)
    nodes = np.array(complete_traces(traces)._answering)
    cost = traces.request_reach_costs[:, nodes].mean(axis=0)
    loss = traces.losses[:, nodes].mean(axis=0, dtype=np.float64)
    hull = lower_hull(cost, loss)
    kept = nodes[hull[representative(cost[hull], loss[hull], most)]]
    return [setting_of(f"always node {node}", fixed_node, node=node) for node in kept.tolist()]
