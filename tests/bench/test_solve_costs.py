"""bench/solve_costs.py: a quick form of its run."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import pytest
from paths import BENCH

pytestmark = pytest.mark.slow


def test_times_of_both_kinds_of_costs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCH))
        script = importlib.import_module("solve_costs")
    assert script.main(["--quick", "--output", str(tmp_path)]) == 0
    rows = json.loads((tmp_path / "solve_costs.json").read_text())["rows"]
    assert [row["K"] for row in rows] == [31, 62]
    assert all(value > 0 for row in rows for value in row.values())
    assert "recall by state/one" in capsys.readouterr().out
