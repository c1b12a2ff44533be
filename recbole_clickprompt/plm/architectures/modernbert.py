"""ModernBERT: rotary positions and windows."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from recbole_clickprompt.plm.architectures.base import Layout, columns

__all__ = ["ModernBertLayout"]


class ModernBertLayout(Layout):
    """ModernBERT: normalised before each layer, rotary positions, some layers that see a window of the text.

    Prompts have no place in the text: they are not rotated, and every window shows them.
    """

    scores_have_places = True
    lora_targets = ("Wqkv",)

    def mask(self, index: int, seen: Tensor, positions: Tensor) -> Tensor:
        if self.model.layers[index].attention_type != "sliding_attention":
            return super().mask(index, seen, positions)
        text = torch.arange(seen.shape[1], device=seen.device)
        return seen.unsqueeze(1) & ((positions.unsqueeze(2) - text).abs() <= self.config.sliding_window)

    def queries(self, index: int, states: Tensor, positions: Tensor | None) -> Tensor:
        layer, width = self.model.layers[index], self.config.hidden_size
        query = columns(layer.attn.Wqkv, layer.attn_norm(states), 0, width)
        return query if positions is None else self._rotate(query, positions, layer)

    def keys_values(self, index: int, states: Tensor, positions: Tensor | None) -> tuple[Tensor, Tensor]:
        layer, width = self.model.layers[index], self.config.hidden_size
        both = columns(layer.attn.Wqkv, layer.attn_norm(states), width, 3 * width)
        key, value = both.chunk(2, dim=2)
        return key if positions is None else self._rotate(key, positions, layer), value

    def _rotate(self, states: Tensor, positions: Tensor, layer: Any) -> Tensor:
        heads = states.unflatten(2, (self.config.num_attention_heads, -1))  # (B, N, H, D)
        cos, sin = self.model.rotary_emb(states, positions, layer.attention_type)  # (B or 1, N, D)
        first, second = heads.chunk(2, dim=3)
        turned = torch.cat([-second, first], dim=3)
        return (heads * cos.unsqueeze(2) + turned * sin.unsqueeze(2)).flatten(2)

    def combine(self, index: int, attended: Tensor, states: Tensor) -> Tensor:
        layer = self.model.layers[index]
        states = states + layer.attn.out_drop(layer.attn.Wo(attended))
        return states + layer.mlp(layer.mlp_norm(states))

    def attention_dropout(self, index: int) -> float:
        return self.model.layers[index].attn.attention_dropout

    def upper(self, first: int) -> list[nn.Module]:
        return [*self.model.layers[first:], self.model.final_norm]

    def finish(self, states: Tensor) -> Tensor:
        return self.model.final_norm(states)
