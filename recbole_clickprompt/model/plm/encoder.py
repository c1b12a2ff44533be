"""How prompts enter a transformers model (ClickPrompt, Eq. 7)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["PromptedEncoder"]


class PromptedEncoder(nn.Module):
    """A BERT-like encoder in which the text of every layer also attends to that layer's prompts.

    Eq. 7 puts K prompts in front of the states of each layer and drops their outputs. As nobody reads those
    outputs, prompts are needed as keys and values only: the layer's own projections of them join those of the
    text. Text keeps its positions. The last layer computes the asked-for positions alone.

    Args:
        encoder: transformers' base model of the BERT or RoBERTa family; its weights stay where they are.
    """

    def __init__(self, encoder: Any) -> None:
        super().__init__()
        self.encoder = encoder

    @property
    def num_layers(self) -> int:
        """L."""
        return len(self.encoder.encoder.layer)

    @property
    def hidden_size(self) -> int:
        """W."""
        return self.encoder.config.hidden_size

    def forward(
        self,
        input_ids: Tensor,
        lengths: Tensor,
        prompts: Tensor | None = None,
        *,
        prompt_mask: Tensor | None = None,
        positions: Tensor | None = None,
    ) -> Tensor:
        """
        Args:
            input_ids: Tokens, ``(B, Z)``.
            lengths: Tokens of each row, ``(B,)``; the rest of a row is padding.
            prompts: ``(L, B, K, W)``; None runs the plain PLM.
            prompt_mask: True where a row's prompts are seen, ``(B, K)``; None shows all.
            positions: Text positions whose last states are wanted, ``(B, P)``; None wants all.

        Returns:
            States of the last layer, ``(B, P, W)``, or ``(B, Z, W)``.
        """
        batch, length = input_ids.shape
        seen = torch.arange(length, device=input_ids.device) < lengths.unsqueeze(1)  # (B, Z)
        if prompts is not None:
            if prompt_mask is None:
                prompt_mask = seen.new_ones(batch, prompts.shape[2])
            seen = torch.cat([prompt_mask, seen], dim=1)  # (B, K + Z)
        seen = seen[:, None, None]  # for every head and query

        states = self.encoder.embeddings(input_ids=input_ids)
        for index, layer in enumerate(self.encoder.encoder.layer):
            queries = states
            if positions is not None and index == self.num_layers - 1:
                queries = states.gather(1, positions.unsqueeze(2).expand(-1, -1, self.hidden_size))
            context = states
            if prompts is not None:
                context = torch.cat([prompts[index].to(states.dtype), states], dim=1)
            states = _layer(layer, queries, context, seen)
        return states


def _layer(layer: Any, queries: Tensor, context: Tensor, seen: Tensor) -> Tensor:
    attention = layer.attention.self
    heads, dropout = attention.num_attention_heads, attention.dropout.p if layer.training else 0.0

    def split(states: Tensor) -> Tensor:  # (B, N, W) -> (B, H, N, D)
        return states.unflatten(2, (heads, -1)).transpose(1, 2)

    attended = F.scaled_dot_product_attention(
        split(attention.query(queries)),
        split(attention.key(context)),
        split(attention.value(context)),
        attn_mask=seen,
        dropout_p=dropout,
        scale=attention.scaling,
    )
    attended = layer.attention.output(attended.transpose(1, 2).flatten(2), queries)
    return layer.output(layer.intermediate(attended), attended)
