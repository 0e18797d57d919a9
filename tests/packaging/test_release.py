"""What is released says the same everywhere, and the workflows that release it are as strict as they should be."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from paths import REPOSITORY

PYPROJECT = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
(VERSION,) = re.findall(r'^version = "(.+)"$', PYPROJECT, flags=re.MULTILINE)
RECIPE = REPOSITORY / "recipe" / "recipe.yaml"  # none in an sdist, as the workflows
WORKFLOWS = sorted((REPOSITORY / ".github" / "workflows").glob("*.yml"))


@pytest.mark.parametrize(
    ("file", "pattern"),
    [("CITATION.cff", r"^version: (.+)$"), ("recipe/recipe.yaml", r'^  version: "(.+)"$')],
)
def test_the_version_is_that_of_the_project(file: str, pattern: str) -> None:
    path = REPOSITORY / file
    if not path.exists():
        pytest.skip("not in an sdist")
    assert re.findall(pattern, path.read_text(encoding="utf-8"), flags=re.MULTILINE) == [VERSION]


@pytest.mark.skipif(not RECIPE.exists(), reason="not in an sdist")
def test_the_recipe_runs_its_tests_on_the_files_that_it_takes(tmp_path: Path) -> None:
    (script,) = re.findall(r"script: python (-m pytest .*)", RECIPE.read_text(encoding="utf-8"))
    (files,) = re.findall(r"source: \[(.*)\]", RECIPE.read_text(encoding="utf-8"))
    for name in files.split(", "):
        path = REPOSITORY / name
        shutil.copytree(path, tmp_path / name) if path.is_dir() else shutil.copy(path, tmp_path)
    ran = subprocess.run([sys.executable, *shlex.split(script)], cwd=tmp_path, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout


def test_the_changelog_begins_with_this_version() -> None:
    changelog = (REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8")
    first = re.search(r"^## (\S+) \((unreleased|\d{4}-\d{2}-\d{2})\)$", changelog, flags=re.MULTILINE)
    assert first is not None
    assert first[1] == VERSION


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_actions_are_pinned_and_permissions_asked_for(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    actions = re.findall(r"uses: (.+)$", text, flags=re.MULTILINE)
    assert actions
    for action in actions:
        assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action)
    assert re.search(r"^permissions: \{\}$", text, flags=re.MULTILINE)
    assert text.count("actions/checkout@") == text.count("persist-credentials: false")


def test_an_action_has_one_version() -> None:
    versions: dict[str, set[str]] = {}
    for path in WORKFLOWS:
        for name, version in re.findall(r"uses: (\S+?)@(.+)$", path.read_text(encoding="utf-8"), flags=re.MULTILINE):
            versions.setdefault(name, set()).add(version)
    assert all(len(each) == 1 for each in versions.values()), versions
