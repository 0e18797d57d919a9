"""Recorded calibration data: what every node said about every request, and what its answer was worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from os import PathLike
from typing import Any

import numpy as np
import numpy.typing as npt

from ttamer._base import checks
from ttamer._base.types import Cache, freeze
from ttamer._core import Topology
from ttamer.traces import arguments, file
from ttamer.traces.evidence import Evidence, joined_evidence, largest, normalised_chunks, trusted
from ttamer.traces.paths import cheapest_paths
from ttamer.traces.signals import check_signal, signals_from_evidence, signals_from_probs
from ttamer.traces.summary import Summary, summarise

__all__ = ["Evidence", "Traces"]


@dataclass(frozen=True, init=False, eq=False, repr=False)
class Traces:
    """Signals and losses of N requests at n nodes, and the costs of the edges between the nodes. Immutable.

    Parameters
    ----------
    signals : (N, n) float32
        Finite; by convention a larger signal is a more confident node. Where the losses are observed the
        signal is the loss.
    losses : (N, n) float32
        Loss of answering with each node, finite and not negative: a 0/1 error or any other.
    costs : (E,) or (N, E) real numbers
        Cost of each edge, in the topology's edge order, in `unit`; finite and not negative. One number for all
        requests, or what each request was recorded to cost. Kept as float64. On a line that is what each node adds, not
        the sum up to it: ``np.diff(sums, prepend=0)`` of running sums.
    topology : Topology, optional
        Default: a line of n nodes.
    predictions : (N, n) integers, optional
        What each node would answer. Default: that of the evidence, if there is any. Kept as int32.
    observed : bool
        Whether the loss is seen when a node is consulted.
    unit : str
        Unit of the costs, e.g. ``"ms"``.
    labels : (N,) integers, optional
        The right answers. Kept as int32.
    evidence : Evidence, optional
        Largest log-probabilities of every node; `from_probs` records them.
    signal : str
        How the signals were made: one of `ttamer.traces.signals.SIGNALS`, or ``""`` if by the user.

    Raises
    ------
    TypeError
        If an argument has the wrong dtype or type.
    ValueError
        If a shape or a value is wrong, or there are no rows. Row and node are named.

    Attributes
    ----------
    costs : (E,) float64
        Cost of each edge; the mean over the requests where these were recorded.
    request_costs : (N, E) float64 or None
        Cost of each edge for each request, if that was recorded. Replays pay it.

    Notes
    -----
    Arrays are copied, contiguous and read-only.
    """

    signals: npt.NDArray[np.float32]
    losses: npt.NDArray[np.float32]
    costs: npt.NDArray[np.float64]
    request_costs: npt.NDArray[np.float64] | None
    topology: Topology
    predictions: npt.NDArray[np.int32] | None
    observed: bool
    unit: str
    labels: npt.NDArray[np.int32] | None
    evidence: Evidence | None
    signal: str

    def __init__(
        self,
        signals: npt.ArrayLike,
        losses: npt.ArrayLike,
        costs: npt.ArrayLike,
        topology: Topology | None = None,
        *,
        predictions: npt.ArrayLike | None = None,
        observed: bool = False,
        unit: str = "",
        labels: npt.ArrayLike | None = None,
        evidence: Evidence | None = None,
        signal: str = "",
    ) -> None:
        signal_table = arguments.table("signals", signals)
        checks.check_values("signals", signal_table)
        rows, nodes = signal_table.shape
        topology = arguments.topology_of(topology, nodes, rows)
        loss_table = arguments.table("losses", losses, signal_table.shape)
        checks.check_values("losses", loss_table, 0.0)
        observed = checks.flag("observed", observed)
        if observed and not np.array_equal(signal_table, loss_table):
            place = checks.at(signal_table != loss_table)
            raise ValueError(f"signals: expected the losses themselves where these are observed, they differ{place}")
        if evidence is not None:
            arguments.check_evidence(evidence, signal_table.shape)
        if signal != "":
            check_signal(signal)
        self._set(
            signals=signal_table.copy(order="C"),
            losses=loss_table.copy(order="C"),
            **arguments.cost_fields(costs, topology, rows),
            topology=topology,
            predictions=arguments.predictions_of(predictions, evidence, signal_table.shape),
            observed=observed,
            unit=checks.text("unit", unit),
            labels=arguments.labels_of(labels, rows, evidence),
            evidence=evidence,
            signal=signal,
        )

    def _set(self, **fields: Any) -> None:
        for name, value in fields.items():
            object.__setattr__(self, name, freeze(value) if isinstance(value, np.ndarray) else value)
        # Signals of other kinds, computed once: a sweep of thresholds needs the same ones at every setting.
        object.__setattr__(self, "_by_kind", {})
        # Estimates by estimator. Those of the rows that it was fitted on are out-of-fold, and a sweep needs them again.
        object.__setattr__(self, "_estimates", Cache())

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
        costs: npt.ArrayLike,
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
        costs : (E,) or (N, E) real numbers
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
        paid = arguments.cost_fields(costs, topology, rows)
        answers = arguments.classes_of("labels", labels, rows, count)
        check_signal(signal)
        top = min(checks.whole("top", top, 1), count)
        unit = checks.text("unit", unit)
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
            **paid,
            topology=topology,
            predictions=predictions,
            observed=False,
            unit=unit,
            labels=answers,
            evidence=trusted(log_probs, classes, count),
            signal=signal,
        )
        return traces

    def __len__(self) -> int:
        return len(self.signals)

    def __repr__(self) -> str:
        parts = [f"{len(self)} rows", repr(self.topology)]
        if self.signal:
            parts.append(f"signal {self.signal}")
        if self.evidence is not None:
            parts.append(f"top {self.evidence.top} of {self.evidence.class_count} classes")
        if self.observed:
            parts.append("observed losses")
        if self.unit:
            parts.append(f"costs in {self.unit}")
        if self.request_costs is not None:
            parts.append("costs of each request")
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
        request_costs = None if self.request_costs is None else self.request_costs[selection]
        return self._with(
            signals=signals,
            costs=self.costs if request_costs is None else request_costs.mean(axis=0),
            request_costs=request_costs,
            losses=self.losses[selection],
            predictions=None if self.predictions is None else self.predictions[selection],
            labels=None if self.labels is None else self.labels[selection],
            evidence=None if self.evidence is None else self.evidence[selection],
        )

    def path(self, nodes: npt.ArrayLike, costs: npt.ArrayLike) -> Traces:
        """The line through some nodes, in the order given.

        Parameters
        ----------
        nodes : (m,) integers
            Nodes of these traces, each at most once; they need not be neighbours.
        costs : (m,) or (N, m) real numbers
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
            losses=self.losses[:, numbers],
            **arguments.cost_fields(costs, line, len(self)),
            topology=line,
            predictions=None if self.predictions is None else self.predictions[:, numbers],
            evidence=None if self.evidence is None else self.evidence[:, numbers],
        )

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

    def _read_as(self, kind: str) -> Traces:
        """These traces with the signals that a model of a kind, or of the user's own (""), reads.

        Raises
        ------
        ValueError
            If they recorded another kind and cannot be made to show this one.
        """
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

    @property
    def _kept_estimates(self) -> Cache:
        """Estimates of these rows by estimator."""
        estimates: Cache = self.__dict__["_estimates"]
        return estimates

    @cached_property
    def reach_costs(self) -> npt.NDArray[np.float64]:
        """(n,) float64: cost of the cheapest path from the root to each node, its own edge included."""
        return freeze(cheapest_paths(self.topology, self.costs)[0])

    @property
    def paid_costs(self) -> npt.NDArray[np.float64]:
        """(E,) or (N, E) float64: what replays pay, `request_costs` if they were recorded, else `costs`."""
        return self.costs if self.request_costs is None else self.request_costs

    @cached_property
    def request_reach_costs(self) -> npt.NDArray[np.float64]:
        """(N, n) float64: `reach_costs` of each request, which takes its own cheapest path."""
        if self.request_costs is None:
            return np.broadcast_to(self.reach_costs, self.losses.shape)
        return freeze(cheapest_paths(self.topology, self.request_costs)[0])

    def summary(self) -> Summary:
        """What each node loses and costs alone, which is best, and whether the rows look sorted.

        Returns
        -------
        Summary
            ``print`` shows it as a table.
        """
        return summarise(self.losses, self.request_reach_costs, self.predictions, self.unit)

    def __add__(self, other: Traces) -> Traces:
        """The requests of both, these first.

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
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "request_costs"}
        file.write(path, {**fields, "costs": self.paid_costs})

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
        return file.read(path, lambda fields: cls(**fields))


def concatenated(parts: Sequence[Traces]) -> Traces:
    """The requests of all parts, at least one, in order; ValueError as `Traces.__add__`."""
    first = parts[0]
    by_request = any(part.request_costs is not None for part in parts)
    for part in parts[1:]:
        for name in ("topology", "unit", "signal", "observed"):
            mine, others = getattr(first, name), getattr(part, name)
            if mine != others:
                raise ValueError(f"{name}: expected traces of one cascade, got {mine!r} and {others!r}")
        for name in ("predictions", "labels", "evidence"):
            if (getattr(first, name) is None) != (getattr(part, name) is None):
                raise ValueError(f"{name}: expected all traces to have them or none, got some without")
        if not by_request and not np.array_equal(first.costs, part.costs):
            raise ValueError("costs: expected the same for all traces, or costs of each request, got others")

    def joined(name: str) -> Any:
        values = [getattr(part, name) for part in parts]
        return None if values[0] is None else np.concatenate(values)

    evidence = [part.evidence for part in parts if part.evidence is not None]
    paid = [np.broadcast_to(part.paid_costs, (len(part), len(first.costs))) for part in parts]
    request_costs = np.concatenate(paid) if by_request else None
    return first._with(
        signals=joined("signals"),
        losses=joined("losses"),
        costs=first.costs if request_costs is None else request_costs.mean(axis=0),
        request_costs=request_costs,
        predictions=joined("predictions"),
        labels=joined("labels"),
        evidence=None if first.evidence is None else joined_evidence(evidence),
    )
