"""Linear layers as a CPU computes them fastest in bf16, for weights that do not change."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["cast_linears"]


class _InferenceLinear(nn.Module):
    """A product, and then its bias, with weights as the product reads them.

    torch's own copies the bias to every row first, and in each call turns the weights round.

    Args:
        linear: Copied.
        dtype: Of the copy.
    """

    def __init__(self, linear: nn.Linear, dtype: torch.dtype) -> None:
        super().__init__()
        self.weight: Tensor
        self.bias: Tensor | None
        self.register_buffer("weight", linear.weight.detach().t().contiguous().to(dtype))
        self.register_buffer("bias", None if linear.bias is None else linear.bias.detach().to(dtype))

    def forward(self, states: Tensor) -> Tensor:
        """``(..., N)`` to ``(..., P)``, as of ``nn.Linear``."""
        out = torch.mm(states.flatten(0, -2), self.weight)
        if self.bias is not None:
            out += self.bias
        return out.unflatten(0, states.shape[:-1])


def cast_linears(module: nn.Module, dtype: torch.dtype) -> None:
    """Has the linear layers inside a module compute in ``dtype``, which they are not trained in any more."""
    for parent in list(module.modules()):
        for name, part in parent.named_children():
            if not isinstance(part, nn.Linear):
                continue
            if dtype is torch.bfloat16 and part.weight.device.type == "cpu":
                setattr(parent, name, _InferenceLinear(part, dtype))
            else:
                part.to(dtype)
