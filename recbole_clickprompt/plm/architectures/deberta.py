"""DeBERTa-v2 and -v3: attention to content and to distance apart."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from recbole_clickprompt.plm.architectures.bert import BertLayout

__all__ = ["DebertaLayout"]


class DebertaLayout(BertLayout):
    """DeBERTa-v2 and -v3, whose attention also scores how far apart two tokens are.

    Prompts have no place in the text, so only their content is scored.
    """

    lora_targets = ("query_proj", "value_proj")
    scores_have_places = True

    def queries(self, index: int, states: Tensor, positions: Tensor | None) -> Tensor:
        return self._attention(index).query_proj(states)

    def key_value_layers(self, index: int) -> tuple[nn.Module, nn.Module]:
        attention = self._attention(index)
        return attention.key_proj, attention.value_proj

    def scale(self, index: int) -> float:
        attention = self._attention(index)
        terms = 1 + ("c2p" in attention.pos_att_type) + ("p2c" in attention.pos_att_type)
        return (attention.attention_head_size * terms) ** -0.5

    def bias(self, index: int, query: Tensor, key: Tensor, positions: Tensor) -> Tensor | None:
        attention = self._attention(index)
        if not attention.relative_attention:
            return None
        span, heads = attention.pos_ebd_size, attention.num_attention_heads
        place = self._relative_places(attention, positions, key.shape[1], span)
        place = place.unsqueeze(1).expand(query.shape[0], heads, -1, -1)  # (B, H, P, Z)
        relative = attention.pos_dropout(self.model.encoder.get_rel_embedding()[: 2 * span])  # (2 S, W)
        shared = attention.share_att_key
        total = query.new_zeros(())
        if "c2p" in attention.pos_att_type:  # the content of the query with the place of the key
            places = (attention.key_proj if shared else attention.pos_key_proj)(relative)
            total = total + _by_head(query, places, heads).gather(3, place)
        if "p2c" in attention.pos_att_type:  # the content of the key with the place of the query
            places = (attention.query_proj if shared else attention.pos_query_proj)(relative)
            total = total + _by_head(key, places, heads).transpose(2, 3).gather(2, place)
        return total * self.scale(index)

    def _relative_places(self, attention: Any, positions: Tensor, length: int, span: int) -> Tensor:
        from transformers.models.deberta_v2.modeling_deberta_v2 import make_log_bucket_position

        distance = positions.unsqueeze(2) - torch.arange(length, device=positions.device)  # (B or 1, P, Z)
        if attention.position_buckets > 0:
            distance = make_log_bucket_position(
                distance, attention.position_buckets, attention.max_relative_positions
            ).long()
        return (distance + span).clamp(0, 2 * span - 1)


def _by_head(states: Tensor, places: Tensor, heads: int) -> Tensor:
    """Products of states ``(B, N, W)`` with places ``(2 S, W)``, head by head: ``(B, H, N, 2 S)``."""
    return torch.einsum("bnhd,shd->bhns", states.unflatten(2, (heads, -1)), places.unflatten(1, (heads, -1)))
