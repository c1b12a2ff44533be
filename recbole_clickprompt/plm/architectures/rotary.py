"""Rotary position embeddings (Su et al., 2021, "RoFormer")."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["rotate"]


def rotate(heads: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotates each pair of elements ``(i, i + D / 2)`` of a head by the angle ``i`` of its position.

    Args:
        heads: Queries or keys, ``(B, P, heads, D)``.
        cos: Cosines of the angles, ``(B or 1, P or 1, D)``.
        sin: Sines of the angles, of the same shape.

    Returns:
        A tensor of the shape of ``heads``.
    """
    first, second = heads.chunk(2, dim=3)
    turned = torch.cat([-second, first], dim=3)
    return heads * cos.unsqueeze(2) + turned * sin.unsqueeze(2)
