"""The compiled module as a shared object."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

import ttamer


def exported(path: str) -> set[str]:
    """Names that a 64-bit little-endian ELF file defines for others."""
    image = Path(path).read_bytes()
    assert image[:6] == b"\x7fELF\x02\x01"
    (table,) = struct.unpack_from("<Q", image, 40)
    entry, count = struct.unpack_from("<HH", image, 58)
    sections = [struct.unpack_from("<IIQQQQII", image, table + k * entry) for k in range(count)]
    names = set()
    for _, kind, _, _, offset, size, link, _ in sections:
        if kind == 11:  # SHT_DYNSYM; `link` is its table of strings
            for at in range(offset, offset + size, 24):
                name, info, _, section = struct.unpack_from("<IBBH", image, at)
                begin = sections[link][4] + name
                if section and info >> 4:  # defined here, and not local
                    names.add(image[begin : image.index(b"\0", begin)].decode())
    return names


@pytest.mark.skipif(not sys.platform.startswith("linux") or sys.maxsize < 2**32, reason="reads 64-bit ELF files")
def test_what_is_linked_in_is_not_exported() -> None:
    """Neither the core nor a statically linked libstdc++, whose state others of the process would come to share."""
    names = exported(ttamer._core.__file__)
    assert "PyInit__core" in names
    assert not [name for name in names if "ttamer" in name or name.startswith(("_ZNSt6locale", "_ZNSo", "_ZNSi"))]


@pytest.mark.skipif(not sysconfig.get_config_var("Py_GIL_DISABLED"), reason="this Python has a GIL")
def test_the_gil_stays_away() -> None:
    """A module that does not say it can do without would bring it back for the whole process."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHON_GIL"}
    program = "import sys, ttamer; print(sys._is_gil_enabled())"
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "False"
