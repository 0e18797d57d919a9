"""Stages of image encoders of Hugging Face, one class for all kinds that are alike."""

from __future__ import annotations

from collections.abc import Sequence
from inspect import signature
from typing import Any

from torch import Tensor, nn

from ttamer.torch.wrap.cuts import attention_of, check_tensor, first, module_at


class ImageStage(nn.Module):
    """Some layers of an image encoder: ViT, DeiT, DINOv2.

    The first stage has the embeddings before them, the last one the norm at the end.

    Parameters
    ----------
    base : transformers.PreTrainedModel
        The encoder without a head.
    layers : sequence of nn.Module
        Some of `layers_of(base)`.
    begins, ends : bool
        Whether these are the first layers, or none but the embeddings; whether they are the last.
    """

    input_name = "pixel_values"
    paths: tuple[str, ...] = ("layers", "encoder.layer")  # the second before transformers 5
    norm_name: str | None = "layernorm"

    def __init__(self, base: Any, layers: Sequence[nn.Module], begins: bool, ends: bool) -> None:
        super().__init__()
        self.embeddings = base.embeddings if begins else None
        self.layers = nn.ModuleList(layers)
        self.norm = getattr(base, self.norm_name) if ends and self.norm_name else None

    @classmethod
    def layers_of(cls, base: Any) -> list[nn.Module]:
        """The layers of an encoder, in order."""
        return list(module_at(base, cls.paths))

    def forward(self, hidden: Tensor) -> Tensor:
        """Hidden states (B, T, width) from those before, or from pixels (B, channels, H, W) in the first stage."""
        if self.embeddings is not None:
            check_tensor(hidden, "pixel_values", "alone")
            hidden = self._embed(hidden)
        arguments = self._arguments() if len(self.layers) else {}
        for layer in self.layers:
            hidden = first(layer(hidden, **arguments))
        return hidden if self.norm is None else self.norm(hidden)

    def _embed(self, pixels: Tensor) -> Tensor:
        """What the first layer gets."""
        assert self.embeddings is not None
        return first(self.embeddings(pixels))

    def _arguments(self) -> dict[str, Any]:
        """What layers take beside the hidden states."""
        return {}


class BeitStage(ImageStage):
    """Of BEiT, which adds a bias to attention for how far patches are apart.

    The bias depends on the form of the image, which hidden states do not tell: it has to be the configuration's.
    """

    def __init__(self, base: Any, layers: Sequence[nn.Module], begins: bool, ends: bool) -> None:
        super().__init__(base, layers, begins, ends)
        attention_of(base.config)
        size = base.config.image_size
        self.resolution = tuple(size) if isinstance(size, (list, tuple)) else (size, size)
        self.window = tuple(side // base.config.patch_size for side in self.resolution)
        # Before transformers 5 the bias is the encoder's, and layers have their own word for it.
        old = getattr(base, "encoder", None)
        self.shared = base.shared_position_bias if old is None else getattr(old, "relative_position_bias", None)
        self.bias_name = "attention_mask" if old is None else "relative_position_bias"

    def _embed(self, pixels: Tensor) -> Tensor:
        if pixels.shape[-2:] != self.resolution:
            height, width = self.resolution
            raise ValueError(f"x: expected images of {height} x {width}, as in training, got {tuple(pixels.shape)}")
        return super()._embed(pixels)

    def _arguments(self) -> dict[str, Any]:
        bias = None if self.shared is None else self.shared(self.window)
        return {"resolution": self.resolution, self.bias_name: bias}


class ClipStage(ImageStage):
    """Of the vision half of CLIP, which has a norm before the layers; the one after them is only of a pooled token."""

    paths = ("encoder.layers",)
    norm_name: str | None = None

    def __init__(self, base: Any, layers: Sequence[nn.Module], begins: bool, ends: bool) -> None:
        super().__init__(base, layers, begins, ends)
        self.norm_before = getattr(base, "pre_layrnorm", None) if begins else None
        names = signature(type(layers[0]).forward).parameters if len(layers) else {}
        # Masks have no default; the second is of versions before 5.
        self.masks = {name: None for name in ("attention_mask", "causal_attention_mask") if name in names}

    def _embed(self, pixels: Tensor) -> Tensor:
        hidden = super()._embed(pixels)
        return hidden if self.norm_before is None else self.norm_before(hidden)

    def _arguments(self) -> dict[str, Any]:
        return self.masks


class SiglipStage(ClipStage):
    """Of the vision half of SigLIP, which has no norm before the layers and one after them."""

    norm_name = "post_layernorm"
