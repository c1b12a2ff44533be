"""ModernBERT: a pre-norm family with rotary positions and windowed attention."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from recbole_clickprompt.plm.architectures.base import ArchitectureAdapter, LayerAdapter, slice_projection
from recbole_clickprompt.plm.architectures.rotary import rotate

__all__ = ["ModernBertAdapter"]


class ModernBertLayer(LayerAdapter):
    """A layer of ModernBERT: ``ModernBertEncoderLayer`` in transformers' ``modeling_modernbert.py``."""

    def mask(self, seen: Tensor, positions: Tensor) -> Tensor:
        """As for ``LayerAdapter``; in layers with windowed attention True only near the query, ``(B, P, Z)``."""
        if self.block.attention_type != "sliding_attention":
            return seen.unsqueeze(1)
        distance = positions.unsqueeze(2) - torch.arange(seen.shape[1], device=seen.device)  # (B or 1, P, Z)
        window = seen.unsqueeze(1) & (distance.abs() <= self.config.sliding_window)
        # Padding far from the text attends to itself: a softmax without any key is NaN, which would spread
        return window | (distance == 0)

    def queries(self, states: Tensor, positions: Tensor | None) -> Tensor:
        query = slice_projection(self.block.attn.Wqkv, self.block.attn_norm(states), 0, self.config.hidden_size)
        return query if positions is None else self._rotate(query, positions)

    def keys_values(self, states: Tensor, positions: Tensor | None) -> tuple[Tensor, Tensor]:
        width, states = self.config.hidden_size, self.block.attn_norm(states)
        key, value = slice_projection(self.block.attn.Wqkv, states, width, 3 * width).chunk(2, dim=2)
        return key if positions is None else self._rotate(key, positions), value

    def _rotate(self, states: Tensor, positions: Tensor) -> Tensor:
        """Rotary position embedding of queries or keys, ``(B, P, W)``, at positions ``(B or 1, P)``."""
        heads = states.unflatten(2, (self.config.num_attention_heads, -1))  # (B, P, H, D)
        cos, sin = self.model.rotary_emb(states, positions, self.block.attention_type)  # (B or 1, P, D)
        return rotate(heads, cos, sin).flatten(2)

    def combine(self, attended: Tensor, states: Tensor) -> Tensor:
        layer = self.block
        states = states + layer.attn.out_drop(layer.attn.Wo(attended))
        return states + layer.mlp(layer.mlp_norm(states))

    @property
    def attention_dropout(self) -> float:
        return self.block.attn.attention_dropout


class ModernBertAdapter(ArchitectureAdapter):
    """ModernBERT: normalized before each half of a layer, rotary positions, windows in some layers.

    Prompts have no position in the text: they are not rotated, and every window includes them.
    """

    layer_class = ModernBertLayer
    position_dependent_scores = True
    lora_targets = ("Wqkv",)

    def blocks(self) -> Sequence[nn.Module]:
        return self.model.layers

    @property
    def final_norm(self) -> nn.Module:
        return self.model.final_norm
