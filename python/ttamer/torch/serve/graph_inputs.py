"""What captured graphs depend on: the kind of input, and where a model's parameters and buffers lie."""

from __future__ import annotations

import enum
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

_PLAIN = (type(None), bool, int, float, str, enum.Enum, torch.dtype, torch.device)


def kind_of(value: Any, name: str = "capture") -> Hashable:
    """What has to be alike for rows to be run together, or by one graph: shapes but for the rows, dtypes, plain values.

    Raises
    ------
    TypeError
        For anything else, which might change unseen; the message begins with the name.
    """
    if isinstance(value, Tensor) and value.ndim:
        return value.shape[1:], value.dtype
    if isinstance(value, (tuple, list)):
        return type(value), tuple(kind_of(part, name) for part in value)
    if isinstance(value, Mapping):
        return type(value), tuple((key, kind_of(part, name)) for key, part in value.items())
    if isinstance(value, _PLAIN):
        return type(value), value
    kind = "a tensor without dimensions" if isinstance(value, Tensor) else type(value).__name__
    raise TypeError(
        f"{name}: expected tensors with rows, plain values, or tuples, lists and mappings of them, from the caller and "
        f"from stages, got {kind}; it might change unseen"
    )


class Places:
    """Where the parameters and buffers of a model lie, which graphs read there.

    They are kept until the graphs are gone, also if the model has others by then.

    Parameters
    ----------
    parts : list of tuples of nn.Module
        Stage and exit of each node, and a signal that is a module.
    """

    def __init__(self, parts: Sequence[tuple[nn.Module, ...]]) -> None:
        self._parts = parts
        modules = {id(module): module for part in parts for whole in part for module in whole.modules()}
        self._slots = [
            (slots, name)
            for module in modules.values()
            for slots in (module._parameters, module._buffers)
            for name in slots
        ]
        # The tensors themselves, and what they hold now: `tensor.data` may be given another memory.
        self._references = [(tensor, None if tensor is None else tensor.detach()) for tensor in self._tensors()]
        self._at = self._addresses()

    def are_left(self, parts: Sequence[tuple[nn.Module, ...]]) -> bool:
        """Whether stages, exits, or anything that they read are others by now."""
        same = all(a is b for old, new in zip(self._parts, parts, strict=True) for a, b in zip(old, new, strict=True))
        return not same or self._addresses() != self._at

    def _tensors(self) -> list[Tensor | None]:
        return [slots.get(name) for slots, name in self._slots]

    def _addresses(self) -> list[int]:
        return [0 if tensor is None else _address_of(tensor) for tensor in self._tensors()]


def _address_of(tensor: Tensor) -> int:
    try:
        return tensor.data_ptr()
    except RuntimeError:  # of a subclass that wraps others, such as quantised weights
        return id(tensor)
