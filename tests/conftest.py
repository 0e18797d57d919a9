"""Settings shared by all tests."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings

try:
    import torch
except ImportError:
    torch = None

# The same examples on every run and machine, and no verdict that depends on how fast one is.
settings.register_profile("ttamer", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("ttamer")

# Without a GPU kernels are interpreted. Triton reads this when it is imported, which PyTorch may do in any test.
if torch is not None and not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")

# LiteLLM reads this when it is imported: it takes its prices from its own files, and not from the internet.
os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")


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
