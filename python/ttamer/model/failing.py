"""What a model of a line becomes while some of its nodes give nothing."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import numpy.typing as npt

from ttamer._base import checks
from ttamer._base.types import Floats
from ttamer._core import Transition
from ttamer.model.costs import EdgeCosts
from ttamer.model.model import CascadeModel


def failing(model: CascadeModel, nodes: Collection[int]) -> CascadeModel:
    """The same line while these nodes are consulted, paid and silent.

    A silent node keeps the state that was known before it, and whoever stops there returns the answer that was there
    before; what follows is expected from that state: P(s'' | s) = sum over s' of P(s' | s) P(s'' | s'). Before the
    first node that speaks nothing is known, and nothing can be returned.

    Parameters
    ----------
    model : CascadeModel
        Of a line, whose states are bins of signals.
    nodes : collection of int

    Raises
    ------
    ValueError
        If the model is another one, or no node would be left.
    IndexError
        If a node is out of range.
    """
    checks.instance("model", model, CascadeModel)
    if model.topology.kind != "line" or model.estimator is not None:
        shape = f"a {model.topology.kind}" if model.estimator is None else f"estimate={model.estimator.kind!r}"
        raise ValueError(f"model: expected a line of plain signals, got {shape}")
    silent = {checks.place("nodes", node, model.topology.nodes) for node in nodes}
    if len(silent) == model.topology.nodes:
        raise ValueError("nodes: expected one that is left, got all of them")
    losses: list[Floats] = []
    transitions: list[Transition] = []
    edges: list[npt.NDArray[np.float32]] = []
    sources: list[int] = []
    spoken = -1  # whose signal tells the state that is known
    known = np.ones((1, 1))  # probabilities of a node's own states, given the state that is known
    shares = [known]  # of each node's states, given those that its edge leaves in the model that is made
    for node, matrix in enumerate(model.transitions):
        source = model.signal_nodes[node]
        same = source == spoken  # one signal tells the state of both
        known = np.eye(len(known)) if same else known @ matrix
        if node not in silent and source not in silent:
            losses.append(model.losses[node])
            transitions.append(Transition.dense(known))
            edges.append(model.bin_edges[node])
            sources.append(source)
            spoken = source
            known = np.eye(known.shape[1])
        else:
            # The state stays the one that was known, which the expected loss of an own answer depends on too.
            losses.append(_kept_losses(losses) if node in silent else known @ model.losses[node])
            transitions.append(Transition.dense(np.eye(len(known))))
            edges.append(edges[-1] if edges else np.empty(0, np.float32))
            sources.append(sources[-1] if sources else node)
        shares.append(known)
    costs = {unit: _expected_costs(each, shares) for unit, each in model.unit_costs.items()}
    categories = {
        node: names for node, names in model.categories.items() if sources[node] == node and node not in silent
    }
    made = CascadeModel.__new__(CascadeModel)
    tables = (model.topology, losses, transitions, costs, edges, sources, model._cost_scale)
    made._set(*tables, model.observed, model.signal, model.recorded_signal, None, None, categories, model.nodes)
    return made


def _expected_costs(costs: EdgeCosts, shares: list[Floats]) -> EdgeCosts:
    """By what is known before each edge, where costs differ by the state of the node that it leaves."""
    if costs.states is None:
        return costs
    return EdgeCosts.of(
        costs.mean,
        [share @ row if len(row) > 1 else row for share, row in zip(shares, costs.states, strict=False)],
    )


def _kept_losses(losses: list[Floats]) -> Floats:
    return losses[-1] if losses else np.array([np.inf])
