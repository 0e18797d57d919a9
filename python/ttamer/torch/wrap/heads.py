"""Exits of encoders: one to train, and the heads that fine-tuned models have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


class PooledExit(nn.Module):
    """An exit for an encoder: pool the tokens, then a linear layer.

    Parameters
    ----------
    width : int
        Of the hidden states.
    classes : int
    pool : {"mean", "first"}
        The mean over tokens that are not masked, or the first token.

    Raises
    ------
    ValueError
        If `pool` is unknown.
    """

    def __init__(self, width: int, classes: int, pool: str = "mean") -> None:
        super().__init__()
        if pool not in ("mean", "first"):
            raise ValueError(f"pool: expected 'mean' or 'first', got {pool!r}")
        self.pool = pool
        self.linear = nn.Linear(width, classes)

    def forward(self, hidden: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """Logits (B, classes) of hidden states (B, T, width)."""
        if self.pool == "first":
            features = hidden[:, 0]
        elif attention_mask is None:
            features = hidden.mean(dim=1)
        else:
            # In float32: sums of many tokens may be more than half precision holds.
            weights = attention_mask.float()[:, :, None]
            features = ((hidden.float() * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1)).to(hidden.dtype)
        logits: Tensor = self.linear(features)
        return logits


class Token(nn.Module):
    """One token's hidden states."""

    def __init__(self, place: int = 0) -> None:
        super().__init__()
        self.place = place

    def forward(self, hidden: Tensor) -> Tensor:
        """(B, width) of (B, T, width)."""
        return hidden[:, self.place]


class Mean(nn.Module):
    """The mean over tokens, without those before some place; maybe after the first token."""

    def __init__(self, start: int, beside_first: bool = False) -> None:
        super().__init__()
        self.start = start
        self.beside_first = beside_first

    def forward(self, hidden: Tensor) -> Tensor:
        """(B, width) of (B, T, width), or (B, 2 width)."""
        mean = hidden[:, self.start :].mean(dim=1)
        return torch.cat([hidden[:, 0], mean], dim=1) if self.beside_first else mean


class MaskedMean(nn.Module):
    """ModernBERT's head over the mean of the tokens that are not masked."""

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.head = head

    def forward(self, hidden: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """Logits (B, classes) of hidden states (B, T, width)."""
        mask = hidden.new_ones(hidden.shape[:2]) if attention_mask is None else attention_mask
        logits: Tensor = self.head((hidden * mask[:, :, None]).sum(dim=1) / mask.sum(dim=1, keepdim=True))
        return logits


class Halves(nn.Module):
    """The mean of two heads' logits."""

    def __init__(self, one: nn.Module, other: nn.Module) -> None:
        super().__init__()
        self.one = one
        self.other = other

    def forward(self, hidden: Tensor) -> Tensor:
        """Logits (B, classes) of hidden states (B, T, width)."""
        logits: Tensor = (self.one(hidden) + self.other(hidden)) / 2
        return logits


def _modern(model: Any) -> nn.Module:
    head = nn.Sequential(model.head, model.drop, model.classifier)
    return MaskedMean(head) if model.config.classifier_pooling == "mean" else nn.Sequential(Token(), *head)


def _deit(model: Any) -> nn.Module:
    return Halves(nn.Sequential(Token(), model.cls_classifier), nn.Sequential(Token(1), model.distillation_classifier))


# In a Sequential, whose forward names no keywords, heads that take any are not handed a call's.
HEADS: dict[str, Callable[[Any], nn.Module]] = {
    "BertForSequenceClassification": lambda m: nn.Sequential(m.bert.pooler, m.dropout, m.classifier),
    **dict.fromkeys(
        [f"{name}ForSequenceClassification" for name in ("Roberta", "XLMRoberta", "Camembert", "Electra", "MPNet")],
        lambda m: nn.Sequential(m.classifier),
    ),
    "AlbertForSequenceClassification": lambda m: nn.Sequential(
        Token(), m.albert.pooler, m.albert.pooler_activation, m.dropout, m.classifier
    ),
    "DistilBertForSequenceClassification": lambda m: nn.Sequential(
        Token(), m.pre_classifier, nn.ReLU(), m.dropout, m.classifier
    ),
    "DebertaV2ForSequenceClassification": lambda m: nn.Sequential(m.pooler, m.dropout, m.classifier),
    "ModernBertForSequenceClassification": _modern,
    "ViTForImageClassification": lambda m: nn.Sequential(Token(), m.classifier),
    "DeiTForImageClassification": lambda m: nn.Sequential(Token(), m.classifier),
    "DeiTForImageClassificationWithTeacher": _deit,
    "Dinov2ForImageClassification": lambda m: nn.Sequential(Mean(1, beside_first=True), m.classifier),
    "BeitForImageClassification": lambda m: nn.Sequential(m.beit.pooler, m.classifier),
    "CLIPForImageClassification": lambda m: nn.Sequential(Mean(1), m.classifier),
    "SiglipForImageClassification": lambda m: nn.Sequential(Mean(0), m.classifier),
}
"""What models with a head put on top of their encoder, by the class whose `forward` they have."""


def head_of(model: nn.Module) -> nn.Module | None:
    """The model's own head, made of its modules; None if it has none that is known."""
    owner = next((one for one in type(model).__mro__ if "forward" in vars(one)), type(model))
    make = HEADS.get(owner.__name__)
    return None if make is None else make(model)
