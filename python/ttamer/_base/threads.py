"""Linear algebra on one thread: on matrices of tens of columns, handing work over takes longer than the work."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from importlib import import_module
from typing import Any


def one_thread() -> AbstractContextManager[Any]:
    """Inside, BLAS uses one thread, if threadpoolctl is there to say so, as it is wherever scikit-learn is."""
    try:
        threadpoolctl = import_module("threadpoolctl")
    except ImportError:
        return nullcontext()
    limits: AbstractContextManager[Any] = threadpoolctl.threadpool_limits(1, user_api="blas")
    return limits
