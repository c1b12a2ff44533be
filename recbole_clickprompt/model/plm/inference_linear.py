"""Linear layers as a CPU computes them fastest in bf16, for weights that do not change."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.activations import GELUActivation

__all__ = ["InferenceLinear", "cast_linears"]

_CACHED_ROWS = 256  # of a product, which a processor's cache holds in float32
_FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {"tanh": torch.tanh, "gelu": F.gelu}
# Where transformers has a linear layer followed by its activation
_FOLLOWED = (("dense", "intermediate_act_fn"), ("lin1", "activation"))


class InferenceLinear(nn.Module):
    """A product, then its bias, and what is done to each number of it, with weights as the product reads them.

    torch's own copies the bias to every row first, in each call turns the weights round, and writes and reads
    the product once more for what follows it. oneDNN does that to each part of the product at hand, in float32.

    Args:
        linear: Copied.
        dtype: Of the copy.
        function: ``tanh`` or ``gelu`` follows; None for neither.
    """

    def __init__(self, linear: nn.Linear, dtype: torch.dtype, function: str | None = None) -> None:
        super().__init__()
        self.weight: Tensor
        self.bias: Tensor | None
        self.function = function
        weight = linear.weight.detach().to(dtype, copy=True)
        self.fused = function is not None and weight.device.type == "cpu" and _fuses(dtype)
        self.register_buffer("weight", _packed(weight) if self.fused else weight.t().contiguous())
        # A sum is rounded once where it is made in float32, and else with both of its summands
        of_bias = torch.float32 if function else dtype
        self.register_buffer("bias", None if linear.bias is None else linear.bias.detach().to(of_bias, copy=True))

    def forward(self, states: Tensor) -> Tensor:
        """``(..., N)`` of any precision to ``(..., P)`` of its own."""
        rows = states.flatten(0, -2).to(self.weight.dtype)
        if self.fused:
            out = torch.ops.mkldnn._linear_pointwise(rows, self.weight, self.bias, self.function, [], "none")
        else:
            out = torch.mm(rows, self.weight)
            if self.function is not None:
                self._finish(out, _FUNCTIONS[self.function])
            elif self.bias is not None:
                out += self.bias
        return out.unflatten(0, states.shape[:-1])

    def _finish(self, out: Tensor, function: Callable[[Tensor], Tensor]) -> None:
        """In place."""
        for part in out.split(_CACHED_ROWS):
            states = part.float()  # of bf16, functions take twice as long
            part.copy_(function(states if self.bias is None else states + self.bias))


def cast_linears(module: nn.Module, dtype: torch.dtype) -> None:
    """Has the linear layers inside a module compute in ``dtype``, which they are not trained in any more."""
    for parent in list(module.modules()):
        for name, part in parent.named_children():
            if not isinstance(part, nn.Linear):
                continue
            if dtype is torch.bfloat16 and part.weight.device.type == "cpu":
                follows = _gelu_behind(parent, name)
                setattr(parent, name, InferenceLinear(part, dtype, "gelu" if follows else None))
                if follows:
                    setattr(parent, follows, nn.Identity())
            else:
                part.to(dtype)


def _gelu_behind(parent: nn.Module, name: str) -> str | None:
    """The name of what applies GELU, in its exact form, to a layer's outputs."""
    follows = dict(_FOLLOWED).get(name)
    function = getattr(parent, follows, None) if follows else None
    return follows if isinstance(function, GELUActivation) and function.act is F.gelu else None


def _fuses(dtype: torch.dtype) -> bool:
    """oneDNN is there, and its products in ``dtype`` are the processor's own."""
    return (
        dtype is torch.bfloat16
        and torch.backends.mkldnn.is_available()
        and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    )


def _packed(weight: Tensor) -> Tensor:
    """``(P, N)`` in an order that oneDNN chooses."""
    return torch.ops.mkldnn._reorder_linear_weight(weight, _CACHED_ROWS)
