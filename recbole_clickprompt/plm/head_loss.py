"""Cross entropy of tokens predicted by an LM head, without storing the logits of all tokens."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from recbole_clickprompt.plm.token_loss import row_losses

__all__ = ["head_loss"]

_LOGITS_PER_CHUNK = {"cpu": 1 << 24}  # 64 MB in float32
_LOGITS_PER_CHUNK_ELSEWHERE = 1 << 27


def head_loss(states: Tensor, weight: Tensor, bias: Tensor | None, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Mean cross entropy of ``states @ weight.T + bias``, and which tokens are predicted correctly.

    Equivalent to ``token_loss`` of the logits, but logits and their gradient exist for a chunk of tokens only.
    Both products of the backward pass are computed during the forward pass, while the chunk is there::

        logits = states[chunk] @ weight.T                           (chunk, V)
        grad   = (softmax(logits) - one-hot labels) / tokens        (chunk, V), in the memory of the logits
        d states[chunk] = grad @ weight,    d weight += grad.T @ states[chunk]

    ``backward`` can be called once. In autocast the products are in its type and the loss is in float32.

    Args:
        states: ``(tokens, W)``.
        weight: ``(V, W)``.
        bias: ``(V,)``, or None.
        labels: Correct tokens, ``(tokens,)`` int64.

    Returns:
        A scalar in nats, and True where the label's logit is the highest, ``(tokens,)``.
    """
    loss, correct = _HeadLoss.apply(states, weight, bias, labels)
    return loss, correct


class _HeadLoss(torch.autograd.Function):
    """Arguments and return values of ``head_loss``."""

    @staticmethod
    def forward(
        ctx: Any, states: Tensor, weight: Tensor, bias: Tensor | None, labels: Tensor
    ) -> tuple[Tensor, Tensor]:
        device = states.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else weight.dtype
        with torch.autocast(device, enabled=False):
            losses, correct, gradients = _in_chunks(
                states.to(dtype), weight.to(dtype), None if bias is None else bias.to(dtype), labels,
                needs_gradient=ctx.needs_input_grad[:3],
            )  # fmt: skip
        ctx.gradients = gradients
        ctx.types = states.dtype, weight.dtype, None if bias is None else bias.dtype
        ctx.mark_non_differentiable(correct)
        return losses.mean(), correct

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        gradients, ctx.gradients = ctx.gradients, None
        assert gradients is not None, "backward of a head loss can be called once"
        scaled = [
            None if gradient is None else gradient.mul_(outer[0].to(gradient.dtype)).to(dtype)
            for gradient, dtype in zip(gradients, ctx.types, strict=True)
        ]
        return scaled[0], scaled[1], scaled[2], None


def _in_chunks(
    states: Tensor, weight: Tensor, bias: Tensor | None, labels: Tensor, *, needs_gradient: tuple[bool, ...]
) -> tuple[Tensor, Tensor, tuple[Tensor | None, ...]]:
    """Losses, correctness, and the gradients of states, weight and bias that are needed; sums are in float32."""
    tokens, vocabulary = len(states), len(weight)
    limit = _LOGITS_PER_CHUNK.get(states.device.type, _LOGITS_PER_CHUNK_ELSEWHERE)
    for_states = torch.empty_like(states) if needs_gradient[0] else None
    for_weight = torch.zeros_like(weight, dtype=torch.float32) if needs_gradient[1] else None
    for_bias = torch.zeros_like(bias, dtype=torch.float32) if bias is not None and needs_gradient[2] else None
    at_once = max(1, limit // vocabulary)
    losses: list[Tensor] = []
    right: list[Tensor] = []
    for begin in range(0, tokens, at_once):
        part, label = states[begin : begin + at_once], labels[begin : begin + at_once]
        logits = torch.nn.functional.linear(part, weight, bias)  # (chunk, V)
        gradient = logits if any(needs_gradient) else None
        loss, correct = row_losses(logits, label, gradient, count=tokens)
        losses.append(loss)
        right.append(correct)
        if for_states is not None:
            torch.mm(logits, weight, out=for_states[begin : begin + len(part)])
        if for_weight is not None:
            if logits.dtype is torch.float32:
                for_weight.addmm_(logits.T, part)
            else:
                for_weight.add_(logits.T @ part)
        if for_bias is not None:
            for_bias.add_(logits.sum(0, dtype=torch.float32))
    return torch.cat(losses), torch.cat(right), (for_states, for_weight, for_bias)
