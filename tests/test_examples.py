"""Every program in examples runs as it stands, and says what its docstring promises."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

PROGRAMS = sorted((Path(__file__).parents[1] / "examples").glob("*.py"))


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: path.stem)
def test_program_runs(
    program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [str(program)])
    runpy.run_path(str(program), run_name="__main__")
    assert capsys.readouterr().out.strip()


class TestRecallIsNecessary:
    @pytest.fixture
    def program(self) -> dict[str, Any]:
        return runpy.run_path(str(next(path for path in PROGRAMS if path.stem == "recall_is_necessary")))

    def test_the_ratio_grows_like_a(self, program: dict[str, Any]) -> None:
        values = (2, 7.5, 100, 1e4)
        np.testing.assert_allclose(program["ratios"](values), values, rtol=1e-9)
        for a in values:
            assert program["prophet_loss"](a) == pytest.approx(program["expected_loss"](a, "observed"), rel=1e-9)

    def test_table_and_picture(
        self, program: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        program["main"](["--output", str(tmp_path / "ratio.svg")])
        lines = capsys.readouterr().out.splitlines()
        rows = [line.split() for line in lines[1:-1]]
        assert [float(row[0]) for row in rows] == pytest.approx([float(row[4]) for row in rows], rel=1e-9)
        assert [row[2] for row in rows] == [row[3] for row in rows]  # recall and the prophet
        assert lines[-1] == f"drew {tmp_path / 'ratio.svg'}"
        assert "<svg" in (tmp_path / "ratio.svg").read_text()

    def test_without_matplotlib_there_is_a_table_and_no_picture(
        self,
        program: dict[str, Any],
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
        program["main"](["--output", str(tmp_path / "ratio.png")])
        lines = capsys.readouterr().out.splitlines()
        assert len(lines) > 10
        assert lines[-1] == "no picture: pip install matplotlib"
        assert list(tmp_path.iterdir()) == []
