"""Policies: solved, looked up, replayed, and kept as a front of trade-offs."""

from ttamer.policy.front import Front, FrontPoint, Mixture
from ttamer.policy.guarantee import Guarantee
from ttamer.policy.policy import Policy
from ttamer.policy.recall import price_of_no_recall
from ttamer.policy.replay import Replay
from ttamer.policy.solve import solve

__all__ = ["Front", "FrontPoint", "Guarantee", "Mixture", "Policy", "Replay", "price_of_no_recall", "solve"]
