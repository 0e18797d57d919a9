"""Topologies and nodes as text, short enough for a message or a line of a terminal."""

from __future__ import annotations

from ttamer._core import Topology

MOST_TEXT = 100
"""Characters after which edges are counted, not listed."""


def node_text(node: int | str, name: str | None) -> str:
    """A node in a message, a table or a picture: its number, and its name if it has one, ``1 (small)``."""
    return str(node) if name is None else f"{node} ({name})"


def topology_text(topology: Topology) -> str:
    """What builds it, ``Topology.skip(3)``; of one with many edges its kind and counts."""
    text = repr(topology)
    if len(text) <= MOST_TEXT:
        return text
    return f"Topology.{topology.kind}({topology.nodes} nodes, {len(topology.edges)} edges)"


def check_same_topology(name: str, topology: Topology, expected: Topology, thing: str = "") -> None:
    """Raise ValueError unless both are the same; `thing` is what has them, such as ``a model``."""
    if topology == expected:
        return
    first, second = topology_text(expected), topology_text(topology)
    texts = (f"{thing} of {first}", f"one of {second}") if thing else (first, second)
    message = f"{name}: expected {texts[0]}, got {texts[1]}"
    if first == second:
        pairs = zip(expected.edges.tolist(), topology.edges.tolist(), strict=True)
        e, (edge, other) = next((e, pair) for e, pair in enumerate(pairs) if pair[0] != pair[1])
        message += f" with other edges: {tuple(other)} in place of {tuple(edge)} at edge {e}"
    raise ValueError(message)
