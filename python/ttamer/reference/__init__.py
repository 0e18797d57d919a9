"""The specification: everything ttamer computes, in plain NumPy.

The compiled core, and every other fast path, is tested against this module, and this module against exhaustive
search over all policies. It is written to be read next to the paper (T-Tamer, arXiv 2509.22992), not to be fast.

All values are in units of loss: minimising ``tradeoff * loss + (1 - tradeoff) * cost / cost_scale`` is minimising
``loss + weight * cost`` with ``weight = (1 - tradeoff) / tradeoff / cost_scale``. Losses then do not depend on the
trade-off, only the weighted costs do.
"""

from ttamer.reference.aggregate import aggregate, losses_ahead
from ttamer.reference.decide import Request, decide, replay, start
from ttamer.reference.estimate import coefficients, estimate, features
from ttamer.reference.fitting import (
    curve_fits,
    platt_losses,
    quantile_edges,
    signal_nodes,
    state_losses,
    states,
    transition,
    worst_state,
)
from ttamer.reference.graph import ROOT, STOP, costliest_path, successors
from ttamer.reference.index import Steps, surrogates
from ttamer.reference.levels import SNAP, snap, snap_tolerance
from ttamer.reference.policy import Tables, solve
from ttamer.reference.sets import estimate_sets
from ttamer.reference.signals import signals_from_logits
from ttamer.reference.walk import Induction, induction

__all__ = [
    "ROOT",
    "SNAP",
    "STOP",
    "Induction",
    "Request",
    "Steps",
    "Tables",
    "aggregate",
    "coefficients",
    "costliest_path",
    "curve_fits",
    "decide",
    "estimate",
    "estimate_sets",
    "features",
    "induction",
    "losses_ahead",
    "platt_losses",
    "quantile_edges",
    "replay",
    "signal_nodes",
    "signals_from_logits",
    "snap",
    "snap_tolerance",
    "solve",
    "start",
    "state_losses",
    "states",
    "successors",
    "surrogates",
    "transition",
    "worst_state",
]
