"""The fields of traces, and what they say by themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from ttamer._base.topologies import node_text
from ttamer._base.types import Cache, Floats, freeze
from ttamer._core import Topology
from ttamer.traces.categories import Names
from ttamer.traces.context import Column
from ttamer.traces.costs import Costs
from ttamer.traces.evidence import Evidence

_MAPPINGS = ("unit_costs", "categories", "context")
"""Fields that are mappings, kept read-only."""


def _frozen(value: Any) -> Any:
    return freeze(value) if isinstance(value, np.ndarray) else value


@dataclass(frozen=True, init=False, eq=False, repr=False)
class Record(Costs):
    """The fields of `Traces`, which describes them. Immutable."""

    topology: Topology
    unit_costs: Mapping[str, Floats]
    signals: npt.NDArray[np.float32]
    losses: npt.NDArray[np.float32]
    predictions: npt.NDArray[np.int32] | None
    observed: bool
    labels: npt.NDArray[np.int32] | None
    evidence: Evidence | None
    signal: str
    nodes: tuple[str, ...] | None
    categories: Mapping[int, Names]
    context: Mapping[str, Column]
    weights: Floats | None = None
    independent: bool = False
    answer_classes: bool = False

    def _set(self, **fields: Any) -> None:
        for name, value in fields.items():
            object.__setattr__(self, name, _frozen(value))
        for name in _MAPPINGS:
            values = {key: _frozen(value) for key, value in fields[name].items()}
            object.__setattr__(self, name, MappingProxyType(values))
        # Signals of other kinds, computed once: a sweep of thresholds needs the same ones at every setting.
        object.__setattr__(self, "_by_kind", {})
        # Estimates by estimator. Those of the rows that it was fitted on are out-of-fold, and a sweep needs them again.
        object.__setattr__(self, "_estimates", Cache())

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, **{name: dict(getattr(self, name)) for name in _MAPPINGS}}  # a proxy does not pickle

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name in _MAPPINGS:
            for value in state[name].values():
                _frozen(value)
            state[name] = MappingProxyType(state[name])
        self.__dict__.update({name: _frozen(value) for name, value in state.items()})

    @cached_property
    def probes(self) -> tuple[int, ...]:
        """Tuple of int : the nodes that cannot answer."""
        return tuple(np.flatnonzero(np.isposinf(self.losses).all(axis=0)).tolist())

    @property
    def _answering(self) -> list[int]:
        """The other nodes, in order."""
        return [node for node in range(self.topology.nodes) if node not in self.probes]

    def _node_text(self, node: int) -> str:
        """A node in a message, with its name if it has one."""
        return node_text(node, None if self.nodes is None else self.nodes[node])

    @cached_property
    def complete(self) -> npt.NDArray[np.bool_]:
        """(N,) bool : rows in which every signal, loss and cost was recorded: ``traces[traces.complete]``."""
        recorded = ~(np.isnan(self.signals) | np.isnan(self.losses)).any(axis=1)
        for costs in self.unit_costs.values():
            recorded &= ~np.isnan(costs).any(axis=-1)
        return freeze(np.asarray(recorded))

    @cached_property
    def _incomplete(self) -> int:
        """Number of the other rows, which every replay asks for."""
        return len(self) - int(np.count_nonzero(self.complete))
