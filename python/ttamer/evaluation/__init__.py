"""What policies cost and lose on recorded traces: one policy, or a front of trade-offs."""

from ttamer.evaluation.evaluate import Evaluation, evaluate
from ttamer.evaluation.frontier import frontier

__all__ = ["Evaluation", "evaluate", "frontier"]
