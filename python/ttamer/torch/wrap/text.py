"""Stages of text encoders of Hugging Face, one class for all kinds that are alike.

Layers are called directly, with what they take when the library itself calls them: masks, positions. All of it is made
again in each stage, of the rows that are left.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ttamer.torch.wrap.cuts import attention_of, check_tensor, first, module_at, shell


class TextStage(nn.Module):
    """Some layers of a text encoder, the first stage with the embeddings before them: BERT and its like.

    Parameters
    ----------
    base : transformers.PreTrainedModel
        The encoder without a head.
    layers : sequence of nn.Module
        Some of `layers_of(base)`.
    begins, ends : bool
        Whether these are the first layers, or none but the embeddings; whether they are the last.

    Raises
    ------
    ValueError
        If attention is computed in a way that takes other masks.
    """

    input_name = "input_ids"
    paths: tuple[str, ...] = ("encoder.layer",)
    embeds: tuple[str, ...] = ("token_type_ids", "position_ids")
    """Keywords of the embeddings, beside the numbers of the tokens."""

    def __init__(self, base: Any, layers: Sequence[nn.Module], begins: bool, ends: bool) -> None:
        super().__init__()
        attention_of(base.config)
        self.config = base.config  # attention may be set to another kind later
        # Since transformers 5, `sdpa` gets masks of booleans: a request that is all padding then attends to nothing.
        modules = [sys.modules.get(one.__module__) for one in type(base).__mro__]
        self.booleans = any(hasattr(one, "create_bidirectional_mask") for one in modules)
        self.embeddings = base.embeddings if begins else None
        self.layers = nn.ModuleList(layers)

    @classmethod
    def layers_of(cls, base: Any) -> list[nn.Module]:
        """The layers of an encoder, in order."""
        return list(module_at(base, cls.paths))

    def forward(
        self,
        hidden: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
    ) -> Tensor:
        """Hidden states (B, T, width) from those before, or from token numbers (B, T) in the first stage."""
        if self.embeddings is not None:
            check_tensor(hidden, "input_ids", "and attention_mask and what else there is as keywords")
            if token_type_ids is not None and "token_type_ids" not in self.embeds:
                raise TypeError("token_type_ids: expected none, the model does not distinguish types of tokens")
            arguments = {"token_type_ids": token_type_ids, "position_ids": position_ids}
            keywords = {name: arguments[name] for name in self.embeds if arguments[name] is not None}
            hidden = self._embed(hidden, attention_mask, keywords)
        if attention_mask is not None and attention_mask.shape != hidden.shape[:2]:
            raise ValueError(
                f"attention_mask: expected (B, T), {tuple(hidden.shape[:2])}, got {tuple(attention_mask.shape)}"
            )
        return self._run(hidden, attention_mask, position_ids) if len(self.layers) else hidden

    def _embed(self, ids: Tensor, attention_mask: Tensor | None, keywords: dict[str, Any]) -> Tensor:
        """What the first layer gets."""
        assert self.embeddings is not None
        hidden: Tensor = self.embeddings(input_ids=ids, **keywords)
        return hidden

    def _run(self, hidden: Tensor, attention_mask: Tensor | None, position_ids: Tensor | None) -> Tensor:
        """What the layers make of it."""
        mask = self._mask(attention_mask, hidden)
        for layer in self.layers:
            hidden = first(layer(hidden, mask))
        return hidden

    def _mask(self, attention_mask: Tensor | None, hidden: Tensor) -> Tensor | None:
        """What keeps all tokens from attending to padding, (B, 1, 1, T); None without a mask."""
        return None if attention_mask is None else self._of_pairs((attention_mask != 0)[:, None, None, :], hidden)

    def _of_pairs(self, kept: Tensor, hidden: Tensor) -> Tensor:
        """Which pairs of tokens are kept, as layers take it: booleans, or zeros and elsewhere the lowest number."""
        if attention_of(self.config) == "sdpa" and self.booleans:
            return kept
        bias = torch.zeros(kept.shape, dtype=hidden.dtype, device=hidden.device)
        return bias.masked_fill(~kept, torch.finfo(hidden.dtype).min)


class ElectraStage(TextStage):
    """Of ELECTRA, whose embeddings may be narrower than its layers."""

    def __init__(self, base: Any, layers: Sequence[nn.Module], begins: bool, ends: bool) -> None:
        super().__init__(base, layers, begins, ends)
        self.project = getattr(base, "embeddings_project", None) if begins else None

    def _embed(self, ids: Tensor, attention_mask: Tensor | None, keywords: dict[str, Any]) -> Tensor:
        hidden = super()._embed(ids, attention_mask, keywords)
        return hidden if self.project is None else self.project(hidden)


class AlbertStage(ElectraStage):
    """Of ALBERT, whose layers are groups that stand in several places."""

    def __init__(self, base: Any, layers: Sequence[nn.Module], begins: bool, ends: bool) -> None:
        super().__init__(base, layers, begins, ends)
        self.project = base.encoder.embedding_hidden_mapping_in if begins else None

    @classmethod
    def layers_of(cls, base: Any) -> list[nn.Module]:
        """The group that runs at each place."""
        groups, count = base.encoder.albert_layer_groups, base.config.num_hidden_layers
        return [groups[int(k / (count / len(groups)))] for k in range(count)]

    def _run(self, hidden: Tensor, attention_mask: Tensor | None, position_ids: Tensor | None) -> Tensor:
        mask = self._mask(attention_mask, hidden)
        for group in self.layers:
            for layer in group.albert_layers:  # type: ignore[union-attr]
                hidden = first(layer(hidden, mask))
        return hidden


class DistilBertStage(TextStage):
    """Of DistilBERT."""

    paths = ("transformer.layer",)
    embeds = ("position_ids",)

    def _run(self, hidden: Tensor, attention_mask: Tensor | None, position_ids: Tensor | None) -> Tensor:
        # Before transformers 5 eager attention takes a mask of zeros and ones as it is.
        if type(getattr(self.layers[0], "attention", None)).__name__ != "MultiHeadSelfAttention":
            return super()._run(hidden, attention_mask, position_ids)
        mask = hidden.new_ones(hidden.shape[:2]) if attention_mask is None else attention_mask
        for layer in self.layers:
            hidden = first(layer(hidden, mask))
        return hidden


class MPNetStage(TextStage):
    """Of MPNet, which adds a bias to attention for how far tokens are apart."""

    embeds = ("position_ids",)

    def __init__(self, base: Any, layers: Sequence[nn.Module], begins: bool, ends: bool) -> None:
        super().__init__(base, layers, begins, ends)
        self.encoder = shell(base.encoder, "relative_attention_bias")

    def _run(self, hidden: Tensor, attention_mask: Tensor | None, position_ids: Tensor | None) -> Tensor:
        mask = self._mask(attention_mask, hidden)
        bias = self.encoder.compute_position_bias(hidden)
        for layer in self.layers:
            hidden = first(layer(hidden, mask, position_bias=bias))
        return hidden


class DebertaStage(TextStage):
    """Of DeBERTa-v2 and v3, with embeddings of relative positions, and a convolution beside the first layer if any."""

    def __init__(self, base: Any, layers: Sequence[nn.Module], begins: bool, ends: bool) -> None:
        super().__init__(base, layers, begins, ends)
        self.encoder = shell(base.encoder, "rel_embeddings", "LayerNorm")
        self.conv = base.encoder.conv if len(layers) and layers[0] is base.encoder.layer[0] else None

    def _embed(self, ids: Tensor, attention_mask: Tensor | None, keywords: dict[str, Any]) -> Tensor:
        mask = torch.ones_like(ids) if attention_mask is None else attention_mask
        return super()._embed(ids, mask, {**keywords, "mask": mask})

    def _run(self, hidden: Tensor, attention_mask: Tensor | None, position_ids: Tensor | None) -> Tensor:
        kept = hidden.new_ones(hidden.shape[:2]) if attention_mask is None else attention_mask
        pairs = self.encoder.get_attention_mask(kept)
        relative = {
            "relative_pos": self.encoder.get_rel_pos(hidden),
            "rel_embeddings": self.encoder.get_rel_embedding(),
        }
        for k, layer in enumerate(self.layers):
            output = first(layer(hidden, pairs, **relative))
            hidden = self.conv(hidden, output, kept) if k == 0 and self.conv is not None else output
        return hidden


class ModernBertStage(TextStage):
    """Of ModernBERT: some layers see all tokens, others those nearby; the last stage has the norm at the end."""

    paths = ("layers",)
    embeds = ()

    def __init__(self, base: Any, layers: Sequence[nn.Module], begins: bool, ends: bool) -> None:
        super().__init__(base, layers, begins, ends)
        self.rotary = getattr(base, "rotary_emb", None)  # before transformers 5 the layers have it
        self.norm = base.final_norm if ends else None
        self.window: int = base.config.local_attention // 2

    def _run(self, hidden: Tensor, attention_mask: Tensor | None, position_ids: Tensor | None) -> Tensor:
        places = torch.arange(hidden.shape[1], device=hidden.device)
        near = ((places[:, None] - places).abs() <= self.window)[None, None]
        kept = hidden.new_ones(hidden.shape[:2]) if attention_mask is None else attention_mask
        tokens = (kept != 0)[:, None, None, :]
        masks = {
            "full_attention": self._of_pairs(tokens, hidden),
            "sliding_attention": self._of_pairs(tokens & near, hidden),
        }
        positions = places[None] if position_ids is None else position_ids
        for layer in self.layers:
            if self.rotary is None:
                full, sliding = masks.values()
                arguments = {"attention_mask": full, "sliding_window_mask": sliding, "position_ids": positions}
            else:
                kind: Any = layer.attention_type
                rotary = self.rotary(hidden, positions, kind)
                arguments = {"attention_mask": masks[kind], "position_embeddings": rotary}
            hidden = first(layer(hidden, **arguments))
        return hidden if self.norm is None else self.norm(hidden)
