"""From traces to a model: losses per state, transitions and costs."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from ttamer._base import checks, files
from ttamer._base.topologies import topology_text
from ttamer._base.types import Floats, freeze
from ttamer._core import Model, Topology, Transition
from ttamer.model.arguments import bin_edges_of, each, edge_costs, floats, stochastic
from ttamer.model.costs import EdgeCosts, one_unit, prefixes, priced, same, units_in
from ttamer.model.set_estimators import AnyEstimator, SetEstimator, estimator_from_file
from ttamer.model.statistics import Statistics, are_whole
from ttamer.traces.arguments import check_same_classes, check_same_nodes, classes_in, names_in
from ttamer.traces.categories import (
    NONE,
    Names,
    categories_for_file,
    categories_from_file,
    check_states,
    checked_categories,
)
from ttamer.traces.costs import checked_prices, priced_unit, units_of
from ttamer.traces.signals import check_signal, signals_in

FORMAT_VERSION = 4
"""Version 2 has `state_costs`, `signal_nodes`, gaps or the largest loss; version 3 units, categories, names, fractions.

Files are written in the first version that can hold them.
"""
MOST_LISTED = 16
"""Numbers of states that a model's text lists."""
_FIELDS = {"topology": str, "nodes": int, "observed": bool}


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
    costs : (E,) float, or sequence of E floats and (K_i,) floats, or a mapping of units to these
        Cost of each edge, finite and >= 0, in any one unit: a number, or one for each state of the node i that it
        leaves, where what is known of a request tells what the next node will cost. A model with costs in several units
        is solved at prices.
    bin_edges : sequence of n (K_j - 1,) float32, optional
        Strictly increasing; the state is the number of edges <= signal. By default 1, 2, ..., K_j - 1, so that a
        signal is the number of the state.
    cost_scale : float, optional
        What costs are divided by; by default the costliest path from the root (1 if that is 0), an edge whose cost
        differs by state at the mean over its states.
    observed : bool
        Whether the loss of a node is seen when it is consulted; its signal is then the loss itself.
    unit : str
        Unit of the costs, for tables and plots, unless they are a mapping.
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
    unit_costs : dict of str to EdgeCosts
        Costs of each unit.
    recorded_signal : str
        The kind that the traces recorded, where `signal` was made from their evidence: `Batch.decide` then has to be
        told, by `Policy.start`, which of the two it is handed.
    nodes : tuple of str or None
        Names of the nodes of the traces that the model was fitted on, if they had some.
    classes : int or None
        How many classes the evidence had that the model was fitted on: what logits handed to its policies have to have.
    choice : tuple of Candidate
        What ``estimate="auto"`` compared when the model was fitted, see `Front.choice`; not kept in files.
    estimator : Estimator, SetEstimator or None
        What turns the evidence of a request into signals and answers, if `fit` was asked for estimates. The nodes of
        the model are then the steps of ``estimator.walk``, and `topology`, `losses`, `costs` and all else are theirs.

    Raises
    ------
    ValueError
        If anything has the wrong shape, is not finite, is negative, or a row does not sum to 1; the node or edge is
        named. Also if no node can answer.
    """

    def __init__(
        self,
        topology: Topology,
        losses: Sequence[npt.ArrayLike],
        transitions: Sequence[npt.ArrayLike],
        costs: npt.ArrayLike | Sequence[npt.ArrayLike] | Mapping[str, npt.ArrayLike | Sequence[npt.ArrayLike]],
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
        if isinstance(costs, Mapping):
            names = units_of(costs, unit)
            unit_costs = {name: edge_costs(f"costs[{name!r}]", costs[name]) for name in names}
        else:
            unit_costs = {checks.text("unit", unit): edge_costs("costs", costs)}
        if signal != "":
            check_signal(signal)
        if cost_scale is not None:
            cost_scale = checks.real("cost_scale", cost_scale)
        tables = [floats(row, f"losses[{j}]", 1) for j, row in enumerate(each("losses", losses))]
        if bin_edges is None:
            edges = [np.arange(1, len(row), dtype=np.float32) for row in tables]
        else:
            edges = [bin_edges_of(row, f"bin_edges[{j}]") for j, row in enumerate(each("bin_edges", bin_edges))]
        matrices = [
            Transition.dense(stochastic(floats(matrix, f"transitions[{e}]", 2), f"transitions[{e}]"))
            for e, matrix in enumerate(each("transitions", transitions))
        ]
        self._set(
            topology,
            tables,
            matrices,
            unit_costs,
            edges,
            range(topology.nodes),
            cost_scale,
            observed,
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
        unit_costs: Mapping[str, EdgeCosts],
        bin_edges: Sequence[npt.NDArray[np.float32]],
        signal_nodes: Sequence[int],
        cost_scale: float | None,
        observed: bool,
        signal: str,
        recorded_signal: str,
        statistics: Statistics | None,
        estimator: AnyEstimator | None = None,
        categories: Mapping[int, Names] = NONE,
        nodes: tuple[str, ...] | None = None,
        classes: int | None = None,
    ) -> None:
        check_states(bin_edges, categories)
        self.nodes = nodes
        self.classes = classes
        self.categories = dict(categories)
        self.topology = topology
        self.losses = tuple(freeze(row.copy()) for row in losses)
        self.unit_costs = MappingProxyType(dict(unit_costs))
        self.bin_edges = tuple(freeze(row.copy()) for row in bin_edges)
        self.signal_nodes = tuple(int(node) for node in signal_nodes)
        self.observed = observed
        self.signal = signal
        self.recorded_signal = recorded_signal
        self._transitions = tuple(transitions)
        self._statistics = statistics
        self.estimator = estimator
        self.choice: tuple[Any, ...] = ()
        if len(unit_costs) > 1 and cost_scale is not None:
            raise ValueError("cost_scale: expected none with costs in several units, which prices make one")
        self._cost_scale = None if cost_scale is None else float(cost_scale)
        for costs in unit_costs.values():  # what is wrong with any is found now
            if len(unit_costs) == 1 and cost_scale is None:
                self._cost_scale = costs.scale(topology)
            scale = costs.scale(topology) if self._cost_scale is None else self._cost_scale
            self._core = self._core_of(costs, scale)

    def _core_of(self, costs: EdgeCosts, scale: float) -> Model:
        return Model(
            self.topology,
            list(self.losses),
            list(self._transitions),
            costs.mean,
            scale,
            list(self.bin_edges),
            self.observed,
            np.array(self.signal_nodes, np.int32),
            costs.states,
        )

    def _at_prices(self, prices: Mapping[str, float] | None) -> tuple[Model, str, float]:
        """What solvers take, and the unit of its costs and their scale."""
        if prices is None:
            return self._core, self.unit, self.cost_scale
        values = checked_prices(prices, list(self.unit_costs))
        costs = priced(self.unit_costs, values)
        scale = costs.scale(self.topology)
        if self._cost_scale is not None:  # of the only unit, at its price
            scale = self._cost_scale * next(iter(values.values()))
        return self._core_of(costs, scale), priced_unit(values), scale

    @classmethod
    def _from_statistics(
        cls,
        topology: Topology,
        statistics: Statistics,
        unit_costs: Mapping[str, Floats],
        bin_edges: Sequence[npt.NDArray[np.float32]],
        signal_nodes: Sequence[int],
        cost_scale: float | None,
        observed: bool,
        signal: str,
        recorded_signal: str,
        estimator: AnyEstimator | None = None,
        categories: Mapping[int, Names] = NONE,
        nodes: tuple[str, ...] | None = None,
        classes: int | None = None,
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
        # Costs that were recorded of each request are their means: models of shards add up to those of all requests.
        costs = {
            unit: statistics.edge_costs(unit, parents) if unit in statistics.costs else EdgeCosts.of(stated, None)
            for unit, stated in unit_costs.items()
        }
        tables = (topology, losses, transitions, costs, bin_edges, signal_nodes, cost_scale)
        model._set(*tables, observed, signal, recorded_signal, statistics, estimator, categories, nodes, classes)
        return model

    @cached_property
    def unit(self) -> str:
        """str : unit of the costs, those in several units listed."""
        return ", ".join(self.unit_costs)

    @property
    def costs(self) -> Floats:
        """(E,) float64 : cost of each edge, the mean over the states where it differs; ValueError in several units."""
        return one_unit(self.unit_costs).mean

    @property
    def state_costs(self) -> tuple[Floats, ...]:
        """One (1 or K_i,) float64 an edge : what it costs in each state of the node i that it leaves."""
        return one_unit(self.unit_costs).by_state()

    @property
    def cost_scale(self) -> float:
        """float : what costs are divided by; ValueError in several units, where it is that of their sum."""
        one_unit(self.unit_costs)
        assert self._cost_scale is not None
        return self._cost_scale

    @property
    def transitions(self) -> tuple[Floats, ...]:
        """One (K_i or 1, K_j) float64 an edge, made dense for looking at; solvers use the sparse counts."""
        return tuple(matrix.to_dense() for matrix in self._transitions)

    @property
    def requests(self) -> float | None:
        """Number of requests the model was fitted on, None if its tables were stated.

        An int, or the sum of their weights where that is no whole number.
        """
        return None if self._statistics is None else self._statistics.requests

    def __repr__(self) -> str:
        counts = [len(row) for row in self.losses]
        states = ", ".join(map(str, counts))
        if len(counts) > MOST_LISTED:
            states = f"{' to '.join(map(str, sorted({min(counts), max(counts)})))} a node"
        source = "stated" if self.requests is None else f"{self.requests:.10g} requests"
        if self.estimator is not None:
            source += f", estimate={self.estimator.kind!r}"
        return f"CascadeModel({topology_text(self.topology)}, states=[{states}], {source})"

    def __add__(self, other: CascadeModel) -> CascadeModel:
        """Model of the requests of both: counts and sums add exactly."""
        if not isinstance(other, CascadeModel):
            return NotImplemented
        mine, others = self._sums_like(other, "add")
        return self._of(mine.plus(others, self.topology.edges[:, 0].tolist()), other)

    def __sub__(self, shard: CascadeModel) -> CascadeModel:
        """Model of the requests that are left when those of a shard leave: the inverse of adding it.

        Counts are exact, but for fractions of weights; sums of losses, signals and costs are within rounding. Curves of
        graded losses (``smoothing="platt"``) still go up to the largest loss that there ever was.

        Raises
        ------
        ValueError
            If the two could not be added, the shard was not part of this model, or nothing would be left. Where counts
            would be negative the node or edge is named.
        """
        if not isinstance(shard, CascadeModel):
            return NotImplemented
        mine, others = self._sums_like(shard, "subtract")
        return self._of(mine.minus(others, self.topology), shard)

    def _sums_like(self, other: CascadeModel, verb: str) -> tuple[Statistics, Statistics]:
        """The sums of both, if they are of the same things."""
        if self._statistics is None or other._statistics is None:
            raise ValueError(f"only fitted models {verb}: a model whose tables were stated has no counts")
        if self.estimator is not None or other.estimator is not None:
            raise ValueError(f"models with an estimator do not {verb}: its coefficients are not sums over requests")
        same_edges = self.signal_nodes == other.signal_nodes and all(
            np.array_equal(a, b) for a, b in zip(self.bin_edges, other.bin_edges, strict=False)
        )
        if self.topology != other.topology or not same_edges:
            raise ValueError(f"models {verb} only with the same topology and bin edges: fit the shard with like=model")
        check_same_nodes("model", other.nodes, self.nodes)
        check_same_classes("model", other.classes, self.classes)
        if self.categories != other.categories:
            raise ValueError(f"models {verb} only with the same categories: fit the shard with like=model")
        same_kind = (
            self.signal == other.signal
            and self.recorded_signal == other.recorded_signal
            and self.observed == other.observed
            and self._statistics.settings == other._statistics.settings
            and all(np.isinf(a[0]) == np.isinf(b[0]) for a, b in zip(self.losses, other.losses, strict=True))
        )
        recorded, others = sorted(self._statistics.costs), sorted(other._statistics.costs)
        if recorded != others or not same(self.unit_costs, other.unit_costs, but=recorded) or not same_kind:
            raise ValueError(
                f"models {verb} only with the same costs, unit, signal, smoothing, strengths and kind of losses"
            )
        return self._statistics, other._statistics

    def _of(self, statistics: Statistics, other: CascadeModel) -> CascadeModel:
        """A model of other requests, alike in all else; one of the two may not know how many classes there are."""
        return CascadeModel._from_statistics(
            self.topology,
            statistics,
            {unit: costs.mean for unit, costs in self.unit_costs.items()},
            self.bin_edges,
            self.signal_nodes,
            self._cost_scale,
            self.observed,
            self.signal,
            self.recorded_signal,
            categories=self.categories,
            nodes=self.nodes,
            classes=other.classes if self.classes is None else self.classes,
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
        arrays: files.Arrays = {"edges": self.topology.edges}
        for j, (losses, edges) in enumerate(zip(self.losses, self.bin_edges, strict=True)):
            arrays[f"losses.{j}"], arrays[f"bin_edges.{j}"] = losses, edges
        fields: dict[str, Any] = {
            "topology": self.topology.kind,
            "nodes": self.topology.nodes,
            "observed": self.observed,
            "signal": self.signal,
        }
        version = 1
        if len(self.unit_costs) == 1:
            fields |= {"unit": self.unit, "cost_scale": self.cost_scale}
        else:
            fields["units"], version = list(self.unit_costs), 3
        for prefix, costs in zip(prefixes(self.unit_costs), self.unit_costs.values(), strict=True):
            arrays[f"{prefix}costs"] = costs.mean
            if costs.states is not None:
                version = max(version, 2)
                if self._statistics is None:
                    arrays.update({f"{prefix}state_costs.{e}": row for e, row in enumerate(costs.states)})
        if self.recorded_signal != self.signal:
            fields["recorded_signal"] = self.recorded_signal
        if self._statistics is None:
            arrays.update({f"transitions.{e}": matrix for e, matrix in enumerate(self.transitions)})
        else:
            fields["smoothing"] = self._statistics.smoothing
            fields["strengths"] = [self._statistics.loss_strength, self._statistics.transition_strength]
            arrays.update(self._statistics.to_arrays(self.unit_costs))
        if self.estimator is not None:
            estimator_fields, tables = self.estimator.to_file()
            fields.update(estimator_fields)
            arrays.update(tables)
        if {"largest_loss", "requests"} & arrays.keys():
            version = max(version, 2)
        if self.signal_nodes != tuple(range(self.topology.nodes)):
            version, arrays["signal_nodes"] = max(version, 2), np.array(self.signal_nodes, np.int32)
        if self.categories:
            version, fields["categories"] = 3, categories_for_file(self.categories)
        if self.nodes is not None:
            version, fields["node_names"] = 3, list(self.nodes)
        if self._statistics is not None and not are_whole(arrays):
            version = 3
        if self.classes is not None:
            fields["classes"] = self.classes
        if isinstance(self.estimator, SetEstimator):
            version = 4
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
                    raise ValueError(f"signal_nodes: expected ({len(nodes)},) int32, got {checks.describe(table)}")
                signal_nodes = table.tolist()
            units = units_in(fields)
            cost_scale = None if len(units) > 1 else fields["cost_scale"]
            stated = dict(zip(units, (arrays[f"{prefix}costs"] for prefix in prefixes(units)), strict=True))
            estimator = estimator_from_file(fields, arrays, topology)
            categories = categories_from_file(fields, topology.nodes)
            if "strengths" in fields:
                if estimator is not None and fields["observed"]:
                    raise ValueError("observed: expected false with an estimator")
                # Sums that are finite may have no finite sum, product or mean.
                with np.errstate(divide="raise", over="raise", invalid="raise"):
                    statistics = Statistics.from_arrays(
                        topology, fields["smoothing"], fields["strengths"], units, arrays
                    )
                    tables = (topology, statistics, stated, bin_edges, signal_nodes, cost_scale)
                    names = names_in(fields, (topology if estimator is None else estimator.topology).nodes)
                    return cls._from_statistics(
                        *tables, fields["observed"], *signals, estimator, categories, names, classes_in(fields)
                    )
            if estimator is not None:
                raise ValueError("estimator: expected that of a fitted model, got stated tables")
            costs: dict[str, Any] = dict(stated)
            for unit, prefix in zip(units, prefixes(units), strict=True):
                if any(name.startswith(f"{prefix}state_costs.") for name in arrays):
                    costs[unit] = [arrays[f"{prefix}state_costs.{e}"] for e in range(len(topology.edges))]
            return cls(
                topology,
                [arrays[f"losses.{j}"] for j in nodes],
                [arrays[f"transitions.{e}"] for e in range(len(topology.edges))],
                costs if len(units) > 1 else costs[units[0]],
                bin_edges=bin_edges,
                cost_scale=cost_scale,
                observed=fields["observed"],
                unit="" if len(units) > 1 else units[0],
                signal=signals[0],
                categories=categories,
            )
        except (KeyError, TypeError, IndexError, ValueError, FloatingPointError) as error:
            raise ValueError(f"{source}: not a valid model ({checks.quoted(error)})") from None
