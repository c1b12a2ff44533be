"""GPT-2: text that is read forward."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from recbole_clickprompt.plm.architectures.base import Layout, columns

__all__ = ["GPT2Layout"]


class GPT2Layout(Layout):
    """GPT-2: normalised before each layer, and text sees only what comes before it."""

    causal = True
    lora_targets = ("c_attn",)

    def embed(self, input_ids: Tensor) -> Tensor:
        positions = torch.arange(input_ids.shape[1], device=input_ids.device)
        return self.model.drop(self.model.wte(input_ids) + self.model.wpe(positions))

    def mask(self, index: int, seen: Tensor, positions: Tensor) -> Tensor:
        text = torch.arange(seen.shape[1], device=seen.device)
        return seen.unsqueeze(1) & (text <= positions.unsqueeze(2))

    def queries(self, index: int, states: Tensor, positions: Tensor | None) -> Tensor:
        layer = self.model.h[index]
        return columns(layer.attn.c_attn, layer.ln_1(states), 0, self.config.hidden_size)

    def keys_values(self, index: int, states: Tensor, positions: Tensor | None) -> tuple[Tensor, Tensor]:
        layer, width = self.model.h[index], self.config.hidden_size
        key, value = columns(layer.attn.c_attn, layer.ln_1(states), width, 3 * width).chunk(2, dim=2)
        return key, value

    def combine(self, index: int, attended: Tensor, states: Tensor) -> Tensor:
        layer = self.model.h[index]
        states = states + layer.attn.resid_dropout(layer.attn.c_proj(attended))
        return states + layer.mlp(layer.ln_2(states))

    def attention_dropout(self, index: int) -> float:
        return self.model.h[index].attn.attn_dropout.p

    def upper(self, first: int) -> list[nn.Module]:
        return [*self.model.h[first:], self.model.ln_f]

    def finish(self, states: Tensor) -> Tensor:
        return self.model.ln_f(states)
