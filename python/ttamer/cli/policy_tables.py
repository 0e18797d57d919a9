"""What ``show`` prints: a policy as tables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from ttamer._base.numbers import number
from ttamer._base.types import ROOT, STOP
from ttamer.cli.output import in_unit, loss_span, print_table, print_title, share, span, table
from ttamer.cli.tables import signal_text
from ttamer.plots import drawing
from ttamer.policy import Policy
from ttamer.policy.analysis import snap_tolerance
from ttamer.traces.arguments import SUMS, look_like_sums
from ttamer.traces.categories import OTHER

STATES_OF = {
    "sets": "A state is a group of requests of which the same is expected of every node; state 0 is the worst.",
    "chains": "A state is a range of scores between the thresholds of the chains; state 0 is the worst.",
}
"""Said of states that are leaves, whose numbers are no signals."""

# How many indices fit 80 columns: beside what else is known of a state, and alone.
BESIDE, ALONE = 2, 5


@dataclass(frozen=True)
class State:
    """One state of a node.

    Attributes
    ----------
    number : int
    low, high : float or None
        Signals in the state are at least `low` and below `high`; None of a policy whose states are leaves, see
        `STATES_OF`.
    loss : float
        Expected loss of answering here.
    index : dict of int to float
        Dynamic index of each node that may follow, in this state; empty where it is not defined.
    actions : list of (float, int)
        As `Policy.actions`, but for best losses that no request has; empty on a forest, where the indices of all open
        nodes decide.
    visits, stops : float
        Probability of a request to be found in the state, and to stop in it, under the model.
    """

    number: int
    low: float | None
    high: float | None
    loss: float
    index: dict[int, float]
    actions: list[tuple[float, int]]
    visits: float
    stops: float

    @property
    def opens(self) -> list[int]:
        """Nodes after this one that may still be worth consulting, the smallest index first.

        The best loss so far is at most this state's: no request consults a node whose index is not below that.
        """
        limit = self.loss - snap_tolerance(self.loss) if np.isfinite(self.loss) else self.loss
        return sorted((node for node, index in self.index.items() if index < limit), key=lambda node: self.index[node])


def states(policy: Policy, node: int) -> list[State]:
    """All states of a node."""
    ends: list[float | None] = [-np.inf, *policy.bin_edges(node).tolist(), np.inf]
    if policy.estimate in STATES_OF:
        ends = [None] * len(ends)
    rows = zip(
        policy.losses(node).tolist(),
        [[] for _ in policy.losses(node)] if _is_forest(policy) else drawing.actions(policy, node),
        policy.expected_visits[node].tolist(),
        policy.expected_stops[node].tolist(),
        strict=True,
    )
    indices = _indices(policy, node)
    return [
        State(
            number=k,
            low=ends[k],
            high=ends[k + 1],
            loss=loss,
            index={child: float(values[min(k, len(values) - 1)]) for child, values in indices.items()},
            actions=actions,
            visits=visits,
            stops=stops,
        )
        for k, (loss, actions, visits, stops) in enumerate(rows)
    ]


def policy_dict(policy: Policy) -> dict[str, Any]:
    """A policy for JSON, every state of every node."""
    edges = zip(policy.steps.edges.tolist(), policy.costs.tolist(), strict=True)
    return {
        "topology": policy.topology.kind,
        "estimate": policy.estimate,
        "signal": policy.signal,
        "node_names": None if policy.nodes is None else list(policy.nodes),
        "signal_nodes": list(policy.signal_nodes),
        "categories": {node: list(names) for node, names in policy.categories.items()},
        "recorded_signal": policy.recorded_signal,
        "walk": None if policy.estimator is None else [list(nodes) for nodes in policy.estimator.walk.sets],
        "edges": [{"from": i, "to": j, "cost": cost} for (i, j), cost in edges],
        "tradeoff": policy.tradeoff,
        "recall": policy.recall,
        "value": policy.value,
        "expected_cost": policy.expected_cost,
        "cost_scale": policy.cost_scale,
        "unit": policy.unit,
        "aggregation": None if policy.aggregation is None else vars(policy.aggregation),
        "guarantee": None if policy.guarantee is None else policy.guarantee.as_dict(),
        "first_node": policy.first_node,
        "first_index": {node: float(values[0]) for node, values in _indices(policy, ROOT).items()},
        "nodes": [_node_dict(policy, node) for node in range(policy.steps.nodes)],
    }


def print_policy(console: Console, policy: Policy, title: str, every: bool) -> None:
    """Summary, nodes, and the states of each node: neighbours that act alike in one line, unless every one is asked."""
    facts = table("", "", text=2)
    kind = policy.topology.kind
    facts.add_row(
        "topology", f"{kind} of {policy.topology.nodes} nodes, starts at node {policy._node_text(policy.first_node)}"
    )
    if policy.nodes is not None:
        facts.add_row("nodes", ", ".join(f"{node} {name}" for node, name in enumerate(policy.nodes)))
    facts.add_row("tradeoff", f"{policy.tradeoff:.6g} on the loss, {1 - policy.tradeoff:.6g} on the cost")
    if policy.signal:
        facts.add_row("signal", signal_text(policy))
    facts.add_row(*_answer(policy))
    facts.add_row("expected value", f"{policy.value:.6g}, with costs divided by {policy.cost_scale:.6g}")
    facts.add_row(in_unit("expected cost", policy.unit), number(policy.expected_cost))
    if policy.guarantee is not None:
        facts.add_row("certified", str(policy.guarantee))
    if policy.aggregation is not None:
        regret = f"{policy.aggregation.regret:.2g} worse than the exact policy"
        facts.add_row("aggregation", f"{policy.aggregation.states} meta-states a node: {regret}")
    for node, source in enumerate(policy.signal_nodes):
        if source != node:
            facts.add_row(
                f"state of node {policy._node_text(node)}", f"told by the signal of node {policy._node_text(source)}"
            )
    for node, categories in policy.categories.items():
        named = ", ".join(f"{code} {name}" for code, name in enumerate(categories))
        facts.add_row(
            f"states of node {policy._node_text(node)}",
            f"{named}, {len(categories)} any {OTHER}" if named else f"any {OTHER}",
        )
    shape = drawing.Facts.of(policy)
    for node, values in _indices(policy, ROOT).items():
        facts.add_row(f"index of node {shape.label(node)}", _limit(float(values[0]), 4))
    print_table(console, title, facts)
    console.print()
    print_title(console, "nodes")
    plain = console.options.ascii_only
    console.print(drawing.draw(policy, width=console.width, ascii=plain, every=every), soft_wrap=True)
    console.print()
    for node in range(policy.steps.nodes) if every else shape.drawn:
        _print_states(console, shape, node, states(policy, node), every)
    for note in _notes(policy, shape, every):
        console.print(note, style="dim")


def _print_states(console: Console, shape: drawing.Facts, node: int, rows: list[State], every: bool) -> None:
    """The states of a node; the indices of the nodes after it in tables of their own where they are many."""
    groups = [[row] for row in rows] if every else list(_alike(rows))
    children = list(rows[0].index)
    few = len(children) <= BESIDE
    title = f"node {shape.names[node]} ({len(rows)} states)"
    if shape.models is not None:
        title = f"node {shape.label(node)}, {len(rows)} states"
    print_table(console, title, _state_table(groups, shape, children if few else []))
    console.print()
    for begin in range(0, 0 if few else len(children), ALONE):
        table_of_indices = _index_table(groups, shape, children[begin : begin + ALONE])
        print_table(console, f"node {shape.label(node)}: indices", table_of_indices)
        console.print()


def _notes(policy: Policy, shape: drawing.Facts, every: bool) -> list[str]:
    """How to read the tables."""
    notes = [] if every else ["Neighbouring states that act alike share a line; --all prints each."]
    hidden = policy.steps.nodes - len(shape.drawn)
    if hidden and not every:
        notes.append(f"{hidden} steps that no request is expected to reach are left out; --all prints them.")
    if policy.estimate in STATES_OF:
        notes.append(STATES_OF[policy.estimate])
    if look_like_sums(policy.steps, policy.costs):
        notes.append(SUMS)
    if _is_forest(policy):
        notes += [
            "opens: the nodes below that may still be worth consulting, the smallest index first.",
            "Next is the open node with the smallest index, of all branches; a request stops if the expected loss of "
            "the best answer so far is at most that index.",
            "Visits, stops and the expected cost of a forest are those of simulated requests.",
        ]
    elif reading := drawing.names_of_steps(policy, shape):
        notes.append(reading)
    elif policy.recall == "observed":
        notes.append("stop <= x: stop if the expected loss of the best answer so far is at most x.")
    return notes


def _answer(policy: Policy) -> tuple[str, str]:
    """Whose answer is returned."""
    if policy.estimate in ("posterior", "sets"):
        return "estimate", f"{policy.estimate}: the answer with the least expected loss after all that was consulted"
    if policy.estimator is not None:
        return "estimate", f"{policy.estimate}: the last node answers"
    return "recall", f"{policy.recall}: the {'last node' if policy.recall == 'none' else 'best node consulted'} answers"


def _is_forest(policy: Policy) -> bool:
    return policy.steps.kind == "forest"


def _indices(policy: Policy, parent: int) -> dict[int, npt.NDArray[np.float64]]:
    """Dynamic index of the nodes after `parent`, by its state; none where it is not defined."""
    children = [j for i, j in policy.steps.edges.tolist() if i == parent]
    try:
        return {child: policy.index(child) for child in children}
    except ValueError:
        return {}


def _node_dict(policy: Policy, node: int) -> dict[str, Any]:
    return {
        "node": node,
        "visits": float(policy.expected_visits[node].sum()),
        "stops": float(policy.expected_stops[node].sum()),
        "states": [
            {
                "state": state.number,
                "signal_from": state.low,
                "signal_below": state.high,
                "loss": state.loss,
                "index": state.index,
                "actions": [{"best_loss_up_to": upper, "next": following} for upper, following in state.actions],
                "visits": state.visits,
                "stops": state.stops,
            }
            for state in states(policy, node)
        ],
    }


def _state_table(groups: list[list[State]], shape: drawing.Facts, children: list[int]) -> Table:
    does = "does" if groups[0][0].actions else "opens"
    signals = ["signal >="] if groups[0][0].low is not None else []
    heads = "states", *signals, does, "expected loss", *(f"index of {shape.target(j)}" for j in children)
    rows = table(*heads, text=2 + len(signals))
    rows.add_column("visits", justify="right", no_wrap=True)
    rows.add_column("stops", justify="right", no_wrap=True)
    rows.padding = (0, 1, 0, 0)
    for group in groups:
        rows.add_row(
            span(group[0].number, group[-1].number, str),
            *([] if group[0].low is None else [f"{group[0].low:.7g}"]),
            _does(group, shape),
            loss_span(min(state.loss for state in group), max(state.loss for state in group), 3),
            *_index_cells(group, children),
            share(sum(state.visits for state in group)),
            share(sum(state.stops for state in group)),
        )
    return rows


def _index_table(groups: list[list[State]], shape: drawing.Facts, children: list[int]) -> Table:
    rows = table("states", *(f"index of {shape.target(j)}" for j in children))
    for group in groups:
        rows.add_row(span(group[0].number, group[-1].number, str), *_index_cells(group, children))
    return rows


def _index_cells(group: list[State], children: list[int]) -> list[str]:
    return [_range(state.index[child] for state in group) for child in children]


def _alike(rows: list[State]) -> Iterator[list[State]]:
    """Runs of states that do the same, or open the same, whatever the losses at which they change their mind."""
    for _, group in groupby(rows, key=lambda state: [action[1] for action in state.actions] or state.opens):
        yield list(group)


def _does(group: list[State], shape: drawing.Facts) -> str:
    """What the states of a group do, by the best loss so far: ``stop <= 0.01..0.02, else 3``; or what they open."""
    first = group[0].actions
    if not first:
        return ", ".join(map(shape.target, group[0].opens)) or "nothing"
    if len(first) == 1:
        return "stop" if first[0][1] == STOP else f"consult {shape.target(first[0][1])}"
    parts = []
    for k, (_, following) in enumerate(first[:-1]):
        # With one node to go to, the limit is its index, or the largest attainable loss below: the same decisions.
        is_index = following == STOP and len(group[0].index) == 1
        limit = "index" if is_index else _range(state.actions[k][0] for state in group)
        parts.append(f"{_verb(following, shape)} <= {limit}")
    return ", ".join([*parts, f"else {_verb(first[-1][1], shape)}"])


def _verb(following: int, shape: drawing.Facts) -> str:
    return "stop" if following == STOP else shape.target(following)


def _range(values: Iterable[float]) -> str:
    """Three digits, so that a table with ranges of losses and indices fits 80 columns."""
    numbers = list(values)
    return span(min(numbers), max(numbers), lambda value: _limit(value, 3))


def _limit(index: float, digits: int) -> str:
    """A best loss so far up to which requests stop: where that is infinite none ever goes on."""
    return "never" if np.isinf(index) else number(index, digits)
