"""Always the same node: which ones no mixture of two others is better than."""

from __future__ import annotations

import numpy as np
import pytest

import ttamer
from ttamer import baselines


def traces_of(wrong: list[float], costs: list[float], context: bool = False) -> ttamer.Traces:
    """100 requests, of which each model gets a share wrong."""
    losses = np.arange(100)[:, None] < 100 * np.array(wrong)
    return ttamer.Traces.from_models(losses, costs, context=np.arange(100) if context else None)


@pytest.mark.parametrize("context", [False, True])
def test_nodes_on_the_hull(context: bool) -> None:
    # The second is above the mixture of its neighbours, the last is dearer than a better one.
    traces = traces_of([0.5, 0.45, 0.2, 0.1, 0.3], [1, 2, 3, 9, 10], context)
    settings = baselines.fixed_curve(traces)
    nodes = [setting.parameters["node"] - context for setting in settings]
    assert nodes == [0, 2, 3]
    for setting, node, cost, error in zip(settings, nodes, [1, 3, 9], [0.5, 0.2, 0.1], strict=True):
        replay = setting.replay(traces)
        assert setting.name == f"always node {node + context}"
        assert (replay.mean_cost, replay.error) == pytest.approx((cost, error))


def test_at_most_so_many() -> None:
    traces = traces_of([0.9, 0.5, 0.3, 0.2, 0.15], [1, 2, 3, 4, 5])
    assert len(baselines.fixed_curve(traces)) == 5
    assert [setting.parameters["node"] for setting in baselines.fixed_curve(traces, 2)] == [0, 4]
    with pytest.raises(ValueError, match="points: expected"):
        baselines.fixed_curve(traces, 1)


def test_exits_are_reached_along_the_line() -> None:
    losses = np.stack([np.ones(10), np.zeros(10)], axis=1).astype(np.float32)
    line = ttamer.Traces(losses, losses, [1.0, 2.0])
    assert [setting.replay(line).mean_cost for setting in baselines.fixed_curve(line)] == [1.0, 3.0]
