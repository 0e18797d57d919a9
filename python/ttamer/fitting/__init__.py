"""From traces to a model."""

from ttamer.fitting.fit import fit

__all__ = ["fit"]
