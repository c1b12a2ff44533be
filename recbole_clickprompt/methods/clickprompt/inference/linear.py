"""Linear layers as a CPU computes them fastest in bf16, for weights that do not change."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["InferenceLinear"]

_CACHED_ROWS = 256  # of a product, which a processor's cache holds in float32
_FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {"tanh": torch.tanh, "gelu": F.gelu}


class InferenceLinear:
    """A product, then its bias, and what is done to each number of it, with weights as the product reads them.

    torch's own copies the bias to every row first, in each call turns the weights round, and writes and reads
    the product once more for what follows it. oneDNN does that to each part of the product at hand, in float32.

    Args:
        linear: Copied.
        dtype: Of the copy.
        follows: ``tanh``, ``gelu``, or ``add`` for a sum with what is given in each call; None for nothing.
    """

    def __init__(self, linear: nn.Linear, dtype: torch.dtype, follows: str | None = None) -> None:
        self.follows = follows
        weight = linear.weight.detach().to(dtype, copy=True)
        self.fused = follows is not None and weight.device.type == "cpu" and _fuses(dtype)
        self.weight = _packed(weight) if self.fused else weight.t().contiguous()
        # A sum is rounded once where it is made in float32; oneDNN takes three summands in one precision alone
        of_bias = dtype if self.fused and follows == "add" else torch.float32
        self.bias = None if linear.bias is None else linear.bias.detach().to(of_bias, copy=True)

    def __call__(self, states: Tensor, added: Tensor | None = None) -> Tensor:
        """``(B, N)`` of any precision, and ``(B, P)`` to add in its own, to ``(B, P)`` of its own."""
        states = states.to(self.weight.dtype)
        if not self.fused:
            return self._finished(torch.mm(states, self.weight), added)
        product = torch.ops.mkldnn._linear_pointwise
        if added is None:
            return product(states, self.weight, self.bias, self.follows, [], "none")
        return product.binary(states, added, self.weight, self.bias, self.follows)

    def _finished(self, out: Tensor, added: Tensor | None) -> Tensor:
        """What follows the product, in place."""
        size = _CACHED_ROWS if out.device.type == "cpu" else max(1, len(out))
        for begin in range(0, len(out), size):
            part = out[begin : begin + size]
            states = part.float()  # of bf16, functions take twice as long
            if self.bias is not None:
                states = states + self.bias
            if added is not None:
                states = states + added[begin : begin + size]
            part.copy_(_FUNCTIONS[self.follows](states) if self.follows in _FUNCTIONS else states)
        return out


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
