"""The encoder of T5: pre-norm, with a bias of attention scores that depends on the distance of two tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from recbole_clickprompt.plm.architectures.base import ArchitectureAdapter, LayerAdapter

__all__ = ["T5Adapter"]


class T5Layer(LayerAdapter):
    """A layer of T5's encoder: ``T5Block`` in transformers' ``modeling_t5.py``."""

    @property
    def _attention(self) -> Any:
        return self.block.layer[0].SelfAttention

    def queries(self, states: Tensor, positions: Tensor | None) -> Tensor:
        return self._attention.q(self.block.layer[0].layer_norm(states))

    def keys_values(self, states: Tensor, positions: Tensor | None) -> tuple[Tensor, Tensor]:
        states = self.block.layer[0].layer_norm(states)
        return self._attention.k(states), self._attention.v(states)

    def combine(self, attended: Tensor, states: Tensor) -> Tensor:
        attention, mlp = self.block.layer[0], self.block.layer[-1]
        return mlp(states + attention.dropout(attention.SelfAttention.o(attended)))

    @property
    def attention_dropout(self) -> float:
        return self._attention.dropout

    @property
    def scale(self) -> float:
        return 1.0

    def bias(self, query: Tensor, key: Tensor, positions: Tensor) -> Tensor:
        """As for ``LayerAdapter``, ``(B or 1, H, P, Z)``: one number per head and bucket of distances.

        All layers share the numbers of the first one.
        """
        first = self.model.block[0].layer[0].SelfAttention
        distance = torch.arange(key.shape[1], device=key.device) - positions.unsqueeze(2)  # (B or 1, P, Z)
        bucket = first._relative_position_bucket(
            distance,
            bidirectional=True,
            num_buckets=first.relative_attention_num_buckets,
            max_distance=first.relative_attention_max_distance,
        )
        return first.relative_attention_bias(bucket).permute(0, 3, 1, 2)


class T5Adapter(ArchitectureAdapter):
    """The encoder of T5; prompts do not enter its decoder.

    Prompts have no position in the text, so the bias of their scores is 0.
    """

    layer_class = T5Layer
    supports_precomputed_layers = False  # its decoder reads the tokens themselves
    position_dependent_scores = True
    lora_targets = ("q", "v")

    def blocks(self) -> Sequence[nn.Module]:
        return self.model.block

    def embed(self, input_ids: Tensor) -> Tensor:
        return self.model.dropout(self.model.embed_tokens(input_ids))

    @property
    def key_value_size(self) -> int:
        return self.model.config.num_heads * self.model.config.d_kv

    @property
    def final_norm(self) -> nn.Module:
        """The norm of the last layer's outputs, and their dropout."""
        return nn.Sequential(self.model.final_layer_norm, self.model.dropout)
