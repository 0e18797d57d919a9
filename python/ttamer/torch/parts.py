"""Stages and exits of a network, and running one with those of a call's keywords that it takes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from inspect import Parameter, signature
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn

from ttamer._base import checks


class Network(Protocol):
    """What recording needs of `ttamer.torch.EarlyExit`."""

    stages: nn.ModuleList
    exits: nn.ModuleList

    def to(self, device: torch.device | str) -> Any:
        """As of a module."""

    def eval(self) -> Any:
        """As of a module."""

    def modules(self) -> Iterator[nn.Module]:
        """As of a module."""

    def _device(self) -> torch.device | None: ...
    def _check(self, x: Any, keywords: Mapping[str, Any]) -> tuple[int, torch.device]: ...
    def _parts(self) -> list[tuple[nn.Module, nn.Module]]: ...


def cuts_of(cuts: Sequence[int]) -> list[int]:
    """After how many modules or layers exits stand, as ints; TypeError for anything else."""
    if np.size(cuts) == 0:
        return []
    numbers = checks.integers("cuts", cuts, "a sequence of int")
    if numbers.ndim != 1:
        raise TypeError(f"cuts: expected a sequence of int, got {checks.describe(numbers)}")
    ends: list[int] = numbers.tolist()
    return ends


def set_mode(part: nn.Module, training: bool) -> None:
    """Training or evaluation mode, for all in a module but programs of `torch.export`, which have none."""
    try:
        part.train(training)
    except NotImplementedError:
        for child in part.children():
            set_mode(child, training)


def run(part: nn.Module, hidden: Any, keywords: dict[str, Any]) -> Any:
    """What a module makes of a hidden state."""
    if not keywords:
        return part(hidden)
    return part(hidden, **{name: value for name, value in keywords.items() if takes(part, name)})


def takes(part: nn.Module, name: str) -> bool:
    """Whether a module's `forward` names a keyword, or takes any."""
    inner = getattr(part, "_orig_mod", part)  # a compiled module's own forward takes anything
    if isinstance(inner, torch.jit.ScriptModule):  # has a schema in place of a signature
        forward: Any = inner.forward
        return any(argument.name == name for argument in forward.schema.arguments[2:])
    names = _keywords_of(type(inner).forward)
    return names is None or name in names


@lru_cache(maxsize=1024)
def _keywords_of(forward: Any) -> frozenset[str] | None:
    """Names a function takes as keywords after `self` and the hidden state; None: any."""
    parameters = list(signature(forward).parameters.values())
    if any(parameter.kind is Parameter.VAR_KEYWORD for parameter in parameters):
        return None
    by_name = (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)
    return frozenset(parameter.name for parameter in parameters[2:] if parameter.kind in by_name)
