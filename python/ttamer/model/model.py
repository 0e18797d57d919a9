"""From traces to a model: losses per state, transitions and costs."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ttamer._base import checks, files
from ttamer._base.types import Floats, freeze
from ttamer._core import Model, Topology, Transition
from ttamer.model.estimators import Estimator
from ttamer.model.statistics import Statistics
from ttamer.traces.categories import (
    NONE,
    Names,
    categories_for_file,
    categories_from_file,
    check_states,
    checked_categories,
)
from ttamer.traces.paths import costliest_path
from ttamer.traces.signals import check_signal, signals_in

FORMAT_VERSION = 3
"""Version 2 has `state_costs`, `signal_nodes`, gaps or the largest loss, version 3 also categories.

Files are written in the first version that can hold them.
"""
_FIELDS = {"topology": str, "nodes": int, "cost_scale": float, "observed": bool, "unit": str}


class CascadeModel:
    """What a solver needs to know of a cascade: losses per state, transitions, costs.

    Build one from traces with `fit`, or state the tables yourself.

    Parameters
    ----------
    topology : Topology
    losses : sequence of n (K_j,) float
        Expected loss of answering with node j in each of its states, finite and >= 0; or inf in every state: the node
        is a *probe*, which informs and cannot answer, such as a router or a verifier of an earlier answer.
    transitions : sequence of E (K_i or 1, K_j) float
        Probability of each state of j given the state of i, one an edge in the topology's edge order; one row where
        j does not depend on i, as for edges that leave the root. Rows sum to 1 within 1e-6 and are normalised.
    costs : (E,) float, or sequence of E floats and (K_i,) floats
        Cost of each edge, finite and >= 0, in any one unit: a number, or one for each state of the node i that it
        leaves, where what is known of a request tells what the next node will cost.
    bin_edges : sequence of n (K_j - 1,) float32, optional
        Strictly increasing; the state is the number of edges <= signal. By default 1, 2, ..., K_j - 1, so that a
        signal is the number of the state.
    cost_scale : float, optional
        What costs are divided by; by default the costliest path from the root (1 if that is 0), an edge whose cost
        differs by state at the mean over its states.
    observed : bool
        Whether the loss of a node is seen when it is consulted; its signal is then the loss itself.
    unit : str
        Unit of the costs, for tables and plots.
    signal : {"", "max_prob", "margin", "entropy", "logit_margin"}
        What the signals are of a node's probabilities, for `Batch.decide_logits`; "" if they are the user's own.
    categories : mapping of int to sequence of str, optional
        Of each node whose signal is a category, the names: one state each, in their order, and a last state for all
        others. See `Policy.codes`.

    Attributes
    ----------
    signal_nodes : tuple of n int
        The node whose signal tells each node's state: its own as a rule. In a model that was fitted, a node whose
        signal is the same for every request takes that of the last node before it whose signal tells something, where
        every path passes that one.
    costs : (E,) float64
        Cost of each edge; where it differs by state, the mean over the states.
    recorded_signal : str
        The kind that the traces recorded, where `signal` was made from their evidence: `Batch.decide` then has to be
        told, by `Policy.start`, which of the two it is handed.
    estimator : Estimator or None
        What turns the evidence of a request into signals and answers, if `fit` was asked for estimates. The nodes of
        the model are then the steps of ``estimator.walk``, and `topology`, `losses`, `costs` and all else are theirs.

    Raises
    ------
    ValueError
        If anything has the wrong shape, is not finite, is negative, or a row does not sum to 1; the node or edge is
        named. Also if no node can answer, or on a line, skip or dag a path to a node that none follows passes probes
        only: whoever consults these would have to stop without an answer.
    """

    def __init__(
        self,
        topology: Topology,
        losses: Sequence[npt.ArrayLike],
        transitions: Sequence[npt.ArrayLike],
        costs: npt.ArrayLike | Sequence[npt.ArrayLike],
        *,
        bin_edges: Sequence[npt.ArrayLike] | None = None,
        cost_scale: float | None = None,
        observed: bool = True,
        unit: str = "",
        signal: str = "",
        categories: Mapping[int, Sequence[str]] | None = None,
    ) -> None:
        checks.instance("topology", topology, Topology)
        observed = checks.flag("observed", observed)
        checks.text("unit", unit)
        if signal != "":
            check_signal(signal)
        if cost_scale is not None:
            cost_scale = checks.real("cost_scale", cost_scale)
        tables = [_floats(row, f"losses[{j}]", 1) for j, row in enumerate(_each("losses", losses))]
        if bin_edges is None:
            edges = [np.arange(1, len(row), dtype=np.float32) for row in tables]
        else:
            edges = [_edges(row, f"bin_edges[{j}]") for j, row in enumerate(_each("bin_edges", bin_edges))]
        matrices = [
            Transition.dense(_stochastic(_floats(matrix, f"transitions[{e}]", 2), f"transitions[{e}]"))
            for e, matrix in enumerate(_each("transitions", transitions))
        ]
        self._set(
            topology,
            tables,
            matrices,
            *_edge_costs(costs),
            edges,
            range(topology.nodes),
            cost_scale,
            observed,
            unit,
            signal,
            signal,
            None,
            categories=checked_categories(categories, topology.nodes),
        )

    def _set(
        self,
        topology: Topology,
        losses: Sequence[Floats],
        transitions: Sequence[Transition],
        costs: Floats,
        state_costs: Sequence[Floats] | None,
        bin_edges: Sequence[npt.NDArray[np.float32]],
        signal_nodes: Sequence[int],
        cost_scale: float | None,
        observed: bool,
        unit: str,
        signal: str,
        recorded_signal: str,
        statistics: Statistics | None,
        estimator: Estimator | None = None,
        categories: Mapping[int, Names] = NONE,
    ) -> None:
        if cost_scale is None and len(costs) == len(topology.edges) and np.all(np.isfinite(costs)):
            cost_scale = costliest_path(topology, costs)
        self._core = Model(
            topology,
            list(losses),
            list(transitions),
            costs,
            1.0 if cost_scale is None else cost_scale,
            list(bin_edges),
            observed,
            np.array(signal_nodes, np.int32),
            state_costs,
        )
        check_states(bin_edges, categories)
        self.categories = dict(categories)
        self.topology = topology
        self.losses = tuple(freeze(row.copy()) for row in losses)
        self.costs = freeze(costs.copy())
        self._state_costs = None if state_costs is None else tuple(freeze(row.copy()) for row in state_costs)
        self.bin_edges = tuple(freeze(row.copy()) for row in bin_edges)
        self.signal_nodes = tuple(int(node) for node in signal_nodes)
        self.cost_scale = 1.0 if cost_scale is None else float(cost_scale)
        self.observed = observed
        self.unit = unit
        self.signal = signal
        self.recorded_signal = recorded_signal
        self._transitions = tuple(transitions)
        self._statistics = statistics
        self.estimator = estimator

    @classmethod
    def _from_statistics(
        cls,
        topology: Topology,
        statistics: Statistics,
        costs: Floats,
        bin_edges: Sequence[npt.NDArray[np.float32]],
        signal_nodes: Sequence[int],
        cost_scale: float | None,
        observed: bool,
        unit: str,
        signal: str,
        recorded_signal: str,
        estimator: Estimator | None = None,
        categories: Mapping[int, Names] = NONE,
    ) -> CascadeModel:
        losses = [statistics.state_losses(j, signal_nodes[j] not in categories) for j in range(topology.nodes)]
        transitions = []
        for (i, j), counts in zip(topology.edges.tolist(), statistics.transitions, strict=True):
            marginal = statistics.counts[j]
            if counts is None:
                transitions.append(Transition.dense(marginal[None, :] / marginal.sum()))
            else:
                # States that one signal tells are known from each other: there is nothing to shrink.
                known = signal_nodes[i] == signal_nodes[j]
                strength = 0.0 if known else statistics.transition_strength
                transitions.append(Transition.counted(counts, marginal, strength))
        model = cls.__new__(cls)
        parents = topology.edges[:, 0].tolist()
        state_costs, recorded = statistics.state_costs(parents), statistics.edge_costs(parents)
        costs = costs if recorded is None else recorded  # models of shards add up to the mean over their requests
        tables = (topology, losses, transitions, costs, state_costs, bin_edges, signal_nodes, cost_scale)
        model._set(*tables, observed, unit, signal, recorded_signal, statistics, estimator, categories)
        return model

    @property
    def state_costs(self) -> tuple[Floats, ...]:
        """One (1 or K_i,) float64 an edge: what it costs in each state of the node i that it leaves."""
        if self._state_costs is None:
            return tuple(self.costs[e : e + 1] for e in range(len(self.costs)))
        return self._state_costs

    @property
    def transitions(self) -> tuple[Floats, ...]:
        """One (K_i or 1, K_j) float64 an edge, made dense for looking at; solvers use the sparse counts."""
        return tuple(matrix.to_dense() for matrix in self._transitions)

    @property
    def requests(self) -> int | None:
        """Number of requests the model was fitted on; None if its tables were stated."""
        return None if self._statistics is None else self._statistics.requests

    def __repr__(self) -> str:
        states = ", ".join(str(len(row)) for row in self.losses)
        source = "stated" if self.requests is None else f"{self.requests} requests"
        if self.estimator is not None:
            source += f", estimate={self.estimator.kind!r}"
        return f"CascadeModel({self.topology!r}, states=[{states}], {source})"

    def __add__(self, other: CascadeModel) -> CascadeModel:
        """Model of the requests of both: counts and sums add exactly."""
        if not isinstance(other, CascadeModel):
            return NotImplemented
        if self._statistics is None or other._statistics is None:
            raise ValueError("only fitted models add: a model whose tables were stated has no counts")
        if self.estimator is not None or other.estimator is not None:
            raise ValueError("models with an estimator do not add: its coefficients are not sums over requests")
        same_edges = self.signal_nodes == other.signal_nodes and all(
            np.array_equal(a, b) for a, b in zip(self.bin_edges, other.bin_edges, strict=False)
        )
        if self.topology != other.topology or not same_edges:
            raise ValueError("models add only with the same topology and bin edges: fit the shard with like=model")
        if self.categories != other.categories:
            raise ValueError("models add only with the same categories: fit the shard with like=model")
        same_kind = (
            self.unit == other.unit
            and self.signal == other.signal
            and self.recorded_signal == other.recorded_signal
            and self.observed == other.observed
            and self._statistics.settings == other._statistics.settings
        )
        by_request, others = self._statistics.costs is not None, other._statistics.costs is not None
        same_costs = by_request == others and (by_request or np.array_equal(self.costs, other.costs))
        if not same_costs or not same_kind:
            raise ValueError(
                "models add only with the same costs, unit, signal, smoothing, strengths and kind of losses"
            )
        return CascadeModel._from_statistics(
            self.topology,
            self._statistics.plus(other._statistics, self.topology.edges[:, 0].tolist()),
            self.costs,
            self.bin_edges,
            self.signal_nodes,
            self.cost_scale,
            self.observed,
            self.unit,
            self.signal,
            self.recorded_signal,
            categories=self.categories,
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a safetensors file; fitted models keep their counts, so that shards can still be added."""
        files.write(path, self._to_bytes())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> CascadeModel:
        """Read a file that `save` wrote.

        Raises
        ------
        ValueError
            If the file is damaged, of another kind or another format version.
        """
        return cls._from_bytes(*files.read(path))

    def __reduce__(self) -> tuple[Any, ...]:
        return CascadeModel._from_bytes, (self._to_bytes(), "pickled model")

    def _to_bytes(self) -> bytes:
        arrays: files.Arrays = {"edges": self.topology.edges, "costs": self.costs}
        for j, (losses, edges) in enumerate(zip(self.losses, self.bin_edges, strict=True)):
            arrays[f"losses.{j}"], arrays[f"bin_edges.{j}"] = losses, edges
        fields: dict[str, Any] = {
            "topology": self.topology.kind,
            "nodes": self.topology.nodes,
            "cost_scale": self.cost_scale,
            "observed": self.observed,
            "unit": self.unit,
            "signal": self.signal,
        }
        if self.recorded_signal != self.signal:
            fields["recorded_signal"] = self.recorded_signal
        if self._statistics is None:
            arrays.update({f"transitions.{e}": matrix for e, matrix in enumerate(self.transitions)})
        else:
            fields["smoothing"] = self._statistics.smoothing
            fields["strengths"] = [self._statistics.loss_strength, self._statistics.transition_strength]
            arrays.update(self._statistics.to_arrays())
        if self.estimator is not None:
            estimator_fields, tables = self.estimator.to_file()
            fields.update(estimator_fields)
            arrays.update(tables)
        version = 2 if {"largest_loss", "requests"} & arrays.keys() else 1
        if self._state_costs is not None:
            version = 2
            if self._statistics is None:
                arrays.update({f"state_costs.{e}": row for e, row in enumerate(self.state_costs)})
        if self.signal_nodes != tuple(range(self.topology.nodes)):
            version, arrays["signal_nodes"] = 2, np.array(self.signal_nodes, np.int32)
        if self.categories:
            version, fields["categories"] = 3, categories_for_file(self.categories)
        return files.to_bytes("model", version, fields, arrays)

    @classmethod
    def _from_bytes(cls, data: bytes, source: str) -> CascadeModel:
        fields, arrays = files.from_bytes(data, "model", FORMAT_VERSION, source)
        try:
            files.check_fields(fields, _FIELDS)
            topology = Topology.from_parts(
                fields["topology"], fields["nodes"], files.edges("edges", arrays["edges"], fields["nodes"])
            )
            nodes = range(topology.nodes)
            bin_edges = [arrays[f"bin_edges.{j}"] for j in nodes]
            signals = signals_in(fields)
            signal_nodes = list(nodes)
            if "signal_nodes" in arrays:
                table = arrays["signal_nodes"]
                if table.dtype != np.int32 or table.shape != (len(nodes),):
                    raise ValueError(f"signal_nodes: expected ({len(nodes)},) int32, got {table.shape} {table.dtype}")
                signal_nodes = table.tolist()
            form = (fields["cost_scale"], fields["observed"], fields["unit"], *signals)
            estimator = Estimator.from_file(fields, arrays, topology)
            categories = categories_from_file(fields, topology.nodes)
            if "strengths" in fields:
                if estimator is not None and fields["observed"]:
                    raise ValueError("observed: expected false with an estimator")
                statistics = Statistics.from_arrays(topology, fields["smoothing"], fields["strengths"], arrays)
                tables = (topology, statistics, arrays["costs"], bin_edges, signal_nodes)
                # Sums that are finite may have no finite mean.
                with np.errstate(divide="raise", over="raise", invalid="raise"):
                    return cls._from_statistics(*tables, *form, estimator, categories)
            if estimator is not None:
                raise ValueError("estimator: expected that of a fitted model, got stated tables")
            cost_scale, observed, unit, signal, _ = form
            costs: Any = arrays["costs"]
            if any(name.startswith("state_costs.") for name in arrays):
                costs = [arrays[f"state_costs.{e}"] for e in range(len(topology.edges))]
            return cls(
                topology,
                [arrays[f"losses.{j}"] for j in nodes],
                [arrays[f"transitions.{e}"] for e in range(len(topology.edges))],
                costs,
                bin_edges=bin_edges,
                cost_scale=cost_scale,
                observed=observed,
                unit=unit,
                signal=signal,
                categories=categories,
            )
        except (KeyError, TypeError, IndexError, ValueError, FloatingPointError) as error:
            raise ValueError(f"{source}: not a valid model ({checks.quoted(error)})") from None


def _each(name: str, values: Any) -> list[npt.ArrayLike]:
    try:
        return list(values)
    except TypeError:
        raise TypeError(f"{name}: expected a sequence of arrays, got {type(values).__name__}") from None


def _floats(values: npt.ArrayLike, name: str, rank: int) -> Floats:
    checks.check_readable(name, values)
    try:
        array = np.asarray(values)
    except ValueError:  # rows of different lengths
        array = np.empty(0, dtype=object)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{name}: expected numbers, got {type(values).__name__}")
    if array.ndim != rank:
        raise ValueError(f"{name}: expected {rank} dimensions, got shape {array.shape}")
    return np.ascontiguousarray(array, dtype=np.float64)


def _edge_costs(costs: Any) -> tuple[Floats, list[Floats] | None]:
    """Of each edge the mean over the states of the node that it leaves, and the cost in each of them if they differ."""
    numbers = isinstance(costs, np.ndarray) and costs.dtype != object
    if numbers or not np.iterable(costs) or not any(np.ndim(cost) for cost in costs):
        return _floats(costs, "costs", 1), None
    rows = [_floats(np.atleast_1d(row), f"costs[{e}]", 1) for e, row in enumerate(_each("costs", costs))]
    for e, row in enumerate(rows):
        if len(row) == 0:
            raise ValueError(f"costs[{e}]: expected a number, or one for each state, got none")
    with np.errstate(over="ignore"):  # an infinite one is refused as that
        return np.array([row.mean() for row in rows]), rows


def _edges(values: npt.ArrayLike, name: str) -> npt.NDArray[np.float32]:
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is refused as that
        return _floats(values, name, 1).astype(np.float32)


def _stochastic(matrix: Floats, name: str) -> Floats:
    """Rows that sum to 1 within 1e-6, normalised; those that already do stay as they are, bit for bit."""
    if not np.all(matrix >= 0):
        row, column = np.argwhere(~(matrix >= 0))[0]
        raise ValueError(f"{name}: expected probabilities, got {matrix[row, column]:g} in row {row}")
    with np.errstate(over="ignore"):
        sums = matrix.sum(axis=1)
    if not np.all(np.abs(sums - 1) <= 1e-6):
        row = int(np.argmax(~(np.abs(sums - 1) <= 1e-6)))
        raise ValueError(f"{name}: expected probabilities that sum to 1 within 1e-6, row {row} sums to {sums[row]:g}")
    normal: Floats = np.where(np.abs(sums - 1)[:, None] <= 1e-14, matrix, matrix / sums[:, None])
    return normal
