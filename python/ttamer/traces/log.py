"""Traces from a log of requests that were served, a JSON line a request."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from os import PathLike
from typing import Any

import numpy as np
import numpy.typing as npt

from ttamer._base import checks
from ttamer._base.types import ROOT, Floats
from ttamer._core import Topology
from ttamer.traces.arguments import names_of


def fields_of_log(
    path: str | PathLike[str], topology: Topology, unit: str, nodes: Sequence[str] | None
) -> dict[str, Any]:
    """What `ttamer.traces.arguments.checked_fields` takes, from what `Traces.from_log` does."""
    checks.instance("topology", topology, Topology)
    name = checks.path("path", path)
    names = names_of(nodes, topology.nodes)
    edges = {(i, j): e for e, (i, j) in enumerate(topology.edges.tolist())}
    rows: list[list[Floats]] = []
    for line, record in _records(name):
        try:
            rows.append(_row(record, topology, names, edges))
        except (TypeError, ValueError, IndexError) as error:
            raise ValueError(f"{checks.printable(name)}: line {line}: {checks.quoted(error)}") from None
    if not rows:
        raise ValueError(f"{checks.printable(name)}: expected at least one request, got none")
    signals, losses, costs = (np.stack(part) for part in zip(*rows, strict=True))
    # A node that cannot answer loses inf wherever it was consulted, and so everywhere.
    cannot = np.isposinf(losses).any(axis=0) & ~np.isfinite(losses).any(axis=0)
    return {
        "signals": signals.astype(np.float32),
        "losses": np.where(cannot, np.inf, losses).astype(np.float32),
        "costs": costs,
        "topology": topology,
        "unit": unit,
        "nodes": names,
    }


def _records(name: str) -> Iterator[tuple[int, Any]]:
    with open(name, encoding="utf-8") as file:
        try:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield number, _parsed(name, number, line)
        except UnicodeDecodeError as error:
            raise ValueError(f"{checks.printable(name)}: expected UTF-8 ({checks.quoted(error)})") from None


def _parsed(name: str, number: int, line: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{checks.printable(name)}: line {number}: not JSON ({checks.quoted(error)})") from None


def _row(
    record: Any, topology: Topology, names: Sequence[str] | None, edges: dict[tuple[int, int], int]
) -> list[npt.NDArray[np.float64]]:
    """Signals, losses and costs of a request, NaN where it says nothing."""
    if not isinstance(record, dict) or not isinstance(record.get("visits"), list):
        raise ValueError('expected {"visits": [...]}')
    signals, losses = np.full((2, topology.nodes), np.nan)
    costs = np.full(len(topology.edges), np.nan)
    visited: list[int] = []
    for k, visit in enumerate(record["visits"]):
        if not isinstance(visit, dict) or "node" not in visit:
            raise ValueError(f'visit {k}: expected {{"node": ...}}')
        node = _node(f"visit {k}: node", visit["node"], topology, names)
        edge = _edge(topology, edges, visited, node)
        if edge is None or node in visited:
            raise ValueError(f"visit {k}: expected a node that may follow {visited or 'the root'}, got {node}")
        if visit.get("error") is None:
            signals[node] = _number(f"visit {k}: signal", visit.get("signal"), -np.inf)
            losses[node] = _number(f"visit {k}: loss", visit.get("loss"), 0.0, infinite=True)
        elif visit.get("signal") is not None or visit.get("loss") is not None:
            raise ValueError(f"visit {k}: expected no signal and no loss of a visit with an error")
        costs[edge] = _number(f"visit {k}: cost", visit.get("cost"), 0.0)
        visited.append(node)
    return [signals, losses, costs]


def _edge(topology: Topology, edges: dict[tuple[int, int], int], visited: list[int], node: int) -> int | None:
    """The edge to a node: from the last one visited, on a forest from any of them; None if there is none."""
    before = [ROOT, *visited] if topology.kind == "forest" else [visited[-1] if visited else ROOT]
    return next((edges[i, node] for i in before if (i, node) in edges), None)


def _node(name: str, value: object, topology: Topology, names: Sequence[str] | None) -> int:
    if isinstance(value, str):
        if names is None or value not in names:
            raise ValueError(f"{name}: expected a number or one of {list(names or ())}, got {value!r}")
        return names.index(value)
    return checks.place(name, value, topology.nodes)


def _number(name: str, value: object, least: float, infinite: bool = False) -> float:
    if value is None:
        return np.nan
    number = checks.real(name, value)
    with np.errstate(over="ignore"):  # what float32 cannot hold is refused as infinite
        too_large = np.isinf(np.float32(number)) and not (infinite and number == np.inf)
    if number < least or too_large:
        raise ValueError(f"{name}: expected a finite number{'' if least < 0 else f' >= {least:g}'}, got {number:g}")
    return number
