"""Early exit in PyTorch: batches from which requests leave one by one.

Needs the extra ``ttamer[torch]``; ``import ttamer`` alone never imports PyTorch.
"""

import importlib.util

if importlib.util.find_spec("torch") is None:
    raise ImportError('ttamer.torch needs PyTorch: pip install "ttamer[torch]"')

from ttamer.torch.decide.decider import Decider
from ttamer.torch.decide.flight import Decision, Flight
from ttamer.torch.early_exit import EarlyExit
from ttamer.torch.loss import distillation_loss, joint_loss
from ttamer.torch.output import ExitOutput
from ttamer.torch.serve.engine import Engine
from ttamer.torch.trainer import ForTrainer
from ttamer.torch.wrap.heads import PooledExit

__all__ = [
    "Decider",
    "Decision",
    "EarlyExit",
    "Engine",
    "ExitOutput",
    "Flight",
    "ForTrainer",
    "PooledExit",
    "distillation_loss",
    "joint_loss",
]
