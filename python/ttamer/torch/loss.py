"""Losses that train all exits together."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from ttamer._base import checks

NO_LABEL = -100
"""What PyTorch's losses ignore, too."""


def joint_loss(logits: Sequence[Tensor], labels: Tensor, weights: Sequence[float] | None = None) -> Tensor:
    """Weighted mean of the cross-entropies of all exits.

    Parameters
    ----------
    logits : sequence of (B, C) Tensor
        One an exit: what `EarlyExit` returns in training mode. C >= 2.
    labels : (B,) integer Tensor
        -100 for requests without one, which are left out.
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
    not the size of the steps. CE is the mean over the requests that have a label; 0, with gradients of 0, if none has.
    """
    _check_logits(logits)
    _check_labels(labels, logits[0])
    shares = _shares(weights, len(logits))
    return _summed(shares, [_cross_entropy(_wide(tensor), labels.long()) for tensor in logits])


def distillation_loss(
    logits: Sequence[Tensor],
    labels: Tensor | None = None,
    *,
    weights: Sequence[float] | None = None,
    temperature: float = 4.0,
    share: float = 0.5,
) -> Tensor:
    """As `joint_loss`, and earlier exits also learn what the last one says, with or without labels.

    Parameters
    ----------
    logits : sequence of (B, C) Tensor
        One an exit, at least two: what `EarlyExit` returns in training mode. C >= 2.
    labels : (B,) integer Tensor, optional
        -100 for requests without one, from which earlier exits learn what the last one says, and nothing else. Default:
        none has a label.
    weights : sequence of float, optional
        As for `joint_loss`.
    temperature : float
        What logits are divided by before they are compared, positive: the larger, the more counts what the last exit
        says of classes that it takes to be wrong.
    share : float
        Of what the last exit says, from 0 to 1; 0 is `joint_loss`.

    Returns
    -------
    () Tensor
        float32, or float64 for float64 logits; autocast does not lower it.

    Raises
    ------
    TypeError
        If the labels are no integers, or a number is none.
    ValueError
        If there are fewer than two exits or classes, shapes disagree, the weights are not one an exit, or a number is
        out of range.

    Notes
    -----
    With n exits, T the temperature and p_j = softmax(logits_j / T)::

        ((1 - share) * sum_j w_j CE(logits_j, labels) + share * T^2 * sum_{j < n-1} w_j H(p_{n-1}, p_j)) / sum_j w_j

    CE is as in `joint_loss`. H(p, q) = -sum_c p_c log q_c is the mean over all requests, and no gradient flows through
    p_{n-1}: the last exit learns from labels alone. T^2 keeps gradients as large as without a temperature. With equal
    weights this is n times smaller than the loss of Phuong & Lampert, "Distillation-Based Training for Multi-Exit
    Architectures" (ICCV 2019), whose code has the same defaults for a constant temperature.
    """
    _check_logits(logits)
    if len(logits) < 2:
        raise ValueError(f"logits: expected at least two exits, the last of which teaches, got {len(logits)}")
    if labels is not None:
        _check_labels(labels, logits[0])
    if not 0 < checks.real("temperature", temperature) < math.inf:
        raise ValueError(f"temperature: expected a finite number > 0, got {temperature}")
    if not 0 <= checks.real("share", share) <= 1:
        raise ValueError(f"share: expected a number from 0 to 1, got {share}")
    if labels is None and share == 0:
        raise ValueError("share: expected one above 0 without labels, for nothing would be learned, got 0")
    shares = _shares(weights, len(logits))
    wide = [_wide(tensor) for tensor in logits]
    teacher = (wide[-1].detach() / temperature).softmax(dim=1)
    lessons = [_lesson(tensor / temperature, teacher) for tensor in wide[:-1]]
    loss = share * temperature**2 * _summed(shares[:-1], lessons)
    if labels is None:
        return loss
    return loss + (1 - share) * _summed(shares, [_cross_entropy(tensor, labels.long()) for tensor in wide])


def _lesson(logits: Tensor, teacher: Tensor) -> Tensor:
    """Mean cross-entropy with the teacher's probabilities; classes that are impossible for it teach nothing."""
    terms = teacher * logits.log_softmax(dim=1).masked_fill(teacher == 0, 0)
    return -terms.sum() / max(len(logits), 1)


def _check_logits(logits: Sequence[Tensor]) -> None:
    """Raise unless there are logits of at least two classes, as many of every exit."""
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


def _check_labels(labels: Tensor, logits: Tensor) -> None:
    """Raise unless labels are integers, one a row of the logits."""
    if labels.shape != logits.shape[:1]:
        raise ValueError(f"labels: expected ({len(logits)},) like logits, got {tuple(labels.shape)}")
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise TypeError(
            f"labels: expected integers, got {str(labels.dtype).removeprefix('torch.')}; numbers of classes"
        )


def _cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean over the requests that have a label; 0 if none has, where PyTorch's mean is NaN."""
    total = functional.cross_entropy(logits, labels, reduction="sum", ignore_index=NO_LABEL)
    return total / (labels != NO_LABEL).sum().clamp(min=1)


def _summed(shares: Sequence[float], losses: Sequence[Tensor]) -> Tensor:
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
