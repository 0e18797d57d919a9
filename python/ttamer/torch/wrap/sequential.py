"""Sequential models cut into stages."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import nn

from ttamer.torch.parts import cuts_of


def cut_sequential(
    model: nn.Sequential, cuts: Sequence[int], exits: Sequence[nn.Module]
) -> tuple[list[nn.Module], list[nn.Module]]:
    """Stages of a sequential model, and an exit for each; see `EarlyExit.from_sequential`."""
    if not isinstance(model, nn.Sequential):
        raise TypeError(f"model: expected an nn.Sequential, got {type(model).__name__}")
    ends = cuts_of(cuts)
    bounds = [0, *ends]
    if not ends or ends[-1] > len(model) or any(a >= b for a, b in pairwise(bounds)):
        raise ValueError(f"cuts: expected rising numbers of modules from 1 to {len(model)}, got {ends}")
    heads = list(exits)
    if ends[-1] < len(model):
        if len(heads) != len(ends) - 1:
            raise ValueError(
                f"exits: expected {len(ends) - 1}, the last being the {len(model) - ends[-1]} modules after the "
                f"last cut, got {len(heads)}; to leave those out, pass model[:{ends[-1]}]"
            )
        heads.append(model[ends[-1] :])
    return [model[a:b] for a, b in pairwise(bounds)], heads
