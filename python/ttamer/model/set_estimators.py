"""Estimators of independent models: from scores, answers and the context to a leaf, the state, and an answer."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from ttamer._base import checks, files
from ttamer._base.topologies import topology_text
from ttamer._base.types import ROOT, freeze
from ttamer._core import SetEstimator as CoreEstimator
from ttamer._core import Topology
from ttamer.model.estimators import Estimates, Estimator
from ttamer.model.information_sets import SetGraph, graph_of_steps
from ttamer.traces import Traces
from ttamer.traces.categories import Names, codes_of
from ttamer.traces.context import Column, columns_of, rows_of, signal_of

SET_KINDS = ("sets", "chains")
TABLES = {
    "cells": np.int32,
    "input_offsets": np.int32,
    "knot_offsets": np.int32,
    "knots": np.float32,
    "columns": np.int32,
    "values": np.float64,
    "class_offsets": np.int32,
    "classes": np.int32,
    "agreeing": np.int32,
    "cell_offsets": np.int32,
    "cell_nodes": np.int32,
    "target_offsets": np.int32,
    "targets": np.int32,
    "answering": np.int32,
    "coefficients": np.float64,
    "tree_offsets": np.int32,
    "tree_variables": np.int32,
    "tree_thresholds": np.float64,
    "tree_left": np.int32,
    "tree_right": np.int32,
}
"""Arrays that `ttamer.reference.sets` describes, beside the walk's."""
_FIELDS = {"kind": str, "topology": str, "nodes": int, "context": list, "independent": bool, "signal": str}


@dataclass(frozen=True, eq=False)
class SetEstimator:
    """The state and the answer of a request, from all that the models consulted so far have shown.

    Parameters
    ----------
    kind : {"sets", "chains"}
        How it was fitted.
    topology : Topology
        Of the traces it was fitted on.
    independent : bool
        Whether it asks models in any order, see `Traces.independent`.
    signal : str
        The kind of signals that its scores are, see `Traces.signal`.
    walk : SetGraph
        The steps, see `ttamer.model.information_sets`.
    context : tuple of (str, tuple of str or None)
        The columns of the context that it looks at: the name of each, and its categories if it is not one of numbers.
    tables : mapping of str to array
        See `TABLES`.

    Notes
    -----
    Estimators that are equal in all of this compare equal.
    """

    kind: str
    topology: Topology
    independent: bool
    signal: str
    walk: SetGraph
    context: tuple[tuple[str, Names | None], ...]
    tables: Mapping[str, npt.NDArray[Any]]

    def __post_init__(self) -> None:
        if self.kind not in SET_KINDS:
            raise ValueError(f"estimate: expected one of {SET_KINDS}, got {self.kind!r}")
        object.__setattr__(
            self,
            "tables",
            {name: freeze(np.ascontiguousarray(self.tables[name], kind)) for name, kind in TABLES.items()},
        )
        widths = np.diff(self.tables["input_offsets"])
        if self.context and (not len(widths) or widths[0] != len(self.context)):
            raise ValueError(f"context: expected {widths[:1].tolist()} columns, got {len(self.context)}")

    @cached_property
    def core(self) -> CoreEstimator:
        """The same tables in the core, for serving; immutable, shared between threads."""
        return CoreEstimator(self.topology.nodes, {"last": self.walk.last, **self.tables})

    def estimate_traces(self, traces: Traces) -> Estimates:
        """State and answer of every request at every step: signals are numbers of leaves.

        Raises
        ------
        ValueError
            If the models are not independent, or the traces lack a column of the context or answers that are decided
            on; it is named.
        """
        if self.independent and not traces.independent:
            raise ValueError("traces: expected independent models (Traces.from_models), any of which may be asked next")
        return Estimates(*self.core.estimate(self.scores(traces), self.answers(traces)))

    def scores(self, traces: Traces) -> npt.NDArray[np.float32]:
        """(N, I) : what each node shows beside its answer, in the order of the inputs."""
        inputs = self.tables["input_offsets"]
        widths = np.diff(inputs)
        if self.context:
            widths[0] = 0  # which is read from the context, by name
        # Scores are numbers; of nodes whose scores are not read they may be codes of categories.
        coding = {node: names for node, names in traces.categories.items() if not widths[node]}
        signals = traces._read_as(self.signal, coding).signals
        table = np.empty((len(traces), int(inputs[-1])), np.float32)
        for node in range(self.topology.nodes):
            here = slice(int(inputs[node]), int(inputs[node + 1]))
            if self.context and node == 0:
                table[:, here] = self._context_scores(traces.context)
            elif here.stop > here.start:
                table[:, here.start] = signals[:, node]
        return table

    def answers(self, traces: Traces) -> npt.NDArray[np.int32]:
        """(N, n) : what each node answered, -1 for none."""
        if traces.predictions is None:
            if len(self.tables["classes"]) or self.tables["agreeing"].any():
                raise ValueError("traces: expected answers, which the policy decides on, got none")
            return np.full((len(traces), self.topology.nodes), -1, np.int32)
        if (self.tables["classes"] >= 0).any() and not traces.answer_classes:
            raise ValueError("traces: expected answers that are classes, which the policy decides on (classes=True)")
        return traces.predictions

    def _context_scores(self, context: Mapping[str, object]) -> npt.NDArray[np.float32]:
        """What `Policy.context_scores` gives."""
        if not isinstance(context, Mapping):
            raise TypeError(f"context: expected a mapping of names to columns, got {type(context).__name__}")
        missing = [name for name, _ in self.context if name not in context]
        if missing:
            raise ValueError(f"context: expected a column {missing[0]!r}, got {list(context)}")
        rows = rows_of(context)
        if not self.context:
            return np.empty((rows, 0), np.float32)
        columns = columns_of({name: context[name] for name, _ in self.context}, rows)
        return np.stack(
            [_scores_of(name, columns[name], names) for name, names in self.context], axis=1, dtype=np.float32
        )

    def to_file(self) -> tuple[dict[str, Any], files.Arrays]:
        """Fields and arrays of a file."""
        fields = {
            "kind": self.kind,
            "topology": self.topology.kind,
            "nodes": self.topology.nodes,
            "independent": self.independent,
            "signal": self.signal,
            "context": [[name, None if names is None else list(names)] for name, names in self.context],
        }
        offsets = np.cumsum([0, *map(len, self.walk.sets)], dtype=np.int32)
        arrays: files.Arrays = {
            "sets.edges": self.topology.edges,
            "sets.last": self.walk.last,
            "sets.set_offsets": offsets,
            "sets.sets": np.array([node for nodes in self.walk.sets for node in nodes], np.int32),
            **{f"sets.{name}": self.tables[name] for name in TABLES},
        }
        return {"set_estimator": fields}, arrays

    @classmethod
    def from_file(cls, fields: Mapping[str, Any], arrays: files.Arrays, steps: Topology) -> SetEstimator | None:
        """What `to_file` gave, checked; None if the file holds none.

        Raises
        ------
        ValueError, KeyError
            If something is missing or does not fit; it is named.
        """
        if "set_estimator" not in fields:
            return None
        values = fields["set_estimator"]
        if not isinstance(values, dict):
            raise ValueError(f"set_estimator: expected fields, got {type(values).__name__}")
        files.check_fields(values, _FIELDS)
        edges = files.edges("sets.edges", arrays["sets.edges"], values["nodes"])
        topology = Topology.from_parts(values["topology"], values["nodes"], edges)
        tables = {}
        for name, kind in {**TABLES, "last": np.int32, "set_offsets": np.int32, "sets": np.int32}.items():
            table = arrays[f"sets.{name}"]
            if table.ndim != 1 or table.dtype != kind:
                raise ValueError(f"sets.{name}: expected (*,) {np.dtype(kind)}, got {checks.describe(table)}")
            tables[name] = table
        parts = tables.pop("last"), tables.pop("set_offsets"), tables.pop("sets")
        walk = _walk_of(topology, *parts, steps, values["independent"])
        form = values["kind"], topology, values["independent"], values["signal"]
        estimator = cls(*form, walk, _context_of(values["context"]), tables)
        _ = estimator.core  # which checks the tables
        estimator._check_cells()
        return estimator

    def _check_cells(self) -> None:
        """Raise ValueError where a cell looks at a node, or may give the answer of one, before it was consulted."""
        nodes, targets = (
            np.split(self.tables[name], self.tables[f"{part}_offsets"][1:-1])
            for name, part in (("cell_nodes", "cell"), ("targets", "target"))
        )
        for consulted, cell in zip(self.walk.sets, self.tables["cells"].tolist(), strict=True):
            answering = targets[cell][: self.tables["answering"][cell]]
            if not {*nodes[cell].tolist(), *answering.tolist()} <= set(consulted):
                raise ValueError("sets.cells: expected cells of nodes consulted at their steps")

    @cached_property
    def _digest(self) -> bytes:
        digest = hashlib.sha256(repr((self.kind, self.independent, self.signal, self.context, self.walk.sets)).encode())
        for table in (self.walk.last, self.walk.edges, *self.tables.values()):
            digest.update(np.int64(len(table)).tobytes() + table.tobytes())
        return digest.digest()

    def __repr__(self) -> str:
        context = f", context {', '.join(name for name, _ in self.context)}" if self.context else ""
        return f"SetEstimator({self.kind!r}, {topology_text(self.topology)}{context})"

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "core"}  # made anew when needed

    def __setstate__(self, state: dict[str, Any]) -> None:
        tables = {name: freeze(table) for name, table in state["tables"].items()}
        self.__dict__.update({**state, "tables": tables})

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SetEstimator) and (self.topology, self._digest) == (other.topology, other._digest)

    def __hash__(self) -> int:
        return hash(self._digest)


AnyEstimator: TypeAlias = Estimator | SetEstimator


def estimator_from_file(fields: Mapping[str, Any], arrays: files.Arrays, steps: Topology) -> AnyEstimator | None:
    """The estimator of a model or policy in a file, whose steps are `steps`; None if it has none.

    Raises
    ------
    ValueError, KeyError
        If something is missing or does not fit; it is named.
    """
    return SetEstimator.from_file(fields, arrays, steps) or Estimator.from_file(fields, arrays, steps)


def _scores_of(name: str, column: Column, names: Names | None) -> npt.NDArray[np.float32]:
    is_text = column.dtype.kind == "U"
    if is_text != (names is not None):
        if not (column == "" if is_text else np.isnan(column)).all():  # where all is missing either kind will do
            kinds = ("categories", "numbers") if names is not None else ("numbers", "categories")
            raise ValueError(f"context: expected {kinds[0]} in {name!r}, got {kinds[1]}")
        column = np.full(len(column), np.nan if names is None else "")
    if names is not None:
        return codes_of(column.tolist(), names)
    return signal_of(column)[0]


def _walk_of(
    topology: Topology,
    last: npt.NDArray[np.int32],
    offsets: npt.NDArray[np.int32],
    nodes: npt.NDArray[np.int32],
    steps: Topology,
    independent: bool,
) -> SetGraph:
    """The walk of a file, whose edges are those of the steps."""
    counts = np.diff(offsets)
    fits = len(offsets) == len(last) + 1 == steps.nodes + 1 and offsets[0] == 0 and offsets[-1] == len(nodes)
    if not fits or (counts < 1).any() or not ((nodes >= 0) & (nodes < topology.nodes)).all():
        raise ValueError(f"sets.sets: expected the nodes consulted at {steps.nodes} steps")
    sets = tuple(tuple(part.tolist()) for part in np.split(nodes, offsets[1:-1]))
    for before, after in steps.edges.tolist():
        earlier = () if before == ROOT else sets[before]
        if sorted(sets[after]) != sorted((*earlier, int(last[after]))) or last[after] in earlier:
            raise ValueError("sets.sets: expected each step to add its last node to those of the step before")
    return graph_of_steps(topology, sets, last, steps.edges, independent)


def _context_of(values: Sequence[Any]) -> tuple[tuple[str, Names | None], ...]:
    columns: list[tuple[str, Names | None]] = []
    for value in values:
        name, names = value if isinstance(value, list) and len(value) == 2 else (None, None)
        if not isinstance(name, str) or not (
            names is None or (isinstance(names, list) and all(isinstance(each, str) for each in names))
        ):
            raise ValueError(f"context: expected names of columns and of categories, got {checks.quoted(value)}")
        columns.append((name, None if names is None else tuple(names)))
    return tuple(columns)
