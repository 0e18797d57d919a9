"""The package as it is installed: what its compiled module shows, what it loads and which files came with it."""

from __future__ import annotations

import importlib.metadata
import os
import struct
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

import ttamer

LIGHT = {"numpy", "safetensors", "ttamer"}
"""All that `import ttamer` may load of what is installed beside the standard library."""


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
def test_the_module_exports_its_entry_alone() -> None:
    """Neither the core nor templates of libstdc++, whose state others of the process would come to share."""
    assert exported(ttamer._core.__file__) == {"PyInit__core"}


def test_import_loads_little() -> None:
    """No PyTorch, SciPy, scikit-learn or Matplotlib, whose imports take seconds."""
    program = (
        "import sys; before = set(sys.modules); import ttamer; "
        "print(*{name.partition('.')[0] for name in set(sys.modules) - before})"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split()) - sys.stdlib_module_names
    # Older NumPy is made with Cython.
    assert {name for name in loaded if not name.lstrip("_").startswith("cython_")} <= LIGHT


def test_one_version() -> None:
    assert importlib.metadata.version("ttamer") == ttamer.__version__ == ttamer._core.__version__


def test_licences_came_along() -> None:
    """That of the package, and that of pybind11, which is compiled into it and asks for it."""
    files = {file.name: file for file in importlib.metadata.files("ttamer") or [] if "licenses" in file.parts}
    assert set(files) == {"LICENSE", "pybind11.txt"}
    assert "Apache License" in files["LICENSE"].read_text(encoding="utf-8")
    assert "Wenzel Jakob" in files["pybind11.txt"].read_text(encoding="utf-8")


def test_type_information_came_along() -> None:
    package = Path(ttamer.__file__).parent
    assert {"py.typed", "_core.pyi"} <= {path.name for path in package.iterdir()}


@pytest.mark.skipif(not sysconfig.get_config_var("Py_GIL_DISABLED"), reason="this Python has a GIL")
def test_the_gil_stays_away() -> None:
    """A module that does not say it can do without would bring it back for the whole process."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHON_GIL"}
    program = "import sys, ttamer; print(sys._is_gil_enabled())"
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "False"
