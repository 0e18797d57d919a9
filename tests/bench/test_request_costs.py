"""bench/request_costs.py: a quick form of its run, on sets that are made here."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import numpy as np
import pytest
from paths import BENCH

pytestmark = pytest.mark.slow


def test_limits_on_costs_of_each_request(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("scipy", reason="tune needs the fit extra")
    rng = np.random.default_rng(0)
    for part, rows in (("calibration", 600), ("test", 300)):
        hard = rng.random((rows, 1))
        signal = 1 - hard + rng.normal(0, 0.1, (rows, 4))
        quality = (rng.random((rows, 4)) > hard * [0.3, 0.9, 0.5, 0.7]).astype(float)
        costs = rng.lognormal(2 * hard, 1.0, (rows, 4)) * [9.0, 1.0, 4.0, 2.0]
        costs[0, 1] = np.nan
        np.savez(tmp_path / f"made-{part}.npz", quality=quality, signal=signal, latency=costs)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCH))
        script = importlib.import_module("request_costs")
    pool = script.load(tmp_path, "made", "latency", "s")
    assert (len(pool), pool.unit) == (898, "s")
    assert np.all(np.diff(pool.costs) > 0)
    arguments = [str(tmp_path), "made:latency:s", "--draws", "10", "--output", str(tmp_path)]
    assert script.main(arguments) == 0
    rows = json.loads((tmp_path / "request_costs.json").read_text())["rows"]
    assert [(row["drawn"], row["limit"]) for row in rows] == [
        (drawn, limit) for drawn in ("split", "bootstrap") for limit in ("quantile", "mean", "mean costs")
    ]
    by_limit = {row["limit"]: row for row in rows if row["drawn"] == "split"}
    assert by_limit["quantile"]["certified"] > 0
    assert by_limit["quantile"]["violations"] <= by_limit["quantile"]["allowed"]
    assert by_limit["mean"]["violations"] <= by_limit["mean"]["allowed"]
    assert "certified" in capsys.readouterr().out
