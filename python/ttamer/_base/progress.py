"""What long work is at, on standard error: one line that leaves nothing behind."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

Progress = Callable[[str], None]
PATIENCE = 1.0
"""Seconds that work takes before anything is shown of it."""
WIDTH = 100
_sink: ContextVar[Progress | None] = ContextVar("_sink", default=None)


@contextmanager
def directed(sink: Progress) -> Iterator[None]:
    """Inside, the words of all work that is not told where to put them go to `sink`."""
    token = _sink.set(sink)
    try:
        yield
    finally:
        _sink.reset(token)


@contextmanager
def reporting(progress: Progress | None) -> Iterator[Progress]:
    """The callable itself, or one that shows its words in a terminal or a notebook, and nothing elsewhere."""
    sink = progress or _sink.get()
    if sink is not None:
        yield sink
        return
    stream = sys.stderr
    if stream is None or not (stream.isatty() or "ipykernel" in sys.modules):
        yield lambda words: None
        return
    begin, written = time.monotonic(), False

    def show(words: str) -> None:
        nonlocal written
        if time.monotonic() - begin > PATIENCE:
            stream.write(f"\r{words[:WIDTH]:<{WIDTH}}")
            stream.flush()
            written = True

    try:
        yield show
    finally:
        if written:
            stream.write("\r" + " " * WIDTH + "\r")
            stream.flush()
