"""What a model becomes while some of its nodes give nothing."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from ttamer._base import checks
from ttamer._base.types import Floats
from ttamer._core import Transition
from ttamer.model.costs import EdgeCosts
from ttamer.model.model import CascadeModel
from ttamer.model.set_estimators import SetEstimator


def failing(model: CascadeModel, nodes: Collection[int]) -> CascadeModel:
    """The same cascade while these nodes give nothing.

    On a line they are consulted and paid all the same: a silent node keeps the state that was known before it, and
    whoever stops there returns the answer that was there before. What follows is expected from that state: P(s'' | s) =
    sum over s' of P(s' | s) P(s'' | s'). Before the first node that speaks nothing is known, and nothing can be
    returned. Of independent models the silent ones are not asked.

    Parameters
    ----------
    model : CascadeModel
        Of a line, whose states are bins of signals, or of independent models (`Traces.from_models`).
    nodes : collection of int
        Of the traces.

    Raises
    ------
    ValueError
        If the model is another one, or nothing would be left that can answer.
    IndexError
        If a node is out of range.
    """
    checks.instance("model", model, CascadeModel)
    estimator = model.estimator
    if isinstance(estimator, SetEstimator) and estimator.independent:
        silent = {checks.place("nodes", node, estimator.topology.nodes) for node in nodes}
        steps = zip(model.losses, estimator.walk.sets, strict=True)
        closed = [
            losses if silent.isdisjoint(consulted) else np.full_like(losses, np.inf) for losses, consulted in steps
        ]
        if not any(np.isfinite(losses).any() for losses in closed):
            raise ValueError("nodes: expected one that can answer to be left, got all of them")
        return _changed(model, closed, model._transitions, model.unit_costs, model.bin_edges, model.signal_nodes)
    if model.topology.kind != "line" or estimator is not None:
        shape = f"a {model.topology.kind}" if estimator is None else f"estimate={estimator.kind!r}"
        raise ValueError(f"model: expected a line of plain signals, or independent models, got {shape}")
    silent = {checks.place("nodes", node, model.topology.nodes) for node in nodes}
    if len(silent) == model.topology.nodes:
        raise ValueError("nodes: expected one that can answer to be left, got all of them")
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
    return _changed(model, losses, transitions, costs, edges, sources)


def _changed(
    model: CascadeModel,
    losses: Sequence[Floats],
    transitions: Sequence[Transition],
    costs: Mapping[str, EdgeCosts],
    edges: Sequence[npt.NDArray[np.float32]],
    sources: Sequence[int],
) -> CascadeModel:
    categories = {node: names for node, names in model.categories.items() if edges[node] is model.bin_edges[node]}
    made = CascadeModel.__new__(CascadeModel)
    tables = (model.topology, losses, transitions, costs, edges, sources, model._cost_scale)
    kinds = (model.observed, model.signal, model.recorded_signal, None, model.estimator)
    made._set(*tables, *kinds, categories, model.nodes, model.classes)
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
