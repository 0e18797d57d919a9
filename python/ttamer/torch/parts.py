"""Stages and exits of a network, and running one with those of a call's keywords that it takes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from inspect import Parameter, signature
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn

from ttamer._base import checks

INPUTS = ("input_ids", "pixel_values")
"""What Hugging Face's libraries call the input of a network, among the keywords of a batch."""


class Network(Protocol):
    """What recording and engines need of `ttamer.torch.EarlyExit`."""

    training: bool
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
    _, names = _arguments(part)
    return names is None or name in names


def unpacked(first: nn.Module, x: Any, keywords: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Input and keywords of a call, which may be a mapping as a tokenizer or an image processor makes it.

    Parameters
    ----------
    first : nn.Module
        The first stage. A mapping is its input, as it is, unless it calls its input by a name that is in `INPUTS` and
        in the mapping.
    x : Any
        None: the input is the keyword that is in `INPUTS`.
    keywords : mapping of str to Any

    Raises
    ------
    TypeError
        If there is no input, or there are several, or a keyword is in the mapping too.
    """
    if x is None:
        names = [name for name in INPUTS if name in keywords]
        if len(names) != 1:
            raise TypeError(
                f"x: expected the input, or one of {' and '.join(INPUTS)} as a keyword, got {listed(keywords)}"
            )
        return keywords[names[0]], {name: value for name, value in keywords.items() if name != names[0]}
    if isinstance(x, Mapping):
        name = getattr(first, "input_name", None) or _arguments(first)[0]
        if name in INPUTS and name in x:
            twice = [key for key in x if key in keywords]
            if twice:
                raise TypeError(f"x: expected a mapping without the keywords of the call, got {listed(twice)} in both")
            return x[name], {**{key: value for key, value in x.items() if key != name}, **keywords}
    return x, dict(keywords)


def listed(names: Iterable[Any]) -> str:
    """Names in a row, for errors."""
    return ", ".join(map(str, names)) or "none"


def _arguments(part: nn.Module) -> tuple[str, frozenset[str] | None]:
    """What a module's `forward` calls its input, and the keywords that it takes; None: any."""
    inner = getattr(part, "_orig_mod", part)  # a compiled module's own forward takes anything
    while isinstance(inner, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
        inner = inner.module
    if isinstance(inner, torch.jit.ScriptModule):  # has a schema in place of a signature
        forward: Any = inner.forward
        _, first, *others = (argument.name for argument in forward.schema.arguments)
        return first, frozenset(others)
    return _arguments_of(type(inner).forward)


@lru_cache(maxsize=1024)
def _arguments_of(forward: Any) -> tuple[str, frozenset[str] | None]:
    """What a function calls what comes after `self`, and the keywords that it takes; None: any."""
    parameters = list(signature(forward).parameters.values())
    first = parameters[1].name if len(parameters) > 1 else ""
    if any(parameter.kind is Parameter.VAR_KEYWORD for parameter in parameters):
        return first, None
    by_name = (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)
    return first, frozenset(parameter.name for parameter in parameters[2:] if parameter.kind in by_name)
