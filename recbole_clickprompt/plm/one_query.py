"""Attention of a single position a row, which needs no keys and values of the others."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import torch
from torch import Tensor, nn

from recbole_clickprompt.plm.dropout import dropout as drop

__all__ = ["attend_from_one"]


def attend_from_one(
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
    """Scaled dot-product attention to states instead of to their keys and values.

    With matrices K and V of a head, a score q · K s is (Kᵀ q) · s, and the weighted mean of the V s is V of the
    weighted mean of the s. So K and V meet one vector a row and head, and not every state. What the keys' bias
    adds to a score is the same for all states, which softmax does not see.

    Args:
        query: ``(B, 1, W)``.
        states: Attended to, in parts of which each is ``(B, N', W)``; apart, so that none is copied, and those
            that are frozen cost nothing backward. N is the sum of their N'.
        key: Makes a key of a state.
        value: Makes a value.
        heads: H.
        mask: True where the query attends, ``(B, 1, 1, N)``.
        dropout: Of attention weights.
        scale: Factor on scores; None is one over the root of the head size.

    Returns:
        ``(B, 1, W)``.
    """
    device = query.device.type
    if torch.is_autocast_enabled(device):  # once, and not in each of the products
        states = [part.to(torch.get_autocast_dtype(device)) for part in states]
    query = query.squeeze(1).unflatten(1, (heads, -1)).transpose(0, 1)  # (H, B, D)
    query = query * (query.shape[2] ** -0.5 if scale is None else scale)
    asked = torch.bmm(query, key.weight.unflatten(0, (heads, -1))).transpose(0, 1)  # (B, H, W)
    scores = torch.cat([torch.bmm(asked, part.transpose(1, 2)) for part in states], dim=2)  # (B, H, N)
    weights = scores.masked_fill(~mask.squeeze(1), -torch.inf).softmax(2, dtype=torch.float32)
    weights = drop(weights.to(scores.dtype), dropout)
    of_parts = weights.split([part.shape[1] for part in states], dim=2)
    read = reduce(torch.add, map(torch.bmm, of_parts, states)).transpose(0, 1)  # (H, B, W)
    attended = torch.bmm(read, value.weight.unflatten(0, (heads, -1)).transpose(1, 2))  # (H, B, D)
    if value.bias is not None:
        # Dropout leaves weights that do not sum to 1
        bias = value.bias.to(attended.dtype).unflatten(0, (heads, -1)).unsqueeze(1)  # (H, 1, D)
        attended = attended + weights.sum(2).T.unsqueeze(2) * bias
    return attended.transpose(0, 1).flatten(1).unsqueeze(1)
