"""Hugging Face encoders cut into stages, kind by kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from torch import nn

from ttamer.torch.wrap.cuts import check_plain, ends_of
from ttamer.torch.wrap.heads import head_of
from ttamer.torch.wrap.images import BeitStage, ClipStage, ImageStage, SiglipStage
from ttamer.torch.wrap.text import (
    AlbertStage,
    DebertaStage,
    DistilBertStage,
    ElectraStage,
    ModernBertStage,
    MPNetStage,
    TextStage,
)

FAMILIES: dict[str, type[TextStage] | type[ImageStage]] = {
    "bert": TextStage,
    "roberta": TextStage,
    "xlm-roberta": TextStage,
    "camembert": TextStage,
    "electra": ElectraStage,
    "albert": AlbertStage,
    "distilbert": DistilBertStage,
    "mpnet": MPNetStage,
    "deberta-v2": DebertaStage,
    "modernbert": ModernBertStage,
    "vit": ImageStage,
    "deit": ImageStage,
    "dinov2": ImageStage,
    "beit": BeitStage,
    "clip": ClipStage,
    "clip_vision_model": ClipStage,
    "siglip": SiglipStage,
    "siglip_vision_model": SiglipStage,
}
"""The stage of each kind of model, as its configuration calls it."""

ADAPTERS = (
    *("ADALORA", "BOFT", "BONE", "C3A", "FOURIERFT", "HRA", "IA3", "LN_TUNING", "LOHA", "LOKR", "LORA", "MISS", "OFT"),
    *("RANDLORA", "ROAD", "SHIRA", "TRAINABLE_TOKENS", "VBLORA", "VERA", "WAVEFT"),
)
"""Kinds of adapters of PEFT that replace modules, so that the layers have them. Prompts and prefixes are put before the
input by the wrapper, which is not called here."""


def cut_encoder(
    model: nn.Module, exits: Sequence[nn.Module], cuts: Sequence[int] | None
) -> tuple[list[nn.Module], list[nn.Module]]:
    """Stages of an encoder, and an exit for each; see `EarlyExit.from_encoder`."""
    model = _unwrapped(model)
    check_plain(model)
    base = getattr(model, "base_model", model)
    base = getattr(base, "vision_model", base)  # of CLIP and SigLIP
    config = getattr(base, "config", None)
    kind = getattr(config, "model_type", None)
    if kind not in FAMILIES:
        name = type(model).__name__ if kind is None else f"{type(model).__name__} ({kind})"
        raise TypeError(
            f"model: expected one of transformers of the kinds {', '.join(FAMILIES)}, got {name}; build "
            "EarlyExit(stages, exits) from its layers yourself: docs/torch.md, 'A model that is not listed'"
        )
    if getattr(config, "is_decoder", False):
        raise ValueError("model: expected an encoder, got a decoder (config.is_decoder), whose layers need caches")
    stage, head = FAMILIES[kind], head_of(model)
    layers = stage.layers_of(base)
    ends = ends_of(len(layers), len(exits), cuts, head is not None, model)
    stages: list[nn.Module] = [
        # The first stage has the embeddings even if it has no layers.
        stage(base, layers[a:b], k == 0, b == len(layers))
        for k, (a, b) in enumerate(pairwise([0, *ends]))
    ]
    return stages, [*exits, head] if head is not None and len(exits) < len(ends) else list(exits)


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
