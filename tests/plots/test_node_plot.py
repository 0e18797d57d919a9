"""The picture of what each node costs and loses alone."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import random_traces

import ttamer
from ttamer import plots

LINE = ttamer.Topology.line(3)


def test_dots_are_those_of_the_summary():
    traces = random_traces(LINE, 60, 0)
    summary = traces.summary()
    figure = plots.nodes(traces, title="a title")
    (axes,) = figure.axes
    (dots,) = axes.get_lines()
    (costs,) = summary.costs.values()
    assert dots.get_xdata().tolist() == costs.mean.tolist()
    assert dots.get_ydata() == pytest.approx(100 * summary.loss)
    assert sorted(text.get_text() for text in axes.texts) == ["0", "1", "2"]
    assert axes.get_ylabel() == "error rate of its answers (%)"
    assert figure._suptitle.get_text() == "a title"


def test_a_panel_a_unit_and_names():
    losses = np.array([[0.5, 0.25], [1.5, 0.25]])
    costs = {"usd": [1.0, 20.0], "ms": [3.0, 4.0]}
    traces = ttamer.Traces.from_models(losses, costs, scores=losses, nodes=["a$b", "a model of a long name"])
    first, second = plots.nodes(traces).axes
    assert [axes.get_xlabel() for axes in (first, second)] == [
        "mean cost of going straight to the node (usd)",
        "mean cost of going straight to the node (ms)",
    ]
    assert (first.get_xscale(), second.get_xscale()) == ("log", "linear")
    assert first.get_ylabel() == "mean loss of its answers"
    assert sorted(text.get_text() for text in first.texts) == [r"0 (a\$b)", "1 (a model of a lo…)"]


def test_labels_do_not_lie_on_each_other():
    same = ttamer.Traces.from_models(np.ones((3, 4)), [1, 1, 1, 1], scores=np.ones((3, 4)), nodes=list("abcd"))
    figure = plots.nodes(same)
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in figure.axes[0].texts]
    assert not any(a.overlaps(b) for k, a in enumerate(boxes) for b in boxes[:k])


def test_what_is_not_known_is_left_out():
    losses = np.array([[0.0, np.nan], [1.0, np.nan]])
    traces = ttamer.Traces.from_models(losses, [1, 2], scores=np.ones((2, 2)), context={"size": [1.0, 2.0]})
    axes = plots.nodes(traces).axes[0]
    assert [text.get_text() for text in axes.texts] == ["1 (model 0)"]
    with pytest.raises(ValueError, match="^traces: expected a node with a loss and a cost, got none$"):
        plots.nodes(ttamer.Traces(np.ones((2, 1), np.float32), np.full((2, 1), np.nan, np.float32), [1.0]))


def test_bad_arguments():
    with pytest.raises(TypeError, match="^traces: expected Traces, got int$"):
        plots.nodes(3)
    with pytest.raises(ValueError, match="^traces: expected at most 40 nodes to draw, got 41$"):
        plots.nodes(random_traces(ttamer.Topology.line(41), 3, 0))
