"""The loss that trains all exits together."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional


def joint_loss(logits: Sequence[Tensor], labels: Tensor, weights: Sequence[float] | None = None) -> Tensor:
    """Weighted mean of the cross-entropies of all exits.

    Parameters
    ----------
    logits : sequence of (B, C) Tensor
        One an exit: what `EarlyExit` returns in training mode. C >= 2.
    labels : (B,) integer Tensor
    weights : sequence of float, optional
        Weight of each exit, finite and not negative, at least one of them positive. Default: all equal.

    Returns
    -------
    () Tensor
        float32, or float64 for float64 logits; autocast does not lower it.

    Raises
    ------
    TypeError
        If the labels are no integers.
    ValueError
        If there are no logits or fewer than two classes, shapes disagree, or the weights are not one an exit or out of
        range.

    Notes
    -----
    sum_j w_j CE(logits_j, labels) / sum_j w_j. The weights are normalised, so that they change what is learned where,
    not the size of the steps.
    """
    if len(logits) == 0:
        raise ValueError("logits: expected one (B, C) tensor an exit, got none")
    for node, tensor in enumerate(logits):
        if tensor.ndim != 2 or tensor.shape != logits[0].shape:
            expected = "(B, C)" if node == 0 else f"{tuple(logits[0].shape)} like exit 0"
            raise ValueError(f"logits: expected {expected} from exit {node}, got {tuple(tensor.shape)}")
    if logits[0].shape[1] < 2:
        # The softmax of one logit is 1, whatever it is: nothing would be learned.
        raise ValueError(
            f"logits: expected C >= 2 classes, got {tuple(logits[0].shape)}; a binary exit with one logit z answers as "
            "(0, z): torch.cat([torch.zeros_like(z), z], dim=1)"
        )
    if labels.shape != logits[0].shape[:1]:
        raise ValueError(f"labels: expected ({len(logits[0])},) like logits, got {tuple(labels.shape)}")
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise TypeError(
            f"labels: expected integers, got {str(labels.dtype).removeprefix('torch.')}; numbers of classes"
        )
    shares = _shares(weights, len(logits))
    target = labels.long()
    losses = [functional.cross_entropy(_wide(tensor), target) for tensor in logits]
    return torch.stack([share * loss for share, loss in zip(shares, losses, strict=True)]).sum()


def _wide(logits: Tensor) -> Tensor:
    return logits if logits.dtype == torch.float64 else logits.float()


def _shares(weights: Sequence[float] | None, exits: int) -> list[float]:
    if weights is None:
        return [1.0 / exits] * exits
    numbers = [float(weight) for weight in weights]
    if len(numbers) != exits:
        raise ValueError(f"weights: expected {exits}, one an exit, got {len(numbers)}")
    if not all(math.isfinite(weight) and weight >= 0 for weight in numbers) or sum(numbers) == 0:
        raise ValueError(f"weights: expected finite numbers >= 0, one of them positive, got {numbers}")
    total = sum(numbers)
    return [weight / total for weight in numbers]
