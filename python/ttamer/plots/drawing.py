"""Text drawings of topologies: a line as a chain, a forest as a tree, skips and dags as lists of successors."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from ttamer._base.numbers import number
from ttamer._base.topologies import node_text
from ttamer._base.types import ROOT, Floats
from ttamer._core import Topology
from ttamer.model.set_estimators import SetEstimator
from ttamer.policy import Policy

FEW = 12
"""Successors of a node that are listed unless all are asked for."""

MOST_STEPS = 12
"""Steps of a policy that estimates that pictures show, the most visited ones."""

# What stands before a child that has siblings below it, before the last child, before what hangs from either, and
# before the next node of a chain.
_BRANCHES = ("├─ ", "└─ ", "│  ", "   ", "↓ ")
_ASCII = ("|- ", "`- ", "|  ", "   ", "v ")


@dataclass(frozen=True)
class Facts:
    """What a drawing shows: all but the topology are None where nothing is known of them.

    Attributes
    ----------
    topology : Topology
    costs : (E,) float64 or None
        In edge order, in `unit`.
    visits, stops : (n,) float64 or None
        Share of requests that consult each node, and that stop there, under the policy's model.
    unit : str
    names : tuple of n str
        What the nodes are called: by their numbers, and the steps of a policy that estimates by the nodes consulted.
    models : tuple of n str or None
        The name of the node that is consulted, at each step the last one.
    is_sparse : bool
        Whether only what requests reach is worth drawing, as of the many steps of a policy that estimates.
    """

    topology: Topology
    names: tuple[str, ...]
    costs: Floats | None = None
    visits: Floats | None = None
    stops: Floats | None = None
    unit: str = ""
    models: tuple[str, ...] | None = None
    is_sparse: bool = False

    def label(self, node: int) -> str:
        """A node where it is spoken of: ``1 (small)``, and a step ``0,1>2 (large)``; without names ``1``, ``0,1>2``."""
        return node_text(self.names[node], None if self.models is None else self.models[node])

    def target(self, node: int) -> str:
        """A node that comes next: by its name, for what was consulted before is known there."""
        return self.names[node] if self.models is None else self.models[node]

    @property
    def drawn(self) -> list[int]:
        """Nodes that are worth a line: of the many steps of a policy that estimates those that requests reach."""
        nodes = range(self.topology.nodes)
        return [node for node in nodes if not self.is_sparse or self.visits is None or self.visits[node] > 0]

    def few(self, most: int) -> list[int]:
        """All nodes; of more steps than `most` of a policy that estimates the most visited ones, each after another."""
        if not self.is_sparse or self.visits is None or self.topology.nodes <= most:
            return list(range(self.topology.nodes))
        after, visits = _successors(self.topology), self.visits
        chosen: set[int] = set()
        ahead = {ROOT}
        while ahead and len(chosen) <= most:
            node = ROOT if ROOT in ahead else max(ahead, key=lambda j: (visits[j], -j))
            chosen.add(node)
            ahead = (ahead | {j for j, _ in after[node] if visits[j] > 0}) - chosen
        return sorted(chosen - {ROOT})

    def left_out(self, drawn: list[int]) -> str:
        """What is said of the nodes that are not drawn; nothing if all are."""
        count = self.topology.nodes - len(drawn)
        if not count or self.stops is None:
            return ""
        share = 1 - float(self.stops[drawn].sum())
        what = (
            "no request is expected to reach them"
            if share < 1e-9
            else f"{share_text(share)} of the requests stop there"
        )
        return f"{count} of {self.topology.nodes} steps are left out: {what}."

    def part(self, drawn: list[int]) -> tuple[Facts, list[int]]:
        """Facts of some nodes alone, and the edges between them."""
        place = {ROOT: ROOT, **{node: k for k, node in enumerate(drawn)}}
        pairs = self.topology.edges.tolist()
        edges = [e for e, (i, j) in enumerate(pairs) if i in place and j in place]
        if len(drawn) == self.topology.nodes:
            return self, edges
        topology = Topology.dag(len(drawn), [(place[pairs[e][0]], place[pairs[e][1]]) for e in edges])
        smaller = replace(
            self,
            topology=topology,
            names=tuple(self.names[node] for node in drawn),
            costs=None if self.costs is None else self.costs[edges],
            visits=None if self.visits is None else self.visits[drawn],
            stops=None if self.stops is None else self.stops[drawn],
            models=None if self.models is None else tuple(self.models[node] for node in drawn),
        )
        return smaller, edges

    @classmethod
    def of(cls, shape: Policy | Topology) -> Facts:
        """Facts of a policy, or of a topology, of which only the edges are known."""
        if isinstance(shape, Topology):
            return cls(shape, _numbers(shape))
        if not isinstance(shape, Policy):
            raise TypeError(f"shape: expected a Policy or a Topology, got {type(shape).__name__}")
        visits = np.array([node.sum() for node in shape.expected_visits])
        stops = np.array([node.sum() for node in shape.expected_stops])
        walk = None if shape.estimator is None else shape.estimator.walk
        names = _numbers(shape.steps) if walk is None else walk.names
        nodes = range(shape.steps.nodes) if walk is None else walk.last.tolist()
        models = None if shape.nodes is None else tuple(shape.nodes[node] for node in nodes)
        is_sparse = isinstance(shape.estimator, SetEstimator) or (walk is not None and shape.steps.kind == "dag")
        return cls(shape.steps, names, shape.costs, visits, stops, shape.unit, models, is_sparse)


def names_of_steps(policy: Policy, facts: Facts) -> str:
    """How the names of steps that follow several nodes are read; nothing where there are none."""
    if not any(">" in name for name in facts.names):
        return ""
    return (
        f"0,1>2: node 2, consulted after 0 {'and then 1' if policy.estimate == 'chains' else 'and 1 in either order'}."
    )


def actions(policy: Policy, node: int) -> list[list[tuple[float, int]]]:
    """`Policy.actions`; where it and all nodes before it are probes only those of requests without an answer."""
    edges = policy.steps.edges.tolist()
    consulted, more = set[int](), {node}
    while more:
        consulted |= more
        more = {i for i, j in edges if j in more and i != ROOT} - consulted
    every = policy.actions(node)
    if any(np.isfinite(policy.losses(each)).any() for each in consulted):
        return every
    return [steps[-1:] for steps in every]


def signal_edges(policy: Policy, node: int) -> list[float] | None:
    """Signals at which the states of a node change; None where states are no bins of numbers, or there is but one."""
    if policy.estimate in ("sets", "chains") or node in policy.categories:
        return None
    return policy.bin_edges(node).tolist() or None


def draw(shape: Policy | Topology, *, width: int = 80, ascii: bool = False, every: bool = True) -> str:
    """A topology as text; of a policy also the costs, the expected visits and where requests stop.

    Parameters
    ----------
    shape : Policy or Topology
        Of a bare topology only nodes and edges are drawn.
    width : int
        Columns after which a list of successors goes on in the next line. The other columns are never cut.
    ascii : bool
        Draw branches with ASCII characters only.
    every : bool
        List all successors of a node; else at most `FEW`, and how many more there are.

    Returns
    -------
    str
        Lines without trailing spaces, joined by newlines; none after the last.

    Raises
    ------
    TypeError
        If `shape` is neither a policy nor a topology.
    """
    facts = Facts.of(shape)
    marks = _ASCII if ascii else _BRANCHES
    kind = facts.topology.kind
    if kind == "line":
        rows = [(f"{marks[4]}{facts.label(node)}", node) for node in range(facts.topology.nodes)]
    elif kind == "forest":
        rows = list(_branches(facts, marks))
    else:
        return "\n".join(_walk_lines(facts, width, every))
    table = [["node", *_heads(facts, costs=True)], ["root"]]
    table += [[label, *_figures(facts, node, costs=True)] for label, node in rows]
    return "\n".join(_aligned(table))


def _branches(facts: Facts, marks: tuple[str, ...]) -> Iterator[tuple[str, int]]:
    """Each node of a forest with its branch, a parent before its children; without recursion, as chains may be long."""
    after = _successors(facts.topology)
    stack = [(node, "", node == after[ROOT][-1][0]) for node, _ in reversed(after[ROOT])]
    while stack:
        node, before, last = stack.pop()
        yield f"{before}{marks[1] if last else marks[0]}{facts.label(node)}", node
        below = before + (marks[3] if last else marks[2])
        children = [child for child, _ in after[node]]
        stack += [(child, below, child == children[-1]) for child in reversed(children)]


def _walk_lines(facts: Facts, width: int, every: bool) -> Iterator[str]:
    """Nodes with their successors, and the costs of going there in brackets."""
    drawn = range(facts.topology.nodes) if every else facts.drawn
    most = facts.topology.nodes if every else FEW
    after = _successors(facts.topology)
    if not every:
        after = {node: [pair for pair in pairs if pair[0] in drawn] for node, pairs in after.items()}
    nodes = [ROOT, *drawn]
    table = [["node", *_heads(facts, costs=False)]]
    table += [["root" if node == ROOT else facts.label(node), *_figures(facts, node, costs=False)] for node in nodes]
    head = "successors" if facts.costs is None else f"successors ({_in_unit('cost', facts.unit)})"
    lists = [head, *(_listed(facts, after[node], most) for node in nodes)]
    left = list(_aligned(table))
    indent = max(map(len, left)) + 2
    for begin, listed in zip(left, lists, strict=True):
        # Whatever the width, there is room for one successor a line.
        wrapped = textwrap.wrap(listed, max(width - indent, 20), break_long_words=False)
        for k, part in enumerate(wrapped):
            yield f"{begin if k == 0 else '':{indent}}{part}".replace("\xa0", " ")


def _listed(facts: Facts, after: list[tuple[int, int]], most: int) -> str:
    """``1 (0.2), 2 (0.5)``, with spaces that no line is broken at between a node and its cost."""
    if not after:
        return "none"
    pairs = [(facts.target(j), e) for j, e in after[:most]]
    items = [name if facts.costs is None else f"{name}\xa0({number(facts.costs[e])})" for name, e in pairs]
    more = [f"and\xa0{len(after) - most}\xa0more"] if len(after) > most else []
    return ", ".join(items + more)


def _successors(topology: Topology) -> dict[int, list[tuple[int, int]]]:
    """(node, edge) pairs that may follow each node and the root, lowest node first."""
    after: dict[int, list[tuple[int, int]]] = {node: [] for node in range(ROOT, topology.nodes)}
    for e, (i, j) in enumerate(topology.edges.tolist()):
        after[i].append((j, e))
    return {node: sorted(pairs) for node, pairs in after.items()}


def _heads(facts: Facts, costs: bool) -> list[str]:
    heads = [_in_unit("cost", facts.unit)] if costs and facts.costs is not None else []
    return heads if facts.visits is None else [*heads, "visits", "stops"]


def _figures(facts: Facts, node: int, costs: bool) -> list[str]:
    """Cost of the one edge into a node, where there is one, and the shares of requests; nothing for the root."""
    if node == ROOT:
        return []
    figures = []
    if costs and facts.costs is not None:
        figures.append(number(facts.costs[facts.topology.edges[:, 1] == node][0]))
    if facts.visits is not None and facts.stops is not None:
        figures += [f"{facts.visits[node]:.1%}", f"{facts.stops[node]:.1%}"]
    return figures


def _aligned(table: list[list[str]]) -> Iterator[str]:
    """Lines of a table whose first column is set left and whose others are set right; short rows end early."""
    widths = [max(len(row[k]) for row in table if len(row) > k) for k in range(len(table[0]))]
    for row in table:
        cells = [
            f"{row[0]:{widths[0]}}",
            *(f"{cell:>{width}}" for cell, width in zip(row[1:], widths[1:], strict=False)),
        ]
        yield "  ".join(cells).rstrip()


def share_text(value: float) -> str:
    """A share of requests in a picture."""
    return "<1%" if 0 < value < 0.005 else f"{value:.0%}"


def _numbers(topology: Topology) -> tuple[str, ...]:
    return tuple(map(str, range(topology.nodes)))


def _in_unit(name: str, unit: str) -> str:
    return f"{name}, {unit}" if unit else name
