"""Rows of nested tensors: what travels from stage to stage may be a tensor, a tuple, a list or a mapping of them.

Whatever is no tensor, or a tensor without dimensions, belongs to no row and travels as it is.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from typing import Any

import torch
from torch import Tensor


def map_tensors(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """The same structure with every tensor that has rows replaced by what `change` makes of it."""
    if isinstance(value, Tensor):
        return change(value) if value.ndim else value
    if isinstance(value, tuple):
        items = [map_tensors(part, change) for part in value]
        return type(value)(*items) if hasattr(value, "_fields") else tuple(items)
    if isinstance(value, list):
        return [map_tensors(part, change) for part in value]
    if isinstance(value, Mapping):
        parts = {key: map_tensors(part, change) for key, part in value.items()}
        if type(value) is dict or not isinstance(value, MutableMapping):
            return parts
        # A mapping of a type of its own, such as a ModelOutput: whoever takes it may ask for attributes.
        mapping = copy.copy(value)
        for key, part in parts.items():
            mapping[key] = part
        return mapping
    return value


def tensors_of(value: Any) -> Iterator[Tensor]:
    """Every tensor that has rows."""
    if isinstance(value, Tensor):
        if value.ndim:
            yield value
    elif isinstance(value, (tuple, list)):
        for part in value:
            yield from tensors_of(part)
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from tensors_of(part)


def select(value: Any, index: Tensor) -> Any:
    """Rows of every tensor; `index` holds their positions."""
    if isinstance(value, Tensor) and value.ndim:  # the usual case, without a closure
        return value.index_select(0, index)
    return map_tensors(value, lambda tensor: tensor.index_select(0, index))


def join(values: Sequence[Any], positions: Sequence[Tensor | None]) -> Any:
    """One below the other, the rows at these positions, None for all, of values that are alike but for their rows."""
    if len(values) == 1:
        return values[0] if positions[0] is None else select(values[0], positions[0])
    if isinstance(values[0], Tensor) and values[0].ndim:
        return _join_tensors(values, positions)
    columns = [tensors_of(value) for value in values]
    return map_tensors(values[0], lambda _: _join_tensors([next(column) for column in columns], positions))


def _join_tensors(tensors: Sequence[Tensor], positions: Sequence[Tensor | None]) -> Tensor:
    pairs = list(zip(tensors, positions, strict=True))
    if all(index is None for index in positions) or not all(tensor.is_contiguous() for tensor in tensors):
        return torch.cat([tensor if index is None else tensor.index_select(0, index) for tensor, index in pairs])
    # Written where it goes, once: on a CPU copying the rows of an early stage can take as long as running it.
    counts = [len(tensor if index is None else index) for tensor, index in pairs]
    rows = tensors[0].new_empty(sum(counts), *tensors[0].shape[1:])
    for part, (tensor, index) in zip(torch.split(rows, counts), pairs, strict=True):
        if index is None:
            part.copy_(tensor)
        else:
            torch.index_select(tensor, 0, index, out=part)
    return rows


def to_device(value: Any, device: torch.device | None) -> Any:
    """Every tensor, moved; None: as it is."""
    if device is None:
        return value
    if isinstance(value, Tensor):
        return value.to(device, non_blocking=True)
    return map_tensors(value, lambda tensor: tensor.to(device, non_blocking=True))


def count_rows(x: Any, keywords: Mapping[str, Any]) -> tuple[int, torch.device]:
    """Number of rows of the input and the device it is on.

    Raises
    ------
    TypeError
        If there is no tensor with rows in `x`.
    ValueError
        If first dimensions or devices disagree.
    """
    first = next(tensors_of(x), None)
    if first is None:
        raise TypeError(f"x: expected a tensor with rows, or a tuple, list or mapping of such, got {type(x).__name__}")
    rows, device = first.shape[0], first.device
    for name, value in (("x", x), *keywords.items()):
        for tensor in tensors_of(value):
            if tensor.shape[0] != rows:
                raise ValueError(
                    f"{name}: expected {rows} rows like the first tensor of x, got {tuple(tensor.shape)}; "
                    "what belongs to no row can be a buffer of the stage that needs it"
                )
            if tensor.device != device:
                raise ValueError(f"{name}: expected a tensor on {device} like x, got one on {tensor.device}")
    return rows, device


def check_hidden(hidden: Any, rows: int, stage: int) -> None:
    """Raise unless what a stage gave has the rows that it got."""
    if isinstance(hidden, Tensor) and hidden.ndim and hidden.shape[0] == rows:
        return
    has_rows = False
    for tensor in tensors_of(hidden):
        has_rows = True
        if tensor.shape[0] != rows:
            raise ValueError(
                f"stage {stage}: expected {rows} rows, one a request, as the first dimension of what it gives, "
                f"got {tuple(tensor.shape)}"
            )
    if not has_rows:
        raise TypeError(f"stage {stage}: expected it to give tensors with rows, got {type(hidden).__name__}")


def check_output(output: Any, rows: int, node: int, like: Tensor | None) -> Tensor:
    """What an exit gave, if it has the rows, and the form and the dtype of those before it; else raise."""
    if not isinstance(output, Tensor):
        raise TypeError(f"exit {node}: expected a ({rows}, C) tensor of logits, got {type(output).__name__}")
    if output.ndim == 0 or output.shape[0] != rows or (like is not None and output.ndim != like.ndim):
        form = f"({rows}, C) logits" if like is None or like.ndim == 2 else f"{like.ndim} dimensions, the first {rows}"
        raise ValueError(f"exit {node}: expected {form}, got {tuple(output.shape)}")
    if like is None:
        return output
    if output.shape[1:] != like.shape[1:]:
        expected, form = f"{(rows, *like.shape[1:])}", f"{tuple(output.shape)}"
        if like.ndim == 2:
            expected, form = f"{like.shape[1]} classes", f"{output.shape[1]}"
        raise ValueError(
            f"exit {node}: expected {expected} like the exits before it, got {form}; all exits answer the same question"
        )
    if output.dtype != like.dtype:
        raise ValueError(
            f"exit {node}: expected {like.dtype} logits like the exits before it, got {output.dtype}; "
            "end every exit with the same dtype"
        )
    return output
