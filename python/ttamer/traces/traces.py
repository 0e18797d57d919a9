"""Recorded calibration data: what every node said about every request, and what its answer was worth."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from os import PathLike
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from ttamer._base import checks
from ttamer._base.types import Cache, Floats, freeze
from ttamer._core import Topology
from ttamer.traces import arguments, file
from ttamer.traces.categories import NONE, Names, in_coding, joined_categories
from ttamer.traces.context import Column, joined_columns, signal_of
from ttamer.traces.costs import Costs, checked_prices, joined_costs, priced, priced_unit, prices_in
from ttamer.traces.evidence import Evidence, joined_evidence, largest, normalised_chunks, trusted
from ttamer.traces.log import fields_of_log
from ttamer.traces.models import fields_of_models
from ttamer.traces.signals import check_signal, signals_from_evidence, signals_from_probs
from ttamer.traces.summary import Summary, summarise
from ttamer.traces.tables import read_table

__all__ = ["Evidence", "Traces"]

_MAPPINGS = ("unit_costs", "categories", "context")
"""Fields that are mappings, kept read-only."""


@dataclass(frozen=True, init=False, eq=False, repr=False)
class Traces(Costs):
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
    weights : (N,) float64 or None
        How much each request counts when a model is fitted, see `weighted`; None if all count 1.

    Notes
    -----
    Arrays are copied, contiguous and read-only.
    """

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

    @classmethod
    def _checked(cls, **given: Any) -> Traces:
        """As the constructor, but of costs that were recorded before: what these look like is not said again."""
        traces = object.__new__(cls)
        traces._set(**arguments.checked_fields(**given))
        return traces

    def _set(self, **fields: Any) -> None:
        for name, value in fields.items():
            object.__setattr__(self, name, freeze(value) if isinstance(value, np.ndarray) else value)
        for name in _MAPPINGS:
            values = {
                key: freeze(value) if isinstance(value, np.ndarray) else value for key, value in fields[name].items()
            }
            object.__setattr__(self, name, MappingProxyType(values))
        # Signals of other kinds, computed once: a sweep of thresholds needs the same ones at every setting.
        object.__setattr__(self, "_by_kind", {})
        # Estimates by estimator. Those of the rows that it was fitted on are out-of-fold, and a sweep needs them again.
        object.__setattr__(self, "_estimates", Cache())

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, **{name: dict(getattr(self, name)) for name in _MAPPINGS}}  # a proxy does not pickle

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.__dict__.update({name: MappingProxyType(state[name]) for name in _MAPPINGS})

    def _with(self, **changes: Any) -> Traces:
        """A copy with some fields replaced by values that are known to be valid and unshared."""
        traces = object.__new__(Traces)
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__}
        traces._set(**{**fields, **changes})
        return traces

    @classmethod
    def from_probs(
        cls,
        probs: npt.ArrayLike,
        labels: npt.ArrayLike,
        costs: npt.ArrayLike | Mapping[str, npt.ArrayLike],
        topology: Topology | None = None,
        signal: str = "max_prob",
        top: int = 8,
        unit: str = "",
    ) -> Traces:
        """Traces of classifiers: signals, 0/1 errors, predictions and evidence from recorded probabilities.

        Parameters
        ----------
        probs : (N, n, C) of any float dtype
            Probabilities of C >= 2 classes at every node. They sum to 1 within 1e-3 and are renormalised in
            float64.
        labels : (N,) of any integer dtype
            The right classes, 0..C-1.
        costs : (E,) or (N, E) real numbers, or a mapping of units to these
            Cost of each edge, of all requests or of each, in `unit`: what each node adds, not running sums.
        topology : Topology, optional
            Default: a line of n nodes.
        signal : str
            ``"max_prob"``, ``"margin"`` (largest less second largest), ``"entropy"`` (its negative, in nats)
            or ``"logit_margin"`` (difference of the two largest logits).
        top : int
            How many of the largest log-probabilities to keep, at most C. Logarithms are floored at ln(1e-7).
        unit : str
            Unit of the costs.

        Returns
        -------
        Traces
            The loss is 1 where the most probable class, the lowest one among equals, is not the label, else
            0.

        Raises
        ------
        TypeError, ValueError
            As the constructor does; the first row and node whose probabilities are bad are named.
        """
        array = arguments.probabilities(probs)
        rows, nodes, count = array.shape
        topology = arguments.topology_of(topology, nodes, rows)
        unit_costs = arguments.unit_costs(costs, topology, rows, unit)
        arguments.warn_of_sums(unit_costs, topology)
        answers = arguments.classes_of("labels", labels, rows, count)
        check_signal(signal)
        top = min(checks.whole("top", top, 1), count)
        signals = np.empty((rows, nodes), np.float32)
        log_probs = np.empty((rows, nodes, top), np.float32)
        classes = np.empty((rows, nodes, top), np.int32)
        for part, chunk in normalised_chunks(array):
            signals[part] = signals_from_probs(chunk, signal)
            log_probs[part], classes[part] = largest(chunk, top)
        predictions = classes[:, :, 0].copy()
        traces = object.__new__(cls)
        traces._set(
            signals=signals,
            losses=(predictions != answers[:, None]).astype(np.float32),
            unit_costs=unit_costs,
            topology=topology,
            predictions=predictions,
            observed=False,
            labels=answers,
            evidence=trusted(log_probs, classes, count),
            signal=signal,
            nodes=None,
            categories={},
            context={},
        )
        return traces

    @classmethod
    def from_models(
        cls,
        losses: npt.ArrayLike,
        costs: npt.ArrayLike | Mapping[str, npt.ArrayLike],
        *,
        scores: npt.ArrayLike | None = None,
        answers: npt.ArrayLike | None = None,
        context: npt.ArrayLike | Mapping[str, npt.ArrayLike] | None = None,
        nodes: Sequence[str] | None = None,
        unit: str = "",
    ) -> Traces:
        """Traces of n models on the same requests: any may be asked first, and any later one after it.

        A model was consulted by a request if a loss, score or answer of it is recorded; elsewhere its signal is NaN.

        Parameters
        ----------
        losses : (N, n) numbers or bool
            Loss of each model's answer, from 0 to some largest one; NaN where it is not known. Models stand in the
            order in which they may be asked, the cheapest first as a rule.
        costs : (n,) or (N, n) numbers, or a mapping of units to these
            What it costs to ask each model, whatever was asked before; NaN where it was not recorded.
        scores : (N, n) numbers, optional
            How sure each model was, larger is surer; NaN for none. A model without any score keeps the state of what
            was known before it; where some requests lack one, they get one below all others: the lowest state.
        answers : (N, n) integers, optional
            What each model answered: equal numbers for equal answers, -1 for none. Kept as `predictions`.
        context : (N,) or (N, d), or a mapping of names to (N,), optional
            What is known before any model is asked: numbers, or texts, which are categories. It is shown by a probe of
            cost 0 in front, node 0, so that models are nodes 1 to n: which one to ask first depends on it. The probe
            shows the *first* column; all are kept as `context`, and `with_context` takes another. What is missing (NaN,
            None, "") is below all numbers, and among the other categories.
        nodes : (n,) str, optional
            Names of the models.
        unit : str
            Unit of the costs, unless they are a mapping.

        Returns
        -------
        Traces
            On ``Topology.skip(n)``, or with a context on a dag of n + 1 nodes.

        Raises
        ------
        TypeError, ValueError
            If a shape, dtype or value is wrong. Row and model are named.
        """
        return cls._checked(**fields_of_models(losses, costs, scores, answers, context, nodes, unit))

    @classmethod
    def read(
        cls,
        path: str | PathLike[str],
        *,
        columns: Mapping[str, str] | None = None,
        ignore: Collection[str] = (),
        nodes: Sequence[str] | None = None,
    ) -> Traces:
        """Traces of several models from a table with a row a request and model, see `from_models`.

        CSV, JSON lines or Parquet, by the suffix: ``.csv``, ``.jsonl``, ``.ndjson``, ``.json``, ``.parquet``. Columns:

        * ``request`` and ``model``: what the row is about. A pair without a row was not recorded.
        * ``loss``, or ``label`` and ``answer``: the loss then is 1 where the answer is not the label, also where there
          is none, and unknown without a label.
        * ``cost``, or ``cost_usd``, ``cost_ms`` and the like for costs in several units. A unit in which every model
          costs the same for all requests has one cost a model.
        * ``score``, or one such as ``score_judge``: how sure the model was.
        * ``answer``: equal values are equal answers, an empty one is none.
        * every other column has one value a request and is context, numbers or categories, the first of which the probe
          shows (see `with_context`).

        Models are ordered by rising mean cost in the first unit, requests as they first appear. Where calibration and
        test rows come from two files give the second one the `nodes` of the first, or read one and split it.

        Parameters
        ----------
        path : str or os.PathLike
        columns : mapping of str to str, optional
            The file's names of these columns, where they are others: ``{"loss": "wrong", "cost_usd": "price"}``.
        ignore : sequence of str
            Columns that are left out: texts of prompts, or what is known only after a model was asked.
        nodes : sequence of str, optional
            All models in another order, such as that of traces that were read before: a policy knows numbers of nodes,
            no names.

        Returns
        -------
        Traces

        Raises
        ------
        OSError
            If the file cannot be opened.
        ImportError
            If pyarrow is missing.
        ValueError
            If it cannot be read, lacks a column, holds something else than expected, or a request and model twice.
            File, column and row are named; rows count from 1.
        """
        return read_table(path, columns, ignore, nodes, cls.from_models)[0]

    @classmethod
    def from_log(
        cls, path: str | PathLike[str], topology: Topology, *, unit: str = "", nodes: Sequence[str] | None = None
    ) -> Traces:
        """Traces of requests that were served, from a log of JSON lines.

        A line is a request: ``{"visits": [{"node": 0, "signal": 0.9, "loss": 0.0, "cost": 0.001}, ...]}``, the nodes
        that it consulted in order. What a visit does not say was not recorded; other keys are ignored.

        Parameters
        ----------
        path : str or os.PathLike
        topology : Topology
        unit : str
            Unit of the costs.
        nodes : (n,) str, optional
            Names of the nodes, which visits may use instead of numbers.

        Returns
        -------
        Traces
            With the costs of each request. The cost of a visit is that of the edge from the visit before it, on a
            forest that of the node's only edge. A visit with an ``"error"`` was consulted and paid, and showed nothing.
            A node all of whose losses are ``Infinity`` is one that cannot answer.

        Raises
        ------
        OSError
            If the file cannot be opened.
        TypeError, ValueError
            If a line is something else, or visits do not follow the topology; the line and visit are named.
        """
        return cls._checked(**fields_of_log(path, topology, unit, nodes))

    def __len__(self) -> int:
        return len(self.signals)

    def __repr__(self) -> str:
        parts = [f"{len(self)} rows", repr(self.topology)]
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
            unit_costs=arguments.unit_costs(costs, line, len(self), "" if isinstance(costs, Mapping) else self.unit),
            topology=line,
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
        check_signal(kind)
        if kind == self.signal:
            return self
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
            signals = in_coding(self.signals, self.categories, coding)
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
        if len(self.unit_costs) > 1:
            prices = prices_in(unit)
            if prices.keys() <= self.unit_costs.keys():
                return self.priced(prices)
        checks.same_unit("traces", self.unit, unit)
        return self

    @cached_property
    def probes(self) -> tuple[int, ...]:
        """Tuple of int : the nodes that cannot answer."""
        return tuple(np.flatnonzero(np.isposinf(self.losses).all(axis=0)).tolist())

    @property
    def _answering(self) -> list[int]:
        """The other nodes, in order."""
        return [node for node in range(self.topology.nodes) if node not in self.probes]

    @cached_property
    def complete(self) -> npt.NDArray[np.bool_]:
        """(N,) bool : rows in which every signal, loss and cost was recorded: ``traces[traces.complete]``."""
        recorded = ~(np.isnan(self.signals) | np.isnan(self.losses)).any(axis=1)
        for costs in self.unit_costs.values():
            recorded &= ~np.isnan(costs).any(axis=-1)
        return freeze(np.asarray(recorded))

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
    missing = len(known) - int(known.complete.sum())
    if missing:
        raise ValueError(
            f"traces: expected complete rows, {missing} of {len(known)} lack a signal, a loss or a cost; judge on "
            "traces[traces.complete], models may be fitted on all"
        )
    return known


def concatenated(parts: Sequence[Traces]) -> Traces:
    """The requests of all parts, at least one, in order; ValueError as `Traces.__add__`."""
    first = parts[0]
    for part in parts[1:]:
        for name in ("topology", "unit", "signal", "observed", "nodes", "probes"):
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
    weights = [np.ones(len(part)) if part.weights is None else part.weights for part in parts]
    coding = joined_categories([(part.signals, part.categories) for part in parts])
    return first._with(
        signals=np.concatenate([in_coding(part.signals, part.categories, coding) for part in parts]),
        categories=coding,
        context=joined_columns([part.context for part in parts]),
        losses=joined("losses"),
        unit_costs={
            unit: joined_costs([part.unit_costs[unit] for part in parts], list(map(len, parts)))
            for unit in first.unit_costs
        },
        predictions=joined("predictions"),
        labels=joined("labels"),
        evidence=None if first.evidence is None else joined_evidence(evidence),
        weights=None if all(part.weights is None for part in parts) else np.concatenate(weights),
    )
