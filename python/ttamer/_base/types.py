"""Names for what is passed around, and how arrays and caches are kept."""

from __future__ import annotations

from typing import Any, TypeAlias, TypeVar
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.float64]

ROOT = -1
"""The virtual node before all others, in edges."""
STOP = -1
"""What `ttamer.Batch.decide` returns for a row that consults nothing more."""

A = TypeVar("A", bound=np.generic)


def freeze(array: npt.NDArray[A]) -> npt.NDArray[A]:
    """Make an array that no one else holds contiguous and read-only."""
    array = np.ascontiguousarray(array)
    array.setflags(write=False)
    return array


class Cache(WeakKeyDictionary[Any, Any]):
    """Results kept for an object as long as it lives; a pickle leaves them out."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Cache, ()
