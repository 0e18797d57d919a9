"""Policies for a service level, certified on rows that were held back."""

from ttamer.tuning.certificate import Certificate, certify, relative_to_last, tune
from ttamer.tuning.trial import InfeasibleError, Step, Trial, testing_order

__all__ = ["Certificate", "InfeasibleError", "Step", "Trial", "certify", "relative_to_last", "testing_order", "tune"]
