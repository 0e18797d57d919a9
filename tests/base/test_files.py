"""How files are replaced, and which paths and texts are taken."""

from __future__ import annotations

import errno
import os
import stat
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import random_model

import ttamer
from ttamer._base import files

MODEL = random_model(ttamer.Topology.line(2), 2, seed=1)
TRACES = ttamer.Traces(np.zeros((2, 2), np.float32), np.zeros((2, 2), np.float32), [1, 2])
POSIX = pytest.mark.skipif(sys.platform == "win32", reason="modes, links, FIFOs and names of POSIX")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@POSIX
def test_the_mask_of_the_process_is_not_touched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = os.umask(0o027)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(os, "umask", None)
            files.write(tmp_path / "new", b"1")
        assert mode(tmp_path / "new") == 0o640
    finally:
        os.umask(before)


@POSIX
@pytest.mark.parametrize("permissions", [0o600, 0o664, 0o444])
def test_a_file_keeps_its_permissions(tmp_path: Path, permissions: int) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    path.chmod(permissions)
    files.write(path, b"new")
    assert (path.read_bytes(), mode(path)) == (b"new", permissions)


@POSIX
def test_links_stay_links(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    target, link, dangling = tmp_path / "folder" / "target", tmp_path / "link", tmp_path / "dangling"
    target.write_bytes(b"old")
    link.symlink_to("folder/target")
    dangling.symlink_to("folder/later")
    files.write(link, b"new")
    files.write(dangling, b"first")
    assert link.is_symlink()
    assert dangling.is_symlink()
    assert (target.read_bytes(), (tmp_path / "folder" / "later").read_bytes()) == (b"new", b"first")
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(OSError, match="loop"):
        files.write(tmp_path / "loop", b"")


@POSIX
def test_what_is_no_regular_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "folder").mkdir()
    (tmp_path / "null").symlink_to(os.devnull)
    for name in ("fifo", "folder", "null"):
        with pytest.raises(OSError, match=f"not a regular file: '.*{name}'"):
            files.write(tmp_path / name, b"1")
    assert stat.S_ISFIFO((tmp_path / "fifo").stat().st_mode)
    assert stat.S_ISCHR(os.stat(os.devnull).st_mode)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fifo", "folder", "null"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_what_was_not_finished_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, error: BaseException
) -> None:
    (tmp_path / "file").write_bytes(b"old")

    def fail(*args: object) -> None:
        raise error

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(type(error)) as raised:
        files.write(tmp_path / "file", b"new")
    if isinstance(error, OSError):
        assert str(raised.value) == f"[Errno {errno.ENOSPC}] No space left on device: {str(tmp_path / 'file')!r}"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_bytes() == b"old"


@POSIX
def test_a_name_as_long_as_the_system_allows(tmp_path: Path) -> None:
    path = tmp_path / ("n" * 255)
    files.write(path, b"1")
    assert path.read_bytes() == b"1"


class Nothing:
    def __fspath__(self) -> Any:
        return b"bytes"


@pytest.mark.parametrize(
    ("path", "error", "message"),
    [
        (1, TypeError, "^path: expected a str or os.PathLike, got int$"),
        (None, TypeError, "^path: expected a str or os.PathLike, got NoneType$"),
        (b"bytes", TypeError, "^path: expected a str or os.PathLike, got bytes$"),
        (Nothing(), TypeError, "^path: expected a str or os.PathLike of one, got one of bytes$"),
        ("", ValueError, "^path: expected the name of a file, got ''$"),
        ("a\0b", ValueError, r"^path: expected the name of a file, got 'a\\x00b'$"),
    ],
)
def test_a_path_is_a_text(path: Any, error: type[Exception], message: str) -> None:
    for call in (TRACES.save, MODEL.save, ttamer.solve(MODEL, 0.5).save):
        with pytest.raises(error, match=message):
            call(path)
    for kind in (ttamer.Traces, ttamer.CascadeModel, ttamer.Policy):
        with pytest.raises(error, match=message):
            kind.load(path)
    os.fstat(1)  # still open


@POSIX
def test_a_hostile_name_of_a_file_is_shown_with_escapes(tmp_path: Path) -> None:
    path = tmp_path / "a\x1b[31mb"
    path.write_bytes(b"1")
    for kind in (ttamer.Traces, ttamer.CascadeModel, ttamer.Policy):
        with pytest.raises(ValueError, match=r"a\\x1b\[31mb: not "):
            kind.load(path)


@pytest.mark.parametrize("text", ["a\x1b[31mb", "a\nb", "a\u202eb", "\ud800", "a\u2028b", "\x9b31m"])
def test_a_unit_can_be_shown(text: str) -> None:
    fields = (np.zeros((2, 2), np.float32), np.zeros((2, 2), np.float32), [1, 2])
    tables = (MODEL.topology, MODEL.losses, MODEL.transitions, MODEL.costs)
    for make in (lambda: ttamer.Traces(*fields, unit=text), lambda: ttamer.CascadeModel(*tables, unit=text)):
        with pytest.raises(ValueError, match="^unit: expected characters that can be shown, got '"):
            make()
    with pytest.raises(ValueError, match="^unit: expected at most 200 characters, got 201$"):
        ttamer.Traces(*fields, unit="m" * 201)
    assert ttamer.Traces(*fields, unit="µs per 10³ 词").unit == "µs per 10³ 词"


@pytest.mark.parametrize("kind", [ttamer.Policy, ttamer.CascadeModel])
def test_traces_are_told_from_other_files(tmp_path: Path, kind: Any) -> None:
    path = tmp_path / "traces.npz"
    TRACES.save(path)
    name = kind.__name__.removeprefix("Cascade").lower()
    with pytest.raises(ValueError, match=f"traces.npz: expected a {name} file, got a zip archive, as Traces.save"):
        kind.load(path)
