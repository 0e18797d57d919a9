"""Where a picture of a topology puts nodes, edges and the costs on them, in inches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ttamer._base.types import ROOT, Floats
from ttamer._core import Topology
from ttamer.traces.paths import last_first

ACROSS, DOWN = 1.25, 1.1
"""Distance of neighbouring layers, and of neighbours in a layer."""
CLEAR = 0.34
"""Distance that edges keep from nodes they do not belong to."""
LABEL = (0.46, 0.17)
"""Room for the cost of an edge."""
CAPTION = (0.62, 0.6)
"""Room for what stands below a node, which begins a fifth of an inch below its centre."""

# Bends of an edge that are tried in turn: straight if nothing is in the way, else a bow to the left or right that rises
# to half of this share of its length. One bend for all lengths nests the bows of a skip into each other.
_BENDS = (0.0, -0.42, 0.42, -0.7, 0.7, -0.25, 0.25, -1.0, 1.0)
_ALONG = (0.5, 0.42, 0.58, 0.34, 0.66, 0.26, 0.74)
_STEPS = np.linspace(0.0, 1.0, 41)[:, None]


@dataclass(frozen=True)
class Layout:
    """Positions of a picture, x to the right and y upwards.

    Attributes
    ----------
    nodes : (n + 1, 2) float64
        Centres of the nodes; the root is the last, so that -1 finds it.
    bends : (E,) float64
        An edge is a quadratic Bezier curve whose middle control point lies this share of its length to its right.
    labels : (E, 2) float64
        Centres of the costs.
    box : (2, 2) float64
        Lowest and highest x and y of nodes, curves and labels.
    """

    nodes: Floats
    bends: Floats
    labels: Floats
    box: Floats


def lay_out(topology: Topology) -> Layout:
    """Layers from left to right, each node one after the last of those before it; edges go round other nodes."""
    nodes = _positions(topology)
    edges = topology.edges.tolist()
    bends, labels = np.zeros(len(edges)), np.zeros((len(edges), 2))
    obstacles: list[Floats] = []
    curves = [nodes]
    # Short edges first: they have the least room to give way.
    for e in sorted(range(len(edges)), key=lambda e: float(np.linalg.norm(nodes[edges[e][1]] - nodes[edges[e][0]]))):
        i, j = edges[e]
        others = np.delete(nodes, [i % len(nodes), j], axis=0)
        bends[e], labels[e] = _route(nodes[i], nodes[j], others, obstacles)
        obstacles.append(labels[e])
        curves.append(_points(nodes[i], nodes[j], float(bends[e]), _STEPS))
    room = np.array(LABEL) / 2
    points = np.concatenate([*curves, labels - room, labels + room])
    return Layout(nodes, bends, labels, np.stack([points.min(axis=0), points.max(axis=0)]))


def _positions(topology: Topology) -> Floats:
    """Layers by the longest way from the root; heights as in a tree, where a parent stands in the middle of its own.

    The tree is the topology itself if it is one. Else each node hangs from one of those in the layer before, which
    there always is, and then moves to the middle of all it comes from if nobody stands there.
    """
    edges = topology.edges.tolist()
    layer = {ROOT: 0}
    for j in reversed(last_first(topology)):
        layer[j] = 1 + max(layer[i] for i, target in edges if target == j)
    hung: dict[int, list[int]] = {node: [] for node in layer}
    for j in range(topology.nodes):
        hung[min(i for i, target in edges if target == j and layer[i] == layer[j] - 1)].append(j)
    height: dict[int, float] = {}
    leaves = 0
    for node in reversed(list(_parents_first(hung))):
        if hung[node]:
            height[node] = sum(height[child] for child in hung[node]) / len(hung[node])
        else:
            height[node] = leaves
            leaves += 1
    for j in sorted(range(topology.nodes), key=lambda node: layer[node]):
        before = [height[i] for i, target in edges if target == j]
        middle = sum(before) / len(before)
        beside = [height[k] for k in range(topology.nodes) if k != j and layer[k] == layer[j]]
        if len(before) > 1 and all(abs(middle - other) >= 1 for other in beside):
            height[j] = middle
    return np.array([(ACROSS * layer[node], DOWN * height[node]) for node in [*range(topology.nodes), ROOT]])


def _parents_first(hung: dict[int, list[int]]) -> Iterator[int]:
    """Nodes of a tree, so that the leaves, read backwards, come with the lowest node last: it is to stand on top."""
    stack = [ROOT]
    while stack:
        node = stack.pop()
        yield node
        stack += reversed(hung[node])


def _route(start: Floats, end: Floats, others: Floats, labels: list[Floats]) -> tuple[float, Floats]:
    """First bend that keeps clear of the other nodes, with the first place for the cost that is free."""
    captions = np.array([start, end, *others]) - (0, 0.2 + CAPTION[1] / 2)
    free = [bend for bend in _BENDS if _is_clear(_points(start, end, bend, _STEPS), others)]
    for bend in free:
        for label in _points(start, end, bend, np.array(_ALONG)[:, None]):
            overlap = _overlaps(label, captions, CAPTION) or (labels and _overlaps(label, np.array(labels), LABEL))
            if not overlap and _is_clear(label[None], others):
                return bend, label
    bend = free[0] if free else _BENDS[1]
    return bend, _points(start, end, bend, np.array([[0.5]]))[0]


def _points(start: Floats, end: Floats, bend: float, along: Floats) -> Floats:
    """Points of the curve from start to end, (m, 2) for (m, 1) of parameters."""
    across = end - start
    control = (start + end) / 2 + bend * np.array([across[1], -across[0]])
    return (1 - along) ** 2 * start + 2 * along * (1 - along) * control + along**2 * end


def _overlaps(label: Floats, centres: Floats, size: tuple[float, float]) -> bool:
    """Whether a cost there would lie on any of some boxes of one size."""
    room = (np.array(size) + LABEL) / 2
    return bool(np.any(np.all(np.abs(centres - label) < room, axis=1)))


def _is_clear(points: Floats, nodes: Floats) -> bool:
    distance = np.linalg.norm(points[:, None] - nodes[None], axis=2)
    return not bool(np.any(distance < CLEAR))
