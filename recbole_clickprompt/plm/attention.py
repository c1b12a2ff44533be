"""Attention of text to prompts and text: for any number of queries, and for one query per row.

Letters: see ``plm/__init__.py``. The number of keys is K + Z with prompts, and Z without.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recbole_clickprompt.plm.dropout import dropout as drop

__all__ = ["attend", "single_query_attention"]


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    heads: int,
    mask: Tensor,
    bias: Tensor | None,
    dropout: float,
    scale: float | None,
) -> Tensor:
    """Scaled dot-product attention, by the faster of two equivalent implementations.

    In grouped-query attention (Ainslie et al., EMNLP 2023) there are fewer heads of keys and values than of
    queries, and each is read by ``H / key heads`` consecutive heads of queries.

    Args:
        query: ``(B, P, H * D)``.
        key: Keys of prompts, then of tokens, ``(B, K + Z, key heads * D)``.
        value: Values in the same order, of the same shape.
        heads: H.
        mask: True where a query attends, ``(B, 1, P or 1, K + Z)``.
        bias: Added to the scaled scores, ``(B or 1, H, P, K + Z)``, or None.
        dropout: Rate of dropout of attention weights.
        scale: Factor on scores; None is ``D ** -0.5``.

    Returns:
        Concatenated outputs of the heads, ``(B, P, H * D)``.
    """
    size = query.shape[2] // heads  # D
    # (B, P or K + Z, heads * D) -> (B, P or K + Z, heads, D)
    query, key, value = (states.unflatten(2, (-1, size)) for states in (query, key, value))
    if key.shape[2] != heads:  # expanded, as torch cannot export repeat_interleave
        shared = (-1, -1, -1, heads // key.shape[2], -1)
        key, value = (states.unsqueeze(3).expand(shared).flatten(2, 3) for states in (key, value))
    query, key, value = (states.transpose(1, 2) for states in (query, key, value))  # (B, H, P or K + Z, D)
    on_cpu = query.device.type == "cpu"
    if on_cpu and torch.is_grad_enabled() and (dropout or query.dtype is torch.bfloat16):
        # On a CPU torch has no fused kernel with dropout, and in bf16 its backward pass is 3 to 4 times slower
        attended = _unfused(query, key, value, mask=mask, bias=bias, dropout=dropout, scale=scale)
    else:
        attended = F.scaled_dot_product_attention(
            query,
            key,
            value,
            attn_mask=mask if bias is None else bias.to(query.dtype).masked_fill(~mask, -torch.inf),
            dropout_p=dropout,
            scale=scale,
        )
    return attended.transpose(1, 2).flatten(2)


def _unfused(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    mask: Tensor,
    bias: Tensor | None,
    dropout: float,
    scale: float | None,
) -> Tensor:
    """``F.scaled_dot_product_attention`` in plain torch; one ``baddbmm`` computes, scales and masks the scores.

    Arguments as for ``attend``, but split into heads: query ``(B, H, P, D)``, key and value ``(B, H, K + Z, D)``.
    Returns ``(B, H, P, D)``.
    """
    batch, heads, _, size = query.shape
    hidden = query.new_zeros(mask.shape).masked_fill_(~mask, -torch.inf)
    added = hidden if bias is None else bias.to(query.dtype) + hidden
    scores = torch.baddbmm(
        added.expand(batch, heads, -1, -1).flatten(0, 1),
        query.flatten(0, 1),
        key.flatten(0, 1).transpose(1, 2),
        alpha=size**-0.5 if scale is None else scale,
    )
    weights = drop(scores.softmax(-1), dropout)  # (B * H, P, K + Z)
    return torch.bmm(weights, value.flatten(0, 1)).unflatten(0, (batch, heads))


def single_query_attention(
    query: Tensor,
    states: Sequence[Tensor],
    *,
    key: nn.Linear,
    value: nn.Linear,
    heads: int,
    mask: Tensor,
    dropout: float,
    scale: float | None,
) -> Tensor:
    """Scaled dot-product attention of one query per row, without computing keys and values of all states.

    With the key and value matrices ``W_k`` and ``W_v`` of a head, ``(D, W)``, and attention weights ``a``::

        score of state s:  q . (W_k s)          =  (W_k^T q) . s
        output:            sum over s of a W_v s =  W_v (sum over s of a s)

    So each matrix is applied to one vector per row and head instead of to every state. The bias of the keys adds
    the same number to all scores of a query, which softmax ignores. The bias of the values is added at the end,
    times the sum of the weights, which differs from 1 after dropout.

    Args:
        query: ``(B, 1, W)``.
        states: The prompts, ``(B, K, W)``, if there are any, and the text, ``(B, Z, W)``. They stay separate to
            avoid a copy, and so that frozen ones get no gradient.
        key: Projects states to keys.
        value: Projects states to values.
        heads: H.
        mask: True where the query attends, ``(B, 1, 1, K + Z)``.
        dropout: Rate of dropout of attention weights.
        scale: Factor on scores; None is ``D ** -0.5``.

    Returns:
        Concatenated outputs of the heads, ``(B, 1, W)``.
    """
    device = query.device.type
    if torch.is_autocast_enabled(device):  # cast once, not in each product
        states = [part.to(torch.get_autocast_dtype(device)) for part in states]
    query = query.squeeze(1).unflatten(1, (heads, -1)).transpose(0, 1)  # (H, B, D)
    query = query * (query.shape[2] ** -0.5 if scale is None else scale)
    projected = torch.bmm(query, key.weight.unflatten(0, (heads, -1))).transpose(0, 1)  # (B, H, W)
    scores = torch.cat([torch.bmm(projected, part.transpose(1, 2)) for part in states], dim=2)  # (B, H, K + Z)
    weights = scores.masked_fill(~mask.squeeze(1), -torch.inf).softmax(2, dtype=torch.float32)
    weights = drop(weights.to(scores.dtype), dropout)
    # Sums over prompts and over text, added
    split = weights.split([part.shape[1] for part in states], dim=2)
    mean = reduce(torch.add, map(torch.bmm, split, states)).transpose(0, 1)  # (H, B, W)
    attended = torch.bmm(mean, value.weight.unflatten(0, (heads, -1)).transpose(1, 2))  # (H, B, D)
    if value.bias is not None:
        bias = value.bias.to(attended.dtype).unflatten(0, (heads, -1)).unsqueeze(1)  # (H, 1, D)
        attended = attended + weights.sum(2).T.unsqueeze(2) * bias
    return attended.transpose(0, 1).flatten(1).unsqueeze(1)
