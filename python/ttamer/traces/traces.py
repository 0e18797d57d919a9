"""Recorded calibration data: what every node said about every request, and what its answer was worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Any

import numpy as np
import numpy.typing as npt

from ttamer._base import checks
from ttamer._base.topologies import topology_text
from ttamer._base.types import Cache, freeze
from ttamer._core import Topology
from ttamer.traces import arguments, file
from ttamer.traces.categories import NONE, Names, in_coding, joined_categories
from ttamer.traces.constructors import Constructors
from ttamer.traces.context import joined_columns, signal_of
from ttamer.traces.costs import checked_prices, in_units_of, joined_costs, priced, priced_unit, prices_in, same_unit
from ttamer.traces.evidence import Evidence, joined_evidence
from ttamer.traces.signals import check_signal, signals_from_evidence
from ttamer.traces.summary import Summary, summarise

__all__ = ["Evidence", "Traces"]


@dataclass(frozen=True, init=False, eq=False, repr=False)
class Traces(Constructors):
    """Signals and losses of N requests at n nodes, and the costs of the edges between the nodes. Immutable.

    What was not recorded is NaN: see `complete`. Models are fitted on all that was recorded, policies are judged on
    complete rows.

    Parameters
    ----------
    signals : (N, n) float32
        Finite, or NaN where the node was not consulted; by convention a larger signal is a more confident node. Where
        the losses are observed the signal is the loss.
    losses : (N, n) float32
        Loss of answering with each node, finite and not negative: a 0/1 error or any other. NaN where it is not known.
        A whole column of inf is a probe: a node that informs and cannot answer.
    costs : (E,) or (N, E) real numbers, or a mapping of units to these
        Cost of each edge, in the topology's edge order, in `unit`; finite and not negative. One number for all
        requests, or what each request was recorded to cost, NaN where it was not. On a line that is what each node
        adds, not the sum up to it: ``np.diff(sums, prepend=0)`` of running sums. Costs in several units,
        ``{"usd": ..., "ms": ...}``, are put into one by `priced`.
    topology : Topology, optional
        Default: a line of n nodes.
    predictions : (N, n) integers, optional
        What each node would answer. Default: that of the evidence, if there is any. Kept as int32.
    observed : bool
        Whether the loss is seen when a node is consulted.
    unit : str
        Unit of the costs, e.g. ``"ms"``, unless they are a mapping.
    labels : (N,) integers, optional
        The right answers. Kept as int32.
    evidence : Evidence, optional
        Largest log-probabilities of every node; `from_probs` records them.
    signal : str
        How the signals were made: one of `ttamer.traces.signals.SIGNALS`, or ``""`` if by the user.
    nodes : (n,) str, optional
        Names of the nodes, each another.
    categories : mapping of int to sequence of str, optional
        Of each node whose signal is a category, such as a subject, the names of the categories: the signal is the
        place of a name in this sequence, or their number for any other. `fit` gives these states without an order.

    Raises
    ------
    TypeError
        If an argument has the wrong dtype or type.
    ValueError
        If a shape or a value is wrong, or there are no rows. Row and node are named.

    Attributes
    ----------
    unit_costs : dict of str to (E,) or (N, E) float64
        Costs of each unit.
    context : dict of str to (N,) float64 or str
        What was known of each request before any node was consulted; NaN or "" where it was not. Only of traces that
        `from_models` or `read` made; the node that shows one of these columns has its name, see `with_context`.
    independent : bool
        Whether the nodes are models on their own, any of which may be asked after any other at the same cost: traces of
        `from_models` and `read`. Policies of ``estimate="sets"`` and ``"chains"`` ask them in any order.
    answer_classes : bool
        Whether equal `predictions` are equal answers in every request, not only within one.
    weights : (N,) float64 or None
        How much each request counts when a model is fitted, see `weighted`; None if all count 1.

    Notes
    -----
    Arrays are copied, contiguous and read-only.
    """

    def __init__(
        self,
        signals: npt.ArrayLike,
        losses: npt.ArrayLike,
        costs: npt.ArrayLike | Mapping[str, npt.ArrayLike],
        topology: Topology | None = None,
        *,
        predictions: npt.ArrayLike | None = None,
        observed: bool = False,
        unit: str = "",
        labels: npt.ArrayLike | None = None,
        evidence: Evidence | None = None,
        signal: str = "",
        nodes: Sequence[str] | None = None,
        categories: Mapping[int, Sequence[str]] | None = None,
    ) -> None:
        recorded = (predictions, observed, unit, labels, evidence, signal, nodes, categories)
        self._set(**arguments.checked_fields(signals, losses, costs, topology, *recorded))
        arguments.warn_of_sums(self.unit_costs, self.topology)

    def _with(self, **changes: Any) -> Traces:
        """A copy with some fields replaced by values that are known to be valid and unshared."""
        traces = object.__new__(Traces)
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__}
        traces._set(**{**fields, **changes})
        return traces

    def __repr__(self) -> str:
        parts = [f"{len(self)} rows", topology_text(self.topology)]
        if self.signal:
            parts.append(f"signal {self.signal}")
        if self.context:
            parts.append(f"context {', '.join(self.context)}")
        if self.evidence is not None:
            parts.append(f"top {self.evidence.top} of {self.evidence.class_count} classes")
        if self.observed:
            parts.append("observed losses")
        if any(self.unit_costs):
            parts.append(f"costs in {', '.join(self.unit_costs)}")
        if any(costs.ndim == 2 for costs in self.unit_costs.values()):
            parts.append("costs of each request")
        if not self.complete.all():
            parts.append(f"{int(self.complete.sum())} of them complete")
        if self.weights is not None:
            parts.append(f"weights {self.weights.min():g} to {self.weights.max():g}")
        return f"Traces({', '.join(parts)})"

    def __getitem__(self, rows: slice | npt.ArrayLike) -> Traces:
        """Traces of some rows.

        Parameters
        ----------
        rows : slice, integers or (N,) bool
            Numbers may repeat (a bootstrap sample) and count from the end if negative.

        Raises
        ------
        TypeError
            If `rows` is a single number or not integers.
        IndexError
            If a row is out of range.
        ValueError
            If no row is left, or a mask has the wrong length.
        """
        selection = rows if isinstance(rows, slice) else arguments.row_numbers(rows, len(self))
        signals = self.signals[selection]
        if len(signals) == 0:
            raise ValueError("rows: expected at least one row, got none")
        return self._with(
            signals=signals,
            unit_costs={
                unit: costs if costs.ndim == 1 else costs[selection] for unit, costs in self.unit_costs.items()
            },
            losses=self.losses[selection],
            predictions=None if self.predictions is None else self.predictions[selection],
            labels=None if self.labels is None else self.labels[selection],
            evidence=None if self.evidence is None else self.evidence[selection],
            weights=None if self.weights is None else self.weights[selection],
            context={name: column[selection] for name, column in self.context.items()},
        )

    def path(self, nodes: npt.ArrayLike, costs: npt.ArrayLike | Mapping[str, npt.ArrayLike]) -> Traces:
        """The line through some nodes, in the order given.

        Parameters
        ----------
        nodes : (m,) integers
            Nodes of these traces, each at most once; they need not be neighbours.
        costs : (m,) or (N, m) real numbers, or a mapping of units to these
            Cost of consulting each node after the one before it, of all requests or of each, in the traces' unit.

        Returns
        -------
        Traces
            On ``Topology.line(m)``: its node k is ``nodes[k]`` of these traces.

        Raises
        ------
        TypeError, ValueError
            As the constructor does; also if `nodes` is empty or names a node twice.
        IndexError
            If a node is out of range.
        """
        numbers = arguments.distinct_nodes(nodes, self.topology.nodes)
        line = Topology.line(len(numbers))
        return self._with(
            signals=self.signals[:, numbers],
            losses=arguments.loss_table(self.losses[:, numbers], (len(self), len(numbers))),
            unit_costs=arguments.path_costs(costs, line, len(self), list(self.unit_costs)),
            topology=line,
            independent=False,
            nodes=None if self.nodes is None else tuple(self.nodes[node] for node in numbers),
            predictions=None if self.predictions is None else self.predictions[:, numbers],
            evidence=None if self.evidence is None else self.evidence[:, numbers],
            categories={
                place: self.categories[node] for place, node in enumerate(numbers.tolist()) if node in self.categories
            },
        )

    def with_context(self, name: str) -> Traces:
        """The same traces with another column of the context as the signal of the probe, which takes its name.

        Raises
        ------
        ValueError
            If there is no such column, or no node that shows one.
        """
        if name not in self.context:
            raise ValueError(f"name: expected one of {list(self.context)}, got {checks.quoted(repr(name))}")
        nodes = self.nodes or ()
        places = [node for node, shown in enumerate(nodes) if shown in self.context]
        if not places:
            raise ValueError(f"traces: expected a node that shows the context, got nodes {list(nodes)}")
        signals, names = self.signals.copy(), list(nodes)
        signals[:, places[0]], coding = signal_of(self.context[name])
        names[places[0]] = name
        named = {node: known for node, known in self.categories.items() if node != places[0]}
        if coding is not None:
            named[places[0]] = coding
        return self._with(signals=signals, nodes=tuple(names), categories=dict(sorted(named.items())))

    def with_signal(self, kind: str) -> Traces:
        """The same traces with another signal, computed from the evidence.

        Parameters
        ----------
        kind : str
            One of `ttamer.traces.signals.SIGNALS`; `ttamer.traces.signals.signals_from_evidence` says what is assumed
            of classes that were not recorded. If the signals are of that kind already they are kept.

        Raises
        ------
        ValueError
            If the kind is unknown, or there is no evidence.
        """
        if checks.text("signal", kind) == self.signal:
            return self
        check_signal(kind)
        if self.evidence is None:
            raise ValueError(f"signal: {kind} needs evidence, and these traces have none (Traces.from_probs does)")
        by_kind: dict[str, npt.NDArray[np.float32]] = self.__dict__["_by_kind"]
        if kind not in by_kind:
            by_kind[kind] = freeze(signals_from_evidence(self.evidence, kind))
        return self._with(signals=by_kind[kind], signal=kind)

    def _read_as(self, kind: str, coding: Mapping[int, Names] = NONE) -> Traces:
        """These traces with the signals that a model of a kind, or of the user's own (""), reads.

        Those of nodes in `coding` are codes of its names, those of all others are numbers.

        Raises
        ------
        ValueError
            If they recorded another kind and cannot be made to show this one.
        """
        if self.categories or coding:
            signals = in_coding(self.signals, self.categories, coding, self.nodes)
            if signals is not self.signals:
                return self._with(signals=signals, categories=coding)._read_as(kind, coding)
        if self.signal == kind:
            return self
        if not kind:
            raise ValueError(
                f"traces: expected the user's own signals, signal='', got signal={self.signal!r}; "
                "fit on traces that record this kind"
            )
        if not self.signal and self.evidence is None:
            raise ValueError(
                f"traces: expected signal={kind!r} or evidence to make it from, got signals of the user's own; "
                f"if they are of this kind, say so: Traces(..., signal={kind!r})"
            )
        return self.with_signal(kind)

    def weighted(self, weights: npt.ArrayLike) -> Traces:
        """The same traces with requests that count more or less when a model is fitted, such as old ones.

        A request of weight 2 counts in `fit` as if it had been recorded twice, and one of weight 0 as if it had not
        been recorded. Strengths stay what they are: numbers of requests of weight 1. So do the edges of bins, which are
        quantiles of all rows, and whatever judges policies: replays, `evaluate`, the points of `frontier`, `tune`,
        comparisons, baselines and `summary` count every row once. Estimates cannot be fitted with weights.

        Parameters
        ----------
        weights : float or (N,) real numbers
            A number above 0 for all rows, or one >= 0 for each, not all of them 0. They take the place of earlier ones.

        Raises
        ------
        TypeError, ValueError
            If they are not such numbers, or add up to more than 2**53.
        """
        if np.ndim(weights) == 0:
            weights = np.full(len(self), checks.real("weights", weights))
        values = arguments.request_weights(weights, len(self))
        if not values.any():
            raise ValueError("weights: expected one above 0, got none")
        return self._with(weights=None if np.all(values == 1) else values)

    @property
    def _kept_estimates(self) -> Cache:
        """Estimates of these rows by estimator."""
        estimates: Cache = self.__dict__["_estimates"]
        return estimates

    def priced(self, prices: Mapping[str, float]) -> Traces:
        """The same traces with the weighted sum of their costs as the only one.

        Parameters
        ----------
        prices : mapping of str to float
            Of one of each unit, at least 0 and one of them above: ``{"usd": 1, "ms": 0.002}``. A unit without a price
            is free. `unit` then is "usd + 0.002 ms".

        Raises
        ------
        TypeError, ValueError
            If `prices` is no mapping, names a unit that there is not, or holds something else than such numbers.
        """
        values = checked_prices(prices, list(self.unit_costs))
        traces = self._with(unit_costs={priced_unit(values): priced(self.unit_costs, values)})
        # Estimates know nothing of costs: those that are out-of-fold stay so.
        object.__setattr__(traces, "_estimates", self._kept_estimates)
        return traces

    def _at_prices(self, prices: Mapping[str, float] | None) -> Traces:
        """`priced`, or without prices these traces; ValueError if their costs are in several units."""
        if prices is not None:
            return self.priced(prices)
        self._check_one_unit()
        return self

    def _in_unit(self, unit: str) -> Traces:
        """These traces with costs in a unit that their own make up, ValueError if they do not; an empty one is any."""
        if len(self.unit_costs) == 1 and same_unit(self.unit, unit):
            return self
        prices = prices_in(unit)
        if prices.keys() <= self.unit_costs.keys():
            return self.priced(prices)
        checks.check_same_unit("traces", self.unit, unit)
        return self

    def summary(self) -> Summary:
        """What each node loses and costs alone, which is best, what is missing, and whether the rows look sorted.

        Every row counts once, whatever its weight.

        Returns
        -------
        Summary
            ``print`` shows it as a table.
        """
        return summarise(self)

    def __add__(self, other: Traces) -> Traces:
        """The requests of both, these first; those without weights count 1.

        Raises
        ------
        ValueError
            If they are not of one cascade: another topology, unit or kind of signal, other costs where requests have
            none of their own, or if one lacks what the other has. What differs is named.
        """
        if not isinstance(other, Traces):
            return NotImplemented
        return concatenated([self, other])

    def save(self, path: str | PathLike[str]) -> None:
        """Write an ``.npz`` file of plain arrays to exactly this path: a format version, nothing pickled."""
        file.write(path, {name: getattr(self, name) for name in self.__dataclass_fields__})

    @property
    def digest(self) -> str:
        """str : SHA-256 of all that is in them, the same once they were saved and loaded: which traces these are."""
        return file.digest({name: getattr(self, name) for name in self.__dataclass_fields__})

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Traces:
        """Read what `save` wrote; every shape, range and value is checked.

        Raises
        ------
        OSError
            If the file cannot be opened.
        ValueError
            If it is damaged, of another format or version, or its contents are not valid traces. Names the
            path.
        """
        return file.read(path, lambda fields: cls._checked(**fields))


def complete_traces(traces: object) -> Traces:
    """The traces, if they are such and every row is complete.

    Raises
    ------
    TypeError, ValueError
        If they are not; how many rows lack something is said.
    """
    known = checks.instance("traces", traces, Traces)
    missing = known._incomplete
    if missing:
        raise ValueError(
            f"traces: expected complete rows, {missing} of {len(known)} lack a signal, a loss or a cost. Models may be "
            "fitted on all; to judge, take traces[traces.complete], or import --complete, if these are like the rest, "
            "not those that a policy sent on"
        )
    return known


def concatenated(parts: Sequence[Traces]) -> Traces:
    """The requests of all parts, at least one, in order; ValueError as `Traces.__add__`."""
    first = parts[0]
    for part in parts[1:]:
        if in_units_of(part.unit_costs, first.unit_costs) is None:
            raise ValueError(f"unit: expected traces of one cascade, got {first.unit!r} and {part.unit!r}")
        for name in ("topology", "signal", "observed", "nodes", "probes", "independent", "answer_classes"):
            mine, others = getattr(first, name), getattr(part, name)
            if mine != others:
                raise ValueError(f"{name}: expected traces of one cascade, got {mine!r} and {others!r}")
        for name in ("predictions", "labels", "evidence"):
            if (getattr(first, name) is None) != (getattr(part, name) is None):
                raise ValueError(f"{name}: expected all traces to have them or none, got some without")

    def joined(name: str) -> Any:
        values = [getattr(part, name) for part in parts]
        return None if values[0] is None else np.concatenate(values)

    evidence = [part.evidence for part in parts if part.evidence is not None]
    paid = [in_units_of(part.unit_costs, first.unit_costs) or {} for part in parts]
    weights = [np.ones(len(part)) if part.weights is None else part.weights for part in parts]
    coding = joined_categories([(part.signals, part.categories) for part in parts])
    return first._with(
        signals=np.concatenate([in_coding(part.signals, part.categories, coding) for part in parts]),
        categories=coding,
        context=joined_columns([part.context for part in parts]),
        losses=joined("losses"),
        unit_costs={
            unit: joined_costs([costs[unit] for costs in paid], list(map(len, parts))) for unit in first.unit_costs
        },
        predictions=joined("predictions"),
        labels=joined("labels"),
        evidence=None if first.evidence is None else joined_evidence(evidence),
        weights=None if all(part.weights is None for part in parts) else np.concatenate(weights),
    )
