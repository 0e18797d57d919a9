"""Pictures, drawn with matplotlib's objects alone: no display, and no state of pyplot is touched."""

from ttamer.plots.exits import exits
from ttamer.plots.front import front
from ttamer.plots.index import index
from ttamer.plots.nodes import nodes
from ttamer.plots.reliability import reliability
from ttamer.plots.topology import topology

__all__ = ["exits", "front", "index", "nodes", "reliability", "topology"]
