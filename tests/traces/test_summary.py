"""Sums of traces, and what `Traces.summary` says of them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ttamer
from ttamer import Traces
from ttamer.cli import main


def three_models(rows: int = 400, seed: int = 0, **changes: Any) -> Traces:
    rng = np.random.default_rng(seed)
    probs = rng.dirichlet([0.3] * 4, (rows, 3))
    labels = np.array([rng.choice(4, p=row[-1]) for row in probs])
    return Traces.from_probs(probs, labels, **{"costs": [1.0, 2.0, 4.0], "unit": "ms", **changes})


class TestSummary:
    def test_of_each_node_alone(self) -> None:
        traces = three_models()
        summary = traces.summary()
        assert (summary.requests, summary.complete, summary.best, summary.sorted_nodes) == (400, 400, 2, ())
        np.testing.assert_allclose(summary.loss, traces.losses.mean(axis=0))
        assert all(values.tolist() == [1, 3, 7] for values in summary.costs["ms"])
        assert summary.warnings() == []
        assert summary.agreement is not None
        assert traces.predictions is not None
        np.testing.assert_allclose(summary.agreement, (traces.predictions == traces.predictions[:, -1:]).mean(axis=0))
        first, *nodes = str(summary).splitlines()
        assert first == "400 requests"
        assert re.fullmatch(r"node 2  loss 0\.\d+  cost 7 ms, p95 7  as the last 100\.0%  best", nodes[2])

    def test_costs_of_each_request_have_quantiles(self) -> None:
        costs = np.random.default_rng(1).lognormal(0, 1, (400, 3))
        summary = three_models(costs=costs).summary()
        paid = np.cumsum(costs, axis=1)
        np.testing.assert_allclose(summary.costs["ms"].p95, np.quantile(paid, 0.95, axis=0))
        assert np.all(summary.costs["ms"].p50 < summary.costs["ms"].mean)

    def test_of_equal_nodes_the_cheapest_is_best(self) -> None:
        losses = np.zeros((5, 3), np.float32)
        losses[:, 0] = 1
        summary = Traces(losses, losses, [1, 1, 1]).summary()
        assert (summary.best, summary.agreement) == (1, None)

    def test_rows_in_order_are_seen(self) -> None:
        traces = three_models()
        order = np.argsort(traces.losses[:, 0], kind="stable")
        summary = traces[order].summary()
        assert summary.sorted_nodes == (0,)
        assert str(summary).endswith("losses differ much between halves (node 0); shuffle before splitting them")
        assert traces[:1].summary().sorted_nodes == ()

    @pytest.mark.parametrize("seed", range(20))
    def test_rows_in_no_order_are_not(self, seed: int) -> None:
        assert three_models(300, seed).summary().sorted_nodes == ()

    def test_command(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        path = tmp_path / "t.npz"
        three_models().save(path)
        assert main(["show", str(path)]) == 0
        text = capsys.readouterr().out
        assert "best alone: node 2" in text
        assert "as the last" in text
        assert main(["show", str(path), "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["best"] == 2


class TestSums:
    def test_are_the_rows_of_both(self) -> None:
        traces = three_models()
        both = traces[:150] + traces[150:]
        for name in ("signals", "losses", "predictions", "labels", "costs"):
            np.testing.assert_array_equal(getattr(both, name), getattr(traces, name))
        assert both.evidence is not None
        assert traces.evidence is not None
        np.testing.assert_array_equal(both.evidence.log_probs, traces.evidence.log_probs)
        assert repr(both) == repr(traces)
        for a, b in zip(ttamer.fit(both).losses, ttamer.fit(traces).losses, strict=True):
            np.testing.assert_array_equal(a, b)

    def test_costs_of_each_request_and_of_all_join(self) -> None:
        costs = np.random.default_rng(1).random((400, 3))
        both = three_models() + three_models(seed=1, costs=costs)
        assert both.request_costs is not None
        np.testing.assert_array_equal(both.request_costs[:400], np.tile([1.0, 2.0, 4.0], (400, 1)))
        np.testing.assert_array_equal(both.request_costs[400:], costs)
        np.testing.assert_allclose(both.costs, both.request_costs.mean(axis=0))

    @pytest.mark.parametrize(
        ("other", "message"),
        [
            (three_models(unit="us"), "unit: expected traces of one cascade, got 'ms' and 'us'"),
            (three_models(signal="entropy"), "signal: expected traces of one cascade, got 'max_prob' and 'entropy'"),
            (
                three_models(top=2),
                "evidence: expected as many classes and as many kept in all traces, got [",
            ),
            (
                three_models(costs=[1, 2, 3]),
                "costs: expected the same for all traces, or costs of each request",
            ),
            (
                three_models().path([0, 1], [1, 1]),
                "topology: expected traces of one cascade, got Topology.line(3)",
            ),
            (
                Traces(three_models().signals, three_models().losses, [1.0, 2.0, 4.0], unit="ms", signal="max_prob"),
                "predictions: expected all traces to have them or none, got some without",
            ),
        ],
    )
    def test_of_another_cascade_are_refused(self, other: Traces, message: str) -> None:
        with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
            three_models() + other

    def test_with_something_else(self) -> None:
        with pytest.raises(TypeError):
            three_models() + 3  # type: ignore[operator]
