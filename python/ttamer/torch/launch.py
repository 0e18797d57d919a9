"""Launching a compiled kernel again, without asking Triton which one it is.

`kernel[grid](...)` looks at every argument, and at every global constant that the kernel reads, to find what it
compiled before. On the host that takes longer than deciding takes on the device, and small batches wait for the host.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

_ALIGNMENT = 16
"""Bytes: Triton compiles other loads for pointers that are no multiples of it."""


def on_device(device: torch.device) -> AbstractContextManager[object]:
    """Triton launches on the current device, whatever the tensors' own."""
    if device.type != "cuda" or device.index == torch.cuda.current_device():
        return nullcontext()
    return torch.cuda.device(device)


class Launcher:
    """A kernel for calls that are all alike to Triton.

    These are on one device, with tensors of the same dtypes, and with the same integers wherever Triton specialises to
    them (1, multiples of 16, more than 32 bits). Whether tensors are aligned is looked at in every call.

    Parameters
    ----------
    kernel : triton.JITFunction
    constants : mapping
        Its constants, which come after tensors and integers, in their order.
    warps : int
        Of a program.
    """

    def __init__(self, kernel: Any, constants: Mapping[str, Any], warps: int) -> None:
        self._kernel, self._constants, self._warps = kernel, constants, warps
        self._values = tuple(constants.values())
        self._compiled: Any = None

    def __call__(self, programs: int, tensors: tuple[Tensor, ...], integers: tuple[int, ...]) -> None:
        """Launch so many programs on the current device and stream, with its arguments in their order."""
        addresses = 0
        for tensor in tensors:
            addresses |= tensor.data_ptr()
        aligned = addresses % _ALIGNMENT == 0
        if aligned and self._compiled is not None:
            self._compiled[(programs, 1, 1)](*tensors, *integers, *self._values)
            return
        compiled = self._kernel[(programs,)](*tensors, *integers, **self._constants, num_warps=self._warps)
        if aligned:
            self._compiled = compiled  # None from the interpreter, which compiles nothing
