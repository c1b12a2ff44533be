"""GPT-2: a causal, pre-norm family."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from recbole_clickprompt.plm.architectures.base import ArchitectureAdapter, LayerAdapter, slice_projection

__all__ = ["GPT2Adapter"]


class GPT2Layer(LayerAdapter):
    """A layer of GPT-2: ``GPT2Block`` in transformers' ``modeling_gpt2.py``."""

    def mask(self, seen: Tensor, positions: Tensor) -> Tensor:
        """As for ``LayerAdapter``, ``(B, P, Z)``: True at the query's own token and earlier ones."""
        text = torch.arange(seen.shape[1], device=seen.device)
        return seen.unsqueeze(1) & (text <= positions.unsqueeze(2))

    def queries(self, states: Tensor, positions: Tensor | None) -> Tensor:
        return slice_projection(self.block.attn.c_attn, self.block.ln_1(states), 0, self.config.hidden_size)

    def keys_values(self, states: Tensor, positions: Tensor | None) -> tuple[Tensor, Tensor]:
        width, states = self.config.hidden_size, self.block.ln_1(states)
        key, value = slice_projection(self.block.attn.c_attn, states, width, 3 * width).chunk(2, dim=2)
        return key, value

    def combine(self, attended: Tensor, states: Tensor) -> Tensor:
        layer = self.block
        states = states + layer.attn.resid_dropout(layer.attn.c_proj(attended))
        return states + layer.mlp(layer.ln_2(states))

    @property
    def attention_dropout(self) -> float:
        return self.block.attn.attn_dropout.p


class GPT2Adapter(ArchitectureAdapter):
    """GPT-2: normalized before each half of a layer; a token attends only to itself and to earlier ones."""

    layer_class = GPT2Layer
    causal = True
    lora_targets = ("c_attn",)

    def blocks(self) -> Sequence[nn.Module]:
        return self.model.h

    def embed(self, input_ids: Tensor) -> Tensor:
        positions = torch.arange(input_ids.shape[1], device=input_ids.device)
        return self.model.drop(self.model.wte(input_ids) + self.model.wpe(positions))

    @property
    def final_norm(self) -> nn.Module:
        return self.model.ln_f
