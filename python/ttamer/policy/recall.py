"""What recall is worth."""

from __future__ import annotations

import numpy as np

from ttamer.model import CascadeModel
from ttamer.policy.solve import solve


def price_of_no_recall(model: CascadeModel, tradeoff: float = 0.8) -> float:
    """Value without recall over value with recall, both optimal (T-Tamer, arXiv 2509.22992, section 2).

    No constant bounds it: there are cascades of two nodes for which it is as large as you like.

    Parameters
    ----------
    model : CascadeModel
        A line, skip or dag; its losses are taken as seen when a node is consulted.
    tradeoff : float
        Weight of the loss, in (0, 1].

    Returns
    -------
    float
        At least 1; infinity if only the value with recall is 0, 1 if both are.

    Raises
    ------
    ValueError
        If the model is a forest, where having no recall is not defined.
    """
    without_recall = solve(model, tradeoff, "none").value
    with_recall = solve(model, tradeoff, "observed").value
    if without_recall <= with_recall:  # recall never costs anything: what is less is rounding
        return 1.0
    return without_recall / with_recall if with_recall > 0 else np.inf
