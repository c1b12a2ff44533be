"""What follows attention in a post-norm layer, for fixed weights."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.activations import GELUActivation

from recbole_clickprompt.plm.architectures import PostNorm

__all__ = ["FixedLinear", "PostNormBlock"]

_CACHED_ROWS = 256  # rows of a product that fit a CPU's cache in float32
_FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {"tanh": torch.tanh, "gelu": F.gelu}


class FixedLinear:
    """A linear layer as a matrix product in ``dtype``, then bias and epilogue in float32.

    ``nn.Linear`` under autocast converts its weights in every call. Here they are converted and transposed once,
    and bias and epilogue are applied in blocks of rows while the product is in the CPU's cache::

        out[block] = (epilogue(float(states[block] @ weight) + bias + added[block])) as dtype

    Args:
        linear: The layer; its weights are copied.
        dtype: Precision of the product and the result.
        epilogue: ``tanh`` or ``gelu`` for a function, ``add`` for a residual connection, None for neither.
    """

    def __init__(self, linear: nn.Linear, dtype: torch.dtype, epilogue: str | None = None) -> None:
        self.epilogue = epilogue
        self.weight = linear.weight.detach().to(dtype, copy=True).t().contiguous()
        self.bias = None if linear.bias is None else linear.bias.detach().to(torch.float32, copy=True)

    def __call__(self, states: Tensor, added: Tensor | None = None) -> Tensor:
        """
        Args:
            states: ``(B, in_features)`` of any precision.
            added: Residual that ``add`` adds, ``(B, out_features)``.

        Returns:
            ``(B, out_features)`` in ``dtype``.
        """
        out = torch.mm(states.to(self.weight.dtype), self.weight)
        rows = _CACHED_ROWS if out.device.type == "cpu" else max(1, len(out))
        for begin in range(0, len(out), rows):
            part = out[begin : begin + rows]
            result = part.float()  # in bf16 these functions take twice as long
            if self.bias is not None:
                result = result + self.bias
            if added is not None:
                result = result + added[begin : begin + rows]
            part.copy_(_FUNCTIONS[self.epilogue](result) if self.epilogue in _FUNCTIONS else result)
        return out


class PostNormBlock:
    """``LayerAdapter.combine`` without dropout, for one position per row.

    Args:
        modules: Modules of the layer; all weights but those of the norms are copied.
        width: W.
        dtype: Precision of matrix products.
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
            attended: Concatenated outputs of the heads, ``(B, W)``.
            states: What entered the layer, ``(B, W)``.

        Returns:
            Outputs of the layer, ``(B, W)``.
        """
        states = self.attended_norm(self.projection(attended, states))
        inside = self.expansion(states)
        if self.activation is not None:
            inside = self.activation(inside)
        return self.norm(self.contraction(inside, states))


@torch.no_grad()
def _as_linear(layer: nn.Module, width: int) -> nn.Linear:
    """An affine layer as one ``nn.Linear``, with what LoRA adds; it is evaluated on the unit vectors.

    Args:
        layer: Maps ``(..., width)`` to ``(..., out_features)``.
        width: Width of its inputs.
    """
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
