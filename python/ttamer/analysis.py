"""What is known of a policy besides its decisions: where requests are expected to go, and the dynamic index."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ttamer import _core, files

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Analysis:
    """Exact expectations under the model a policy was solved for.

    Attributes
    ----------
    visits, stops : (S,) float64
        Probability that each state is visited, and that a request stops in it; states of all nodes numbered through.
    cost : float
        Mean cost of a request, in the unit of the costs.
    index : tuple of n (K_parent or 1,) float64, or None
        The dynamic index in units of loss, where it is defined.
    """

    visits: Floats
    stops: Floats
    cost: float
    index: tuple[Floats, ...] | None

    @classmethod
    def from_arrays(cls, core: _core.Policy, cost: float, arrays: files.Arrays) -> Analysis:
        """What a file holds, checked against the policy's tables.

        Raises
        ------
        ValueError, KeyError
            If an array is missing or does not fit; it is named.
        """
        states = len(arrays["ranks"])
        visits = _checked(arrays, "visits", (states,))
        stops = _checked(arrays, "stops", (states,))
        for name, table in (("visits", visits), ("stops", stops)):
            if np.any(table > 1 + 1e-9):
                raise ValueError(f"{name}: expected probabilities, got {table.max():g}")
        if not 0 <= cost < np.inf:
            raise ValueError(f"expected_cost: expected a finite number >= 0, got {cost}")
        if not (core.recall and core.topology.kind == "line"):
            return cls(visits, stops, cost, None)
        sizes = [1, *np.diff(arrays["state_offsets"])[:-1]]
        index = []
        for j, size in enumerate(sizes):
            rows = 1 if len(arrays[f"index.{j}"]) == 1 else int(size)
            index.append(_checked(arrays, f"index.{j}", (rows,)))
        return cls(visits, stops, cost, tuple(index))


def analyse(model: _core.Model, policy: _core.Policy) -> Analysis:
    """Work the analysis out; the model is the one the policy was solved for."""
    visits, stops, cost = _core.expect(model, policy)
    index: tuple[Floats, ...] | None = None
    if policy.recall and policy.topology.kind == "line":
        index = tuple(_core.surrogates(model, policy.tradeoff, np.inf)[0])
    return Analysis(_frozen(visits), _frozen(stops), cost, index and tuple(_frozen(row) for row in index))


def _checked(arrays: files.Arrays, name: str, shape: tuple[int, ...]) -> Floats:
    array = arrays[name]
    if array.dtype != np.float64 or array.shape != shape or not np.all((array >= 0) & (array < np.inf)):
        raise ValueError(f"{name}: expected {shape} finite float64 >= 0, got {array.shape} {array.dtype}")
    return _frozen(array)


def _frozen(array: Floats) -> Floats:
    array.setflags(write=False)
    return array
