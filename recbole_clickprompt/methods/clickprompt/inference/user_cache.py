"""Attention of a row's first token to the user's text, cached for all users; and attention of a single query."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from recbole_clickprompt.methods.clickprompt.inference.kv_cache import append_mask_column
from recbole_clickprompt.plm.architectures import LayerAdapter
from recbole_clickprompt.text.states import StateTable

__all__ = ["UserCache", "build_user_cache", "by_head", "single_query_scores", "weighted_sum"]

_TEXTS_PER_BLOCK = 256


@dataclass(frozen=True)
class UserCache:
    """Attention of a row's first token to the row's first text, the user's, for all user ids.

    With scores ``s_1 ... s_Z`` of that text, ``score = log(sum of exp(s_i))``, and ``value`` is the output of
    attention to that text alone. In a softmax over several texts, ``score`` and ``value`` stand for all tokens of
    the text: the result is the same.

    All tensors but ``score`` are in the precision of matrix products.

    Attributes:
        states: States of the first token that enter the layer, ``(users, W)``.
        query: Its scaled queries, in the form of ``TextKVCache.scores``, ``(users, H, D + 1)``.
        score: One score for all tokens of the text, ``(users, H, 1)`` float32.
        value: Output of attention to the text alone, ``(users, W)``.
    """

    states: Tensor
    query: Tensor
    score: Tensor
    value: Tensor


def build_user_cache(layer: LayerAdapter, table: StateTable, *, heads: int, dtype: torch.dtype) -> UserCache:
    """Computes the cache for all ids of the table's first key, in blocks of texts.

    Args:
        layer: The interaction layer.
        table: States that enter it.
        heads: H.
        dtype: Precision of matrix products.
    """
    offsets = table.get_buffer("offsets_0")
    ids = torch.arange(len(offsets) - 1, device=offsets.device)
    blocks = [_attend(layer, table, block, heads) for block in ids.split(_TEXTS_PER_BLOCK)]
    states, query, score, value = map(torch.cat, zip(*blocks, strict=True))
    query = append_mask_column(query.to(dtype), heads)
    return UserCache(states.to(dtype), query, score, value.to(dtype))


def _attend(
    layer: LayerAdapter, table: StateTable, ids: Tensor, heads: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The tensors of ``UserCache`` for a block of ids, float32, with the query as ``(block, W)``."""
    offsets = table.get_buffer("offsets_0")
    lengths = (offsets[ids + 1] - offsets[ids]).clamp(max=table.max_length)
    column = torch.arange(int(lengths.max()), device=offsets.device)
    places = (offsets[ids].unsqueeze(1) + column).clamp(max=int(offsets[-1]) - 1)
    states = table.gather(places).float()  # (block, Z, W)
    query = layer.queries(states[:, :1], None)
    query = query * ((query.shape[2] // heads) ** -0.5 if layer.scale is None else layer.scale)
    keys, values = layer.keys_values(states, None)
    unseen = column >= lengths.unsqueeze(1)
    scores = single_query_scores(query[:, 0], keys, heads).masked_fill_(unseen.unsqueeze(1), -torch.inf)
    return (
        states[:, 0],
        query[:, 0],
        scores.logsumexp(2, keepdim=True),
        weighted_sum(scores.softmax(2), values, heads),
    )


def by_head(states: Tensor, heads: int) -> Tensor:
    """``(..., W)`` to ``(..., H, D)``."""
    return states.view(*states.shape[:-1], heads, -1)


def single_query_scores(query: Tensor, keys: Tensor, heads: int) -> Tensor:
    """Scores of one query per row, as a product and a sum: a matrix product per head would be too small.

    Args:
        query: Scaled queries, ``(B, W)``.
        keys: ``(B, K or Z, W)``.
        heads: H.

    Returns:
        ``(B, H, K or Z)`` float32.
    """
    products = by_head(keys, heads) * by_head(query, heads).unsqueeze(1)
    return products.sum(3, dtype=torch.float32).transpose(1, 2)


def weighted_sum(weights: Tensor, values: Tensor, heads: int) -> Tensor:
    """Sums of values by attention weights, in the type of the values.

    Args:
        weights: ``(B, H, K or Z)``.
        values: ``(B, K or Z, W)``.
        heads: H.

    Returns:
        ``(B, W)``.
    """
    head_weights = weights.transpose(1, 2).unsqueeze(3).to(values.dtype)
    return (by_head(values, heads) * head_weights).sum(1).flatten(1)
