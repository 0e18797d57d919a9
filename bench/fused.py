"""What fused multiply-adds are worth to a solve: the package as it is, and where they are not to be had.

A random dense line of 6 nodes with 192 states each is solved in three ways, each in a process of its own: as the
package is installed; built without versions for AVX2 and AVX-512, as for another processor or by another compiler, so
that each fused operation is a call of the C library; and the same where the C library is told that the processor has
none, so that it computes them in software. Needs x86-64 with glibc, a C++ compiler, and pip to build the package once
more.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from ttamer.bench.harness import parser, publish

RESULTS = Path(__file__).parent / "results"
SOURCE = Path(__file__).parent.parent
NODES, STATES = 6, 192
PLAIN = "-DTTAMER_PLAIN"
"""What tells the core to be built without versions for AVX2 and AVX-512."""
WITHOUT_FUSED = "glibc.cpu.hwcaps=-FMA,-FMA4,-AVX2"
SOLVES = """
import sys
import numpy as np
import ttamer
from ttamer.bench.harness import median_times
from ttamer.bench.solve import dense_model
nodes, states, repeats = map(int, sys.argv[1:])
model = dense_model(states, np.random.default_rng(0), common=False, nodes=nodes)
print(median_times({"solve": lambda: ttamer.solve(model, 0.8, "observed")}, repeats)["solve"])
"""


def build(folder: Path) -> None:
    """The package without versions for AVX2 and AVX-512."""
    command = ["pip", "--quiet", "--disable-pip-version-check", "install", "--no-deps", "--target", str(folder)]
    subprocess.run([sys.executable, "-m", *command, str(SOURCE)], env=os.environ | {"CXXFLAGS": PLAIN}, check=True)


def seconds(states: int, repeats: int, **variables: str) -> float:
    """Of a solve in a process with these environment variables; the median."""
    command = [sys.executable, "-c", SOLVES, str(NODES), str(states), str(repeats)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"} | variables
    return float(subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout)


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser(__doc__ or "", RESULTS).parse_args(arguments)
    if (platform.machine(), platform.libc_ver()[0]) != ("x86_64", "glibc"):
        print("fused: needs x86-64 and glibc", file=sys.stderr)
        return 2
    states = 8 if options.quick else STATES
    with tempfile.TemporaryDirectory() as folder:
        build(Path(folder))
        plain = {"PYTHONPATH": folder}
        arms = {
            "in vectors": seconds(states, 31),
            "one a call of the C library, in hardware": seconds(states, 5, **plain),
            "one a call of the C library, in software": seconds(states, 3, GLIBC_TUNABLES=WITHOUT_FUSED, **plain),
        }
    first = next(iter(arms.values()))
    rows = [{"fused operations": name, "solve ms": 1e3 * time, "times": time / first} for name, time in arms.items()]
    publish("fused", f"Exact solve of a dense line of {NODES} nodes with {states} states each; medians", rows, options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
