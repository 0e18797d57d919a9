"""The README and the pages in docs: their Python blocks run as they stand, their commands and files exist."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

import pytest
from paths import REPOSITORY

PAGES = {
    str(path.relative_to(REPOSITORY)): path.read_text(encoding="utf-8")
    for path in [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]
}
SLOW = re.compile("aoti_compile|import litellm")
BLOCKS = [
    pytest.param(page, block, id=f"{page}-{k}", marks=[pytest.mark.slow] if SLOW.search(block) else [])
    for page, text in PAGES.items()
    for k, block in enumerate(re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL))
    if "import ray" not in block  # tests/serve/test_ray.py runs that, on its cluster
]
LINKS = [
    (page, path) for page, text in PAGES.items() for path in re.findall(r"\]\(([a-zA-Z.][^):#]*)(?:#[^)]*)?\)", text)
]


def test_the_blocks_are_found() -> None:
    found = [block.values[0] for block in BLOCKS]
    assert found.count("README.md") >= 2
    assert found.count("docs/shapes.md") == 5
    assert found.count("docs/torch.md") == 6
    assert found.count("docs/engine.md") == 1
    assert found.count("docs/export.md") == 3


NEEDS = {
    "import torch": ["torch"],
    "import transformers": ["transformers"],
    "import litellm": ["litellm"],
    "import FastAPI": ["fastapi", "httpx"],
    "from sklearn": ["sklearn"],
    "import onnxruntime": ["onnx", "onnxscript", "onnxruntime"],
    "from transformers import Trainer": ["transformers", "accelerate"],
}
"""What a block imports, itself or through others, that may be missing: the block is skipped then."""


# Of PyTorch, when it exports to ONNX or compiles.
@pytest.mark.filterwarnings("ignore:`isinstance.treespec, LeafSpec.:FutureWarning")
@pytest.mark.filterwarnings("ignore:`torch.jit.script_method`:DeprecationWarning")
# Of PyTorch, when transformers' Trainer trains where there is no GPU.
@pytest.mark.filterwarnings("ignore:'pin_memory' argument is set as true:UserWarning")
# Of LiteLLM's own types, when it makes some of them at a first request.
@pytest.mark.filterwarnings("ignore:Items? .* on TypedDict class:UserWarning")
@pytest.mark.parametrize(("page", "block"), BLOCKS)
def test_block_runs(
    page: str, block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for line, packages in NEEDS.items():
        for package in packages if line in block else []:
            pytest.importorskip(package, reason=f"the block needs {package}")
    if "aoti_compile" in block and shutil.which(os.environ.get("CXX", "g++")) is None:
        pytest.skip("AOTInductor needs a C++ compiler")
    if "import litellm" in block:
        monkeypatch.setattr("litellm.custom_provider_map", [])
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


def test_the_table_of_several_models_is_what_was_measured() -> None:
    tables = json.loads((REPOSITORY / "bench/results/models.json").read_text(encoding="utf-8"))["tables"]
    page = PAGES["docs/quality.md"].partition("\n## Several models\n")[2].partition("\n## ")[0]
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in page.splitlines() if line.startswith("| ")]
    rows = {name: cells for name, *cells in lines}
    for facts in tables["sets"]:
        models, calibration, _, ours, *others = rows[facts["set"]]
        assert (int(models), int(calibration)) == (facts["models"], facts["calibration"])
        measured = {row["way"]: row for row in tables["ways"] if row["set"] == facts["set"]}
        own = measured.pop("ttamer")
        assert ours == f"{1e4 * own['loss']:.0f} ({own['choice']})"
        for way, cell in zip(("fixed", "thresholds", "two calls", "routing", "cascade routing"), others, strict=True):
            if way not in measured:
                assert cell == "\N{EN DASH}"
                continue
            _, low, high = measured[way]["ttamer minus it"]
            mark = " +" if high < 0 else " \N{MINUS SIGN}" if low > 0 else ""
            assert cell == f"{1e4 * measured[way]['loss']:.0f}{mark}"
    for row in tables["summary"]:
        assert f"{row['better']} of {row['sets']}" in page
