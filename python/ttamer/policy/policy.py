"""Policies: what to do in each state, as immutable tables."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from copy import copy
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from ttamer._base import checks, files
from ttamer._base.topologies import check_same_topology, node_text, topology_text
from ttamer._base.types import Floats
from ttamer._core import Batch, Topology, start_estimated, start_sets
from ttamer._core import Policy as CorePolicy
from ttamer._core import start as start_batch
from ttamer.model.estimators import Estimator
from ttamer.model.set_estimators import AnyEstimator, SetEstimator, estimator_from_file
from ttamer.policy.analysis import Aggregation, Analysis
from ttamer.policy.guarantee import Guarantee
from ttamer.policy.replay import Replay
from ttamer.policy.thresholds import Threshold, thresholds_of
from ttamer.traces import Traces, complete_traces
from ttamer.traces.arguments import check_same_nodes, classes_in, names_in
from ttamer.traces.categories import NONE, Names, categories_for_file, categories_from_file, check_states, codes_of
from ttamer.traces.signals import signals_in

FORMAT_VERSION = 5
"""Version 2 has `signal_nodes`, version 3 categories or names, version 4 estimators of several models, version 5 a
guarantee; files are written in the first that can hold them.
"""
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

    A policy that estimates (`estimator` is not None) decides over the `steps` of a walk: `costs`, `index`, `losses`,
    `bin_edges`, `actions`, `expected_visits` and `expected_stops` are of steps and the edges between them, and ``node``
    is the number of a step. What it says of requests, `first_node` and `replay`, is in nodes of the traces.
    """

    def __init__(
        self,
        core: CorePolicy,
        unit: str,
        analysis: Analysis | Callable[[], Analysis],
        signal: str,
        recorded_signal: str,
        estimator: AnyEstimator | None = None,
        categories: Mapping[int, Names] = NONE,
        nodes: tuple[str, ...] | None = None,
        guarantee: Guarantee | None = None,
        classes: int | None = None,
    ) -> None:
        self._core = core
        self._guarantee = guarantee
        self._categories = dict(categories)
        self._nodes = nodes
        self._classes = classes
        self._unit = unit
        self._signal = signal
        self._recorded_signal = recorded_signal
        self._analysis = analysis
        self._estimator = estimator

    @property
    def topology(self) -> Topology:
        """Topology : that of the traces it is for, whose nodes are consulted."""
        return self.steps if self._estimator is None else self._estimator.topology

    @property
    def steps(self) -> Topology:
        """Topology : what the policy decides over: the steps of `walk` if it estimates, else the nodes themselves."""
        return self._core.topology

    @property
    def walk(self) -> tuple[tuple[int, ...], ...] | None:
        """Tuple or None : the nodes consulted at each step; None where the step does not say which.

        On a line that is all up to the node. Where a policy that estimates may consult in any order the nodes are
        rising, and the `walk` of its `estimator` also says which one was the last; along chains they are in their
        order.
        """
        if self._estimator is not None:
            return self._estimator.walk.sets
        return tuple(tuple(range(j + 1)) for j in range(self.steps.nodes)) if self.steps.kind == "line" else None

    @property
    def estimate(self) -> str:
        """str : 'signal', 'history', 'posterior', 'sets' or 'chains', as `ttamer.fit` was asked for."""
        return "signal" if self._estimator is None else self._estimator.kind

    @property
    def estimator(self) -> AnyEstimator | None:
        """Estimator or None : what turns evidence into signals and answers; None if it decides on plain signals."""
        return self._estimator

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
        first = self._core.first_node
        return first if self._estimator is None else int(self._estimator.walk.last[first])

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
        """str : which of `ttamer.traces.signals.SIGNALS` the policy decides on, '' if signals are the user's own."""
        return self._estimator.signal if isinstance(self._estimator, SetEstimator) else self._signal

    @property
    def recorded_signal(self) -> str:
        """str : the kind that the traces recorded, another one than `signal` where that was made from evidence."""
        return self.signal if isinstance(self._estimator, SetEstimator) else self._recorded_signal

    @property
    def signal_nodes(self) -> tuple[int, ...]:
        """Tuple of int : the node whose signal tells each node's state, see `CascadeModel`. A batch keeps these."""
        return tuple(self._core.signal_nodes.tolist())

    @property
    def nodes(self) -> tuple[str, ...] | None:
        """Tuple of str or None : names of the nodes of the traces that it is for, if they had some."""
        return self._nodes

    @property
    def classes(self) -> int | None:
        """Int or None : how many classes logits have to have, where the traces had evidence."""
        return self._classes

    @property
    def guarantee(self) -> Guarantee | None:
        """Guarantee or None : what `ttamer.tune` certified of it; files keep it."""
        return self._guarantee

    @property
    def categories(self) -> dict[int, tuple[str, ...]]:
        """Dict of int to tuple of str : names that have a state, of each node whose signal is a category."""
        return dict(self._categories)

    def codes(self, node: int, names: Iterable[str | None]) -> npt.NDArray[np.float32]:
        """Signals of categories, for `Batch.decide`: hand these over where a name is missing too, and no NaN.

        Parameters
        ----------
        node : int
        names : (B,) str
            What is none of the node's `categories`, or missing (None, NaN, ""), is served in the state of all others.

        Returns
        -------
        (B,) float32

        Raises
        ------
        IndexError
            If the node is out of range.
        TypeError, ValueError
            If its signals are numbers, or `names` are no texts.
        """
        known = self._categories.get(self._check_node(node))
        if known is None:
            nodes = ", ".join(map(self._node_text, self._categories))
            raise ValueError(f"node: expected one whose signal is a category, [{nodes}], got {self._node_text(node)}")
        if isinstance(names, str):
            raise TypeError("names: expected a sequence of texts, got a str")
        texts = list(names)
        for k, text in enumerate(texts):
            if not isinstance(text, str) and text is not None and text == text:
                raise TypeError(f"names: expected texts, got {type(text).__name__} at position {k}")
        return codes_of((text if isinstance(text, str) else "" for text in texts), known)

    def context_scores(self, context: Mapping[str, object]) -> npt.NDArray[np.float32]:
        """Scores of a context, for `Batch.decide_answers` at node 0, which shows it before any model is asked.

        Parameters
        ----------
        context : mapping of str to (B,)
            A column for each of those that the policy looks at, by the names of the traces' `context`; others are left
            aside. A category that is not known, or missing (None, NaN, ""), is served like all others; a number that is
            missing is below all numbers.

        Returns
        -------
        (B, d) float32
            In the order in which the policy looks at its columns. Along chains it looks at none of them: (B, 0).

        Raises
        ------
        TypeError, ValueError
            If the policy does not decide on scores and answers, or a column is missing, of another length or kind.
        """
        if not isinstance(self._estimator, SetEstimator):
            raise ValueError(
                "context: expected a policy that decides on scores and answers (estimate 'sets' or 'chains'), "
                f"got estimate={self.estimate!r}"
            )
        return self._estimator._context_scores(context)

    def index(self, node: int) -> Floats:
        """Dynamic index of a node for each state of its parent.

        A request whose best loss so far is at most the index stops; else it consults the node.

        Parameters
        ----------
        node : int

        Returns
        -------
        (K_parent or 1,) float64
            In units of loss; inf where consulting the node is never worth it, as neither it nor one below it answers.

        Raises
        ------
        ValueError
            If the policy has no index: it exists with recall, on lines and forests.
        IndexError
            If the node is out of range.
        """
        index = self._expectations().index
        if index is None:
            raise ValueError(
                f"index: defined with recall on a line or forest, this policy is a {self.steps.kind} "
                f"with recall={self.recall!r}"
            )
        return index[self._check_node(node)]

    def losses(self, node: int) -> Floats:
        """(K,) float64 : expected loss of answering with the node in each of its states; inf of a probe's."""
        arrays = self._core.arrays()
        losses: Floats = arrays["levels"][_part(arrays["ranks"], arrays["state_offsets"], self._check_node(node))]
        return losses

    def bin_edges(self, node: int) -> npt.NDArray[np.float32]:
        """(K - 1,) float32 : a node's state is the number of these that are <= its signal."""
        arrays = self._core.arrays()
        offsets = arrays["state_offsets"] - np.arange(self.steps.nodes + 1)
        return _part(arrays["bin_edges"], offsets, self._check_node(node))

    def actions(self, node: int) -> list[list[tuple[float, int]]]:
        """What to do after a node, by state and by the best loss so far.

        Returns
        -------
        list of list of (float, int)
            For each state, pairs (upper, next) of increasing upper: the first with best loss <= upper names the node
            to consult next, or STOP (-1). Without recall the best loss is the state's own, and there is one pair.
            A probe's states also say what to do while the best loss is inf: while nothing has answered.

        Raises
        ------
        ValueError
            On a forest, where what comes next depends on all that was consulted: see `index`.
        """
        if self.steps.kind == "forest":
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

    def thresholds(self) -> tuple[Threshold, ...]:
        """The same policy as one threshold a node, for gateways that know nothing else; most on lines are that.

        Returns
        -------
        tuple of Threshold
            Of each node that requests reach: ``(node, stops_from, following)``.

        Raises
        ------
        ValueError
            If it is none: it recalls, estimates, is of a forest, or a node does something else than to stop from some
            signal on. The node is named.
        """
        if self._estimator is not None or self.steps.kind == "forest" or self.recall != "none":
            what = f"estimate={self.estimate!r}" if self._estimator is not None else self.steps.kind
            recall = "" if self.recall == "none" else " with recall"
            raise ValueError(
                f"thresholds: expected a line, skip or dag of plain signals without recall, got {what}{recall}"
            )
        if self._categories:
            node = min(self._categories)
            raise ValueError(f"thresholds: expected signals that are numbers, node {node}'s are categories")

        def following(node: int) -> list[int]:
            return [intervals[0][1] for intervals in self.actions(node)]

        return thresholds_of(self.first_node, self.signal_nodes, following, self.bin_edges)

    @property
    def expected_visits(self) -> tuple[Floats, ...]:
        """n arrays (K_j,) : probability, under the model, that the node is consulted and found in each state.

        Exact on walks; on forests the share of 50,000 simulated requests.
        """
        return self._by_node(self._expectations().visits)

    @property
    def expected_stops(self) -> tuple[Floats, ...]:
        """n arrays (K_j,) : probability, under the model, that a request stops at the node in each state."""
        return self._by_node(self._expectations().stops)

    @property
    def expected_cost(self) -> float:
        """float : mean cost of a request under the model, in `unit`."""
        return self._expectations().cost

    @property
    def expected_loss(self) -> float:
        """float : mean loss of the answers under the model."""
        return self._expectations().loss

    @property
    def aggregation(self) -> Aggregation | None:
        """Aggregation or None : what soft state aggregation did; None for an exact policy.

        Computed when it is first read, by an exact solve.
        """
        return self._expectations().aggregation

    def start(self, capacity: int = 64, nan: str = "error", signal: str | None = None) -> Batch:
        """Open a batch for a serving loop.

        A policy that estimates keeps of each row what was seen so far. It decides on logits (`Batch.decide_logits`), or
        on scores and answers (`Batch.decide_answers`), which `Batch.decide_logits` makes of logits where the scores are
        of a kind that logits give (`signal`).

        Parameters
        ----------
        capacity : int
            Number of rows: requests in flight at once.
        nan : {"error", "worst", "failed"}
            What a NaN signal does. "error": raise before anything changes. "worst": count as the node's worst state,
            whose answer is given only while no other node has one. "failed": the node was consulted and has no answer;
            the request goes on where a node may follow, and has no answer (-1) if all nodes that could answer failed.
            A probe, which has no answer anyway, counts as its worst state, the lowest, either way.
        signal : str, optional
            The kind of signal that `Batch.decide` will be handed. Without it that is taken to be the kind that the
            traces recorded: a policy that decides on another one (`signal` is not `recorded_signal`) refuses `decide`,
            and `Batch.decide_logits`, which makes the right kind itself, is there for it.

        Returns
        -------
        Batch

        Raises
        ------
        ValueError
            If `signal` is not the kind that the policy decides on, or another argument is none of these.
        """
        return self._start(self._core, capacity, nan, signal)

    def _start(self, core: CorePolicy | tuple[CorePolicy, ...], capacity: int, nan: str, signal: str | None) -> Batch:
        """A batch as `start` opens it, of this policy or of several that decide on the same states."""
        check_batch(capacity, nan, ("error", "worst", "failed"))
        if signal is not None and checks.text("signal", signal) != self.signal:
            own = "None, for its signals are your own"
            if self._estimator is not None:
                shown = "scores and answers" if isinstance(self._estimator, SetEstimator) else "logits"
                own = f"None, for this policy decides on {shown}"
            expected = f"{self.signal!r}, which the policy decides on" if self.signal else own
            raise ValueError(f"signal: expected {expected}, got {signal!r}")
        return self._starter(int(capacity), nan, signal, core)()

    def _starter(
        self, capacity: int, nan: str, signal: str | None, core: CorePolicy | tuple[CorePolicy, ...] | None = None
    ) -> Callable[[], Batch]:
        """What opens batches; arguments are not checked, and handed over by position, which is twice as quick."""
        tables = self._core if core is None else core
        if isinstance(self._estimator, SetEstimator):
            kind, classes = self._estimator.signal, self._classes or 0
            return partial(start_sets, self._estimator.core, tables, capacity, nan, kind, classes)
        if self._estimator is not None:
            return partial(start_estimated, self._estimator.core, tables, capacity, nan)
        handed = self._recorded_signal if signal is None else signal
        return partial(start_batch, tables, capacity, nan, self._signal, handed, self._classes or 0)

    def replay(self, traces: Traces) -> Replay:
        """Run the policy over recorded traces.

        Parameters
        ----------
        traces : Traces
            Of the same topology, complete (`Traces.complete`). Costs are taken from them, in the policy's unit; several
            units are put into it. With signals of the policy's kind or evidence to make them from, and categories, in
            any coding, where the policy has some; if the policy estimates, with evidence of as many classes, and at
            least as many of the largest log-probabilities as it was fitted on, or, of several models, with the columns
            of the context and the answers that it decides on.

        Returns
        -------
        Replay
            (N,) arrays last_node, answer_node, cost and loss.

        Raises
        ------
        ValueError
            If the topology, the unit or the name of a node is another one, something was not recorded, the signals are
            of another kind (the user's own are one too), or the evidence is needed and missing or does not fit.

        Notes
        -----
        Estimates are made once for traces and kept with them while the policy is in use. On the very `Traces` object
        that the model was fitted on they are those of cross-fitting: each row is estimated by regressions that did not
        see it, so that errors on calibration rows are not flattered.
        """
        check_same_topology("traces", complete_traces(traces).topology, self.topology)
        check_same_nodes("traces", traces.nodes, self._nodes)
        costs = traces._in_unit(self._unit).paid_costs
        several = traces.unit_costs if len(traces.unit_costs) > 1 else {}
        if self._estimator is not None:
            return self._replay_steps(traces, self._estimator, costs, several)
        signals = traces._read_as(self._signal, self._categories).signals
        paid = {unit: self._core.replay(signals, part)[2] for unit, part in several.items()}
        return Replay(*self._core.replay(signals, costs, traces.losses), unit_costs=paid)

    def _replay_steps(
        self, traces: Traces, estimator: AnyEstimator, costs: Floats, several: Mapping[str, Floats]
    ) -> Replay:
        estimates = traces._kept_estimates.get(estimator)
        if estimates is None:
            estimates = estimator.estimate_traces(traces)
            traces._kept_estimates[estimator] = estimates
        steps = [np.ascontiguousarray(part[..., estimator.walk.outer]) for part in (costs, *several.values())]
        replays = [self._core.replay(estimates.signals, part) for part in steps]
        last, _, cost, _ = replays[0]
        paid = dict(zip(several, (each[2] for each in replays[1:]), strict=True))
        # One index into the flat values: a pair of indices, of row and node, takes twice as long.
        answer = estimates.answers.ravel().take(np.arange(0, estimates.answers.size, self.steps.nodes) + last)
        loss = traces.losses.ravel().take(np.arange(0, traces.losses.size, self.topology.nodes) + answer)
        return Replay(estimator.walk.last[last], answer, cost, loss.astype(np.float64), paid)

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
        return cls._from_bytes(*files.read(path))

    def __reduce__(self) -> tuple[Any, ...]:
        return Policy._from_bytes, (self._to_bytes(), "pickled policy")

    def _with_guarantee(self, guarantee: Guarantee) -> Policy:
        """The same policy, of which this was certified."""
        policy = copy(self)
        policy._guarantee = guarantee
        return policy

    def __eq__(self, other: object) -> bool:
        """Whether they decide alike; what was certified of them, and what logits they refuse, may differ."""
        if not isinstance(other, Policy):
            return False
        return self._to_bytes(decisions_only=True) == other._to_bytes(decisions_only=True)

    def __hash__(self) -> int:
        return hash((self.tradeoff, self.value, self.recall, self.topology))

    def __repr__(self) -> str:
        how = f"recall={self.recall!r}" if self._estimator is None else f"estimate={self.estimate!r}"
        return f"Policy({topology_text(self.topology)}, tradeoff={self.tradeoff:.6g}, {how}, value={self.value:.6g})"

    def _expectations(self) -> Analysis:
        """The analysis, computed when it is first needed: a sweep over trade-offs never needs it."""
        analysis = self._analysis  # read once: another thread may write it meanwhile
        if callable(analysis):
            analysis = self._analysis = analysis()
        return analysis

    def _check_node(self, node: int) -> int:
        return checks.place("node", node, self.steps.nodes)

    def _node_text(self, node: int) -> str:
        """A node of the traces in a message or a table, with its name if it has one."""
        return node_text(node, None if self._nodes is None else self._nodes[node])

    def _by_node(self, values: Floats) -> tuple[Floats, ...]:
        offsets = self._core.arrays()["state_offsets"]
        return tuple(_part(values, offsets, j) for j in range(self.steps.nodes))

    def _to_bytes(self, with_estimator: bool = True, decisions_only: bool = False) -> bytes:
        analysis = self._expectations()
        fields: dict[str, Any] = {
            "topology": self.steps.kind,
            "nodes": self.steps.nodes,
            "unit": self._unit,
            "signal": self._signal,
            "expected_cost": analysis.cost,
            "expected_loss": analysis.loss,
            **{name: getattr(self._core, name) for name in _SCALARS},
        }
        arrays = {**self._core.arrays(), "edges": self.steps.edges, "visits": analysis.visits, "stops": analysis.stops}
        if self._recorded_signal != self._signal:
            fields["recorded_signal"] = self._recorded_signal
        if analysis.aggregation is not None:
            fields["aggregation"] = list(vars(analysis.aggregation).values())
        if analysis.index is not None:
            arrays.update({f"index.{j}": row for j, row in enumerate(analysis.index)})
        if self._estimator is not None and with_estimator:
            estimator_fields, tables = self._estimator.to_file()
            fields.update(estimator_fields)
            arrays.update(tables)
        version = 2 if "signal_nodes" in arrays else 1
        if self._categories:
            version, fields["categories"] = 3, categories_for_file(self._categories)
        if self._classes is not None and not decisions_only:
            fields["classes"] = self._classes
        if self._nodes is not None:
            version, fields["node_names"] = 3, list(self._nodes)
        if isinstance(self._estimator, SetEstimator):
            version = 4
        if self._guarantee is not None and not decisions_only:
            version, fields["guarantee"] = 5, self._guarantee.as_dict()
        return files.to_bytes("policy", version, fields, arrays)

    @classmethod
    def _from_bytes(cls, data: bytes, source: str, shared: AnyEstimator | None = None) -> Policy:
        """What `_to_bytes` gave; `shared` is the estimator of a policy that was written without its own."""
        fields, arrays = files.from_bytes(data, "policy", FORMAT_VERSION, source)
        try:
            files.check_fields(fields, _FIELDS)
            edges = files.edges("edges", arrays["edges"], fields["nodes"])
            topology = Topology.from_parts(fields["topology"], fields["nodes"], edges)
            core = CorePolicy(topology, **{name: fields[name] for name in _SCALARS}, arrays=arrays)
            analysis = Analysis.from_arrays(core, fields, arrays)
            estimator = estimator_from_file(fields, arrays, topology) or shared
            if estimator is shared is not None and shared.walk.topology != topology:
                raise ValueError(f"topology: expected the estimator's {shared.walk.topology!r}, got {topology!r}")
            if estimator is not None and core.recall:
                raise ValueError("recall: expected none with an estimator")
            policy = cls(core, fields["unit"], analysis, *signals_in(fields), estimator)
            policy._categories = categories_from_file(fields, topology.nodes)
            check_states([policy.bin_edges(j) for j in range(topology.nodes)], policy._categories)
            policy._nodes = names_in(fields, policy.topology.nodes)
            policy._classes = estimator.class_count if isinstance(estimator, Estimator) else classes_in(fields)
            if "guarantee" in fields:
                policy._guarantee = Guarantee.from_dict(fields["guarantee"])
            return policy
        except (KeyError, TypeError, IndexError, ValueError) as error:
            raise ValueError(f"{source}: not a valid policy ({checks.quoted(error)})") from None


def check_batch(capacity: object, nan: object, meanings: tuple[str, ...] = ("error", "worst")) -> None:
    """Raise unless a batch can have this capacity (TypeError, ValueError) and NaN can mean this (ValueError)."""
    if isinstance(capacity, bool) or not isinstance(capacity, (int, np.integer)):
        raise TypeError(f"capacity: expected an int, got {type(capacity).__name__}")
    if not 0 <= capacity <= MOST_ROWS:
        raise ValueError(f"capacity: expected 0 to {MOST_ROWS}, got {checks.brief(capacity)}")
    if nan not in meanings:
        raise ValueError(f"nan: expected {' or '.join(map(repr, meanings))}, got {nan!r}")


def _part(values: npt.NDArray[Any], offsets: npt.NDArray[Any], node: int) -> npt.NDArray[Any]:
    return values[offsets[node] : offsets[node + 1]]
