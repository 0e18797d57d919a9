"""What recorded traces hold, node by node."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ttamer._base.topologies import node_text
from ttamer._base.types import Floats
from ttamer.traces.arguments import SUMS, look_like_sums
from ttamer.traces.categories import OTHER, Names, counts_of
from ttamer.traces.costs import recorded_mean
from ttamer.traces.paths import cheapest_paths
from ttamer.traces.record import Record

SORTED = 5.0
"""Standard errors by which the two halves of the rows may differ in the loss of a node before they look sorted."""

_MOST_SHOWN = 12  # categories of a node


class NodeCosts(NamedTuple):
    """What requests pay that go straight to each node: (n,) float64 each, NaN where no request recorded it."""

    mean: Floats
    p50: Floats
    p95: Floats


@dataclass(frozen=True)
class Summary:
    """What each node loses and costs alone, made by `Traces.summary`.

    Attributes
    ----------
    requests, complete : int
        Rows, and those in which everything was recorded.
    names : (n,) str
        Names of the nodes, their numbers where they have none.
    consulted, judged : (n,) int64
        Rows with a signal of the node, and with its loss.
    loss : (n,) float64
        Mean recorded loss of each node's answers, inf for a node that cannot answer, NaN where none was recorded.
    costs : dict of str to NodeCosts
        Of each unit the mean and quantiles of what requests pay that go straight to the node.
    agreement : (n,) float64 or None
        Share of the requests that the node answers as the last node that can answer does, of those with both answers
        (an answer of -1 is none); None without predictions.
    best : int or None
        The node of the smallest mean loss, the cheapest of equal ones in the first unit; None where no loss is known.
    sorted_nodes : tuple of int
        Nodes that lose much more in one half of the rows than in the other. Rows in such an order must be shuffled
        before they are split.
    like_sums : bool
        Whether costs on a line look like running sums instead of what each node adds.
    context : tuple of str
        Columns of what was known beforehand, the one that a node shows among them.
    categories : dict of str to dict of str to int
        Of each node whose signal is a category, how many requests each name has; those of no name are left out.
    """

    requests: int
    complete: int
    names: tuple[str, ...]
    consulted: npt.NDArray[np.intp]
    judged: npt.NDArray[np.intp]
    loss: Floats
    costs: dict[str, NodeCosts]
    agreement: Floats | None
    best: int | None
    sorted_nodes: tuple[int, ...]
    like_sums: bool
    context: tuple[str, ...]
    categories: dict[str, dict[str, int]]

    @property
    def labels(self) -> tuple[str, ...]:
        """(n,) str : the number of each node, and its name if it has one."""
        return tuple(node_text(node, None if name == str(node) else name) for node, name in enumerate(self.names))

    def as_dict(self) -> dict[str, Any]:
        """All attributes as plain Python values, for JSON; None for what is not finite, as JSON has no word for it."""
        fields = {name: _plain(value) for name, value in vars(self).items()}
        fields["costs"] = {
            unit: {name: _plain(values) for name, values in costs._asdict().items()}
            for unit, costs in self.costs.items()
        }
        return fields

    def __str__(self) -> str:
        complete = "" if self.complete == self.requests else f", {self.complete} of them complete"
        nodes = map(self._line, range(len(self.loss)))
        return "\n".join([f"{self.requests} requests{complete}", *nodes, *self.known(), *self.warnings()])

    def known(self) -> list[str]:
        """What is known before any node is consulted, and the categories of nodes, in words."""
        lines = [f"context: {', '.join(self.context)}"] if self.context else []
        for node, counts in self.categories.items():
            shown = [f"{name} {count}" for name, count in list(counts.items())[:_MOST_SHOWN]]
            place = self.names.index(node)
            others = self.consulted[place] - sum(counts.values())
            more = [f"{len(counts) - _MOST_SHOWN} more"] if len(counts) > _MOST_SHOWN else []
            parts = [*shown, *more, *([f"{OTHER} {others}"] if others else [])]
            lines.append(f"categories of node {self.labels[place]}: {', '.join(parts)}")
        return lines

    def _line(self, node: int) -> str:
        parts = [f"node {self.labels[node]}"]
        if self.consulted[node] < self.requests or self.judged[node] < self.requests:
            parts.append(f"{self.consulted[node]} consulted, {self.judged[node]} judged")
        parts.append("cannot answer" if np.isinf(self.loss[node]) else f"loss {self.loss[node]:.4g}")
        for unit, costs in self.costs.items():
            parts.append(f"cost {costs.mean[node]:.4g}{f' {unit}' if unit else ''}, p95 {costs.p95[node]:.4g}")
        if self.agreement is not None and not np.isinf(self.loss[node]):
            parts.append(f"as the last {self.agreement[node]:.1%}")
        return "  ".join([*parts, *(["best"] if node == self.best else [])])

    def warnings(self) -> list[str]:
        """What looks wrong, in words."""
        found = []
        if self.sorted_nodes:
            nodes = ", ".join(self.labels[node] for node in self.sorted_nodes)
            found.append(
                f"rows look sorted: losses differ much between halves (node {nodes}); shuffle before splitting them"
            )
        if self.like_sums:
            found.append(SUMS)
        return found


def summarise(traces: Record) -> Summary:
    """See `Traces.summary`."""
    losses = traces.losses
    known = ~np.isnan(losses)
    answering = [node for node in range(losses.shape[1]) if node not in traces.probes]
    mean = recorded_mean(losses.astype(np.float64))
    mean[list(traces.probes)] = np.inf
    ranked = [node for node in answering if known[:, node].any()]
    costs = {unit: _node_costs(traces, values) for unit, values in traces.unit_costs.items()}
    first = next(iter(costs.values())).mean
    nodes = traces.nodes or tuple(map(str, range(losses.shape[1])))
    return Summary(
        requests=len(traces),
        complete=int(traces.complete.sum()),
        names=nodes,
        consulted=(~np.isnan(traces.signals)).sum(axis=0),
        judged=known.sum(axis=0),
        loss=mean,
        costs=costs,
        agreement=None if traces.predictions is None else _agreement(traces, answering[-1]),
        best=min(ranked, key=lambda node: (mean[node], first[node]), default=None),
        sorted_nodes=tuple(node for node in ranked if _look_sorted(losses[known[:, node], node])),
        like_sums=any(
            values.ndim == 1 and look_like_sums(traces.topology, values) for values in traces.unit_costs.values()
        ),
        context=tuple(traces.context),
        categories={nodes[j]: _counts(traces.signals[:, j], names) for j, names in traces.categories.items()},
    )


def _counts(codes: npt.NDArray[np.float32], names: Names) -> dict[str, int]:
    counts = dict(zip(names, counts_of(codes, names).tolist(), strict=False))
    return dict(sorted(counts.items(), key=lambda item: -item[1]))


def _plain(value: Any) -> Any:
    if not isinstance(value, np.ndarray):
        return value
    return [number if np.isfinite(number) else None for number in value.tolist()]


def _node_costs(traces: Record, costs: Floats) -> NodeCosts:
    recorded = np.where(np.isnan(costs), np.inf, costs)
    reach = np.atleast_2d(cheapest_paths(traces.topology, recorded)[0])
    columns = [column[np.isfinite(column)] for column in reach.T]
    figures = [
        (column.mean(), *np.quantile(column, [0.5, 0.95])) if len(column) else (np.nan,) * 3 for column in columns
    ]
    return NodeCosts(*np.array(figures, np.float64).T)


def _agreement(traces: Record, last: int) -> Floats:
    answers = traces.predictions
    assert answers is not None
    both = ~np.isnan(traces.signals) & (answers >= 0)
    both &= both[:, [last]]
    shares: Floats = recorded_mean(np.where(both, answers == answers[:, [last]], np.nan))
    return shares


def _look_sorted(losses: npt.NDArray[np.float32]) -> bool:
    half = len(losses) // 2
    if half < 2:
        return False
    gap = losses[:half].mean(dtype=np.float64) - losses[half:].mean(dtype=np.float64)
    error = losses.std(dtype=np.float64) * (1 / half + 1 / (len(losses) - half)) ** 0.5
    return bool(abs(gap) > SORTED * error + 1e-12)
