"""Weighted sums of rows of a small table, without a copy of the rows that are summed."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

__all__ = ["weighted_sum"]


def weighted_sum(vectors: Tensor, places: Tensor, weights: Tensor) -> Tensor:
    """``weights[b, t] * vectors[places[b, t]]``, summed over t.

    Args:
        vectors: ``(U, W)``.
        places: Rows of ``vectors``, ``(B, T)``.
        weights: ``(B, T)``, of the type of ``vectors``.

    Returns:
        ``(B, W)``.
    """
    if torch.compiler.is_exporting():
        return torch.einsum("bt,btw->bw", weights, F.embedding(places, vectors))
    result: Tensor = _WeightedSum.apply(vectors, places, weights)
    return result


class _WeightedSum(torch.autograd.Function):
    """``embedding_bag``; the gradient of the vectors is another one, much faster than torch's own on a CPU."""

    @staticmethod
    def forward(ctx: Any, vectors: Tensor, places: Tensor, weights: Tensor) -> Tensor:
        ctx.save_for_backward(vectors, places, weights)
        return F.embedding_bag(places, vectors, per_sample_weights=weights, mode="sum")

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, None, Tensor | None]:  # (B, W)
        vectors, places, weights = ctx.saved_tensors
        of_vectors = of_weights = None
        if ctx.needs_input_grad[0]:
            # A vector's gradient is the weighted sum of those of the rows that it is in
            order = places.flatten().int().argsort()  # (B * T,) slots by vector
            counts = torch.bincount(places.flatten(), minlength=len(vectors))
            of_vectors = F.embedding_bag(
                order // places.shape[1],
                gradient.contiguous(),
                counts.cumsum(0) - counts,
                per_sample_weights=weights.flatten()[order],
                mode="sum",
            )
        if ctx.needs_input_grad[2]:
            of_weights = torch.einsum("btw,bw->bt", F.embedding(places, vectors), gradient)
        return of_vectors, None, of_weights
