"""What flights of one policy share: all that is looked up and not made anew for each request."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt

from ttamer._base import checks
from ttamer._base.types import ROOT
from ttamer._core import Batch, logit_signals
from ttamer.model import CascadeModel
from ttamer.model.failing import failing
from ttamer.model.set_estimators import SetEstimator
from ttamer.policy import Policy, solve
from ttamer.traces.costs import prices_in
from ttamer.traces.evidence import TOP, largest

OTHER = "other"
"""What a log calls a category that has no state of its own."""
LARGEST = float(np.finfo(np.float32).max)
MOST_PLANS = 8
"""Policies kept for sets of failed nodes, the latest ones."""


class Plan:
    """A policy, and what serving it one request at a time needs.

    Parameters
    ----------
    policy : Policy
    model : CascadeModel, optional
        That the policy was solved for: what to do after a failure is solved from it.
    signal : str, optional
        As for `Policy.start`.
    """

    def __init__(self, policy: Policy, model: CascadeModel | None = None, signal: str | None = None) -> None:
        policy.start(0, "failed", signal)  # refused now, and not at the first request
        if model is not None:
            _check_model(model, policy)
        self.start: Callable[[], Batch] = policy._starter(1, "failed", signal)
        self.policy = policy
        self.first_node = policy.first_node
        self.keys: tuple[str | int, ...] = policy.nodes or tuple(range(policy.topology.nodes))
        self.names = tuple(map(str, self.keys))
        estimator = policy.estimator
        sets = estimator if isinstance(estimator, SetEstimator) else None
        self.takes_answers = sets is not None
        # The kind of signals that logits give, of several models; "" where their scores are others.
        self.logit_kind = "" if sets is None else sets.signal
        self.class_count = 0 if estimator is None or isinstance(estimator, SetEstimator) else estimator.class_count
        self.context = () if sets is None else sets.context
        self.independent = sets is not None and sets.independent
        # Of several models, whether node 0 stands before all others: it is the context, and nobody is asked.
        fronts = [j for i, j in policy.topology.edges.tolist() if i == ROOT]
        self.has_front = self.independent and fronts == [0]
        self.before_first = 0 if self.has_front else ROOT
        self.has_classes = sets is not None and bool((sets.tables["classes"] >= 0).any())
        self.compares_answers = sets is not None and bool(sets.tables["agreeing"].any())
        self._prices = prices_in(policy.unit)  # of the units that its costs are a sum of
        self._model = model
        self._signal = signal
        own = policy.recorded_signal if signal is None else signal
        self.signal_kind = policy.signal if estimator is not None or policy.signal != own else own
        self._needs_logits = estimator is None and policy.signal != own
        self._takes_signals = estimator is None and not self._needs_logits
        # Nodes whose signal is looked at.
        self._telling = set() if estimator else {j for j in policy.signal_nodes if policy.bin_edges(j).size}
        self._others: dict[frozenset[int], Plan | None] = {}
        self._lock = Lock()

    @cached_property
    def digest(self) -> str:
        """Of the policy's tables: who decided, in a log."""
        return hashlib.sha256(self.policy._to_bytes()).hexdigest()[:16]

    @cached_property
    def after(self) -> dict[int, dict[int, int]]:
        """Of each step, ROOT before the first, the step that each node leads to."""
        last = list(range(self.policy.steps.nodes))
        if self.policy.estimator is not None:
            last = self.policy.estimator.walk.last.tolist()
        table: dict[int, dict[int, int]] = {step: {} for step in range(ROOT, len(last))}
        for before, step in self.policy.steps.edges.tolist():
            table[before][last[step]] = step
        return table

    @cached_property
    def costs(self) -> dict[tuple[int, int], float]:
        """Mean cost of a node after another one, ROOT for none."""
        last = list(range(self.policy.steps.nodes))
        if self.policy.estimator is not None:
            last = self.policy.estimator.walk.last.tolist()
        costs: dict[tuple[int, int], float] = {}
        for (before, step), cost in zip(self.policy.steps.edges.tolist(), self.policy.costs.tolist(), strict=True):
            costs.setdefault((ROOT if before == ROOT else last[before], last[step]), cost)
        for (_, node), cost in list(costs.items()):  # from where nothing leads to it, as on forests
            costs.setdefault((ROOT, node), cost)
        return costs

    def paid(self, cost: object) -> float:
        """What was told of a cost, in the policy's unit.

        Raises
        ------
        TypeError, ValueError
            If it is no number >= 0, or not in the units that the policy's is a sum of.
        """
        if not isinstance(cost, (int, float)) and isinstance(cost, Mapping):
            if set(cost) != set(self._prices):
                units = ", ".join(self._prices) or f"a number, in {self.policy.unit or 'the unit of its traces'}"
                raise ValueError(f"cost: expected {units}, got {', '.join(map(str, cost))}")
            return sum(self._prices[unit] * _cost(f"cost[{unit!r}]", value) for unit, value in cost.items())
        return _cost("cost", cost)

    @property
    def no_context(self) -> str:
        """Why a context is refused where none is decided on: a node in front may show it."""
        first = self.first_node
        if self.takes_answers or np.isfinite(self.policy.losses(first)).any():
            return "context: expected None, the policy looks at no context"
        return f"context: expected None, node {self.names[first]} shows what the policy looks at: consulted(signal=...)"

    def number(self, argument: str, node: str | int) -> int:
        """The number of a node that is called by its name or number; `argument` names it in errors."""
        if isinstance(node, str):
            if node not in self.names:
                raise ValueError(f"{argument}: expected one of {', '.join(self.names)}, got {node!r}")
            return self.names.index(node)
        return checks.place(argument, node, len(self.names))

    def cost_of(self, before: int, node: int) -> float:
        """The mean cost of a node after another one."""
        cost = self.costs.get((before, node))
        return self.costs[ROOT, node] if cost is None else cost

    def path_to(self, node: int) -> tuple[float, list[int]]:
        """The cheapest way to ask a node, by mean costs: what it costs, and the nodes that are asked, this one last."""
        ways: dict[int, tuple[float, list[int]]] = {self.before_first: (0.0, [])}
        edges = self.policy.topology.edges.tolist()
        for _ in range(self.policy.topology.nodes):  # as many steps as a way can have
            for before, after in edges:
                if before in ways and after != self.before_first:
                    cost, path = ways[before]
                    way = (cost + self.cost_of(before, after), [*path, after])
                    ways[after] = min(ways.get(after, way), way)
        return ways[node]

    @cached_property
    def answering(self) -> tuple[int, ...]:
        """Nodes that may answer, the one with the lowest number first."""
        estimator = self.policy.estimator
        if isinstance(estimator, SetEstimator):
            tables = estimator.tables
            starts = tables["target_offsets"][:-1]
            counts = tables["answering"]
            return tuple(
                sorted({int(t) for k, n in zip(starts, counts, strict=True) for t in tables["targets"][k : k + n]})
            )
        if estimator is not None:
            return tuple(range(self.policy.topology.nodes))
        return tuple(j for j in range(self.policy.steps.nodes) if np.isfinite(self.policy.losses(j)).any())

    def open_after(self, told: Sequence[int]) -> tuple[int, ...]:
        """Nodes that may follow those that were consulted, in this order."""
        if self.policy.steps.kind == "forest":
            parents = self.policy.steps.edges[:, 0].tolist()
            return tuple(j for j, parent in enumerate(parents) if parent in (ROOT, *told) and j not in told)
        step: int | None = ROOT
        for node in (0, *told) if self.has_front else told:
            step = None if step is None else self.after[step].get(node)
        return () if step is None else tuple(sorted(self.after[step]))

    def signal_of(self, node: int, signal: float | str | None) -> float:
        """The number that a batch takes for a signal.

        Raises
        ------
        TypeError, ValueError
            If there is none and the policy looks at it, or it is NaN or of another kind.
        """
        if self._takes_signals and type(signal) is float and -LARGEST < signal < LARGEST:  # the common case
            return signal
        if not self._takes_signals:
            what = f"on {self.policy.signal!r}" if self._needs_logits else "on logits"
            own = f", or say that signals are, Dispatcher(signal={self.policy.signal!r})" if self._needs_logits else ""
            raise ValueError(f"signal: this policy decides {what}; tell logits{own}")
        if signal is None:
            if node in self._telling:
                raise ValueError(f"signal: expected a number, which node {self.names[node]} is judged by, got None")
            return 0.0
        if isinstance(signal, str):
            if node not in self.policy.categories:
                raise TypeError(
                    f"signal: expected a number at node {self.names[node]}, got {checks.quoted(repr(signal))}"
                )
            return float(self.policy.codes(node, [signal])[0])
        number = checks.number("signal", signal)
        if number != number:
            raise ValueError(f"signal: expected a number, got NaN; tell failed(error) if {self.names[node]} failed")
        return in_float32(number)

    def row_of(self, logits: npt.ArrayLike) -> npt.NDArray[Any]:
        """Logits (C,) as the (1, C) that a batch takes."""
        array = checks.as_array("logits", logits, "(C,) numbers, those of one request")
        if array.ndim != 1 or array.dtype.kind not in "fiu":
            raise ValueError(f"logits: expected (C,) numbers, those of one request, got {checks.describe(array)}")
        if self.policy.classes not in (None, len(array)):
            raise ValueError(f"logits: expected {self.policy.classes} classes, as of the policy, got {len(array)}")
        if array.dtype not in (np.float32, np.float16):
            with np.errstate(over="ignore"):  # what is too large is refused as infinite
                array = array.astype(np.float32)
        if np.isnan(array).any() or np.isposinf(array).any():
            raise ValueError("logits: expected finite numbers, or -inf; tell failed(error) if the node failed")
        return np.ascontiguousarray(array)[None]

    def evidence_of(self, logits: npt.NDArray[Any]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int32]]:
        """The largest log-probabilities of logits (1, C), and their classes, as many as traces keep: (top,) both."""
        values = logits[0].astype(np.float64)
        odds = np.exp(values - values.max())
        kept = min(max(TOP, getattr(self.policy.estimator, "top", 0)), len(odds))
        log_probs, classes = largest(odds / odds.sum(), kept)
        return log_probs, classes

    def signal_in(self, logits: npt.NDArray[Any]) -> float | None:
        """The signal that a batch makes of logits (1, C), None where it estimates from them."""
        return (
            None if self.class_count or not self.policy.signal else float(logit_signals(logits, self.policy.signal)[0])
        )

    def shown(self, node: int, signal: float) -> float | str:
        """A signal as it was told: of a category its name."""
        names = self.policy.categories.get(node)
        return signal if names is None else names[int(signal)] if signal < len(names) else OTHER

    def show_context(self, batch: Batch, context: Mapping[str, Any] | None) -> int:
        """Tell a batch the context of its request; the first model to ask."""
        if not self.context:  # chains do not look at it
            return int(batch.decide_answers(0, np.zeros(1, np.float32), np.full(1, -1, np.int32))[0])
        names = [name for name, _ in self.context]
        if not isinstance(context, Mapping):
            raise ValueError(f"context: expected {', '.join(names)}, which the policy decides on, got {context!r}")
        scores = self.policy.context_scores({name: [value] for name, value in context.items()})
        return int(batch.decide_answers(0, scores)[0])

    def without(self, failed: Collection[int]) -> Plan | None:
        """An optimal policy for these nodes being silent, or None where there is none.

        There is one on lines of plain signals and for independent models, where the model is known.
        """
        key = frozenset(failed)
        with self._lock:
            if key in self._others:
                return self._others[key]
        policy, model = self.policy, self._model
        plan = None
        if model is not None and self.knows_silent_nodes and not key.issuperset(self.answering):
            prices = prices_in(policy.unit) if len(model.unit_costs) > 1 else None
            with suppress(ValueError):  # of chains none may be left
                solved = solve(failing(model, key), policy.tradeoff, policy.recall, prices=prices)
                plan = Plan(solved, None, (solved.signal or None) if solved.estimator is None else None)
        with self._lock:
            while len(self._others) >= MOST_PLANS:
                del self._others[next(iter(self._others))]
            self._others[key] = plan
        return plan

    @property
    def knows_silent_nodes(self) -> bool:
        """bool : whether there are policies for silent nodes."""
        is_line = self.policy.estimator is None and self.policy.topology.kind == "line"
        return self._model is not None and (is_line or self.independent)


def in_float32(signal: float) -> float:
    """The signal; ValueError if float32 does not hold it."""
    if not -LARGEST < signal < LARGEST:
        raise ValueError(f"signal: expected a finite number that float32 holds, got {signal:g}")
    return signal


def _cost(name: str, cost: object) -> float:
    number = cost if type(cost) is float else checks.real(name, cost)
    if not 0 <= number < math.inf:
        raise ValueError(f"{name}: expected a finite number >= 0, got {cost}")
    return number


def _check_model(model: CascadeModel, policy: Policy) -> None:
    """Raise unless the policy can have been solved for the model."""
    checks.instance("model", model, CascadeModel)
    own, other = (model.topology, model.nodes, model.estimator), (policy.steps, policy.nodes, policy.estimator)
    same_edges = own == other and all(
        np.array_equal(edges, policy.bin_edges(node)) for node, edges in enumerate(model.bin_edges)
    )
    if not same_edges:
        raise ValueError(f"model: expected the one that the policy was solved for, got {model!r}")
