"""Optimal early-exit policies for cascades of models.

Traces become a model, a model and a trade-off become a policy, a policy decides batches. See the README for the path
from recorded signals to a serving loop, and `ttamer.reference` for the mathematics.
"""

from importlib import import_module as _import_module
from types import ModuleType as _ModuleType

from ttamer._base.types import STOP
from ttamer._core import Batch, Topology, __version__
from ttamer.evaluation import Evaluation, evaluate, frontier
from ttamer.fitting import fit
from ttamer.model import CascadeModel
from ttamer.policy import Front, FrontPoint, Mixture, Policy, Replay, price_of_no_recall, solve
from ttamer.traces import Evidence, Traces
from ttamer.tuning import InfeasibleError, tune

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

_ON_FIRST_TOUCH = ("baselines", "compare", "data", "plots", "reference", "torch")


def __getattr__(name: str) -> _ModuleType:
    """Parts that not every program needs, imported when they are first touched."""
    if name in _ON_FIRST_TOUCH:
        return _import_module(f"ttamer.{name}")
    raise AttributeError(f"module 'ttamer' has no attribute {name!r}")


def __dir__() -> list[str]:
    """Public names only: rooms of the package are reached by their paths."""
    return sorted([*__all__, *_ON_FIRST_TOUCH, "tuning"])
