"""Dropout with cheap random numbers on a CPU, where torch's take a tenth of a training step."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["Dropout", "dropout", "replace_dropout"]

_LANES = 4  # one random int64 serves this many elements, with 16 bits each
_LEVELS = 1 << 16  # values of 16 bits


def dropout(states: Tensor, rate: float) -> Tensor:
    """``torch.nn.functional.dropout`` in training, with the rate rounded to 16 bits on a CPU.

    Args:
        states: Tensor of any shape and float type.
        rate: Probability that an element becomes 0, from 0 to 1; the others are multiplied by ``1 / (1 - rate)``.

    Returns:
        A tensor of the same shape and type, or ``states`` itself if the rate is 0.
    """
    if not rate:
        return states
    if states.device.type != "cpu" or rate == 1:
        return F.dropout(states, rate)
    count = states.numel()
    # Integers are compared with the rate directly, without a conversion to floats
    draws = torch.empty((count + _LANES - 1) // _LANES, dtype=torch.int64).random_(-(1 << 63), None)
    kept = draws.view(torch.int16)[:count].view(states.shape) >= round(rate * _LEVELS) - _LEVELS // 2
    return states * kept.to(states.dtype).mul_(1 / (1 - rate))


class Dropout(nn.Dropout):
    """``nn.Dropout`` that uses ``dropout``."""

    def forward(self, states: Tensor) -> Tensor:
        """States with dropout in training, unchanged in evaluation; any shape."""
        return dropout(states, self.p) if self.training else states


def replace_dropout(model: nn.Module, kind: type[nn.Dropout] = Dropout) -> None:
    """Replaces every dropout module of a model by one of ``kind`` with the same rate, in place."""
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.Dropout):
                setattr(module, name, kind(child.p))
