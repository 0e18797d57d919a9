"""Names for what is passed around, and how arrays and caches are kept."""

from __future__ import annotations

from typing import Any, TypeAlias, TypeVar
from weakref import ref

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


class Cache:
    """Results kept for an object as long as it lives, and found for all that equal it; a pickle leaves them out.

    Of equal objects each keeps its own: a dictionary would keep those of the first, and lose them with it.
    """

    def __init__(self) -> None:
        self._kept: dict[int, tuple[ref[Any], Any]] = {}

    def get(self, key: object) -> Any:
        """What was kept for this object, else for one that equals it; None if nothing was."""
        owner, value = self._kept.get(id(key), (None, None))
        if owner is not None and owner() is key:
            return value
        return next((value for owner, value in self._kept.copy().values() if owner() == key), None)

    def __setitem__(self, key: object, value: object) -> None:
        place, owner = id(key), ref(self)

        def forget(_: object) -> None:
            cache = owner()
            if cache is not None:
                cache._kept.pop(place, None)

        self._kept[place] = ref(key, forget), value

    def __len__(self) -> int:
        return len(self._kept)

    def __reduce__(self) -> tuple[Any, ...]:
        return Cache, ()
