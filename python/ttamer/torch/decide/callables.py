"""Signals and losses that are the user's own functions of what an exit gave."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ttamer.torch.decide.flight import describe
from ttamer.traces.signals import check_signal

SignalFunction = Callable[[Tensor], Tensor]
LossFunction = Callable[[Tensor, Any], Tensor]


def check_kind(signal: str | SignalFunction) -> None:
    """Raise unless a signal is a function, or the name of a kind."""
    if not callable(signal):
        check_signal(signal)


def name_of(function: Callable[..., Any]) -> str:
    """Module and qualified name of a function; those of its type for a module or another object that can be called."""
    named = function if hasattr(function, "__qualname__") else type(function)
    return f"{named.__module__}.{named.__qualname__}"


def signal_text(signal: str | SignalFunction) -> str:
    """How a `repr` shows a signal."""
    return repr(signal) if isinstance(signal, str) else name_of(signal)


def column(name: str, function: Callable[..., Tensor], output: Tensor, *others: Any, place: str) -> Tensor:
    """What a function makes of an exit's output: a number a row.

    Nothing here depends on values, so it can be captured in a graph.

    Parameters
    ----------
    name : str
        What errors call it.
    function : callable
        Gets `output` and `others`.
    output : (B, ...) Tensor
    place : str
        Where this is, for errors.

    Returns
    -------
    (B,) float32 Tensor
        On the output's device, without gradients.

    Raises
    ------
    RuntimeError
        If the function raises.
    TypeError, ValueError
        If it gives anything else than (B,) floats on that device.
    """
    try:
        values: object = function(output, *others)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:
        raise RuntimeError(f"{name}: {name_of(function)} raised at {place}: {type(error).__name__}: {error}") from error
    expected = f"({output.shape[0]},) floats on {output.device}, one a row"
    if not isinstance(values, Tensor) or not values.is_floating_point():
        raise TypeError(f"{name}: expected {expected}, at {place}, got {describe(values)}")
    if values.shape != output.shape[:1] or values.device != output.device:
        raise ValueError(f"{name}: expected {expected}, at {place}, got {describe(values)}")
    return values.detach().float()
