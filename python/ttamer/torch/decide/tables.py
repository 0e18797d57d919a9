"""A policy's tables as one block of integers, so that kernels take one pointer and nothing rounds.

The block begins with a record of `RECORD` numbers for each node, named by `FIELDS`: places in the block, counts, and
what the core derives from its tables. Integers only: a module's `.half()` casts whatever is floating.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ttamer.policy import Policy

RECORD = 16
FIELDS = (
    "edges_at",  # order keys of the bin edges
    "edges",
    "ranks_at",  # of the states' losses; `NO_RANK`, which improves on nothing, for probes
    "stops_at",
    "only_next",
    "worst_state",
    "only_previous",
    "follows_at",  # whether the node may follow the root and each node, where several come before it
    "intervals_at",  # where each state's intervals begin, counted from the first of all
    "uppers_at",  # the first of all intervals
    "nexts_at",
    "children_at",  # on forests, three numbers a child: see _add_children
    "children",
)
NO_RANK = np.iinfo(np.int32).max
PROVISIONAL = 2**30
"""Added to the rank of an answer that is given only because no node has shown a signal."""
SEVERAL = -2
"""In `only_next` and `only_previous`: more than one."""

Ints = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Tables:
    """What a decider keeps of a policy beside the policy itself."""

    block: Ints
    """Records, then the tables they point into."""
    levels: npt.NDArray[np.int64]
    """The bits of the float64 losses that ranks stand for, and of inf."""
    fresh: Ints
    """A new request's rank, answer, key, last and next node; on forests, the index of each node open to it."""
    nodes: int
    forest: bool
    recall: bool
    observed: bool
    edges: int
    """Most bin edges of a node."""
    steps: tuple[int, ...]
    """For each node the steps of a search among a state's intervals, 0 where the core needs none."""


def tables_of(policy: Policy) -> Tables:
    """Pack a policy's tables.

    Parameters
    ----------
    policy : Policy

    Returns
    -------
    Tables
    """
    arrays, derivations = policy._core.arrays(), policy._core.derived()
    nodes, forest = policy.steps.nodes, policy.steps.kind == "forest"
    starts = arrays["state_offsets"]
    block = _Block(RECORD * nodes)
    is_probe = np.isinf(arrays["levels"])[arrays["ranks"]]
    ranks = block.add(np.where(is_probe, NO_RANK, arrays["ranks"]))
    stops = block.add(derivations["stop_upper"])
    edges = block.add(order_keys(arrays["bin_edges"]))
    intervals, uppers, nexts = (
        block.add(arrays[name]) for name in ("interval_offsets", "interval_upper", "interval_next")
    )
    indices = block.add(arrays["index_ranks"])
    first = starts[:-1]
    columns: dict[str, Ints | int | list[int]] = {
        "edges_at": edges + first - np.arange(nodes, dtype=np.int32),
        "edges": np.diff(starts) - 1,
        "ranks_at": ranks + first,
        "stops_at": stops + first,
        "only_next": derivations["only_next"],
        "worst_state": derivations["worst_state"],
        "only_previous": derivations["only_previous"],
        "follows_at": [_add_previous(block, policy, node, derivations) for node in range(nodes)],
        "intervals_at": intervals + first,
        "uppers_at": uppers,
        "nexts_at": nexts,
    }
    if forest:
        children = [_add_children(block, policy, node, arrays["index_offsets"], indices) for node in range(nodes)]
        columns["children_at"], columns["children"] = (list(each) for each in zip(*children, strict=True))
    records = np.zeros((nodes, RECORD), np.int32)
    for name, values in columns.items():
        records[:, FIELDS.index(name)] = values
    return Tables(
        block=block.join(records),
        levels=np.append(arrays["levels"], np.inf).view(np.int64),
        fresh=_fresh(policy, arrays),
        nodes=nodes,
        forest=forest,
        recall=policy._core.recall,
        observed=policy._core.observed,
        edges=int(np.diff(starts).max()) - 1,
        steps=tuple(_search_steps(arrays, derivations, node) for node in range(nodes)),
    )


def order_keys(values: npt.NDArray[np.float32]) -> Ints:
    """Signed integers in the order of the floats, -0 equal to 0."""
    bits: Ints = (values + np.float32(0)).view(np.int32)  # -0 + 0 is 0
    keys: Ints = np.where(bits < 0, bits ^ np.int32(0x7FFFFFFF), bits)
    return keys


class _Block:
    """Arrays one after the other, behind the records."""

    def __init__(self, begin: int) -> None:
        self._parts: list[Ints] = []
        self._end = begin

    def add(self, values: npt.NDArray[np.int32]) -> int:
        """Append; where the values begin."""
        begin = self._end
        self._parts.append(values.astype(np.int32))
        self._end += len(values)
        return begin

    def join(self, records: Ints) -> Ints:
        return np.concatenate([records.ravel(), *self._parts])


def _add_previous(block: _Block, policy: Policy, node: int, derivations: dict[str, Ints]) -> int:
    """Whether the node may follow the root and each node, where more than one comes before it."""
    if policy.steps.kind == "forest" or derivations["only_previous"][node] != SEVERAL:
        return 0
    edges = policy.steps.edges
    predecessors = np.zeros(policy.steps.nodes + 1, np.int32)
    predecessors[edges[edges[:, 1] == node, 0] + 1] = 1
    return block.add(predecessors)


def _add_children(block: _Block, policy: Policy, node: int, offsets: Ints, indices: int) -> tuple[int, int]:
    """Of each child its name, where its index ranks begin and their stride by the state of this node; place, count."""
    edges = policy.steps.edges
    children = edges[edges[:, 0] == node, 1].tolist()
    triples = [(child, indices + offsets[child], int(offsets[child + 1] - offsets[child] > 1)) for child in children]
    return block.add(np.array(triples, np.int32).reshape(-1)), len(children)


def _search_steps(arrays: dict[str, Ints], derivations: dict[str, Ints], node: int) -> int:
    if derivations["only_next"][node] != SEVERAL:
        return 0
    begin, end = arrays["state_offsets"][node : node + 2]
    return int(np.diff(arrays["interval_offsets"][begin : end + 1]).max()).bit_length()


def _fresh(policy: Policy, arrays: dict[str, npt.NDArray[np.int32]]) -> Ints:
    open_ranks = []
    if policy.steps.kind == "forest":
        roots = [int(j) for i, j in policy.steps.edges.tolist() if i < 0]
        open_ranks = [
            int(arrays["index_ranks"][arrays["index_offsets"][node]]) if node in roots else NO_RANK
            for node in range(policy.steps.nodes)
        ]
    # No state, of a probe either, is better than nothing for its signal.
    lowest = int(order_keys(np.array([-np.inf], np.float32))[0])
    return np.array([NO_RANK, -1, lowest, -1, policy._core.first_node, *open_ranks], np.int32)
