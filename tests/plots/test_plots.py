"""Pictures: what is drawn and labelled, and what is written."""

from __future__ import annotations

import struct
import sys

import numpy as np
import pytest
from helpers import random_traces
from matplotlib.text import Text

import ttamer
from ttamer import compare, plots
from ttamer.compare import Curve


def curve(name, cost, error, unit="ms"):
    """Curve whose every setting is a vertex; the losses are 0/1 with these means over 100 rows."""
    cost = np.repeat(np.array(cost, dtype=float)[:, None], 100, axis=1)
    loss = (np.arange(100) < np.array(error)[:, None] * 100).astype(float)
    return Curve(name, tuple(map(str, range(len(cost)))), cost, loss, cost, loss, unit)


@pytest.fixture
def curves():
    return [
        curve("ttamer", [1, 2, 4], [0.5, 0.2, 0.1]),
        curve("threshold", [1, 3], [0.5, 0.3]),
        curve("full model", [8], [0.1]),
    ]


def test_lines_points_and_labels(curves):
    axes = plots.front(curves, title="a title").axes[0]
    assert axes.get_xlabel() == "mean cost of a request, test rows (ms)"
    assert axes.get_ylabel() == "error rate, test rows (%)"
    assert axes.get_title(loc="left").splitlines() == [
        "a title",
        "At the error of the full model ttamer costs 50% less: 4 in place of 8 ms a request",
    ]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["ttamer", "threshold", "full model"]
    ours, theirs, full = axes.get_lines()
    marked = slice(None, None, ours.get_markevery())
    assert ours.get_xdata()[marked] == pytest.approx([1, 2, 4])
    assert ours.get_ydata()[marked] == pytest.approx([50, 20, 10])
    # Between two settings lie their mixtures: a line in cost, whatever the axis.
    assert np.interp(3, ours.get_xdata(), ours.get_ydata()) == pytest.approx(15)
    assert (full.get_xdata().tolist(), full.get_ydata()[0]) == ([8.0], pytest.approx(10))
    styles = {(line.get_color(), line.get_marker(), str(line.get_linestyle())) for line in (ours, theirs)}
    assert len(styles) == 2


@pytest.mark.parametrize(
    ("cost", "error", "words"),
    [
        ([1, 16], [0.5, 0.1], "At the error of the full model ttamer costs 100% more: 16 in place of 8 ms a request"),
        ([1, 2], [0.5, 0.2], "ttamer does not come down to the error of the full model, 10.00%: its least is 20.00%"),
    ],
)
def test_a_saving_is_no_promise(curves, cost, error, words):
    axes = plots.front([curve("ttamer", cost, error), *curves[1:]]).axes[0]
    assert axes.get_title(loc="left") == words


def test_without_a_full_model_or_ttamer_nothing_is_said_of_a_saving(curves):
    for some in (curves[:2], curves[1:], [curves[0], curve("a", [1], [0.1]), curve("b", [2], [0.1])]):
        assert plots.front(some).axes[0].get_title(loc="left") == ""
    free = [curves[0], curve("full model", [0], [0.1])]
    assert plots.front(free).axes[0].get_title(loc="left") == ""


def test_the_rows_of_curves_are_named(curves):
    axes = plots.front(curves, rows="calibration rows").axes[0]
    assert axes.get_xlabel() == "mean cost of a request, calibration rows (ms)"
    with pytest.raises(TypeError, match="^rows: expected a str, got int"):
        plots.front(curves, rows=3)


def test_ticks_have_room():
    few = plots.front([curve("m", [1, 900], [0.5, 0.2])]).axes[0]
    many = plots.front([curve("m", [1e-7, 1e-3], [0.5, 0.2])]).axes[0]
    for axes, texts in ((few, {"1", "2", "5", "10", "500"}), (many, {"1e-07", "1e-05", "0.001"})):
        labels = [label.get_text() for label in axes.get_xticklabels()]
        assert texts <= set(labels)
    assert "2e-07" not in labels


def test_losses_that_are_no_errors_are_not_called_so():
    made = Curve("m", ("a",), *[np.full((1, 3), 0.25)] * 4)
    axes = plots.front([made]).axes[0]
    assert axes.get_ylabel() == "mean loss of the answers, test rows"
    assert axes.get_xlabel() == "mean cost of a request, test rows"
    assert axes.get_lines()[0].get_ydata().tolist() == [0.25]


def test_free_nodes_are_drawn_without_a_logarithm():
    assert plots.front([curve("m", [0, 1], [0.5, 0.2])]).axes[0].get_xscale() == "linear"
    assert plots.front([curve("m", [1, 2], [0.5, 0.2])]).axes[0].get_xscale() == "log"


def test_a_front_is_drawn_as_measured():
    generator = np.random.default_rng(0)
    signals = generator.random((200, 2), dtype=np.float32)
    losses = (generator.random((200, 2)) > signals).astype(np.float32)
    front = ttamer.frontier(ttamer.Traces(signals, losses, [1.0, 1.0], unit="USD"))
    axes = plots.front(front).axes[0]
    assert axes.get_xlabel() == "mean cost of a request, calibration rows (USD)"
    line = axes.get_lines()[0]
    assert line.get_xdata()[:: line.get_markevery()] == pytest.approx([point.cost for point in front])


def test_many_methods_have_styles(curves):
    lines = plots.front([curve(str(k), [1, 2], [0.5, 0.2]) for k in range(9)]).axes[0].get_lines()
    assert len({(line.get_color(), line.get_marker()) for line in lines}) == 6


def test_bands_are_bootstrap_intervals_of_the_error(curves):
    figure = plots.front(curves, coverage=0.9, seed=3)
    axes = figure.axes[0]
    bands = axes.collections
    assert len(bands) == 3  # two lines and a point
    assert axes.get_legend().get_title().get_text() == "with 90% bootstrap intervals"
    weights = compare.resample(100, 500, seed=3)
    expected = np.quantile(curves[0].resampled_points(weights)[1], [0.05, 0.95], axis=0) * 100
    edges = bands[0].get_paths()[0].vertices
    at_setting = edges[np.isclose(edges[:, 0], 2.0)][:, 1]
    assert (at_setting.min(), at_setting.max()) == pytest.approx(tuple(expected[:, 1]))
    low, high = bands[2].get_segments()[0][:, 1]
    assert low < 10 < high
    # Without them there are none, and more coverage is wider.
    assert len(plots.front(curves).axes[0].collections) == 0
    wider = plots.front(curves, coverage=0.99, seed=3).axes[0].collections[0].get_paths()[0].vertices
    assert np.ptp(wider[np.isclose(wider[:, 0], 2.0)][:, 1]) > np.ptp(at_setting)


@pytest.mark.parametrize("coverage", [0.0, 1.0, -0.5, np.nan])
def test_coverage_out_of_range(curves, coverage):
    with pytest.raises(ValueError, match="coverage: expected a number"):
        plots.front(curves, coverage=coverage)


def test_a_front_has_no_intervals():
    front = ttamer.frontier(random_traces(ttamer.Topology.line(2), 50, 0), [0.5])
    with pytest.raises(ValueError, match="coverage: a front has no intervals"):
        plots.front(front, coverage=0.9)
    with pytest.raises(TypeError, match="^curves: expected a Front or Curves, got several Fronts; compare.curve_of"):
        plots.front([front])


def test_files(curves, tmp_path):
    plots.front(curves, tmp_path / "front.png")
    header = (tmp_path / "front.png").read_bytes()[:24]
    assert header[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", header[16:24]) == (1200, 750)
    plots.front(curves, str(tmp_path / "front.svg"))
    assert "<svg" in (tmp_path / "front.svg").read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["front.png", "front.svg"]


def test_unknown_format_writes_nothing(curves, tmp_path):
    with pytest.raises(ValueError, match=r"front\.xyz: Format 'xyz' is not supported"):
        plots.front(curves, tmp_path / "front.xyz")
    assert list(tmp_path.iterdir()) == []


def test_bad_arguments(curves):
    with pytest.raises(ValueError, match="curves: expected at least one, got none"):
        plots.front([])
    with pytest.raises(ValueError, match="curves: expected costs in one unit, got 'ms', 's'"):
        plots.front([*curves, curve("other", [1], [0.5], unit="s")])


def test_missing_matplotlib_is_named(curves, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r'^plots need matplotlib: pip install "ttamer\[cli\]"$'):
        plots.front(curves)


def test_pyplot_is_left_alone(curves):
    before = "matplotlib.pyplot" in sys.modules
    plots.front(curves)
    assert ("matplotlib.pyplot" in sys.modules) == before


def test_dollars_are_no_mathematics(tmp_path):
    """Two of them would else be the beginning and end of a formula, and a bad one cannot be drawn."""
    odd = "$ \\frac per $"
    traces = random_traces(ttamer.Topology.line(2), 20, seed=1)
    traces = ttamer.Traces(traces.signals, traces.losses, traces.costs, unit=odd)
    policy = ttamer.solve(ttamer.fit(traces, 4), 0.7)
    evaluation = ttamer.evaluate(policy, traces)
    pictures = [
        plots.front([curve(odd, [1, 2], [0.5, 0.2], unit=odd)], tmp_path / "front.svg"),
        plots.exits({odd: evaluation}, tmp_path / "exits.svg"),
        plots.topology(policy, tmp_path / "topology.svg"),
    ]
    texts = [[text.get_text() for text in picture.findobj(Text)] for picture in pictures]
    assert all(any("\\$ \\frac per \\$" in text for text in each) for each in texts)


def test_names_can_be_shown():
    with pytest.raises(ValueError, match=r"^name: expected characters that can be shown, got 'a\\x1b\[31m'$"):
        curve("a\x1b[31m", [1], [0.5])
    with pytest.raises(ValueError, match="^unit: expected characters that can be shown"):
        curve("a", [1], [0.5], unit="a\nb")
