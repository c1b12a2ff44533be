"""DeBERTa-v2 and -v3: attention to content and to relative position (He et al., ICLR 2021, section 3.1)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from recbole_clickprompt.plm.architectures.bert import BertAdapter, BertLayer

__all__ = ["DebertaAdapter"]


class DebertaLayer(BertLayer):
    """A layer of DeBERTa-v2, whose scores also depend on the distance between two tokens.

    With content queries and keys ``q, k``, position queries and keys ``q', k'`` of relative embeddings, and the
    clamped distance ``i - j`` of query i and key j::

        score(i, j) = (q_i . k_j  +  q_i . k'_(i-j)  +  k_j . q'_(i-j)) * scale
                       content       "c2p"             "p2c"

    Distances from ``-span`` to ``span - 1`` have embeddings of their own, so ``2 * span`` in all; with
    ``position_buckets`` larger distances share logarithmic buckets. The source is
    ``DisentangledSelfAttention.disentangled_attention_bias`` in transformers' ``modeling_deberta_v2.py``.
    """

    def queries(self, states: Tensor, positions: Tensor | None) -> Tensor:
        return self._attention.query_proj(states)

    def key_value_projections(self) -> tuple[nn.Module, nn.Module]:
        return self._attention.key_proj, self._attention.value_proj

    @property
    def scale(self) -> float:
        attention = self._attention
        terms = 1 + ("c2p" in attention.pos_att_type) + ("p2c" in attention.pos_att_type)
        return (attention.attention_head_size * terms) ** -0.5

    def bias(self, query: Tensor, key: Tensor, positions: Tensor) -> Tensor | None:
        attention = self._attention
        if not attention.relative_attention:
            return None
        span, heads = attention.pos_ebd_size, attention.num_attention_heads
        index = self._distance_index(positions, key.shape[1])
        index = index.unsqueeze(1).expand(query.shape[0], heads, -1, -1)  # (B, H, P, Z)
        relative = attention.pos_dropout(self.model.encoder.get_rel_embedding()[: 2 * span])  # (2 * span, W)
        shared = attention.share_att_key
        total = query.new_zeros(())
        if "c2p" in attention.pos_att_type:  # content of the query with position of the key
            embedded = (attention.key_proj if shared else attention.pos_key_proj)(relative)
            total = total + _products_by_head(query, embedded, heads).gather(3, index)
        if "p2c" in attention.pos_att_type:  # content of the key with position of the query
            embedded = (attention.query_proj if shared else attention.pos_query_proj)(relative)
            total = total + _products_by_head(key, embedded, heads).transpose(2, 3).gather(2, index)
        return total * self.scale

    def _distance_index(self, positions: Tensor, length: int) -> Tensor:
        """Row of the relative embeddings, from 0 to ``2 * span - 1``, of queries and keys, ``(B or 1, P, Z)``."""
        from transformers.models.deberta_v2.modeling_deberta_v2 import make_log_bucket_position

        attention = self._attention
        distance = positions.unsqueeze(2) - torch.arange(length, device=positions.device)
        if attention.position_buckets > 0:
            distance = make_log_bucket_position(
                distance, attention.position_buckets, attention.max_relative_positions
            ).long()
        span = attention.pos_ebd_size
        return (distance + span).clamp(0, 2 * span - 1)


class DebertaAdapter(BertAdapter):
    """DeBERTa-v2 and -v3. Prompts have no position in the text, so their scores have the content term only."""

    layer_class = DebertaLayer
    position_dependent_scores = True
    lora_targets = ("query_proj", "value_proj")


def _products_by_head(states: Tensor, relative: Tensor, heads: int) -> Tensor:
    """Products of states and relative embeddings in each head.

    Args:
        states: Queries or keys, ``(B, Z, W)``.
        relative: Projected relative embeddings, ``(2 * span, W)``.
        heads: H.

    Returns:
        ``(B, H, Z, 2 * span)``.
    """
    by_head = states.unflatten(2, (heads, -1)), relative.unflatten(1, (heads, -1))
    return torch.einsum("bnhd,shd->bhns", *by_head)
