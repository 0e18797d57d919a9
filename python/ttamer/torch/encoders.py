"""Hugging Face encoders cut into stages: BERT and MiniLM (which is a BERT), DistilBERT, ViT.

Nothing of `transformers` is imported: what is cut is the model that the caller has. Its layers are called directly,
with the mask that they take when the library itself calls them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from ttamer.torch.parts import cuts_of

LAYERS: dict[str, tuple[str, ...]] = {
    "bert": ("encoder.layer",),
    "distilbert": ("transformer.layer",),
    "vit": ("layers", "encoder.layer"),  # the second before transformers 5
}
"""Where the layers of each kind of model stand, the first path that exists."""

ADAPTERS = (
    *("ADALORA", "BOFT", "BONE", "C3A", "FOURIERFT", "HRA", "IA3", "LN_TUNING", "LOHA", "LOKR", "LORA", "MISS", "OFT"),
    *("RANDLORA", "ROAD", "SHIRA", "TRAINABLE_TOKENS", "VBLORA", "VERA", "WAVEFT"),
)
"""Kinds of adapters of PEFT that replace modules, so that the layers have them. Prompts and prefixes are put before the
input by the wrapper, which is not called here."""


class TextStage(nn.Module):
    """Some layers of a text encoder, the first stage with the embeddings before them.

    Parameters
    ----------
    embeddings : nn.Module or None
    layers : sequence of nn.Module
        Each maps hidden states (B, T, width) and a mask to hidden states, alone or first in a tuple.
    plain_mask : bool
        The layers take the mask as it is given, not as numbers to add to attention scores.
    """

    input_name = "input_ids"

    def __init__(self, embeddings: nn.Module | None, layers: Sequence[nn.Module], plain_mask: bool) -> None:
        super().__init__()
        self.embeddings = embeddings
        self.layers = nn.ModuleList(layers)
        self.plain_mask = plain_mask

    def forward(
        self,
        hidden: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
    ) -> Tensor:
        """Hidden states (B, T, width) from those before, or from token numbers (B, T) in the first stage."""
        if self.embeddings is not None:
            _check_tensor(hidden, "input_ids", "and attention_mask and what else there is as keywords")
            arguments = {"token_type_ids": token_type_ids, "position_ids": position_ids}
            keywords = {name: value for name, value in arguments.items() if value is not None}
            hidden = self.embeddings(input_ids=hidden, **keywords)
        mask = self._mask(attention_mask, hidden) if len(self.layers) else None
        for layer in self.layers:
            hidden = _first(layer(hidden, mask))
        return hidden

    def _mask(self, attention_mask: Tensor | None, hidden: Tensor) -> Tensor | None:
        if attention_mask is None:
            return attention_mask if not self.plain_mask else hidden.new_ones(hidden.shape[:2])
        if self.plain_mask:
            return attention_mask
        padding = attention_mask[:, None, None, :] == 0
        bias = torch.zeros(padding.shape, dtype=hidden.dtype, device=hidden.device)
        return bias.masked_fill(padding, torch.finfo(hidden.dtype).min)


class ImageStage(nn.Module):
    """Some layers of an image encoder, the first stage with the embeddings, the last with the norm at the end."""

    input_name = "pixel_values"

    def __init__(self, embeddings: nn.Module | None, layers: Sequence[nn.Module], norm: nn.Module | None) -> None:
        super().__init__()
        self.embeddings = embeddings
        self.layers = nn.ModuleList(layers)
        self.norm = norm

    def forward(self, hidden: Tensor) -> Tensor:
        """Hidden states (B, T, width) from those before, or from pixels (B, channels, H, W) in the first stage."""
        if self.embeddings is not None:
            _check_tensor(hidden, "pixel_values", "alone")
            hidden = self.embeddings(hidden)
        for layer in self.layers:
            hidden = _first(layer(hidden))
        return hidden if self.norm is None else self.norm(hidden)


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
            weights = attention_mask.to(hidden.dtype)[:, :, None]
            features = (hidden * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1)
        logits: Tensor = self.linear(features)
        return logits


def stages_of(model: nn.Module, exits: int, cuts: Sequence[int] | None) -> list[nn.Module]:
    """Stages of an encoder, one an exit; see `EarlyExit.from_encoder`."""
    model = _unwrapped(model)
    base = getattr(model, "base_model", model)
    kind = getattr(getattr(base, "config", None), "model_type", None)
    if kind not in LAYERS:
        raise TypeError(
            f"model: expected a BERT, DistilBERT or ViT of transformers, got {type(model).__name__}; "
            "build EarlyExit(stages, exits) from its layers yourself"
        )
    if getattr(base.config, "is_decoder", False):
        raise ValueError("model: expected an encoder, got a decoder (config.is_decoder), whose layers need caches")
    layers = _layers(base, kind)
    ends = _ends(len(layers), exits, cuts)
    make = _image_stages(base) if kind == "vit" else _text_stages(base, layers)
    # The first stage has the embeddings even if it has no layers.
    return [make(layers[a:b], k == 0, b == len(layers)) for k, (a, b) in enumerate(pairwise([0, *ends]))]


def _unwrapped(model: Any) -> Any:
    """The model in a wrapper of PEFT, whose adapters are in its layers; ValueError if they are elsewhere."""
    configs = getattr(model, "peft_config", None)
    for config in configs.values() if isinstance(configs, Mapping) else ():
        kind = getattr(config, "peft_type", None)
        name = str(getattr(kind, "value", kind))
        if name not in ADAPTERS:
            raise ValueError(
                f"model: expected adapters that are in its layers, such as LoRA's, got {name}, which works outside of "
                "them and would be lost"
            )
    return model.get_base_model() if configs and hasattr(model, "get_base_model") else model


Maker = Callable[[list[nn.Module], bool, bool], nn.Module]
"""A stage of some layers; whether it is the first, whether it ends the encoder."""


def _text_stages(base: Any, layers: list[nn.Module]) -> Maker:
    attention = getattr(base.config, "_attn_implementation", "eager") or "eager"
    if attention not in ("eager", "sdpa"):
        raise ValueError(
            f"model: expected attention 'eager' or 'sdpa', got {attention!r}, which takes other masks; "
            "load it with attn_implementation='sdpa'"
        )
    # Before transformers 5 the eager attention of DistilBERT takes a mask of zeros and ones as it is.
    plain = type(getattr(layers[0], "attention", None)).__name__ == "MultiHeadSelfAttention"
    return lambda some, first, _: TextStage(base.embeddings if first else None, some, plain)


def _image_stages(base: Any) -> Maker:
    return lambda some, first, last: ImageStage(
        base.embeddings if first else None, some, base.layernorm if last else None
    )


def _layers(base: nn.Module, kind: str) -> list[nn.Module]:
    for path in LAYERS[kind]:
        try:
            layers = base.get_submodule(path)
        except AttributeError:
            continue
        if isinstance(layers, nn.ModuleList):
            return list(layers)
    raise TypeError(f"model: expected layers at {' or '.join(LAYERS[kind])} of a {kind} model, found none")


def _ends(layers: int, exits: int, cuts: Sequence[int] | None) -> list[int]:
    """After how many layers each exit stands."""
    if cuts is None:
        if exits == layers:
            return list(range(1, layers + 1))
        if exits == layers + 1:
            return list(range(layers + 1))
        raise ValueError(
            f"exits: expected {layers}, one a layer, or {layers + 1} with one after the embeddings, got {exits}; "
            "or say in cuts after how many layers each stands"
        )
    ends = cuts_of(cuts)
    if len(ends) != exits:
        raise ValueError(f"cuts: expected {exits}, one an exit, got {len(ends)}")
    if not ends or ends[0] < 0 or ends[-1] > layers or any(a >= b for a, b in pairwise(ends)):
        raise ValueError(f"cuts: expected rising numbers of layers from 0 to {layers}, got {ends}")
    return ends


def _check_tensor(x: Any, name: str, rest: str) -> None:
    """Raise for what is no tensor, such as a tuple, or a mapping that has no input of this name."""
    if not isinstance(x, Tensor):
        raise TypeError(f"x: expected a tensor, got {type(x).__name__}; pass its {name!r}, {rest}")


def _first(output: Any) -> Tensor:
    """Hidden states of what a layer gives: a tensor in new versions of transformers, first of a tuple in older ones."""
    hidden: Tensor = output[0] if isinstance(output, tuple) else output
    return hidden
