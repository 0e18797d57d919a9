"""What `Traces` accepts: each function checks one argument and returns it in the dtype it is kept in."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ttamer._base import checks
from ttamer._base.numbers import MOST_EXACT
from ttamer._base.topologies import topology_text
from ttamer._base.types import ROOT, Floats
from ttamer._core import Topology
from ttamer.traces.categories import check_codes, checked_categories
from ttamer.traces.context import Column
from ttamer.traces.costs import units_of
from ttamer.traces.evidence import Evidence
from ttamer.traces.signals import check_signal

_TURNED = "; in signals and probs requests come first, then nodes"
"""Said where there are as many nodes as rows should be: the first two axes are swapped."""


def checked_fields(
    signals: npt.ArrayLike,
    losses: npt.ArrayLike,
    costs: npt.ArrayLike | Mapping[str, npt.ArrayLike],
    topology: Topology | None = None,
    predictions: npt.ArrayLike | None = None,
    observed: bool = False,
    unit: str = "",
    labels: npt.ArrayLike | None = None,
    evidence: Evidence | None = None,
    signal: str = "",
    nodes: Sequence[str] | None = None,
    categories: Mapping[int, Sequence[str]] | None = None,
    context: Mapping[str, Column] | None = None,
    weights: npt.ArrayLike | None = None,
    independent: bool = False,
    answer_classes: bool = False,
) -> dict[str, Any]:
    """The fields of `Traces`, from what its constructor takes, columns of a context and weights of the requests."""
    signal_table = table("signals", signals)
    checks.check_recorded("signals", signal_table)
    rows, count = signal_table.shape
    topology = topology_of(topology, count, rows)
    losses = loss_table(losses, signal_table.shape)
    if checks.flag("observed", observed):
        answers = np.where(np.isposinf(losses), signal_table, losses)
        if not np.array_equal(signal_table, answers, equal_nan=True):
            place = checks.at((signal_table != answers) & ~(np.isnan(signal_table) & np.isnan(answers)))
            raise ValueError(f"signals: expected the losses themselves where these are observed, they differ{place}")
    if evidence is not None:
        check_evidence(evidence, signal_table)
    if signal != "":
        check_signal(signal)
    named = checked_categories(categories, count)
    if named and (observed or signal or evidence is not None):
        raise ValueError("categories: expected none with observed losses, a kind of signal or evidence")
    check_codes(signal_table, named)
    priced = unit_costs(costs, topology, rows, unit)
    if independent:
        check_independent(topology, priced)
    return {
        "signals": signal_table.copy(order="C"),
        "losses": losses.copy(order="C"),
        "unit_costs": priced,
        "topology": topology,
        "predictions": predictions_of(predictions, evidence, signal_table.shape),
        "observed": bool(observed),
        "labels": labels_of(labels, rows, evidence),
        "evidence": evidence,
        "signal": signal,
        "nodes": names_of(nodes, count),
        "categories": named,
        "context": {} if context is None else dict(context),
        "weights": None if weights is None else request_weights(weights, rows),
        "independent": independent,
        "answer_classes": answer_classes,
    }


def check_independent(topology: Topology, unit_costs: Mapping[str, Floats]) -> None:
    """Raise ValueError unless every node can be consulted first, or right after a first one, at one cost anywhere."""
    edges = topology.edges
    fronts = np.unique(edges[edges[:, 0] == ROOT, 1])
    source = ROOT if len(fronts) == topology.nodes else 0
    direct = {int(j) for i, j in edges if i == source} | ({0} if fronts.tolist() == [0] else set())
    if len(direct) < topology.nodes:
        raise ValueError(f"independent: expected models any of which may be asked first, got {topology_text(topology)}")
    for unit, costs in unit_costs.items():
        for node in range(topology.nodes):
            into = costs[..., edges[:, 1] == node]
            if not np.array_equal(into, np.broadcast_to(into[..., :1], into.shape), equal_nan=True):
                raise ValueError(
                    f"independent: expected one cost of node {node} in {unit!r}, wherever it is asked from"
                )


def table(name: str, value: npt.ArrayLike, shape: tuple[int, ...] | None = None) -> npt.NDArray[np.float32]:
    """Array of rows by nodes, float32; of the given shape if there is one."""
    if isinstance(value, np.ndarray) and value.dtype == bool:  # no numbers elsewhere, but losses often are
        array: npt.NDArray[Any] = value
    else:
        array = checks.as_array(name, value, "(N, n) float32")
    if array.dtype != np.float32:
        raise TypeError(
            f"{name}: expected (N, n) float32, got {checks.describe(array)}; pass {name}.astype(np.float32)"
        )
    if array.ndim != 2:
        raise ValueError(f"{name}: expected (N, n) float32, got {checks.describe(array)}")
    if shape is not None:
        checks.check_shape(name, array, shape, f"{shape} float32 like signals")
    if len(array) == 0:
        raise ValueError(f"{name}: expected at least one row, got {checks.describe(array)}")
    if array.shape[1] == 0:
        raise ValueError(f"{name}: expected at least one node, got {checks.describe(array)}")
    return array


def probabilities(value: npt.ArrayLike) -> npt.NDArray[Any]:
    """Array (N, n, C) of any float dtype; what is in it is checked when it is normalised."""
    expected = "(N, n, C) floats, C >= 2"
    array = checks.as_array("probs", value, expected)
    if array.dtype.kind != "f":
        raise TypeError(f"probs: expected {expected}, got {checks.describe(array)}")
    if array.ndim != 3 or array.shape[2] < 2:
        raise ValueError(f"probs: expected {expected}, got {checks.describe(array)}")
    if len(array) == 0:
        raise ValueError(f"probs: expected at least one row, got {checks.describe(array)}")
    if array.shape[1] == 0:
        raise ValueError(f"probs: expected at least one node, got {checks.describe(array)}")
    return array


def topology_of(topology: Topology | None, nodes: int, rows: int | None = None) -> Topology:
    """The topology, or a line; it has to have as many nodes as the arrays, which have so many rows."""
    if topology is None:
        return Topology.line(nodes)
    checks.instance("topology", topology, Topology)
    if topology.nodes != nodes:
        turned = _TURNED if topology.nodes == rows else ""
        raise ValueError(f"topology: expected {nodes} nodes like signals, got {topology_text(topology)}{turned}")
    return topology


def unit_costs(
    costs: npt.ArrayLike | Mapping[str, npt.ArrayLike], topology: Topology, rows: int, unit: str
) -> dict[str, Floats]:
    """Of each unit the costs of edges, (E,) or a row for each request, as float64; unshared."""
    if not isinstance(costs, Mapping):
        return {checks.text("unit", unit): _costs("costs", costs, topology, rows)}
    return {name: _costs(f"costs[{name!r}]", costs[name], topology, rows) for name in units_of(costs, unit)}


def path_costs(
    costs: npt.ArrayLike | Mapping[str, npt.ArrayLike], topology: Topology, rows: int, units: list[str]
) -> dict[str, Floats]:
    """Costs in the units of the traces that a path is taken of."""
    if isinstance(costs, Mapping) or len(units) > 1:
        names = list(map(str, costs)) if isinstance(costs, Mapping) else []
        if sorted(names) != sorted(units):
            raise ValueError(f"costs: expected a mapping of the units {units}, got {names or 'costs without units'}")
        return unit_costs(costs, topology, rows, "")
    return unit_costs(costs, topology, rows, units[0])


def edge_costs(
    costs: npt.ArrayLike, topology: Topology, rows: int | None = None, name: str = "costs"
) -> npt.NDArray[np.float64]:
    """Costs of the edges as float64, unshared; `rows` is how many the arrays have that they come with."""
    edges = len(topology.edges)
    expected = f"({edges},) numbers, one an edge of the {topology.kind}"
    array = checks.as_array(name, costs, expected)
    if array.shape != (edges,):
        turned = _TURNED if array.shape == (rows,) else ""
        raise ValueError(f"{name}: expected {expected}, got {checks.describe(array)}{turned}")
    values = array.astype(np.float64)
    checks.check_values(name, values, 0.0, ("edge",))
    return values


def _costs(name: str, costs: npt.ArrayLike, topology: Topology, rows: int) -> Floats:
    if np.ndim(costs) != 2:
        return edge_costs(costs, topology, rows, name)
    edges = len(topology.edges)
    expected = f"({rows}, {edges}) numbers, for each request one an edge of the {topology.kind}"
    array = checks.as_array(name, costs, expected)
    checks.check_shape(name, array, (rows, edges), expected)
    values = array.astype(np.float64)
    checks.check_recorded(name, values, 0.0, ("row", "edge"))
    return values


def warn_of_sums(costs: Mapping[str, Floats], topology: Topology) -> None:
    """Say so where costs look like running sums; called by the functions that users call."""
    if any(values.ndim == 1 and look_like_sums(topology, values) for values in costs.values()):
        warnings.warn(SUMS, stacklevel=3)


SUMS = (
    "The costs rise by about the first one from node to node. They are taken as what each node adds; if they are "
    "running sums, record np.diff(costs, prepend=0)."
)
"""Said of costs on a line that `look_like_sums`."""


def look_like_sums(topology: Topology, costs: Floats) -> bool:
    """Whether costs on a line rise as running sums of near-equal costs would: by about the first one each time."""
    steps = np.diff(costs)
    return (
        topology.kind == "line" and len(costs) > 2 and costs[0] > 0 and bool(np.all(2 * abs(steps / costs[0] - 1) <= 1))
    )


def loss_table(losses: npt.ArrayLike, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """Losses as float32: NaN where they were not recorded, a whole column of inf where a node cannot answer."""
    losses = table("losses", losses, shape)
    infinite = np.isposinf(losses)
    probes = np.asarray(infinite.all(axis=0))
    mixed = infinite & ~probes
    if mixed.any():
        raise ValueError(
            "losses: expected finite values, or inf in every row of a node that cannot answer, "
            f"got inf{checks.at(mixed)}"
        )
    checks.check_recorded("losses", np.where(probes, np.float32(0), losses), 0.0)
    if probes.all():
        raise ValueError(
            f"losses: expected a node that can answer, the losses of {'all' if len(probes) > 1 else 'the only node'} "
            "are inf"
        )
    return losses


def names_of(names: Sequence[str] | None, nodes: int, hint: str = "") -> tuple[str, ...] | None:
    """Names of the nodes, each another; `hint` says what may be wrong where they are more or fewer."""
    if names is None:
        return None
    if isinstance(names, str):
        raise TypeError("nodes: expected a sequence of names, got a str")
    texts = tuple(checks.text(f"nodes[{k}]", name) for k, name in enumerate(names))
    if len(texts) != nodes:
        raise ValueError(f"nodes: expected {nodes} names, one a node, got {len(texts)}{hint}")
    if len(set(texts)) < nodes or not all(texts):
        raise ValueError(f"nodes: expected names that differ, got {list(texts)}")
    return texts


def check_same_nodes(name: str, nodes: Sequence[str] | None, expected: Sequence[str] | None) -> None:
    """Raise ValueError if both have names of nodes, and not the same in the same order."""
    if nodes is not None and expected is not None and tuple(nodes) != tuple(expected):
        raise ValueError(f"{name}: expected the nodes {', '.join(expected)}, got {', '.join(nodes)}")


def names_in(fields: Mapping[str, Any], nodes: int) -> tuple[str, ...] | None:
    """The names of nodes that a file holds, None if there are none."""
    names = fields.get("node_names")
    if names is not None and not isinstance(names, list):
        raise ValueError(f"node_names: expected a list, got {type(names).__name__}")
    return names_of(names, nodes)


def check_same_classes(name: str, classes: int | None, expected: int | None) -> None:
    """Raise unless numbers of classes agree, as far as they are known."""
    if None not in (classes, expected) and classes != expected:
        raise ValueError(f"{name}: expected {expected} classes, got {classes}")


def classes_in(fields: Mapping[str, Any]) -> int | None:
    """How many classes a file says that logits have to have, None if it says nothing."""
    return None if "classes" not in fields else checks.whole("classes", fields["classes"], 2)


def request_weights(weights: npt.ArrayLike, rows: int) -> Floats:
    """Weights of the requests as float64, unshared."""
    expected = f"a number, or ({rows},) numbers, one a row"
    array = checks.as_array("weights", weights, expected)
    checks.check_shape("weights", array, (rows,), expected)
    values = array.astype(np.float64)
    checks.check_values("weights", values, 0.0, ("row",))
    with np.errstate(over="ignore"):
        total = float(values.sum())
    if total > MOST_EXACT:
        raise ValueError(f"weights: expected a sum of at most 2**53, got {total:g}")
    return values


def check_evidence(evidence: Evidence, signals: npt.NDArray[np.float32]) -> None:
    """Raise unless it is evidence of as many rows and nodes, all of which showed a signal."""
    checks.instance("evidence", evidence, Evidence)
    if evidence.classes.shape[:2] != signals.shape:
        raise ValueError(f"evidence: expected {signals.shape} rows and nodes like signals, got {evidence!r}")
    missing = np.isnan(signals)
    if missing.any():
        raise ValueError(f"signals: expected one wherever there is evidence, got nan{checks.at(missing)}")


def predictions_of(
    predictions: npt.ArrayLike | None, evidence: Evidence | None, shape: tuple[int, ...]
) -> npt.NDArray[np.int32] | None:
    """Predictions as int32. Where there is evidence they have to be its most probable classes, and default to these."""
    best = None if evidence is None else evidence.classes[..., 0].copy()
    if predictions is None:
        return best
    classes = checks.integers("predictions", predictions, "(N, n) integers")
    checks.check_shape("predictions", classes, shape, f"{shape} integers like signals")
    if best is not None and not np.array_equal(classes, best):
        differs = classes != best
        raise ValueError(
            f"predictions: expected the most probable class of the evidence, {best[differs][0]}, "
            f"got {classes[differs][0]}{checks.at(differs)}"
        )
    return classes


def classes_of(name: str, labels: npt.ArrayLike, rows: int, count: int | None) -> npt.NDArray[np.int32]:
    """Labels (N,) as int32, in 0..count-1 if the number of classes is known."""
    expected = f"({rows},) integers"
    array = checks.as_array(name, labels, expected)
    if array.dtype.kind not in "iu":
        raise TypeError(f"{name}: expected {expected}, got {checks.describe(array)}")
    checks.check_shape(name, array, (rows,), expected)
    if count is not None:
        # Before narrowing, so that 2**32 does not pass as class 0.
        outside = (array < 0) | (array >= count)
        if outside.any():
            place = checks.at(outside, ("row",))
            raise ValueError(f"{name}: expected classes 0..{count - 1}, got {array[outside][0]}{place}")
    return checks.integers(name, array, expected)


def labels_of(labels: npt.ArrayLike | None, rows: int, evidence: Evidence | None) -> npt.NDArray[np.int32] | None:
    """Optional labels, in the range of the evidence's classes if there is any."""
    if labels is None:
        return None
    return classes_of("labels", labels, rows, None if evidence is None else evidence.class_count)


def distinct_nodes(nodes: npt.ArrayLike, known: int) -> npt.NDArray[np.int32]:
    """Numbers of nodes, each in range and named once."""
    numbers = checks.integers("nodes", nodes, "(m,) integers")
    if numbers.ndim != 1 or len(numbers) == 0:
        raise ValueError(f"nodes: expected (m,) integers, m >= 1, got {checks.describe(numbers)}")
    outside = (numbers < 0) | (numbers >= known)
    if outside.any():
        raise IndexError(f"nodes: {numbers[outside][0]} is out of range for {known} nodes")
    if len(np.unique(numbers)) < len(numbers):
        raise ValueError(f"nodes: expected each node at most once, got {numbers.tolist()}")
    return numbers


def row_numbers(rows: object, count: int) -> npt.NDArray[np.intp]:
    """Row numbers from integers or a mask; negative ones count from the end."""
    expected = "a slice, integers or a mask"
    if isinstance(rows, (int, np.integer)):
        raise TypeError(f"rows: expected {expected}, got {rows}; for one row take [[{rows}]]")
    if isinstance(rows, tuple):
        raise TypeError(f"rows: expected {expected}, got a tuple; nodes are picked by `path`")
    checks.check_readable("rows", rows)
    array = np.asarray(rows)
    if array.dtype == np.bool_:
        checks.check_shape("rows", array, (count,), f"a mask ({count},) bool")
        return np.flatnonzero(array)
    if array.size == 0:
        return np.empty(0, np.intp)
    if array.dtype.kind not in "iu":
        raise TypeError(f"rows: expected {expected}, got {checks.describe(array)}")
    if array.ndim != 1:
        raise ValueError(f"rows: expected (m,) integers, got {checks.describe(array)}")
    outside = (array < -count) | (array >= count)
    if outside.any():
        raise IndexError(f"rows: {array[outside][0]} is out of range for {count} rows")
    return array.astype(np.intp)
