"""Settings shared by all tests."""

from __future__ import annotations

import gc
import importlib.util
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

import ttamer.cli

# Millions of objects come from tests and libraries, and all of them stay: looking through them again and again would
# take a quarter of the time of collecting.
gc.disable()

try:
    import hypothesis
except ImportError:
    hypothesis = None

try:
    import torch
except ImportError:
    torch = None

# The same examples on every run and machine, and no verdict that depends on how fast one is.
if hypothesis is not None:
    hypothesis.settings.register_profile(
        "ttamer", derandomize=True, deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
    )
    hypothesis.settings.load_profile("ttamer")

# Without a GPU kernels are interpreted. Triton reads this when it is imported, which PyTorch may do in any test.
if torch is not None and not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")

# LiteLLM reads this when it is imported: it takes its prices from its own files, and not from the internet.
os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")

OPTIONAL = {
    "hypothesis",
    "matplotlib",
    "prometheus_client",
    "pyarrow",
    "rich",
    "scipy",
    "sklearn",
    "threadpoolctl",
    "typer",
}
"""Packages that tests import without asking."""


if any(importlib.util.find_spec(name) is None for name in ("matplotlib", "rich", "typer")):
    # It says so and ends: what tests call instead skips them.
    ttamer.cli.main = lambda arguments=None: pytest.skip("the command line needs the cli extra")


def skip_what_needs(error: BaseException | None) -> None:
    """Skip what raised this error if it says that an optional package is missing: Python's, or the package's own."""
    name = (error.name or "").partition(".")[0] if isinstance(error, ModuleNotFoundError) else ""
    if name in OPTIONAL:
        pytest.skip(f"needs {name}", allow_module_level=True)
    if isinstance(error, ImportError) and 'pip install "ttamer[' in str(error):
        pytest.skip(str(error), allow_module_level=True)


class Module(pytest.Module):
    """A file of tests."""

    def collect(self) -> Iterable[pytest.Item | pytest.Collector]:
        try:
            return super().collect()
        except self.CollectError as error:
            skip_what_needs(error.__cause__)
            raise


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> pytest.Module:
    """Every file of tests is one of these."""
    return Module.from_parent(parent, path=module_path)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup() -> Iterator[None]:
    """Fixtures."""
    try:
        yield
    except ImportError as error:
        skip_what_needs(error)
        raise


pytest_runtest_call = pytest_runtest_setup


@pytest.fixture(scope="session", params=["cpu", pytest.param("cuda", marks=pytest.mark.cuda)])
def device(request: pytest.FixtureRequest) -> str:
    """Where kernels run: in Triton's interpreter, and on a GPU where there is one."""
    pytest.importorskip("torch", reason="needs the torch extra")
    pytest.importorskip("triton", minversion="3.7", reason="needs Triton 3.7")
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    if request.param == "cpu" and os.environ.get("TRITON_INTERPRET") != "1":
        pytest.skip("kernels are compiled here; TRITON_INTERPRET=1 runs them on the CPU")
    return request.param


@pytest.fixture
def with_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Models are served by the kernels on the CPU too."""
    from ttamer.torch import Decider

    start = Decider.start
    monkeypatch.setattr(Decider, "start", lambda self, capacity, nan: start(self, capacity, nan, kernels=True))


def pytest_collection_finish(session: pytest.Session) -> None:
    """From here on garbage is collected, and never looked for in what is there already."""
    gc.freeze()
    gc.enable()


def pytest_unconfigure() -> None:
    """Libraries that look for what they left behind find it gone."""
    gc.unfreeze()
