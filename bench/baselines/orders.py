"""In which order to walk models that are independent: chosen on calibration rows."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from baselines.supermodels import check_roots
from ttamer._base import checks
from ttamer._base.hull import lower_hull
from ttamer.baselines.settings import Setting, fixed_node
from ttamer.traces import Traces

MOST_NODES = 6
"""Models of which every order of every subset is tried: 1956 at six."""

Method = Callable[[Traces], Sequence[Setting]]


def line_through(traces: Traces, order: Sequence[int]) -> Traces:
    """The line that consults independent models in an order, each at its own cost.

    Parameters
    ----------
    traces : Traces
        On a forest in which every node is a root.
    order : sequence of int
        Models, each at most once.

    Raises
    ------
    ValueError
        If there is a node that is not a root, or a model is named twice.
    IndexError
        If a model is out of range.
    """
    check_roots(traces)
    nodes = checks.integers("order", list(order), "(m,) integers")
    if (outside := (nodes < 0) | (nodes >= traces.topology.nodes)).any():
        raise IndexError(f"order: {nodes[outside][0]} is out of range for {traces.topology.nodes} nodes")
    return traces.path(nodes, traces.costs[nodes])


def budget_error(settings: Sequence[Setting], traces: Traces, budgets: npt.ArrayLike) -> float:
    """Mean error over budgets of the best mixtures of settings and "always the first node", on the traces themselves.

    Parameters
    ----------
    settings : sequence of Setting
    traces : Traces
        The calibration rows the settings were made from, on a line.
    budgets : (L,) float
        In the unit of the costs; one below the cheapest setting has error 1.
    """
    results = [setting.replay(traces) for setting in settings] + [fixed_node(traces, 0)]
    cost = np.array([result.mean_cost for result in results])
    error = np.array([result.error for result in results])
    hull = lower_hull(cost, error)
    limits = np.asarray(budgets, dtype=np.float64)
    return float(np.where(limits < cost[hull[0]], 1.0, np.interp(limits, cost[hull], error[hull])).mean())


def best_order(
    traces: Traces, method: Method, budgets: npt.ArrayLike, *, rows: int = 2500, keep: int = 16, seed: int = 0
) -> tuple[int, ...]:
    """The subset of independent models, and their order, in which a method for lines does best over some budgets.

    Every order of every subset is ranked on some rows, the best `keep` on all rows.

    Parameters
    ----------
    traces : Traces
        Calibration rows, on a forest of at most 6 nodes, all of them roots.
    method : callable
        Takes traces on a line, returns settings; one with few settings ranks as well as one with many.
    budgets : (L,) float
        As for `budget_error`, which is what is compared.
    rows : int
        How many rows of the first ranking, drawn without replacement.
    keep : int
        How many orders are ranked on all rows, at least 1.
    seed : int
        Of the draw.

    Returns
    -------
    tuple of int
        Models in the order they are consulted. Of equal orders the shortest, then the first.

    Raises
    ------
    ValueError
        If there is a node that is not a root, or there are more than 6 nodes.
    """
    check_roots(traces)
    nodes = traces.topology.nodes
    if nodes > MOST_NODES:
        raise ValueError(f"traces: best_order tries all orders of at most {MOST_NODES} models, got {nodes}")
    sample_size, most = checks.whole("rows", rows, 1), checks.whole("keep", keep, 1)
    orders = [order for count in range(1, nodes + 1) for order in itertools.permutations(range(nodes), count)]
    if sample_size < len(traces):
        some = traces[np.random.default_rng(seed).permutation(len(traces))[:sample_size]]
        orders = _ranked(some, orders, method, budgets)[:most]
        # What is equal on all rows is decided as if all orders had come this far.
        orders.sort(key=lambda order: (len(order), order))
    return _ranked(traces, orders, method, budgets)[0]


def _ranked(
    traces: Traces, orders: Sequence[tuple[int, ...]], method: Method, budgets: npt.ArrayLike
) -> list[tuple[int, ...]]:
    lines = (line_through(traces, order) for order in orders)
    errors = [budget_error(method(line), line, budgets) for line in lines]
    return [orders[k] for k in np.argsort(errors, kind="stable").tolist()]
