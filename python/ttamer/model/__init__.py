"""What a solver needs to know of a cascade: states, their losses, transitions and costs; and estimators of losses."""

from ttamer.model.model import CascadeModel

__all__ = ["CascadeModel"]
