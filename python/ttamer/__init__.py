"""Optimal early-exit policies for cascades of models.

Traces become a model, a model and a trade-off become a policy, a policy decides batches. See the README for the path
from recorded signals to a serving loop, and `ttamer.reference` for the mathematics.
"""

from ttamer._core import Batch, Topology, __version__
from ttamer.evaluate import Evaluation, Replay, evaluate
from ttamer.fit import fit
from ttamer.frontier import Front, FrontPoint, frontier
from ttamer.mixture import Mixture
from ttamer.model import CascadeModel
from ttamer.policy import Policy
from ttamer.recall import price_of_no_recall
from ttamer.solve import solve
from ttamer.traces import Evidence, Traces
from ttamer.tuning import InfeasibleError, tune

STOP = -1
"""What `Batch.decide` returns for a row that consults nothing more."""

__all__ = [
    "STOP",
    "Batch",
    "CascadeModel",
    "Evaluation",
    "Evidence",
    "Front",
    "FrontPoint",
    "InfeasibleError",
    "Mixture",
    "Policy",
    "Replay",
    "Topology",
    "Traces",
    "__version__",
    "evaluate",
    "fit",
    "frontier",
    "price_of_no_recall",
    "solve",
    "tune",
]
