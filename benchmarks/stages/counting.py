"""What a call computes: floating-point operations, and the kernels that served attention."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

__all__ = ["Counted", "counted"]

_KERNEL = "_scaled_dot_product_"


class Counted(NamedTuple):
    """A call's answer, its floating-point operations, and the attention kernels it used."""

    answer: Any
    flop: int
    attention: str


class _Kernels(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        if name.startswith(_KERNEL) and not name.endswith("backward"):
            self.seen.add(name.removeprefix(_KERNEL))
        return func(*args, **(kwargs or {}))


def _forward(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    return sdpa_flop_count(query, key, value)


def _backward(gradient: Any, query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    return sdpa_backward_flop_count(gradient, query, key, value)


def counted(call: Callable[[], Any]) -> Counted:
    """Runs a call; counts matrix products and attention, forward and backward, two operations a multiplication.

    Attention that no kernel serves is a pair of matrix products, and named ``math``.
    """
    aten = torch.ops.aten
    # torch counts attention by the kernels of GPUs alone
    more = {
        aten._scaled_dot_product_flash_attention_for_cpu: _forward,
        aten._scaled_dot_product_flash_attention_for_cpu_backward: _backward,
    }
    with FlopCounterMode(display=False, custom_mapping=more) as counter, _Kernels() as kernels:
        answer = call()
    return Counted(answer, counter.get_total_flops(), ", ".join(sorted(kernels.seen)) or "math")
