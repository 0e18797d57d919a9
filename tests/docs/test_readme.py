"""The README and the pages in docs: their Python blocks run as they stand, their commands and files exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from paths import REPOSITORY

PAGES = {
    str(path.relative_to(REPOSITORY)): path.read_text(encoding="utf-8")
    for path in [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
}
BLOCKS = [
    pytest.param(page, block, id=f"{page}-{k}")
    for page, text in PAGES.items()
    for k, block in enumerate(re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL))
]
LINKS = [(page, path) for page, text in PAGES.items() for path in re.findall(r"\]\(([a-zA-Z][^):#]*)\)", text)]


def test_the_blocks_are_found() -> None:
    found = [block.values[0] for block in BLOCKS]
    assert found.count("README.md") >= 2
    assert found.count("docs/shapes.md") == 5
    assert found.count("docs/torch.md") == 4


@pytest.mark.parametrize(("page", "block"), BLOCKS)
def test_block_runs(
    page: str, block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if "import torch" in block:
        pytest.importorskip("torch", reason="needs the torch extra")
    monkeypatch.chdir(tmp_path)
    exec(compile(block, page, "exec"), {"__name__": "page"})
    assert capsys.readouterr().out.strip()


@pytest.mark.parametrize("target", re.findall(r"^make ([a-z]+)", PAGES["README.md"], flags=re.MULTILINE))
def test_make_target_exists(target: str) -> None:
    assert re.search(rf"^{target}:", (REPOSITORY / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE)


@pytest.mark.parametrize(("page", "path"), LINKS)
def test_linked_file_exists(page: str, path: str) -> None:
    assert ((REPOSITORY / page).parent / path).exists()


def test_command_lines_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In order, in a folder where the last block of the README has left its files."""
    runner = pytest.importorskip("typer.testing", reason="the command line needs the cli extra").CliRunner()
    from ttamer.cli.app import app

    monkeypatch.chdir(tmp_path)
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", readme, flags=re.DOTALL)
    exec(compile(blocks[-1], "README.md", "exec"), {"__name__": "readme"})
    commands = re.findall(r"^ttamer (.+)$", readme, flags=re.MULTILINE)
    assert len(commands) >= 4
    for command in commands:
        result = runner.invoke(app, command.split())
        assert result.exit_code == 0, (command, result.output)
