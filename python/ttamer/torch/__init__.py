"""Early exit in PyTorch: batches from which requests leave one by one.

Needs the extra ``ttamer[torch]``; ``import ttamer`` alone never imports PyTorch.
"""

import importlib.util

if importlib.util.find_spec("torch") is None:
    raise ImportError("ttamer.torch needs PyTorch: pip install ttamer[torch]")

from ttamer.torch.decider import Decider
from ttamer.torch.flight import Decision, Flight

__all__ = ["Decider", "Decision", "Flight"]
