"""Traces from a log of requests that were served, a JSON line a request."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping, Sequence
from os import PathLike
from typing import Any

import numpy as np
import numpy.typing as npt

from ttamer._base import checks
from ttamer._base.types import ROOT, Floats
from ttamer._core import Topology
from ttamer.traces.arguments import names_of
from ttamer.traces.categories import Names, coded
from ttamer.traces.costs import units_of
from ttamer.traces.evidence import Evidence
from ttamer.traces.lines import read_log
from ttamer.traces.models import fields_of_models
from ttamer.traces.signals import NOTHING, signals_from_evidence


def fields_of_log(
    paths: Sequence[str | PathLike[str]],
    topology: Topology,
    unit: str,
    nodes: Sequence[str] | None,
    models: tuple[bool, Sequence[str]] | None = None,
    units: Collection[str] | None = None,
    signal: str | None = None,
    probes: Collection[int] = (),
    shadowed: bool = False,
    form: tuple[int, int] | None = None,
) -> dict[str, Any]:
    """What `ttamer.traces.arguments.checked_fields` takes, from what `Traces.from_log` does.

    `models` is of independent models: whether their answers are classes, and the names of the columns of the context.
    `units` are those that costs have to be in, and `signal` the kind that signals have to be of, None of any. `probes`
    cannot answer. `form` is that of the evidence, numbers of log-probabilities and classes, None for none.
    """
    checks.instance("topology", topology, Topology)
    log = _Log(topology, names_of(nodes, topology.nodes), checks.text("unit", unit), models, shadowed, form)
    if units is not None and len(units) > 1:
        log.units = log.known_units = list(units)
    for cut in read_log(paths, log.add, lambda *later: log.later.append(later)):
        warnings.warn(cut, stacklevel=3)
        log.has_cuts = True
    try:
        return log.fields(units, signal, probes)
    except ValueError as error:
        raise ValueError(f"{checks.printable(', '.join(map(str, paths)))}: {error}") from None


class _Log:
    """What the lines of a log said so far."""

    def __init__(
        self,
        topology: Topology,
        names: Sequence[str] | None,
        unit: str,
        models: tuple[bool, Sequence[str]] | None,
        shadowed: bool,
        form: tuple[int, int] | None,
    ) -> None:
        self.form = form
        self.evidence: list[tuple[npt.NDArray[np.float32], npt.NDArray[np.int32]]] = []  # (n, top) of each request
        self.without_evidence = 0  # requests that are left out as they lack some of it
        self.models = models
        self.shadowed = shadowed
        self.passed_over: set[str] = set()  # requests that are not asked for
        self.later: list[tuple[str, str, object]] = []  # line, request and losses, which may stand before the request
        self.named_units: set[str] = set()  # what records say of their costs
        self.kinds: set[str] = set()  # and of their signals
        self.answers: list[npt.NDArray[np.int32]] = []  # of independent models, -1 for none
        self.context: dict[str, list[Any]] = {} if models is None else {column: [] for column in models[1]}
        self.topology = topology
        self.names = names
        self.unit = unit
        self.edges = {(i, j): e for e, (i, j) in enumerate(topology.edges.tolist())}
        self.rows: list[npt.NDArray[np.float64]] = []  # signals and losses, NaN where a request says nothing
        self.texts: dict[int, dict[int, str]] = {}  # signals of nodes that show categories, by request
        self.silent: list[tuple[int, int]] = []  # requests and nodes whose visit has no signal
        self.numeric: set[int] = set()  # nodes whose signals are numbers
        self.costs: list[tuple[int, int, list[float]]] = []  # request, edge, and what was paid in each unit
        self.units: list[str] | None = None  # none of costs that are numbers
        self.keys: dict[str, None] = {}  # of all visits, in order of appearance
        self.requests: dict[str, list[int]] = {}  # rows by what they are called: one that was tried again has several
        self.known_units: list[str] | None = None  # where costs have to be in several
        self.has_cuts = False  # whether lines are left out: losses may be of their requests
        self.without_units = 0  # visits whose costs are in none of these

    def add(self, record: dict[str, Any]) -> None:
        """The next request."""
        if self.shadowed and not record.get("is_shadowed"):
            self.passed_over.add(str(record.get("request")))
            return
        if self.form is not None and any("log_probs" in visit for visit in record["visits"] if isinstance(visit, dict)):
            evidence = self._evidence(record["visits"], self.form[0])
            if evidence is None:  # evidence is kept of all nodes or none
                self.passed_over.add(str(record.get("request")))
                self.without_evidence += 1
                return
            self.evidence.append(evidence)
        self.named_units |= {str(record["unit"])} if record.get("unit") else set()
        self.kinds |= {str(record["signal"])} if "signal" in record else set()
        signals, losses = row = np.full((2, self.topology.nodes), np.nan)
        answers = np.full(self.topology.nodes, -1, np.int32)
        visited: list[int] = []
        path: list[int] = []  # without those that were consulted for the record alone
        for k, visit in enumerate(record["visits"]):
            if not isinstance(visit, dict) or "node" not in visit:
                raise ValueError(f'visit {k}: expected {{"node": ...}}')
            self.keys |= dict.fromkeys(visit)
            node = self._node(f"visit {k}: node", visit["node"])
            edge = self._edge(path, node)
            if edge is None and visit.get("shadow"):
                edge = self._edge(visited, node)
            if self.models is not None and visit.get("error") is None and visit.get("answer") is not None:
                answers[node] = checks.whole(f"visit {k}: answer", visit["answer"], least=-1)
            # Who is only consulted for the record needs no edge; what it costs is then not known.
            if (edge is None and not visit.get("shadow")) or node in visited:
                raise ValueError(f"visit {k}: expected a node that may follow {visited or 'the root'}, got {node}")
            if visit.get("error") is None:
                signals[node] = self._signal(f"visit {k}: signal", visit.get("signal"), node)
                if visit.get("signal") is None:
                    self.silent.append((len(self.rows), node))
                losses[node] = _loss(f"visit {k}: loss", visit.get("loss"))
            elif visit.get("signal") is not None or visit.get("loss") is not None:
                raise ValueError(f"visit {k}: expected no signal and no loss of a visit with an error")
            if visit.get("cost") is not None and edge is not None:
                self.costs.append((len(self.rows), edge, self._cost(f"visit {k}: cost", visit["cost"])))
            visited.append(node)
            if not visit.get("shadow"):
                path.append(node)
        if "losses" in record:
            self._add_losses(losses, record["losses"])
        if "request" in record:
            self.requests.setdefault(checks.text("request", record["request"]), []).append(len(self.rows))
        if self.context:
            values = record.get("context")
            if not isinstance(values, dict) or not set(self.context) <= set(values):
                raise ValueError(f"context: expected {', '.join(self.context)}, got {checks.quoted(repr(values))}")
            for column, cells in self.context.items():
                cells.append(values[column])
        self.answers.append(answers)
        self.rows.append(row)

    def _evidence(
        self, visits: Sequence[Mapping[str, Any]], top: int
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int32]] | None:
        """Log-probabilities and classes (n, top) of a request's nodes; None if a node lacks them."""
        shape = (self.topology.nodes, top)
        log_probs, classes = np.full(shape, np.nan, np.float32), np.zeros(shape, np.int32)
        for k, visit in enumerate(visits):
            if "log_probs" in visit:
                node, parts = self._node(f"visit {k}: node", visit.get("node")), []
                for name, read in (("log_probs", checks.as_array), ("classes", checks.integers)):
                    parts.append(read(f"visit {k}: {name}", visit.get(name, []), f"(>= {top},) numbers"))
                    if parts[-1].ndim != 1 or len(parts[-1]) < top:
                        raise ValueError(f"visit {k}: {name}: expected at least {top}, got {parts[-1].shape}")
                log_probs[node], classes[node] = parts[0][:top], parts[1][:top]
        return None if np.isnan(log_probs).any() else (log_probs, classes)

    def _add_losses(self, row: npt.NDArray[np.float64], losses: object) -> None:
        """Losses by node, of nodes that the request may not have consulted too."""
        if not isinstance(losses, dict):
            raise ValueError(f"losses: expected a loss by node, got {type(losses).__name__}")
        for node, loss in losses.items():
            name = f"losses[{checks.quoted(repr(node))}]"
            place = self._node(name, int(node) if self.names is None and node.isdecimal() else node)
            row[place] = _loss(name, loss)

    def fields(self, units: Collection[str] | None, signal: str | None, probes: Collection[int]) -> dict[str, Any]:
        if not self.rows:
            what = "expected at least one request" + (" that was shown to all nodes" if self.shadowed else "")
            raise ValueError(f"{what}, got none")
        for line, name, values in self.later:
            try:
                for place in self.requests.get(name, ()):
                    self._add_losses(self.rows[place][1], values)
                if name not in self.requests and name not in self.passed_over and not self.has_cuts:
                    raise ValueError(f"request: expected losses of requests that were logged, got {name!r}")
            except (TypeError, ValueError, IndexError) as error:
                raise ValueError(f"{line}: {checks.quoted(error)}") from None
        if 0 < self.without_units < len(self.costs):
            warnings.warn(
                f"{self.without_units} costs are left out: they were not told in {', '.join(self.known_units or ())}",
                stacklevel=5,
            )
        told = self.units is not None and self.without_units < len(self.costs)
        found = self.units if told and self.units is not None else sorted(self.named_units)
        if units is not None and found and set(found) != set(units):
            raise ValueError(f"cost: expected {', '.join(units) or 'no unit'}, as before, got {', '.join(found)}")
        if signal is not None and not self.kinds <= {signal}:
            raise ValueError(f"signal: expected {signal or 'the own ones'!r}, as before, got {sorted(self.kinds)}")
        # Of several models none may have a score, and of networks logits tell the signals.
        for key in ("cost",) if self.evidence or self.models is not None else ("signal", "cost"):
            if key not in self.keys:
                raise ValueError(f"expected visits with the key {key!r}, got the keys {checks.quoted(list(self.keys))}")
        signals, losses = np.stack(self.rows, axis=1)
        losses[:, list(probes)] = np.inf
        if self.models is not None:
            return self._fields_of_models(signals, losses, self.models[0]) | {"signal": signal or ""}
        evidence = self._whole_evidence()
        if evidence is not None and signal:
            signals = np.where(np.isnan(signals), signals_from_evidence(evidence, signal), signals)
        categories: dict[int, Names] = {}
        for node, texts in self.texts.items():
            codes, categories[node] = coded(list(texts.values()))
            signals[list(texts), node] = codes
        # A node that never shows a signal, such as a person, was consulted all the same.
        for node in np.flatnonzero(np.isnan(signals).all(axis=0)).tolist():
            signals[[row for row, silent in self.silent if silent == node], node] = NOTHING
        # A node that cannot answer loses inf wherever it was consulted, and so everywhere.
        cannot = np.isposinf(losses).any(axis=0) & ~np.isfinite(losses).any(axis=0)
        tables = {unit: np.full((len(self.rows), len(self.edges)), np.nan) for unit in self.units or [""]}
        for row, edge, costs in self.costs:
            for table, cost in zip(tables.values(), costs, strict=True):
                table[row, edge] = cost
        return {
            "signals": signals.astype(np.float32),
            "losses": np.where(cannot, np.inf, losses).astype(np.float32),
            "costs": tables[""] if self.units is None else tables,
            "topology": self.topology,
            "signal": signal or "",
            "unit": self.unit,
            "nodes": self.names,
            "categories": categories,
            "evidence": evidence,
        }

    def _whole_evidence(self) -> Evidence | None:
        """That of all requests, None if none was logged or asked for."""
        if self.without_evidence:
            warnings.warn(
                f"{self.without_evidence} requests are left out: evidence is kept of requests that were shown to all "
                "nodes, and answered by them",
                stacklevel=6,
            )
        if not self.evidence or self.form is None:
            return None
        if len(self.evidence) < len(self.rows):
            raise ValueError("log_probs: expected those of all requests or of none, got some without")
        log_probs, classes = (np.stack(part) for part in zip(*self.evidence, strict=True))
        return Evidence(log_probs, classes, self.form[1])

    def _fields_of_models(self, scores: Floats, losses: Floats, classes: bool) -> dict[str, Any]:
        behind = int(bool(self.context))  # the context is node 0, which no model is
        costs = {unit: np.full(losses.shape, np.nan) for unit in self.units or [""]}
        for row, edge, paid in self.costs:
            for table, cost in zip(costs.values(), paid, strict=True):
                table[row, self.topology.edges[edge, 1]] = cost
        answers = np.stack(self.answers)[:, behind:]
        return fields_of_models(
            losses[:, behind:],
            costs[""][:, behind:] if self.units is None else {unit: table[:, behind:] for unit, table in costs.items()},
            scores[:, behind:] if np.isfinite(scores[:, behind:]).any() else None,
            answers if (answers >= 0).any() else None,
            classes,
            self.context or None,
            self.names,
            self.unit,
        )

    def _edge(self, visited: list[int], node: int) -> int | None:
        """The edge to a node: from the last one visited, on a forest from any of them; None if there is none.

        Independent models cost the same from anywhere.
        """
        if self.models is not None:
            return next(e for (_, j), e in self.edges.items() if j == node)
        before = [ROOT, *visited] if self.topology.kind == "forest" else [visited[-1] if visited else ROOT]
        return next((self.edges[i, node] for i in before if (i, node) in self.edges), None)

    def _node(self, name: str, value: object) -> int:
        if isinstance(value, str):
            if self.names is None or value not in self.names:
                raise ValueError(f"{name}: expected a number or one of {list(self.names or ())}, got {value!r}")
            return self.names.index(value)
        return checks.place(name, value, self.topology.nodes)

    def _signal(self, name: str, value: object, node: int) -> float:
        """A signal that is a number; one that is a text is kept apart, until all are known."""
        if isinstance(value, str) and node not in self.numeric:
            if not checks.text(name, value):
                raise ValueError(f"{name}: expected a text, got none")
            self.texts.setdefault(node, {})[len(self.rows)] = value
            return np.nan
        if value is None:
            return np.nan
        if node in self.texts:
            raise ValueError(f"{name}: expected a text as before, got {type(value).__name__}")
        number = _number(name, value, -np.inf)
        self.numeric.add(node)
        return number

    def _cost(self, name: str, value: object) -> list[float]:
        """What a visit paid, in each unit."""
        first = not self.costs and self.known_units is None
        if not isinstance(value, Mapping):
            if self.known_units is not None:  # what the policy expected, as one sum
                self.without_units += 1
                return [np.nan] * len(self.known_units)
            if self.units is not None:
                raise ValueError(f"{name}: expected units {self.units} as before, got {checks.quoted(repr(value))}")
            return [_number(name, value, 0.0)]
        if first:
            self.units = units_of(value, self.unit)
        if self.units is None or set(value) != set(self.units):
            units = "a number" if self.units is None else f"units {self.units}"
            raise ValueError(f"{name}: expected {units} as before, got {checks.quoted(list(value))}")
        return [_number(f"{name}[{unit!r}]", value[unit], 0.0) for unit in self.units]


def _loss(name: str, value: object) -> float:
    return float(value) if isinstance(value, bool) else _number(name, value, 0.0, infinite=True)


def _number(name: str, value: object, least: float, infinite: bool = False) -> float:
    if value is None:
        return np.nan
    number = checks.real(name, value)
    with np.errstate(over="ignore"):  # what float32 cannot hold is refused as infinite
        too_large = np.isinf(np.float32(number)) and not (infinite and number == np.inf)
    if number < least or too_large:
        raise ValueError(f"{name}: expected a finite number{'' if least < 0 else f' >= {least:g}'}, got {number:g}")
    return number
