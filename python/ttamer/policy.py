"""Solving a model for a trade-off, and the policy that comes out."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ttamer import _core, files
from ttamer._checks import whole
from ttamer._core import Batch, Topology
from ttamer.analysis import Aggregation, Analysis, analyse
from ttamer.evaluate import Replay
from ttamer.model import CascadeModel
from ttamer.traces import Traces

Floats = npt.NDArray[np.float64]

FORMAT_VERSION = 1
MOST_ROWS = 2**28

_SCALARS = {
    "recall": bool,
    "observed": bool,
    "tradeoff": float,
    "value": float,
    "cost_scale": float,
    "first_node": int,
}
_FIELDS = {**_SCALARS, "topology": str, "nodes": int, "unit": str, "expected_cost": float, "expected_loss": float}


class Policy:
    """An optimal policy: immutable tables, shared between threads without locks.

    Made by `solve`, or read from a file by `Policy.load`. Policies pickle.
    """

    def __init__(self, core: _core.Policy, unit: str, analysis: Analysis | Callable[[], Analysis], signal: str) -> None:
        self._core = core
        self._unit = unit
        self._signal = signal
        self._analysis = analysis

    @property
    def topology(self) -> Topology:
        """Topology : nodes and edges the policy decides over."""
        return self._core.topology

    @property
    def tradeoff(self) -> float:
        """float : weight of the loss, in (0, 1]; costs weigh 1 - tradeoff."""
        return self._core.tradeoff

    @property
    def recall(self) -> str:
        """str : 'observed' (the answer is the best node consulted) or 'none' (it is the last one)."""
        return "observed" if self._core.recall else "none"

    @property
    def value(self) -> float:
        """float : expected tradeoff * loss + (1 - tradeoff) * cost / cost_scale, before anything is consulted."""
        return self._core.value

    @property
    def first_node(self) -> int:
        """int : the node where every request starts."""
        return self._core.first_node

    @property
    def cost_scale(self) -> float:
        """float : what costs are divided by."""
        return self._core.cost_scale

    @property
    def costs(self) -> Floats:
        """(E,) float64 : cost of each edge that the policy was solved for, in `unit`."""
        return self._core.arrays()["costs"]

    @property
    def unit(self) -> str:
        """str : unit of the costs."""
        return self._unit

    @property
    def signal(self) -> str:
        """str : 'max_prob', 'margin' or 'entropy' if the signals are made of probabilities, or '' if they are not."""
        return self._signal

    def index(self, node: int) -> Floats:
        """Dynamic index of a node for each state of its parent.

        A request whose best loss so far is at most the index stops; else it consults the node.

        Parameters
        ----------
        node : int

        Returns
        -------
        (K_parent or 1,) float64
            In units of loss.

        Raises
        ------
        ValueError
            If the policy has no index: it exists with recall, on lines and forests.
        IndexError
            If the node is out of range.
        """
        index = self._known().index
        if index is None:
            raise ValueError(
                f"index: defined with recall on a line or forest, this policy is a {self.topology.kind} "
                f"with recall={self.recall!r}"
            )
        return index[self._check_node(node)]

    def losses(self, node: int) -> Floats:
        """(K,) float64 : expected loss of answering with the node in each of its states."""
        arrays = self._core.arrays()
        losses: Floats = arrays["levels"][_part(arrays["ranks"], arrays["state_offsets"], self._check_node(node))]
        return losses

    def bin_edges(self, node: int) -> npt.NDArray[np.float32]:
        """(K - 1,) float32 : a node's state is the number of these that are <= its signal."""
        arrays = self._core.arrays()
        offsets = arrays["state_offsets"] - np.arange(self.topology.nodes + 1)
        return _part(arrays["bin_edges"], offsets, self._check_node(node))

    def actions(self, node: int) -> list[list[tuple[float, int]]]:
        """What to do after a node, by state and by the best loss so far.

        Returns
        -------
        list of list of (float, int)
            For each state, pairs (upper, next) of increasing upper: the first with best loss <= upper names the node
            to consult next, or STOP (-1). Without recall the best loss is the state's own, and there is one pair.

        Raises
        ------
        ValueError
            On a forest, where what comes next depends on all that was consulted: see `index`.
        """
        if self.topology.kind == "forest":
            raise ValueError("actions: a forest compares the indices of all open nodes; see Policy.index")
        arrays = self._core.arrays()
        begin, end = arrays["state_offsets"][self._check_node(node) : node + 2]
        levels, offsets = arrays["levels"], arrays["interval_offsets"]
        return [
            [
                (float(levels[arrays["interval_upper"][k]]), int(arrays["interval_next"][k]))
                for k in range(offsets[s], offsets[s + 1])
            ]
            for s in range(begin, end)
        ]

    @property
    def expected_visits(self) -> tuple[Floats, ...]:
        """n arrays (K_j,) : probability, under the model, that the node is consulted and found in each state.

        Exact on walks; on forests the share of 50,000 simulated requests.
        """
        return self._by_node(self._known().visits)

    @property
    def expected_stops(self) -> tuple[Floats, ...]:
        """n arrays (K_j,) : probability, under the model, that a request stops at the node in each state."""
        return self._by_node(self._known().stops)

    @property
    def expected_cost(self) -> float:
        """float : mean cost of a request under the model, in `unit`."""
        return self._known().cost

    @property
    def expected_loss(self) -> float:
        """float : mean loss of the answers under the model."""
        return self._known().loss

    @property
    def aggregation(self) -> Aggregation | None:
        """Aggregation or None : what soft state aggregation did; None for an exact policy.

        Worked out when first asked for, by an exact solve.
        """
        return self._known().aggregation

    def start(self, capacity: int = 64, nan: str = "error") -> Batch:
        """Open a batch for a serving loop.

        Parameters
        ----------
        capacity : int
            Number of rows: requests in flight at once.
        nan : {"error", "worst"}
            What a NaN signal does: raise before anything changes, or count as the node's worst state.

        Returns
        -------
        Batch
        """
        check_batch(capacity, nan)
        return _core.start(self._core, capacity, nan, self._signal)

    def replay(self, traces: Traces) -> Replay:
        """Run the policy over recorded traces.

        Parameters
        ----------
        traces : Traces
            Of the same topology; costs are taken from the traces, in their unit.

        Returns
        -------
        Replay
            (N,) arrays last_node, answer_node, cost and loss.

        Raises
        ------
        ValueError
            If the topology is another one.
        """
        if not isinstance(traces, Traces):
            raise TypeError(f"traces: expected Traces, got {type(traces).__name__}")
        if traces.topology != self.topology:
            raise ValueError(f"traces: expected {self.topology!r}, got {traces.topology!r}")
        last_node, answer_node, cost = self._core.replay(traces.signals, traces.costs)
        places = np.arange(0, traces.losses.size, self.topology.nodes) + answer_node  # two indices cost twice as much
        loss = traces.losses.ravel().take(places).astype(np.float64)
        return Replay(last_node, answer_node, cost, loss)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a safetensors file with a format version and a digest."""
        files.write(path, self._to_bytes())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Policy:
        """Read a file that `save` wrote.

        Raises
        ------
        ValueError
            If the file is damaged, of another kind or another format version, or its tables do not fit together.
        """
        return cls._from_bytes(Path(path).read_bytes(), str(path))

    def __reduce__(self) -> tuple[Any, ...]:
        return Policy._from_bytes, (self._to_bytes(), "pickled policy")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Policy) and self._to_bytes() == other._to_bytes()

    def __hash__(self) -> int:
        return hash((self.tradeoff, self.value, self.recall, self.topology))

    def __repr__(self) -> str:
        return (
            f"Policy({self.topology!r}, tradeoff={self.tradeoff:.6g}, recall={self.recall!r}, value={self.value:.6g})"
        )

    def _known(self) -> Analysis:
        """The analysis, worked out when first asked for: a sweep over trade-offs never asks."""
        if callable(self._analysis):
            self._analysis = self._analysis()
        return self._analysis

    def _check_node(self, node: int) -> int:
        if isinstance(node, bool) or not isinstance(node, (int, np.integer)):
            raise TypeError(f"node: expected an int, got {type(node).__name__}")
        if not 0 <= node < self.topology.nodes:
            raise IndexError(f"node: expected 0 to {self.topology.nodes - 1}, got {node}")
        return int(node)

    def _by_node(self, values: Floats) -> tuple[Floats, ...]:
        offsets = self._core.arrays()["state_offsets"]
        return tuple(_part(values, offsets, j) for j in range(self.topology.nodes))

    def _to_bytes(self) -> bytes:
        known = self._known()
        fields: dict[str, Any] = {
            "topology": self.topology.kind,
            "nodes": self.topology.nodes,
            "unit": self._unit,
            "signal": self._signal,
            "expected_cost": known.cost,
            "expected_loss": known.loss,
            **{name: getattr(self._core, name) for name in _SCALARS},
        }
        arrays = {**self._core.arrays(), "edges": self.topology.edges, "visits": known.visits, "stops": known.stops}
        if known.aggregation is not None:
            fields["aggregation"] = list(vars(known.aggregation).values())
        if known.index is not None:
            arrays.update({f"index.{j}": row for j, row in enumerate(known.index)})
        return files.to_bytes("policy", FORMAT_VERSION, fields, arrays)

    @classmethod
    def _from_bytes(cls, data: bytes, source: str) -> Policy:
        fields, arrays = files.from_bytes(data, "policy", FORMAT_VERSION, source)
        try:
            files.check_fields(fields, _FIELDS)
            topology = Topology.from_parts(fields["topology"], fields["nodes"], files.edges(arrays))
            core = _core.Policy(topology, **{name: fields[name] for name in _SCALARS}, arrays=arrays)
            analysis = Analysis.from_arrays(core, fields, arrays)
            return cls(core, str(fields["unit"]), analysis, files.signal(fields))
        except (KeyError, TypeError, IndexError, ValueError) as error:
            raise ValueError(f"{source}: not a valid policy ({error})") from None


def solve(model: CascadeModel, tradeoff: float = 0.8, recall: str = "auto", *, aggregate: int | None = None) -> Policy:
    """The optimal policy of a model for a trade-off.

    Minimises E[tradeoff * loss of the answer + (1 - tradeoff) * cost / cost_scale] over all policies, exactly
    (T-Tamer, arXiv 2509.22992).

    Parameters
    ----------
    model : CascadeModel
    tradeoff : float
        Weight of the loss, in (0, 1].
    recall : {"auto", "observed", "none"}
        "observed": the answer is the node with the smallest loss consulted so far, for losses that are seen.
        "none": the answer is the node consulted last; not defined on a forest. "auto": "observed" if the model's losses
        are or it is a forest, else "none".
    aggregate : int, optional
        Solve through at most this many meta-states a node (`ttamer.reference.aggregate`), for supports of hundreds of
        states and more. The policy is then nearly optimal; `Policy.aggregation` says how nearly.

    Returns
    -------
    Policy

    Raises
    ------
    TypeError
        If `model` is not a `CascadeModel` or `tradeoff` is not a number.
    ValueError
        If `tradeoff` is outside (0, 1], `recall` is unknown or "none" on a forest, or `aggregate` is less than 1.
    """
    if not isinstance(model, CascadeModel):
        raise TypeError(f"model: expected a CascadeModel, got {type(model).__name__}")
    if isinstance(tradeoff, bool) or not isinstance(tradeoff, (int, float, np.integer, np.floating)):
        raise TypeError(f"tradeoff: expected a number, got {type(tradeoff).__name__}")
    if recall not in ("auto", "observed", "none"):
        raise ValueError(f"recall: expected 'auto', 'observed' or 'none', got {recall!r}")
    forest = model.topology.kind == "forest"
    if forest and recall == "none":
        raise ValueError("recall: 'none' is not defined on a forest, which has no last node; expected 'observed'")
    keep = model.observed or forest if recall == "auto" else recall == "observed"
    most = max(len(row) for row in model.losses)  # as many meta-states as states change nothing
    states = 0 if aggregate is None else min(whole("aggregate", aggregate, least=1), most)
    core = _core.solve(model._core, float(tradeoff), keep, states)
    return Policy(core, model.unit, partial(analyse, model._core, core, states), model.signal)


def check_batch(capacity: object, nan: object) -> None:
    """Raise unless a batch can have this capacity (TypeError, ValueError) and NaN can mean this (ValueError)."""
    if isinstance(capacity, bool) or not isinstance(capacity, (int, np.integer)):
        raise TypeError(f"capacity: expected an int, got {type(capacity).__name__}")
    if not 0 <= capacity <= MOST_ROWS:
        raise ValueError(f"capacity: expected 0 to {MOST_ROWS}, got {capacity}")
    if nan not in ("error", "worst"):
        raise ValueError(f"nan: expected 'error' or 'worst', got {nan!r}")


def _part(values: npt.NDArray[Any], offsets: npt.NDArray[Any], node: int) -> npt.NDArray[Any]:
    return values[offsets[node] : offsets[node + 1]]
