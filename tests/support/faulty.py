"""A fuzzer whose cases are faults of every kind, or none; a child of the fuzzers' runner imports it."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable

import numpy as np
from fuzzers.runner import Case, Fuzzer


def fine() -> None:
    raise ValueError("signals: expected floats, got nothing")


def undone() -> None:
    raise AttributeError("'int' object has no attribute 'topology'")


def bound() -> None:
    raise TypeError("line(): incompatible function arguments. The following argument types are supported:")


def long() -> None:
    raise ValueError("x" * 101)


def escaping() -> None:
    raise ValueError("a\x1b[31mb")


def warning() -> None:
    warnings.warn("overflow encountered", RuntimeWarning, stacklevel=1)


def large() -> None:
    np.ones(1 << 30)


def crash() -> None:
    os._exit(3)


def silent() -> None:
    time.sleep(100)


CASES = (fine, undone, bound, long, escaping, warning, large, crash, fine, silent)


def start() -> Callable[[np.random.Generator], Case]:
    def make(rng: np.random.Generator) -> Case:
        call = CASES[rng.integers(len(CASES))]
        return Case(call.__name__, call)

    return make


FUZZER = Fuzzer(start, (ValueError, TypeError), memory=1 << 28, longest=100)
