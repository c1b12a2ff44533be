"""Cross entropy over a vocabulary, whose tens of thousands of logits a row are read while a cache holds them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

__all__ = ["token_loss"]

_AT_ONCE = {"cpu": 1 << 19}  # logits: 2 MB in float32, a core's cache
_AT_ONCE_ELSEWHERE = 1 << 25


def token_loss(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Mean cross entropy, computed in float32, and which rows are told right.

    It equals ``F.cross_entropy(logits.float(), labels)`` and ``logits.argmax(1) == labels``. There a float32 copy,
    its log softmax and both gradients are written to memory one by one; here the gradient alone is, on the way
    forward. It can be had once.

    Args:
        logits: ``(N, V)`` of any float type.
        labels: ``(N,)``.

    Returns:
        A scalar in nats, and True where no logit is higher than the label's (of equal ones, the first), ``(N,)``.
    """
    loss, right = _TokenLoss.apply(logits, labels)
    return loss, right


class _TokenLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        rows, width = logits.shape
        ctx.gradient = torch.empty_like(logits) if ctx.needs_input_grad[0] else None
        at_once = max(1, _AT_ONCE.get(logits.device.type, _AT_ONCE_ELSEWHERE) // width)
        losses, right = [], []
        for begin in range(0, rows, at_once):
            part, label = logits[begin : begin + at_once], labels[begin : begin + at_once].unsqueeze(1)
            scores = part.to(torch.float32, copy=True)
            own, highest = scores.gather(1, label), scores.amax(1, keepdim=True)
            right.append(_is_first(scores, label, own == highest))
            total = scores.sub_(highest).exp_().sum(1, keepdim=True)
            losses.append(total.log() + highest - own)
            if ctx.gradient is not None:
                scores.div_(total * rows).scatter_add_(1, label, torch.full_like(own, -1 / rows))
                ctx.gradient[begin : begin + at_once] = scores
        told = torch.cat(right)
        ctx.mark_non_differentiable(told)
        return torch.cat(losses).mean(), told

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        gradient, ctx.gradient = ctx.gradient, None
        assert gradient is not None, "the gradient of a token loss can be had once"
        return gradient.mul_(gradients[0].to(gradient.dtype)), None


def _is_first(scores: Tensor, label: Tensor, among_highest: Tensor) -> Tensor:
    """True where the label is the first of a row's highest scores; argmax is slow, and asked where it may be."""
    right = among_highest.squeeze(1)
    rows = torch.nonzero(right).squeeze(1)
    right[rows] = scores[rows].argmax(1) == label[rows, 0]
    return right
