"""Llama and its relatives: causal, pre-norm families with rotary positions and grouped-query attention."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from recbole_clickprompt.plm.architectures.base import ArchitectureAdapter, LayerAdapter
from recbole_clickprompt.plm.architectures.rotary import rotate

__all__ = ["LlamaAdapter", "MistralAdapter"]


class LlamaLayer(LayerAdapter):
    """A layer of Llama, ``LlamaDecoderLayer`` in ``modeling_llama.py``, or of Qwen, with its own copy of it."""

    @property
    def window(self) -> int | None:
        """Number of tokens that a query attends to, its own included; None does not limit them."""
        return getattr(self.block.self_attn, "sliding_window", None)  # Qwen2's and Qwen3's, in some layers

    def mask(self, seen: Tensor, positions: Tensor) -> Tensor:
        """As for ``LayerAdapter``, ``(B, P, Z)``: True at the query's own token and earlier ones in its window."""
        distance = positions.unsqueeze(2) - torch.arange(seen.shape[1], device=seen.device)  # (B or 1, P, Z)
        mask = seen.unsqueeze(1) & (distance >= 0)
        if self.window is None:
            return mask
        # Padding far from the text attends to itself: a softmax without any key is NaN, which would spread
        return (mask & (distance < self.window)) | (distance == 0)

    def queries(self, states: Tensor, positions: Tensor | None) -> Tensor:
        query = self.block.self_attn.q_proj(self.block.input_layernorm(states))
        return self._normed_and_rotated(query, "q_norm", positions)

    def keys_values(self, states: Tensor, positions: Tensor | None) -> tuple[Tensor, Tensor]:
        attention, states = self.block.self_attn, self.block.input_layernorm(states)
        return self._normed_and_rotated(attention.k_proj(states), "k_norm", positions), attention.v_proj(states)

    def _normed_and_rotated(self, states: Tensor, norm: str, positions: Tensor | None) -> Tensor:
        """Normalizes the heads of queries or keys, ``(B, P, heads * D)``, if the family does, and rotates them."""
        attention = self.block.self_attn
        heads = states.unflatten(2, (-1, attention.head_dim))
        if hasattr(attention, norm):  # Qwen3
            heads = getattr(attention, norm)(heads)
        if positions is None:  # prompts: without rotation, but with the factor that some scaled embeddings have
            positions = torch.zeros(1, 1, dtype=torch.long, device=states.device)
        cos, sin = self.model.rotary_emb(states, positions)  # (B or 1, P or 1, D)
        return rotate(heads, cos, sin).flatten(2)

    def combine(self, attended: Tensor, states: Tensor) -> Tensor:
        layer = self.block
        states = states + layer.self_attn.o_proj(attended)
        return states + layer.mlp(layer.post_attention_layernorm(states))

    @property
    def attention_dropout(self) -> float:
        return self.block.self_attn.attention_dropout


class LlamaAdapter(ArchitectureAdapter):
    """Llama (also SmolLM2), Qwen2 and Qwen3: RMSNorm before each half of a layer; a token attends to earlier ones.

    Prompts have no position in the text: they are not rotated, as at position 0, and every window includes them.
    """

    layer_class: type[LlamaLayer] = LlamaLayer
    causal = True
    position_dependent_scores = True
    lora_targets = ("q_proj", "v_proj")

    def blocks(self) -> Sequence[nn.Module]:
        return self.model.layers

    def embed(self, input_ids: Tensor) -> Tensor:
        return self.model.embed_tokens(input_ids)

    @property
    def key_value_size(self) -> int:
        return self.model.config.num_key_value_heads * self.model.layers[0].self_attn.head_dim

    @property
    def final_norm(self) -> nn.Module:
        return self.model.norm


class MistralLayer(LlamaLayer):
    """A layer of Mistral: ``MistralDecoderLayer`` in ``modeling_mistral.py``."""

    @property
    def window(self) -> int | None:
        return self.config.sliding_window  # of all layers


class MistralAdapter(LlamaAdapter):
    """Mistral: Llama with a window in every layer."""

    layer_class = MistralLayer
