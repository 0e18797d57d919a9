"""Where exits stand among the layers of a network, and what stages of all kinds need."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from torch import Tensor, nn

from ttamer.torch.parts import cuts_of


def ends_of(
    layers: int,
    exits: int,
    cuts: Sequence[int] | None,
    head: bool,
    model: nn.Module,
    words: tuple[str, str] = ("layer", "embeddings"),
) -> list[int]:
    """After how many layers each exit stands, the model's own head included.

    Parameters
    ----------
    layers : int
        Number of them.
    exits : int
        How many are given: one an end, or one fewer if the model's own head is the last.
    cuts : sequence of int or None
        The ends; None: each layer, and with one exit more than that the embeddings.
    head : bool
        Whether the model has a head that is known.
    model : nn.Module
    words : tuple of str
        What a layer is called, and what stands before the first, for the message as the model is.

    Raises
    ------
    TypeError
        If the cuts are no ints.
    ValueError
        If they do not fit the layers or the exits.
    """
    layer, start = words
    no_head = "" if head else f"; {type(model).__name__} has no head of its own that is known"
    if cuts is None:
        if exits == layers - 1 and head:
            return list(range(1, layers + 1))
        if exits not in (layers, layers + 1):
            own = f", or {layers - 1} and the model's own head as the last" if head else ""
            raise ValueError(
                f"exits: expected {layers}, one a {layer}, or {layers + 1} with one after the {start}{own}, got {exits}"
                f"{no_head if exits < layers else ''}; or say in cuts after how many {layer}s each stands"
            )
        return list(range(layers + 1 - exits, layers + 1))
    ends = cuts_of(cuts)
    own_head = head and exits == len(ends) - 1
    if exits != len(ends) and not own_head:
        own = f", or {exits + 1} and the model's own head as the last" if head else ""
        raise ValueError(
            f"cuts: expected {exits}, one an exit{own}, got {len(ends)}{no_head if exits < len(ends) else ''}"
        )
    if not ends or ends[0] < 0 or ends[-1] > layers or any(a >= b for a, b in pairwise(ends)):
        raise ValueError(f"cuts: expected rising numbers of {layer}s from 0 to {layers}, got {ends}")
    if own_head and ends[-1] != layers:
        raise ValueError(
            f"cuts: expected {layers} as the last, where the model's own head stands, got {ends[-1]}; "
            "or give an exit for each"
        )
    return ends


def check_plain(model: nn.Module) -> None:
    """Raise if something hangs on a model itself that would be lost when it is cut."""
    if "forward" in vars(model) or model._forward_hooks or model._forward_pre_hooks:
        raise TypeError(
            f"model: expected one without hooks or a forward of its own, got a {type(model).__name__} with some, "
            "which would be lost; put what they do into a stage or an exit"
        )


def shell(module: Any, *keep: str) -> Any:
    """A module without its parts, but for those named: for its methods. What is kept is shared, not copied."""
    copy = object.__new__(type(module))
    copy.__dict__.update(module.__dict__)
    for kind in ("_modules", "_parameters", "_buffers"):
        copy.__dict__[kind] = {name: part for name, part in getattr(module, kind).items() if name in keep}
    return copy


def module_at(model: nn.Module, paths: Sequence[str]) -> nn.ModuleList:
    """The list of modules at the first path that exists."""
    for path in paths:
        try:
            found = model.get_submodule(path)
        except AttributeError:
            continue
        if isinstance(found, nn.ModuleList):
            return found
    raise TypeError(f"model: expected layers at {' or '.join(paths)} of a {type(model).__name__}, found none")


def attention_of(config: Any) -> str:
    """How a model computes attention; ValueError unless it takes masks and biases as they are made here."""
    attention = getattr(config, "_attn_implementation", "eager") or "eager"
    if attention not in ("eager", "sdpa"):
        raise ValueError(
            f"model: expected attention 'eager' or 'sdpa', got {attention!r}, which takes other masks; "
            "load it with attn_implementation='sdpa'"
        )
    return str(attention)


def first(output: Any) -> Tensor:
    """Hidden states of what a layer gives: a tensor in new versions of transformers, first of a tuple in older ones."""
    hidden: Tensor = output[0] if isinstance(output, tuple) else output
    return hidden


def check_tensor(x: Any, name: str, rest: str) -> None:
    """Raise for what is no tensor, such as a tuple, or a mapping that has no input of this name."""
    if not isinstance(x, Tensor):
        raise TypeError(f"x: expected a tensor, got {type(x).__name__}; pass its {name!r}, {rest}")
