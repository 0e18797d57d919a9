"""Garbage collection, for the tests of all rooms: what has been imported and collected stays."""

from __future__ import annotations

import gc

import pytest

# Millions of objects come from tests and libraries, and all of them stay: looking through them again and again would
# take a quarter of the time of collecting. Imported first, as the folders are read in order.
gc.disable()


def pytest_collection_finish(session: pytest.Session) -> None:
    """From here on garbage is collected, and never looked for in what is there already."""
    gc.freeze()
    gc.enable()
