"""Pictures of traces and policies: reliability, index, what a walk does, where requests stop."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from helpers import random_model, random_traces
from samples import some_traces

import ttamer
from ttamer import plots
from ttamer.plots.index import _signal_text
from ttamer.plots.reliability import Reliability

LINE = ttamer.Topology.line(3)
FOREST = ttamer.Topology.forest([-1, 0, 0, -1])
SKIP = ttamer.Topology.skip(3)


def policy(topology, recall="observed", tradeoff=0.7):
    return ttamer.solve(random_model(topology, 5, 1), tradeoff, recall)


def texts(figure):
    return [text.get_text() for axes in figure.axes for text in axes.texts]


@pytest.mark.parametrize(("title", "error"), [("\ud800", ValueError), ("x" * 201, ValueError), (3, TypeError)])
def test_titles_that_cannot_be_shown_are_refused(title, error):
    traces = some_traces()
    front = ttamer.frontier(traces, [0.5], "signal", bins=4)
    for draw, shown in (
        (plots.front, front),
        (plots.exits, policy(LINE).replay(random_traces(LINE, 40, 1))),
        (plots.index, policy(LINE)),
        (plots.reliability, traces),
        (plots.topology, LINE),
    ):
        with pytest.raises(error, match="^title: expected"):
            draw(shown, title=title)


class TestReliability:
    def test_bins_by_hand(self):
        confidence = np.array([0.05, 0.55, 0.55, 0.65, 1.0, 0.999], np.float32)
        loss = np.array([1, 0, 1, 0, 0, 0], np.float32)
        found = Reliability.of(confidence, loss, 10)
        assert found.counts.tolist() == [1, 0, 0, 0, 0, 2, 1, 0, 0, 2]
        assert found.accuracy[[0, 5, 6, 9]].tolist() == [0.0, 0.5, 1.0, 1.0]
        assert found.confidence[[0, 5, 6, 9]] == pytest.approx([0.05, 0.55, 0.65, 0.9995])
        assert np.isnan(found.accuracy[[1, 2, 3, 4, 7, 8]]).all()
        assert found.error == pytest.approx((0.05 + 2 * 0.05 + 0.35 + 2 * 0.0005) / 6)
        there = found.counts > 0
        assert ((found.low <= found.accuracy + 1e-12) & (found.accuracy <= found.high + 1e-12))[there].all()
        assert ((found.low >= -1e-12) & (found.high <= 1 + 1e-12))[there].all()

    def test_intervals_are_wilsons(self):
        found = Reliability.of(np.full(100, 0.5, np.float32), (np.arange(100) < 30).astype(np.float32), 1)
        z = 1.6449
        for end in (found.low[0], found.high[0]):
            # The ends are the true accuracies at which 0.7 is just z standard errors away.
            assert abs(0.7 - end) == pytest.approx(z * np.sqrt(end * (1 - end) / 100), rel=1e-9)

    def test_who_is_sure_as_often_as_right_has_no_error(self):
        generator = np.random.default_rng(0)
        confidence = generator.random(200_000).astype(np.float32)
        loss = (generator.random(200_000) > confidence).astype(np.float32)
        assert Reliability.of(confidence, loss, 10).error < 0.01
        assert Reliability.of(confidence**2, loss, 10).error > 0.1

    def test_panels(self):
        traces = some_traces()
        figure = plots.reliability(traces, title="a title")
        diagrams, histograms = figure.axes[::2], figure.axes[1::2]
        assert [axes.get_title(loc="left") for axes in diagrams] == ["node 0", "node 1", "node 2"]
        assert diagrams[0].get_ylim() == diagrams[2].get_ylim()
        for node, (diagram, histogram) in enumerate(zip(diagrams, histograms, strict=True)):
            expected = Reliability.of(traces.signals[:, node], traces.losses[:, node], 10)
            assert sum(bar.get_height() for bar in histogram.patches) == pytest.approx(1)
            curve = diagram.get_lines()[1]
            assert curve.get_ydata().tolist() == expected.accuracy[expected.counts > 0].tolist()
            assert diagram.texts[0].get_text() == f"ECE {expected.error:.3f}"
        assert figure.texts[0].get_text() == "a title"

    def test_requests_without_a_score_are_left_out_and_counted(self):
        rng = np.random.default_rng(0)
        scores = rng.random((60, 3))
        losses = (rng.random((60, 3)) > scores).astype(float)
        gaps = scores.copy()
        gaps[:7, 1], gaps[:, 2] = np.nan, np.nan
        names = ["a", "a model of a long name", "c"]
        traces = ttamer.Traces.from_models(
            losses, [1, 2, 3], scores=gaps, context={"size": rng.random(60)}, nodes=names
        )
        figure = plots.reliability(traces)
        diagrams, histograms = figure.axes[::2], figure.axes[1::2]
        titles = [axes.get_title(loc="left") for axes in diagrams]
        assert titles == ["node 1 (a)", "node 2 (a model of a lo…)", "node 3 (c)"]
        for k, first in enumerate((0, 7)):
            expected = Reliability.of(scores[first:, k].astype(np.float32), losses[first:, k].astype(np.float32), 10)
            curve = diagrams[k].get_lines()[1]
            assert curve.get_ydata().tolist() == expected.accuracy[expected.counts > 0].tolist()
            assert sum(bar.get_height() for bar in histograms[k].patches) == pytest.approx(1)
            assert diagrams[k].texts[0].get_text() == f"ECE {expected.error:.3f}"
        notes = [text for text in texts(figure) if "left out" in text]
        assert notes == ["7 of 60 requests\nleft out: no score", "60 of 60 requests\nleft out: no score"]
        assert len(diagrams[2].get_lines()) == 1
        assert not histograms[2].patches
        with pytest.raises(ValueError, match="^traces: expected confidences as signals, got none$"):
            plots.reliability(ttamer.Traces.from_models(losses, [1, 2, 3]))

    def test_rows_that_lack_a_score_or_a_loss_are_left_out(self):
        traces = random_traces(LINE, 50, 0)
        signals, losses = traces.signals.copy(), traces.losses.copy()
        signals[:3, 0], losses[2:9, 1], losses[:, 2] = np.nan, np.nan, np.nan
        figure = plots.reliability(ttamer.Traces(signals, losses, [1.0] * 3))
        for node, first in ((0, 3), (1, 9)):
            there = np.arange(50) >= first if node == 0 else (np.arange(50) < 2) | (np.arange(50) >= 9)
            expected = Reliability.of(traces.signals[there, node], traces.losses[there, node], 10)
            assert figure.axes[2 * node].texts[0].get_text() == f"ECE {expected.error:.3f}"
        notes = [text for text in texts(figure) if "left out" in text]
        assert notes == [
            "3 of 50 requests\nleft out: no score",
            "7 of 50 requests\nleft out: no score or loss",
            "50 of 50 requests\nleft out: no score or loss",
        ]
        nothing = ttamer.Traces(np.full((4, 1), np.nan, np.float32), np.zeros((4, 1), np.float32), [1.0])
        with pytest.raises(ValueError, match="^traces: expected confidences as signals, got none$"):
            plots.reliability(nothing)

    def test_a_legend_says_what_is_drawn(self):
        (legend,) = plots.reliability(some_traces()).legends
        labels = [text.get_text() for text in legend.get_texts()]
        assert labels == ["accuracy, 90% interval", "calibration error", "accuracy = confidence"]

    def test_other_signals_are_replaced_by_the_largest_probability(self):
        assert texts(plots.reliability(some_traces(signal="entropy"))) == texts(plots.reliability(some_traces()))

    def test_many_nodes_take_several_rows(self):
        figure = plots.reliability(random_traces(ttamer.Topology.line(6), 40, 0), bins=4)
        assert len(figure.axes) == 12
        assert len(figure.axes[1].patches) == 4

    def test_bad_arguments(self):
        with pytest.raises(TypeError, match="traces: expected Traces, got int"):
            plots.reliability(3)
        with pytest.raises(ValueError, match="traces: their losses are observed"):
            plots.reliability(random_traces(LINE, 10, 0, observed=True))
        wide = ttamer.Traces(np.full((4, 2), 3, np.float32), np.zeros((4, 2), np.float32), [1.0, 1.0])
        with pytest.raises(ValueError, match=r"expected confidences in \[0, 1\] as signals, got 3 to 3"):
            plots.reliability(wide)
        high = ttamer.Traces(np.ones((4, 2), np.float32), np.full((4, 2), 2, np.float32), [1.0, 1.0])
        with pytest.raises(ValueError, match=r"expected losses in \[0, 1\], the largest is 2"):
            plots.reliability(high)
        with pytest.raises(ValueError, match="bins: expected at least 1, got 0"):
            plots.reliability(some_traces(), bins=0)
        with pytest.raises(ValueError, match="traces: expected at most 40 nodes to draw, got 41"):
            plots.reliability(random_traces(ttamer.Topology.line(41), 3, 0))


class TestIndex:
    @pytest.mark.parametrize("topology", [LINE, FOREST], ids=["line", "forest"])
    def test_heat_map_of_the_index(self, topology):
        shown = policy(topology)
        axes, bar = plots.index(shown).axes
        parents = topology.edges[:, 0].tolist()
        assert bar.get_ylabel() == "dynamic index (loss)"
        labels = [label.get_text() for label in axes.get_yticklabels()]
        assert labels == [f"node {j}" if i < 0 else f"node {j} after {i}" for j, i in enumerate(parents)]
        for node, mesh in enumerate(axes.collections):
            assert mesh.get_array().ravel().tolist() == shown.index(node).tolist()
            assert mesh.norm.vmax == max(shown.index(j).max() for j in range(topology.nodes))

    def test_hatched_where_nobody_goes_on(self):
        shown = policy(LINE)
        axes = plots.index(shown).axes[0]
        found = np.zeros((3, 5), bool)
        for patch in axes.patches:
            begin = int(patch.get_x())
            found[round(patch.get_y() + 0.44), begin : begin + int(patch.get_width())] = True
        expected = [[False] * 5] + [(shown.losses(j - 1) <= shown.index(j)).tolist() for j in (1, 2)]
        assert found.tolist() == expected
        assert found.any()

    def test_thresholds_are_marked_at_their_signals(self):
        shown = ttamer.solve(ttamer.fit(random_traces(LINE, 400, 0), 8), 0.95, "none")
        figure = plots.index(shown)
        marked = 0
        for threshold in shown.thresholds():
            axes, edges = figure.axes[threshold.node], shown.bin_edges(threshold.node).tolist()
            lines = [line.get_xdata()[0] for line in axes.get_lines()]
            assert lines == ([edges.index(threshold.stops_from) + 0.5] if threshold.stops_from in edges else [])
            ticks = dict(zip(axes.get_xticks().tolist(), axes.get_xticklabels(), strict=True))
            assert len(ticks) <= 5
            for place, label in ticks.items():
                assert float(label.get_text()) == pytest.approx(edges[round(place - 0.5)], rel=0.05)
            assert set(lines) <= set(ticks)
            marked += len(lines)
            assert axes.get_xlabel() == "signal"
        assert marked >= 2

    def test_signals_are_marked_where_an_index_stops_all(self):
        shown = ttamer.solve(ttamer.fit(random_traces(LINE, 400, 0), 8), 0.95, "observed")
        axes = plots.index(shown).axes[0]
        expected = []
        for node in (1, 2):
            stops = shown.losses(node - 1) <= shown.index(node)
            expected += [(k + 1, node) for k in np.flatnonzero(np.diff(stops)).tolist()]
        assert expected
        assert [text.xy for text in axes.texts] == expected
        edges = [shown.bin_edges(node - 1)[place - 1] for place, node in expected]
        assert [float(text.get_text()) for text in axes.texts] == pytest.approx(edges, rel=0.05)

    @pytest.mark.parametrize(
        ("signal", "text"), [(0.5, "0.5"), (0.9951, "0.9951"), (0.99999, ">0.9999"), (1.0, "1"), (12.345, "12.3")]
    )
    def test_signals_as_text(self, signal, text):
        assert _signal_text(signal) == text

    @pytest.mark.parametrize(("topology", "recall"), [(SKIP, "observed"), (SKIP, "none"), (LINE, "none")])
    def test_bars_of_what_is_done(self, topology, recall):
        shown = policy(topology, recall)
        figure = plots.index(shown, title="a title")
        assert len(figure.axes) == 3
        assert figure._suptitle.get_text() == "a title"
        for node, axes in enumerate(figure.axes):
            heights = np.zeros(5)
            for bar in axes.patches:
                heights[round(bar.get_x() + 0.5)] += bar.get_height()
            # The bars of a state add up to its loss, or to what can be seen of a smaller one.
            assert heights == pytest.approx(np.maximum(shown.losses(node), heights.min()))
            kinds = {to for steps in shown.actions(node) for _, to in steps}
            colours = {bar.get_facecolor() for bar in axes.patches}
            assert len(colours) <= len(kinds)
            if recall == "none":
                assert len(axes.patches) == 5
                assert len(colours) == len(kinds)

    @pytest.mark.parametrize(("estimate", "order"), [("posterior", [2, 0]), ("posterior", None)])
    def test_a_step_of_estimates_on_a_forest_has_a_panel(self, estimate, order):
        pytest.importorskip("sklearn", reason="estimates need the fit extra")
        rng = np.random.default_rng(0)
        forest = ttamer.Topology.forest([-1, -1, -1])
        probs, labels = rng.dirichlet(np.ones(3), (60, 3)), rng.integers(0, 3, 60)
        traces = ttamer.Traces.from_probs(probs, labels, [1, 1, 1], forest)
        found = ttamer.solve(ttamer.fit(traces, 4, estimate, order=order), 0.9)
        figure = plots.index(found)
        assert len(figure.axes) == found.steps.nodes
        titles = [axes.get_title() for axes in figure.axes]
        names = found.estimator.walk.names
        assert [title.split(",")[0].removeprefix("node ") for title in titles] == [name.split(",")[0] for name in names]

    def test_pieces_of_a_bar_are_the_intervals(self):
        shown = ttamer.solve(random_model(SKIP, 5, 0), 0.9, "observed")
        figure = plots.index(shown)
        pieces = 0
        for node, axes in enumerate(figure.axes):
            least = 0.02 * max(shown.losses(j).max() for j in range(3))
            for state, steps in enumerate(shown.actions(node)):
                height = max(shown.losses(node)[state], least)
                ends = np.minimum([*(upper for upper, _ in steps[:-1]), height], height)
                drawn = [bar for bar in axes.patches if round(bar.get_x() + 0.5) == state]
                tops = sorted(bar.get_y() + bar.get_height() for bar in drawn)
                assert tops == pytest.approx(np.unique(ends[ends > 0]))
                pieces += len(drawn) > 1
        assert pieces > 3
        labels = [text.get_text() for text in figure.legends[0].get_texts()]
        assert labels == ["stop", "consult 1", "consult 2"]

    def test_bad_arguments(self):
        with pytest.raises(TypeError, match="policy: expected a Policy, got Topology"):
            plots.index(LINE)
        long = policy(ttamer.Topology.line(41), "none")
        with pytest.raises(ValueError, match="policy: expected at most 40 nodes to draw, got 41"):
            plots.index(long)


class TestExits:
    def test_bars_are_the_shares(self):
        traces = random_traces(LINE, 300, 0)
        chosen = ttamer.solve(ttamer.fit(traces, bins=8), 0.9, "observed")
        report = ttamer.evaluate(chosen, traces)
        assert report.recall_rate > 0
        figure = plots.exits(report)
        axes = figure.axes[0]
        for y, expected in enumerate((report.stops, report.answers)):
            lane = [bar.get_width() for bar in axes.patches if bar.get_y() == pytest.approx(y - 0.43)]
            assert lane == pytest.approx(expected[expected > 0])
        assert {"stop at", "answered by"} <= set(texts(figure))
        label = axes.get_yticklabels()[0].get_text()
        assert label == f"cost {report.mean_cost:.3g} ms\nloss {report.error:.3g}"

    def test_without_recall_one_bar_says_both(self):
        traces = random_traces(LINE, 300, 0)
        policies = {f"at {x}": ttamer.solve(ttamer.fit(traces, bins=8), x, "none").replay(traces) for x in (0.5, 0.9)}
        figure = plots.exits(policies, title="a title")
        axes = figure.axes[0]
        assert len({bar.get_y() for bar in axes.patches}) == 2
        assert [label.get_text().split("\n")[0] for label in axes.get_yticklabels()] == ["at 0.5", "at 0.9"]
        assert axes.get_xlabel() == "share of requests that stop at each node, which answers"
        assert "stop at" not in texts(figure)
        assert sum(bar.get_width() for bar in axes.patches) == pytest.approx(2)

    def test_replays_and_evaluations_alike(self):
        traces = random_traces(LINE, 300, 0)
        chosen = ttamer.solve(ttamer.fit(traces, bins=8), 0.9, "observed")
        drawn = [plots.exits(each).axes[0].patches for each in (chosen.replay(traces), ttamer.evaluate(chosen, traces))]
        assert [bar.get_width() for bar in drawn[0]] == pytest.approx([bar.get_width() for bar in drawn[1]])

    def test_bad_arguments(self):
        with pytest.raises(ValueError, match="outcome: expected at least one, got none"):
            plots.exits({})
        with pytest.raises(TypeError, match="outcome: expected an Evaluation or a Replay, got Traces"):
            plots.exits({"x": some_traces()})


@pytest.mark.parametrize(
    "draw",
    [
        lambda path: plots.reliability(some_traces(), path),
        lambda path: plots.index(policy(LINE), path),
        lambda path: plots.index(policy(SKIP), path),
        lambda path: plots.exits(policy(LINE).replay(random_traces(LINE, 20, 0)), path),
    ],
    ids=["reliability", "index", "actions", "exits"],
)
class TestFiles:
    def test_written_whole_or_not_at_all(self, draw, tmp_path):
        draw(tmp_path / "a.png")
        assert (tmp_path / "a.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
        with pytest.raises(ValueError, match=r"b\.xyz: Format 'xyz' is not supported"):
            draw(tmp_path / "b.xyz")
        assert [path.name for path in tmp_path.iterdir()] == ["a.png"]

    def test_missing_matplotlib_is_named(self, draw, monkeypatch):
        monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
        with pytest.raises(ImportError, match=r'^plots need matplotlib: pip install "ttamer\[cli\]"$'):
            draw(None)

    def test_pyplot_is_left_alone(self, draw):
        before = "matplotlib.pyplot" in sys.modules
        draw(None)
        assert ("matplotlib.pyplot" in sys.modules) == before
