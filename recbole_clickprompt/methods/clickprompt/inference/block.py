"""What follows attention in a layer, for weights that do not change."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.activations import GELUActivation

from recbole_clickprompt.methods.clickprompt.inference.linear import InferenceLinear
from recbole_clickprompt.plm.architectures import PostNorm

__all__ = ["InferenceBlock"]


class InferenceBlock:
    """A layer's ``combine`` without dropout, of rows of W numbers.

    A product is given what it is added to, and GELU in its exact form.

    Args:
        parts: Copied, but for the norms.
        width: W.
        dtype: Of products.
    """

    def __init__(self, parts: PostNorm, *, width: int, dtype: torch.dtype) -> None:
        expansion = _plain(parts.expansion, width)
        gelu = isinstance(parts.activation, GELUActivation) and parts.activation.act is F.gelu
        self.projection = InferenceLinear(_plain(parts.projection, width), dtype, "add")
        self.expansion = InferenceLinear(expansion, dtype, "gelu" if gelu else None)
        self.contraction = InferenceLinear(_plain(parts.contraction, expansion.out_features), dtype, "add")
        self.activation = None if gelu else parts.activation
        self.attended_norm, self.norm = parts.attended_norm, parts.norm

    def __call__(self, attended: Tensor, states: Tensor) -> Tensor:
        """Heads' outputs and the states that entered the layer, both ``(B, W)``: what leaves it, ``(B, W)``."""
        states = self.attended_norm(self.projection(attended, states))
        inside = self.expansion(states)
        if self.activation is not None:
            inside = self.activation(inside)
        return self.norm(self.contraction(inside, states))


@torch.no_grad()
def _plain(layer: nn.Module, width: int) -> nn.Linear:
    """A layer that is affine in its inputs, ``(..., N)``, as a linear one: what LoRA adds is in its weights."""
    if type(layer) is nn.Linear:
        return layer
    device = next(layer.parameters()).device
    with torch.autocast(device.type, enabled=False):
        bias = layer(torch.zeros(1, width, device=device))
        weight = layer(torch.eye(width, device=device)) - bias
    plain = nn.Linear(len(weight), weight.shape[1], device=device)
    plain.weight.copy_(weight.t())
    plain.bias.copy_(bias[0])
    return plain
