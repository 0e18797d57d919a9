"""Estimators: plain coefficients that turn what was seen of a request into a signal and an answer."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ttamer._base import checks, files
from ttamer._base.topologies import check_same_topology, topology_text
from ttamer._base.types import Floats, freeze
from ttamer._core import Estimator as CoreEstimator
from ttamer._core import Topology
from ttamer.model.information_sets import Order, SetGraph, set_graph
from ttamer.traces import Evidence, Traces

KINDS = ("signal", "history", "posterior")
MOST_KEPT = 2**16
"""How many log-probabilities a batch keeps of each request, of all nodes together."""
_FIELDS = {"kind": str, "topology": str, "nodes": int, "class_count": int, "top": int}


class Estimates(NamedTuple):
    """What an estimator says of N requests at the V steps of its walk.

    Attributes
    ----------
    signals : (N, V) float32
        Log-odds that the step's answer is right: of graded losses, that it has none of the largest loss.
    answers : (N, V) int32
        Node that answers, of the traces' topology.
    """

    signals: npt.NDArray[np.float32]
    answers: npt.NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Estimator:
    """Log-odds that an answer is wrong, linear in the features of `ttamer.reference.features`.

    Of graded losses they are those of the share of the largest loss that the answer is expected to have.

    Parameters
    ----------
    kind : {"signal", "history", "posterior"}
        "signal": of the last node's answer, from its own distribution. "history": of the same answer, from all nodes
        consulted. "posterior": of the answer of each node consulted, from all of them; the best one answers.
    topology : Topology
        That of the traces.
    order : tuple of int, or None
        In which the nodes of a forest are consulted, see `ttamer.model.information_sets.set_graph`.
    class_count, top : int
        Form of the evidence: number of classes, and of log-probabilities used of each node.
    coefficients : (*,) float64
        For each step of the walk and each of its candidates an intercept, then the weights of the features.

    Raises
    ------
    ValueError
        If anything does not fit together or is not finite.

    Notes
    -----
    Estimators that are equal in all of this compare equal.
    """

    kind: str
    topology: Topology
    order: Order | None
    class_count: int
    top: int
    coefficients: Floats
    walk: SetGraph = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"estimate: expected one of {KINDS}, got {self.kind!r}")
        checks.instance("topology", self.topology, Topology)
        for name in ("class_count", "top"):
            checks.whole(name, getattr(self, name), least=1)
        if not 1 <= self.top <= self.class_count or not 2 <= self.class_count < 2**31:
            raise ValueError(
                f"class_count, top: expected at least 2 classes and 1 to as many at the top, "
                f"got {self.class_count} and {self.top}"
            )
        if self.topology.nodes * self.top > MOST_KEPT:
            raise ValueError(
                f"top: expected at most {MOST_KEPT // self.topology.nodes} log-probabilities of each of "
                f"{self.topology.nodes} nodes, got {self.top}"
            )
        graph = set_graph(self.topology, self.order)
        size = sum(len(self._candidates(graph, v)) * (1 + self.width(len(s))) for v, s in enumerate(graph.sets))
        coefficients = checks.as_array("coefficients", self.coefficients, f"({size},) float64")
        if coefficients.dtype != np.float64 or coefficients.shape != (size,) or not np.isfinite(coefficients).all():
            raise ValueError(f"coefficients: expected ({size},) finite float64, got {checks.describe(coefficients)}")
        object.__setattr__(self, "coefficients", freeze(coefficients.copy()))
        object.__setattr__(self, "walk", graph)

    def width(self, consulted: int) -> int:
        """Number of features of a step at which this many nodes are consulted."""
        if self.kind == "signal":
            return 1
        return consulted + (5 if consulted > 1 else 2)

    def _candidates(self, graph: SetGraph, step: int) -> tuple[int, ...]:
        """Positions in the step's set of the nodes whose answers may be given."""
        nodes = graph.sets[step]
        return tuple(range(len(nodes))) if self.kind == "posterior" else (nodes.index(int(graph.last[step])),)

    @cached_property
    def tables(self) -> dict[str, npt.NDArray[Any]]:
        """The arrays of `ttamer.reference.estimate`: last, set_offsets, sets, candidate_offsets and the others."""
        candidates = [self._candidates(self.walk, step) for step in range(len(self.walk.sets))]

        def flat(parts: list[tuple[int, ...]]) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
            offsets = np.cumsum([0, *map(len, parts)], dtype=np.int32)
            return offsets, np.array([value for part in parts for value in part], dtype=np.int32)

        set_offsets, sets = flat(list(self.walk.sets))
        candidate_offsets, positions = flat(candidates)
        return {
            "last": self.walk.last,
            "set_offsets": set_offsets,
            "sets": sets,
            "candidate_offsets": candidate_offsets,
            "candidates": positions,
            "coefficients": self.coefficients,
        }

    @cached_property
    def core(self) -> CoreEstimator:
        """The same tables in the core, for serving; immutable, shared between threads."""
        return CoreEstimator(self.topology.nodes, self.class_count, self.top, self.kind, **self.tables)

    def check(self, evidence: Evidence | None) -> Evidence:
        """The evidence as this estimator uses it.

        Raises
        ------
        ValueError
            If there is none, it is of another number of classes, or too few log-probabilities were kept.
        """
        if evidence is None:
            raise ValueError("traces: expected evidence to estimate from, got none; Traces.from_probs records it")
        checks.instance("evidence", evidence, Evidence)
        if evidence.class_count != self.class_count:
            raise ValueError(f"traces: expected evidence of {self.class_count} classes, got {evidence.class_count}")
        if evidence.top < self.top:
            raise ValueError(
                f"traces: expected evidence of the {self.top} largest probabilities, got {evidence.top} of them"
            )
        return evidence if evidence.top == self.top else evidence[:, :, : self.top]

    def estimate(self, evidence: Evidence | None) -> Estimates:
        """Signal and answer of every request at every step.

        Parameters
        ----------
        evidence : Evidence
            Of (N, n, at least `top`); what lies beyond `top` is not used.

        Raises
        ------
        ValueError
            As `check` does.
        """
        evidence = self.check(evidence)
        return Estimates(*self.core.estimate(evidence.log_probs, evidence.classes))

    def estimate_traces(self, traces: Traces) -> Estimates:
        """`estimate` of the evidence of traces."""
        return self.estimate(traces.evidence)

    def to_file(self) -> tuple[dict[str, Any], files.Arrays]:
        """Fields and arrays of a file."""
        fields = {
            "kind": self.kind,
            "topology": self.topology.kind,
            "nodes": self.topology.nodes,
            "order": None if self.order is None else list(self.order),
            "class_count": self.class_count,
            "top": self.top,
        }
        arrays: files.Arrays = {"estimator.edges": self.topology.edges, "estimator.coefficients": self.coefficients}
        return {"estimator": fields}, arrays

    @classmethod
    def from_file(cls, fields: Mapping[str, Any], arrays: files.Arrays, steps: Topology) -> Estimator | None:
        """What `to_file` gave, checked; None if the file holds no estimator.

        Parameters
        ----------
        steps : Topology
            Of the model or policy in the file, which has to be that of the walk.

        Raises
        ------
        ValueError, KeyError
            If something is missing or does not fit; it is named.
        """
        if "estimator" not in fields:
            return None
        values = fields["estimator"]
        if not isinstance(values, dict):
            raise ValueError(f"estimator: expected fields, got {type(values).__name__}")
        files.check_fields(values, _FIELDS)
        order = values["order"]
        if order is not None:
            if not isinstance(order, list) or any(type(node) is not int for node in order):
                raise ValueError(f"order: expected a list of nodes, got {order!r}")
            order = tuple(order)
        edges = files.edges("estimator.edges", arrays["estimator.edges"], values["nodes"])
        topology = Topology.from_parts(values["topology"], values["nodes"], edges)
        coefficients = arrays["estimator.coefficients"]
        estimator = cls(values["kind"], topology, order, values["class_count"], values["top"], coefficients)
        check_same_topology("estimator", estimator.walk.topology, steps, "a walk")
        return estimator

    def __repr__(self) -> str:
        order = "" if self.order is None else f", order={self.order}"
        return f"Estimator({self.kind!r}, {topology_text(self.topology)}{order})"

    def __reduce__(self) -> tuple[Any, ...]:
        return Estimator, (self.kind, self.topology, self.order, self.class_count, self.top, self.coefficients)

    @cached_property
    def _digest(self) -> bytes:
        form = (self.kind, self.order, self.class_count, self.top)
        return hashlib.sha256(repr(form).encode() + self.coefficients.tobytes()).digest()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Estimator) and (self.topology, self._digest) == (other.topology, other._digest)

    def __hash__(self) -> int:
        return hash(self._digest)
