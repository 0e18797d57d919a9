"""What can be attached to a model, checked before anything changes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ttamer._base import checks
from ttamer._base.topologies import topology_text
from ttamer._core import Topology
from ttamer.policy import Policy
from ttamer.torch.decide.decider import why_no_kernels
from ttamer.torch.serve.rows import Compaction

COMPACTIONS = {"always": 1.0, "never": 0.0}


def check_policy(policy: Policy, exits: int) -> None:
    """Raise unless a model with so many exits can serve the policy."""
    if not isinstance(policy, Policy):
        raise TypeError(f"policy: expected a ttamer.Policy, got {type(policy).__name__}")
    check_shape("policy", policy.topology, exits)


def check_shape(name: str, topology: Topology, exits: int) -> None:
    """Raise unless a topology can be walked by running stages in order."""
    if topology.nodes != exits:
        raise ValueError(f"{name}: expected {exits} nodes, one an exit, got {topology_text(topology)}")
    if topology.kind == "forest":
        raise ValueError(
            f"{name}: expected a line, a skip or a dag, got {topology_text(topology)}; "
            "a network cannot go back to a branch that it left"
        )
    backward = topology.edges[:, 0] >= topology.edges[:, 1]
    if backward.any():
        i, j = topology.edges[backward][0].tolist()
        raise ValueError(f"{name}: expected edges that lead to later exits, got ({i}, {j}); stages run in order")


def share_of(compact: str | float) -> float:
    """The share of live rows at which rows are compacted."""
    if isinstance(compact, str) and compact in COMPACTIONS:
        return COMPACTIONS[compact]
    if isinstance(compact, bool) or not isinstance(compact, (int, float)):
        raise ValueError(f"compact: expected 'always', 'never' or a number between 0 and 1, got {compact!r}")
    if not 0 <= compact <= 1:
        raise ValueError(f"compact: expected a share between 0 and 1, got {compact}")
    return float(compact)


def sizes_of(bucket: Sequence[int] | None) -> tuple[int, ...]:
    """The numbers of rows that stages may get, rising; empty: any."""
    if bucket is None:
        return ()
    if isinstance(bucket, (str, bytes)) or not isinstance(bucket, Iterable):
        raise TypeError(f"bucket: expected a sequence of numbers of rows, such as [8, 64], got {bucket!r}")
    numbers = list(bucket)
    sizes = sorted({checks.whole("bucket", size, 1) for size in numbers})
    if not sizes:
        raise ValueError("bucket: expected at least one number of rows, got []; None lets stages get any number")
    return tuple(sizes)


def check_capture(capture: bool, policy: Policy, compaction: Compaction) -> None:
    """Raise unless ramps can be captured in graphs, or need not be."""
    if not isinstance(capture, bool):
        raise TypeError(f"capture: expected True or False, got {capture!r}")
    if not capture:
        return
    reason = why_no_kernels(policy)
    if reason:
        raise ValueError(f"capture: expected a policy that kernels decide, but {reason}; attach with capture=False")
    if policy.topology.kind != "line":
        raise ValueError(f"capture: expected a policy over a line, got {topology_text(policy.topology)}")
    if not compaction.sizes:
        raise ValueError("capture: expected numbers of rows to capture for, such as bucket=[8, 16, 32, 64], got none")
    if compaction.share != 1:
        raise ValueError("capture: expected compact='always': graphs bring rows together at every exit")
