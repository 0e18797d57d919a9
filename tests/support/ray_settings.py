"""What Ray needs to run inside of tests, and what its nodes answer; Ray itself is not imported."""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from helpers import random_traces
from paths import REPOSITORY

from ttamer import Topology

LINE = random_traces(Topology.line(3), 300, 3)._with(nodes=("small", "middle", "large"))

TOKEN = secrets.token_hex()
"""Or one is written into the home folder. A process keeps the first one that it sees."""


@contextmanager
def ray_settings() -> Iterator[str]:
    """While inside, what Ray starts keeps to a folder of its own, sends nothing anywhere, and finds the helpers."""
    # Sockets lie in the folder, and the paths of sockets are short.
    with tempfile.TemporaryDirectory(prefix="ray", dir="/tmp", ignore_cleanup_errors=True) as folder:
        paths = [str(REPOSITORY / "tests" / "support"), *filter(None, [os.environ.get("PYTHONPATH")])]
        with pytest.MonkeyPatch.context() as patch:
            for name, value in {
                "RAY_TMPDIR": folder,
                "RAY_AUTH_TOKEN": TOKEN,
                "RAY_USAGE_STATS_ENABLED": "0",
                "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
                "PYTHONPATH": os.pathsep.join(paths),
            }.items():
                patch.setenv(name, value)
            yield folder
