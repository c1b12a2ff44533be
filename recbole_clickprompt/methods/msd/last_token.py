"""The top layer of a causal language model for the last token of each text alone.

Keys and values are computed for all tokens; the query, the output of attention and the MLP, which are most of a
layer's work, for one token per text. The result equals that of the whole layer.

Letters: N texts, Z tokens of a text, W width, H heads, D size of a head.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["LAST_TOKEN"]


def _attend(query: Tensor, keys: Tensor, values: Tensor, last: Tensor, scale: float) -> Tensor:
    """Attention of one query per text.

    Args:
        query: ``(N, H, 1, D)``.
        keys: ``(N, heads, Z, D)``; with fewer heads than H, neighboring query heads share one.
        values: As ``keys``.
        last: The last token of each text, which reads it and those before it, ``(N,)``.
        scale: Of the scores.

    Returns:
        ``(N, H * D)``.
    """
    seen = torch.arange(keys.shape[2], device=last.device) <= last[:, None]  # (N, Z)
    shared = query.shape[1] // keys.shape[1]
    if shared > 1:  # (N, heads, shared, D): the heads that share keys are several queries of them
        query = query.squeeze(2).unflatten(1, (-1, shared))
    mixed = F.scaled_dot_product_attention(query, keys, values, attn_mask=seen[:, None, None], scale=scale)
    return mixed.flatten(1)


def _at(states: Tensor, last: Tensor) -> Tensor:
    """The states of the last tokens: ``(N, Z, W)`` to ``(N, W)``."""
    return states[torch.arange(len(last), device=last.device), last]


def _rotated(vectors: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary position embedding of vectors, ``(N, heads, Z, D)``."""
    first, second = vectors.chunk(2, dim=-1)
    return vectors * cos + torch.cat([-second, first], dim=-1) * sin


def _llama(base: Any, layer: Any, states: Tensor, last: Tensor) -> Tensor:
    """A layer of Llama, Mistral or Qwen2, and the final norm: ``(N, Z, W)`` to ``(N, W)``."""
    attention = layer.self_attn
    cos, sin = base.rotary_emb(states, position_ids=torch.arange(states.shape[1], device=last.device)[None])
    cos, sin = cos[:, None], sin[:, None]  # (1, 1, Z, D)
    normed, residual = layer.input_layernorm(states), _at(states, last)

    def heads(values: Tensor) -> Tensor:
        return values.unflatten(-1, (-1, attention.head_dim)).transpose(1, 2)

    keys = _rotated(heads(attention.k_proj(normed)), cos, sin)
    values = heads(attention.v_proj(normed))
    query = heads(attention.q_proj(_at(normed, last)[:, None]))  # (N, H, 1, D)
    query = _rotated(query, cos[0, 0, last][:, None, None], sin[0, 0, last][:, None, None])
    mixed = _attend(query.to(keys.dtype), keys, values.to(keys.dtype), last, attention.scaling)
    residual = residual + attention.o_proj(mixed)
    return base.norm(residual + layer.mlp(layer.post_attention_layernorm(residual)))


def _gpt2(base: Any, layer: Any, states: Tensor, last: Tensor) -> Tensor:
    """A layer of GPT-2, whose queries, keys and values are one product, and the final norm."""
    attention = layer.attn
    query, keys, values = (
        part.unflatten(-1, (-1, attention.head_dim)).transpose(1, 2)
        for part in attention.c_attn(layer.ln_1(states)).chunk(3, dim=-1)
    )
    query = query[torch.arange(len(last), device=last.device), :, last][:, :, None]  # (N, H, 1, D)
    residual = _at(states, last) + attention.c_proj(_attend(query, keys, values, last, attention.scaling))
    return base.ln_f(residual + layer.mlp(layer.ln_2(residual)))


# By transformers' model type: of the base model, its top layer, the states that enter it and the last tokens
LAST_TOKEN: dict[str, Callable[[nn.Module, nn.Module, Tensor, Tensor], Tensor]] = {
    "llama": _llama,
    "mistral": _llama,
    "qwen2": _llama,
    "gpt2": _gpt2,
}
