"""The rooms of the C++ core: each file includes what its room may know, and only the bindings know Python."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from paths import REPOSITORY

CORE, TESTS = REPOSITORY / "cpp" / "ttamer", REPOSITORY / "cpp" / "tests"
KNOWN = {
    "base": set(),
    "model": {"base"},
    "policy": {"base", "model"},
    "solve": {"base", "model", "policy"},
    "signals": {"base", "model", "policy"},
    "decide": {"base", "model", "policy", "solve", "signals"},
    "replay": {"base", "model", "policy", "solve", "signals", "decide"},
}
"""What a room may include beside its own files."""
HELPERS = {
    "check.hpp": "base",
    "edges.hpp": "base",
    "random.hpp": "base",
    "models.hpp": "policy",
    "sets.hpp": "decide",
}
"""What several tests share: for those of this room, and of rooms that may know it."""

FILES = [
    pytest.param(path, id=str(path.relative_to(REPOSITORY)))
    for folder in (CORE, TESTS)
    for path in sorted(folder.glob("*/*.?pp"))
]


def includes(path: Path) -> list[str]:
    return re.findall(r'^#include [<"]([^>"]+)[>"]', path.read_text(encoding="utf-8"), flags=re.MULTILINE)


def test_every_folder_is_a_room() -> None:
    assert {path.name for path in CORE.iterdir()} == set(KNOWN)
    assert {path.name for path in TESTS.iterdir() if path.is_dir()} == set(KNOWN)
    assert {path.name for path in TESTS.iterdir() if path.is_file()} == set(HELPERS)


@pytest.mark.parametrize("path", FILES)
def test_a_file_includes_what_its_room_may_know(path: Path) -> None:
    room = path.parent.name
    rooms = {name.split("/")[1] for name in includes(path) if name.startswith("ttamer/")}
    if path.is_relative_to(TESTS):
        rooms |= {HELPERS[name] for name in includes(path) if name in HELPERS}
    assert rooms <= {room, *KNOWN[room]}


@pytest.mark.parametrize("path", FILES)
def test_only_the_bindings_know_python(path: Path) -> None:
    assert not [name for name in includes(path) if name.startswith(("pybind11", "Python.h"))]
