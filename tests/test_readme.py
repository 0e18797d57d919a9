"""The README's Python blocks run as they stand, and its commands exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


def test_the_blocks_are_found() -> None:
    assert len(BLOCKS) >= 2


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_block_runs(
    block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    exec(compile(block, "README.md", "exec"), {"__name__": "readme"})
    assert capsys.readouterr().out.strip()


@pytest.mark.parametrize("target", re.findall(r"^make ([a-z]+)", README, flags=re.MULTILINE))
def test_make_target_exists(target: str) -> None:
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE)


@pytest.mark.parametrize("path", re.findall(r"\]\(([a-zA-Z][^):#]*)\)", README))
def test_linked_file_exists(path: str) -> None:
    assert (ROOT / path).exists()


def test_command_lines_parse() -> None:
    runner = pytest.importorskip("typer.testing", reason="the command line needs the cli extra").CliRunner()
    from ttamer.cli.app import app

    for command in set(re.findall(r"^ttamer ([a-z]+)", README, flags=re.MULTILINE)):
        assert runner.invoke(app, [command, "--help"]).exit_code == 0, command
