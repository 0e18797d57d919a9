"""bench/fused.py: a quick form of its run, on one build of the package."""

from __future__ import annotations

import importlib
import json
import platform
from pathlib import Path

import pytest
from paths import BENCH

pytestmark = pytest.mark.slow


@pytest.mark.skipif(
    (platform.machine(), platform.libc_ver()[0]) != ("x86_64", "glibc"), reason="asks glibc on x86-64 to fuse nothing"
)
def test_every_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.syspath_prepend(str(BENCH))
    script = importlib.import_module("fused")
    monkeypatch.setattr(script, "build", lambda folder: None)
    assert script.main(["--quick", "--output", str(tmp_path)]) == 0
    rows = json.loads((tmp_path / "fused.json").read_text())["rows"]
    assert [row["fused operations"].split()[-1] for row in rows] == ["vectors", "hardware", "software"]
    assert rows[0]["times"] == 1
    assert all(row["solve ms"] > 0 for row in rows)
    assert "in software" in capsys.readouterr().out


def test_elsewhere_it_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.syspath_prepend(str(BENCH))
    script = importlib.import_module("fused")
    monkeypatch.setattr(script.platform, "machine", lambda: "riscv64")
    assert script.main(["--quick"]) == 2
    assert capsys.readouterr().err == "fused: needs x86-64 and glibc\n"
