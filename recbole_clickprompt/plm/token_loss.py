"""Cross entropy over a vocabulary of tens of thousands of tokens, computed while logits are in the CPU's cache."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

__all__ = ["row_losses", "token_loss"]

_LOGITS_PER_BLOCK = {"cpu": 1 << 19}  # 2 MB in float32, a core's cache
_LOGITS_PER_BLOCK_ELSEWHERE = 1 << 25


def token_loss(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Mean cross entropy, computed in float32, and which tokens are predicted correctly.

    Equivalent to ``F.cross_entropy(logits.float(), labels)`` and ``logits.argmax(1) == labels``. These write a
    float32 copy, its log softmax and both gradients to memory one after the other; this function writes only the
    gradient, during the forward pass. The logits are processed in blocks of rows that fit a core's cache::

        loss[i]        = log(sum over v of exp(logits[i, v])) - logits[i, label[i]]
        gradient[i, v] = (softmax(logits[i])[v] - (v == label[i])) / masked

    ``backward`` can be called once.

    Args:
        logits: ``(masked, V)`` of any float type.
        labels: Columns of the correct tokens, ``(masked,)`` int64.

    Returns:
        A scalar in nats, and True where the label's logit is the highest (among equal ones, the first),
        ``(masked,)``.
    """
    loss, right = _TokenLoss.apply(logits, labels)
    return loss, right


class _TokenLoss(torch.autograd.Function):
    """Arguments and return values of ``token_loss``."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        ctx.gradient = torch.empty_like(logits) if ctx.needs_input_grad[0] else None
        losses, correct = row_losses(logits, labels, ctx.gradient, count=len(labels))
        ctx.mark_non_differentiable(correct)
        return losses.mean(), correct

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        gradient, ctx.gradient = ctx.gradient, None
        assert gradient is not None, "backward of a token loss can be called once"
        return gradient.mul_(gradients[0].to(gradient.dtype)), None


def row_losses(logits: Tensor, labels: Tensor, gradient: Tensor | None, *, count: int) -> tuple[Tensor, Tensor]:
    """The loss of each row, and the gradient of their sum divided by ``count``.

    Args:
        logits: ``(rows, V)`` of any float type; not changed, unless it is ``gradient`` too.
        labels: Columns of the correct tokens, ``(rows,)`` int64.
        gradient: Overwritten with the gradient, ``(rows, V)``; None if it is not needed.
        count: Number of losses that the mean is taken over, these among them.

    Returns:
        Losses in nats, ``(rows,)`` float32, and True where the label's logit is the first of the highest.
    """
    rows, width = logits.shape
    at_once = max(1, _LOGITS_PER_BLOCK.get(logits.device.type, _LOGITS_PER_BLOCK_ELSEWHERE) // width)
    losses, right = [], []
    for begin in range(0, rows, at_once):
        part, label = logits[begin : begin + at_once], labels[begin : begin + at_once].unsqueeze(1)
        scores = part.to(torch.float32, copy=True)  # (block, V)
        target, highest = scores.gather(1, label), scores.amax(1, keepdim=True)
        right.append(_is_first(scores, label, target == highest))
        total = scores.sub_(highest).exp_().sum(1, keepdim=True)  # in place: scores are exponentials now
        losses.append(total.log() + highest - target)
        if gradient is not None:
            scores.div_(total * count).scatter_add_(1, label, torch.full_like(target, -1 / count))
            gradient[begin : begin + at_once] = scores
    return torch.cat(losses).squeeze(1), torch.cat(right)


def _is_first(scores: Tensor, label: Tensor, among_highest: Tensor) -> Tensor:
    """True where the label is the first of a row's highest scores, ``(rows,)``.

    ``argmax`` is slow, so it runs only for rows whose label is among the highest scores.

    Args:
        scores: ``(rows, V)``.
        label: ``(rows, 1)`` int64.
        among_highest: True where the label's score equals the row's maximum, ``(rows, 1)``.
    """
    right = among_highest.squeeze(1)
    rows = torch.nonzero(right).squeeze(1)
    right[rows] = scores[rows].argmax(1) == label[rows, 0]
    return right
