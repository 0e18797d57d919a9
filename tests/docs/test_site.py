"""The pages that Sphinx builds (`make docs`): what can be checked without building them."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from paths import REPOSITORY

import ttamer

DOCS = REPOSITORY / "docs"
SOURCES = {path for kind in ("md", "rst", "ipynb") for path in DOCS.rglob(f"*.{kind}")}
NOTEBOOKS = sorted(DOCS.glob("notebooks/*.ipynb"))
REFERENCE = "\n".join(path.read_text(encoding="utf-8") for path in sorted(DOCS.glob("reference/*.rst")))
MODULES = ["baselines", "compare", "data", "plots", "reference", "serve", "torch", "tuning"]
OF_EXTRAS = ["serve/litellm", "serve/openai", "serve/ray"]
"""Modules that need a package which may be missing, and have no `__all__`."""


def listed(page: Path) -> Iterator[Path]:
    """The pages that the tables of contents of a page list."""
    for table in re.findall(r"\.\. toctree::\n((?:   .*\n|\n)*)", page.read_text(encoding="utf-8")):
        for line in table.splitlines():
            if line.strip() and not line.strip().startswith(":"):
                yield from (path for path in SOURCES if path.with_suffix("") == page.parent / line.strip())


def documented() -> set[str]:
    """Full names that the reference has: each by its own, or all of a module."""
    names, module = set(), ""
    for directive, argument, options in re.findall(r"^\.\. ([\w:]+):: (.*)((?:\n   :.*)*)", REFERENCE, re.MULTILINE):
        if directive in ("automodule", "currentmodule"):
            module = argument
        if directive == "automodule":
            members = re.search(r":members: *(.*)", options)
            assert members, argument
            chosen = members[1].split(", ") if members[1] else getattr(import_module(module), "__all__", [])
            names |= {f"{module}.{name}" for name in chosen}
        elif directive.startswith(("auto", "py:")):
            name = argument.removesuffix("()")
            names.add(name if name.startswith("ttamer.") else f"{module}.{name}")
    return names


def test_every_page_is_in_a_table_of_contents() -> None:
    reached, waiting = set(), [DOCS / "index.rst"]
    while waiting:
        page = waiting.pop()
        reached.add(page)
        waiting += [each for each in listed(page) if each not in reached]
    assert reached == SOURCES


def test_every_public_name_is_in_the_reference() -> None:
    pytest.importorskip("torch", reason="ttamer.torch needs PyTorch")
    public = {f"ttamer.{name}" for name in ttamer.__all__}
    for name in MODULES:
        public |= {f"ttamer.{name}.{each}" for each in import_module(f"ttamer.{name}").__all__}
    renamed = {f"ttamer.tuning.{name}" for name in ("tune", "InfeasibleError")}  # stand with the others of ttamer
    assert public - renamed <= documented()
    assert set(MODULES) >= set(ttamer.__dir__()) - set(ttamer.__all__)


@pytest.mark.parametrize("module", OF_EXTRAS)
def test_modules_of_extras_are_in_the_reference(module: str) -> None:
    """All of such a module, which is what has a docstring and no underscore."""
    assert f".. automodule:: ttamer.{module.replace('/', '.')}\n   :members:\n" in f"{REFERENCE}\n"
    tree = ast.parse((REPOSITORY / f"python/ttamer/{module}.py").read_text(encoding="utf-8"))
    public = [each for each in tree.body if isinstance(each, (ast.FunctionDef, ast.ClassDef)) and each.name[0] != "_"]
    assert public
    assert all(ast.get_docstring(each) for each in public)


def test_the_mathematics_names_every_function_of_the_reference() -> None:
    page = (DOCS / "mathematics.md").read_text(encoding="utf-8")
    assert set(re.findall(r"`reference\.(\w+)`", page)) == set(ttamer.reference.__all__)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs_and_is_kept_without_outputs(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib", reason="a notebook draws")
    cells = [cell for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]
    assert not any(cell["outputs"] or cell["execution_count"] for cell in cells)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "notebook"}
    for cell in cells:
        lines = [line for line in cell["source"] if not line.startswith("%")]
        exec(compile("".join(lines), path.name, "exec"), names)
    assert capsys.readouterr().out.strip()
