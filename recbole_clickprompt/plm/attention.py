"""Attention of text to prompts and text: of all positions, and of one position per row."""

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
    """Scaled dot-product attention, by the faster of two equal implementations.

    Args:
        query: ``(B, P, W)``.
        key: ``(B, N, W)``, N prompts and tokens.
        value: ``(B, N, W)``.
        heads: H.
        mask: True where a query attends, ``(B, 1, P or 1, N)``.
        bias: Added to the scaled scores, ``(B, H, P, N)``, or None.
        dropout: Of attention weights.
        scale: Factor on scores; None is ``D ** -0.5``.

    Returns:
        ``(B, P, W)``.
    """
    query, key, value = (states.unflatten(2, (heads, -1)).transpose(1, 2) for states in (query, key, value))
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
    """As torch's, of ``(B, H, P, D)`` and ``(B, H, N, D)``; one product makes, scales and masks the scores."""
    batch, heads, _, size = query.shape
    hidden = query.new_zeros(mask.shape).masked_fill_(~mask, -torch.inf)
    added = hidden if bias is None else bias.to(query.dtype) + hidden
    scores = torch.baddbmm(
        added.expand(batch, heads, -1, -1).flatten(0, 1),
        query.flatten(0, 1),
        key.flatten(0, 1).transpose(1, 2),
        alpha=size**-0.5 if scale is None else scale,
    )
    weights = drop(scores.softmax(-1), dropout)
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
    """Scaled dot-product attention of one query per row, without the keys and values of all states.

    With a head's key and value matrices M and V, a score ``q · M s`` equals ``(Mᵀ q) · s``, and the weighted mean
    of ``V s`` is V times the weighted mean of s. So each matrix is applied to one vector per row and head, not to
    every state. The key's bias adds the same number to all scores of a query, which softmax ignores.

    Args:
        query: ``(B, 1, W)``.
        states: Prompts and text, each ``(B, N', W)``; N is the sum of the N'. They are separate so that nothing
            is copied, and frozen ones get no gradient.
        key: Makes keys of states.
        value: Makes values of states.
        heads: H.
        mask: True where the query attends, ``(B, 1, 1, N)``.
        dropout: Of attention weights.
        scale: Factor on scores; None is ``D ** -0.5``.

    Returns:
        ``(B, 1, W)``.
    """
    device = query.device.type
    if torch.is_autocast_enabled(device):  # once, instead of in each product
        states = [part.to(torch.get_autocast_dtype(device)) for part in states]
    query = query.squeeze(1).unflatten(1, (heads, -1)).transpose(0, 1)  # (H, B, D)
    query = query * (query.shape[2] ** -0.5 if scale is None else scale)
    projected = torch.bmm(query, key.weight.unflatten(0, (heads, -1))).transpose(0, 1)  # (B, H, W)
    scores = torch.cat([torch.bmm(projected, part.transpose(1, 2)) for part in states], dim=2)  # (B, H, N)
    weights = scores.masked_fill(~mask.squeeze(1), -torch.inf).softmax(2, dtype=torch.float32)
    weights = drop(weights.to(scores.dtype), dropout)
    split = weights.split([part.shape[1] for part in states], dim=2)
    mean = reduce(torch.add, map(torch.bmm, split, states)).transpose(0, 1)  # (H, B, W)
    attended = torch.bmm(mean, value.weight.unflatten(0, (heads, -1)).transpose(1, 2))  # (H, B, D)
    if value.bias is not None:
        # After dropout the weights do not sum to 1
        bias = value.bias.to(attended.dtype).unflatten(0, (heads, -1)).unsqueeze(1)  # (H, 1, D)
        attended = attended + weights.sum(2).T.unsqueeze(2) * bias
    return attended.transpose(0, 1).flatten(1).unsqueeze(1)
