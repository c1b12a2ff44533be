"""Linear layers, and what follows attention in a layer, for weights that do not change."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.activations import GELUActivation

from recbole_clickprompt.plm.architectures import PostNorm

__all__ = ["FixedLinear", "PostNormBlock"]

_CACHED_ROWS = 256  # of a product, which a CPU's cache holds in float32
_FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {"tanh": torch.tanh, "gelu": F.gelu}


class FixedLinear:
    """A matrix product in ``dtype``, then its bias and an epilogue in float32.

    ``nn.Linear`` under autocast converts its weights in every call. Here they are converted and transposed once,
    and bias and epilogue are applied in blocks, while the product is in the cache.

    Args:
        linear: Its weights are copied.
        dtype: Of the product and the result.
        epilogue: ``tanh``, ``gelu``, or ``add`` for a sum with what each call is given; None for nothing.
    """

    def __init__(self, linear: nn.Linear, dtype: torch.dtype, epilogue: str | None = None) -> None:
        self.epilogue = epilogue
        self.weight = linear.weight.detach().to(dtype, copy=True).t().contiguous()
        self.bias = None if linear.bias is None else linear.bias.detach().to(torch.float32, copy=True)

    def __call__(self, states: Tensor, added: Tensor | None = None) -> Tensor:
        """
        Args:
            states: ``(B, N)`` of any precision.
            added: What ``add`` adds, ``(B, N')``.

        Returns:
            ``(B, N')`` in ``dtype``.
        """
        out = torch.mm(states.to(self.weight.dtype), self.weight)
        rows = _CACHED_ROWS if out.device.type == "cpu" else max(1, len(out))
        for begin in range(0, len(out), rows):
            part = out[begin : begin + rows]
            result = part.float()  # functions of bf16 take twice as long
            if self.bias is not None:
                result = result + self.bias
            if added is not None:
                result = result + added[begin : begin + rows]
            part.copy_(_FUNCTIONS[self.epilogue](result) if self.epilogue in _FUNCTIONS else result)
        return out


class PostNormBlock:
    """``LayerAdapter.combine`` without dropout, of one position per row.

    Args:
        modules: Copied, except for the norms.
        width: W.
        dtype: Of products.
    """

    def __init__(self, modules: PostNorm, *, width: int, dtype: torch.dtype) -> None:
        expansion = _as_linear(modules.expansion, width)
        exact_gelu = isinstance(modules.activation, GELUActivation) and modules.activation.act is F.gelu
        self.projection = FixedLinear(_as_linear(modules.projection, width), dtype, "add")
        self.expansion = FixedLinear(expansion, dtype, "gelu" if exact_gelu else None)
        self.contraction = FixedLinear(_as_linear(modules.contraction, expansion.out_features), dtype, "add")
        self.activation = None if exact_gelu else modules.activation
        self.attended_norm, self.norm = modules.attended_norm, modules.norm

    def __call__(self, attended: Tensor, states: Tensor) -> Tensor:
        """
        Args:
            attended: Outputs of the heads, ``(B, W)``.
            states: What entered the layer, ``(B, W)``.

        Returns:
            What leaves the layer, ``(B, W)``.
        """
        states = self.attended_norm(self.projection(attended, states))
        inside = self.expansion(states)
        if self.activation is not None:
            inside = self.activation(inside)
        return self.norm(self.contraction(inside, states))


@torch.no_grad()
def _as_linear(layer: nn.Module, width: int) -> nn.Linear:
    """A layer that is affine in its inputs, ``(..., width)``, as one ``nn.Linear``, what LoRA adds included."""
    if type(layer) is nn.Linear:
        return layer
    device = next(layer.parameters()).device
    with torch.autocast(device.type, enabled=False):
        bias = layer(torch.zeros(1, width, device=device))
        weight = layer(torch.eye(width, device=device)) - bias
    linear = nn.Linear(len(weight), weight.shape[1], device=device)
    linear.weight.copy_(weight.t())
    linear.bias.copy_(bias[0])
    return linear
