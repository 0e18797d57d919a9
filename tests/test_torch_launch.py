"""A kernel launched again without Triton's look-up is launched as Triton would."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs the torch extra")

# A driver that compiles for a GPU and writes down what it is asked to launch: no device is needed.
SCRIPT = """
import itertools
import random

import torch
from triton.backends.compiler import GPUTarget
from triton.runtime import driver

launches = []
lookups = 0

class Launcher:
    def __init__(self, source, metadata):
        pass
    def __call__(self, x, y, z, stream, function, metadata, launch_metadata, enter, leave, *arguments):
        plain = [a.data_ptr() if isinstance(a, torch.Tensor) else a for a in arguments]
        launches.append((x, y, z, stream, function, metadata, plain))

class Utilities:
    def load_binary(self, name, binary, shared, device):
        return binary, (name, binary), 0, 0, 1024
    def get_device_properties(self, device):
        return {"max_shared_mem": 232448}
    def unload_module(self, module):
        pass

class Driver:
    launcher_cls, utils = Launcher, Utilities()
    def get_current_device(self):
        return 0
    def get_current_stream(self, device):
        return 7
    def get_current_target(self):
        return GPUTarget("cuda", 90, 32)

driver.set_active(Driver())
from kernel_cases import policy_for
from ttamer.torch import Decider, kernel_flight, kernels, ops

kernel_flight._check_triton = lambda device: None
for kernel in (kernels.consult, kernels.commit, kernels.reset):
    def counted(*arguments, run=kernel.run, **named):
        global lookups
        lookups += 1
        return run(*arguments, **named)
    kernel.run = counted

decider = Decider(policy_for("max_prob"))
flights = [decider.start(capacity, kernels=True) for capacity in (40, 48)]
wide = torch.randn(40, 80)
values = [wide[:, :64], wide[:33, :64], wide[:, 1:65], wide[:, :70], wide[:, :64].contiguous(), wide.half()[:, :64]]
rows = [None, torch.arange(40), torch.arange(41)[1:], torch.arange(40, dtype=torch.int32)]
random.seed(1)
calls = random.sample(list(itertools.product(flights, values, rows)), 16)

def launched(flight, logits, which):
    launches.clear()
    which = None if which is None else which[: len(logits)]
    flight.reset(which)
    decider(flight, 0, logits, which)
    assert len(launches) == 3
    return list(launches)

def forget():
    ops._call_for.cache_clear()
    ops._reset_for.cache_clear()

expected = []
for call in calls:
    forget()
    expected.append(launched(*call))
forget()
for turn in range(3):
    lookups = 0
    for k in random.sample(range(len(calls)), len(calls)):
        assert launched(*calls[k]) == expected[k], calls[k][1:]
# Aligned calls, by now, go past Triton's look-up; one that is not aligned never does.
unaligned = sum((one.data_ptr() | (0 if which is None else which.data_ptr())) % 16 > 0 for _, one, which in calls)
others = sum(which is not None and which.data_ptr() % 16 > 0 for _, _, which in calls)
assert 0 < lookups == unaligned + 2 * others, (lookups, unaligned, others)
"""


def test_launched_again_as_before(tmp_path: Path) -> None:
    """Whatever calls came before: other sizes, dtypes, strides and alignments."""
    pytest.importorskip("triton", reason="needs Triton")
    paths = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(tmp_path), "PYTHONPATH": paths}
    script = tmp_path / "launch.py"
    script.write_text(SCRIPT)
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
