"""Counts the floating-point operations of a call, and records its attention kernels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import torch
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

__all__ = ["Counted", "counted"]

_Shape: TypeAlias = torch.Size
_KERNEL = "_scaled_dot_product_"


class Counted(NamedTuple):
    """A call's result, its floating-point operations, and the attention kernels it used."""

    result: Any
    flop: int
    attention: str


class _Kernels(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()

    def __torch_dispatch__(
        self, func: OpOverload, types: object, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name = func.overloadpacket.__name__
        if name.startswith(_KERNEL) and not name.endswith("backward"):
            self.seen.add(name.removeprefix(_KERNEL))
        return func(*args, **(kwargs or {}))


def _forward(query: _Shape, key: _Shape, value: _Shape, *_: object, **__: object) -> int:
    return sdpa_flop_count(query, key, value)


def _backward(gradient: _Shape, query: _Shape, key: _Shape, value: _Shape, *_: object, **__: object) -> int:
    return sdpa_backward_flop_count(gradient, query, key, value)


def counted(call: Callable[[], Any]) -> Counted:
    """Runs a call; counts matrix products and attention, forward and backward, two operations per multiplication.

    Attention without a fused kernel is counted as two matrix products, and named ``math``.
    """
    aten = torch.ops.aten
    # torch only counts attention kernels of GPUs
    cpu_kernels = {
        aten._scaled_dot_product_flash_attention_for_cpu: _forward,
        aten._scaled_dot_product_flash_attention_for_cpu_backward: _backward,
    }
    with FlopCounterMode(display=False, custom_mapping=cpu_kernels) as counter, _Kernels() as kernels:
        result = call()
    return Counted(result, counter.get_total_flops(), ", ".join(sorted(kernels.seen)) or "math")
