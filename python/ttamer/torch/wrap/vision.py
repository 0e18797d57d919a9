"""Vision networks of timm and torchvision cut into stages, where they have stages or blocks themselves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from torch import Tensor, nn

from ttamer.torch.wrap.cuts import check_plain, ends_of, shell


class Parts(NamedTuple):
    """What a network runs, in this order."""

    start: list[nn.Module]
    """Before the first stage: the stem, or the embeddings."""
    stages: list[list[nn.Module]]
    end: list[nn.Module]
    """After the last stage, and part of it."""
    head: nn.Module


class TimmEmbeddings(nn.Module):
    """What a VisionTransformer of timm does before its blocks."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        positions = ("cls_token", "reg_token", "pos_embed", "pos_drop")
        self.model = shell(model, "patch_embed", *positions, "patch_drop", "norm_pre")

    def forward(self, pixels: Tensor) -> Tensor:
        """Tokens (B, T, width) of pixels (B, channels, H, W)."""
        tokens = self.model.patch_drop(self.model._pos_embed(self.model.patch_embed(pixels)))
        hidden: Tensor = self.model.norm_pre(tokens)
        return hidden


class TimmHead(nn.Module):
    """What a VisionTransformer of timm does after the norm at the end of its blocks."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = shell(model, "attn_pool", "fc_norm", "head_drop", "head")

    def forward(self, hidden: Tensor) -> Tensor:
        """Logits (B, classes) of tokens (B, T, width)."""
        logits: Tensor = self.model.forward_head(hidden)
        return logits


def _timm_vit(model: Any) -> Parts:
    return Parts([TimmEmbeddings(model)], [[block] for block in model.blocks], [model.norm], TimmHead(model))


def _timm_convnext(model: Any) -> Parts:
    return Parts([model.stem], [[stage] for stage in model.stages], [model.norm_pre], model.head)


def _resnet(model: Any) -> Parts:
    start = [model.conv1, model.bn1, model.relu, model.maxpool]
    stages = [[stage] for stage in (model.layer1, model.layer2, model.layer3, model.layer4)]
    return Parts(start, stages, [], nn.Sequential(model.avgpool, nn.Flatten(), model.fc))


def _feature_stages(model: Any) -> list[list[nn.Module]]:
    """Of a stem, then stages with a layer that makes maps smaller before each but the first."""
    return [[model.features[1]], *(list(model.features[k : k + 2]) for k in range(2, len(model.features), 2))]


def _convnext(model: Any) -> Parts:
    head = nn.Sequential(model.avgpool, model.classifier)
    return Parts([model.features[0]], _feature_stages(model), [], head)


def _swin(model: Any) -> Parts:
    head = nn.Sequential(model.permute, model.avgpool, model.flatten, model.head)
    return Parts([model.features[0]], _feature_stages(model), [model.norm], head)


NETWORKS: dict[tuple[str, str], tuple[Callable[[Any], Parts], tuple[str, ...]]] = {
    ("timm", "VisionTransformer"): (_timm_vit, ("forward_features", "forward_head", "_pos_embed", "pool")),
    ("timm", "ConvNeXt"): (_timm_convnext, ("forward_features", "forward_head")),
    ("torchvision", "ResNet"): (_resnet, ("_forward_impl",)),
    ("torchvision", "ConvNeXt"): (_convnext, ("_forward_impl",)),
    ("torchvision", "SwinTransformer"): (_swin, ()),
}
"""By library and class: the parts, and the methods beside `forward` that say how they are run."""


def cut_vision(
    model: nn.Module, exits: Sequence[nn.Module], cuts: Sequence[int] | None
) -> tuple[list[nn.Module], list[nn.Module]]:
    """Stages of a vision network, and an exit for each; see `EarlyExit.from_stages`."""
    owner = next((one for one in type(model).__mro__ if "forward" in vars(one)), type(model))
    parts_of, methods = NETWORKS.get((owner.__module__.partition(".")[0], owner.__name__), (None, ()))
    # A class that runs the parts in another way is another network.
    if parts_of is None or any(getattr(type(model), one, None) is not getattr(owner, one, None) for one in methods):
        known = ", ".join(f"{library}'s {name}" for library, name in NETWORKS)
        raise TypeError(
            f"model: expected one of {known}, got {type(model).__module__}.{type(model).__name__}; build "
            "EarlyExit(stages, exits) from its parts yourself, or EarlyExit.from_sequential if it is one"
        )
    check_plain(model)
    parts = parts_of(model)
    count = len(parts.stages)
    ends = ends_of(count, len(exits), cuts, True, model, ("stage", "stem"))
    stages: list[nn.Module] = []
    for a, b in pairwise([0, *ends]):
        start, end = parts.start if not stages else [], parts.end if b == count else []
        stages.append(nn.Sequential(*start, *(part for stage in parts.stages[a:b] for part in stage), *end))
    return stages, [*exits, *([parts.head] if len(exits) < len(ends) else [])]
