"""Dropout with cheap random numbers on a CPU, where torch's own take a tenth of a training step."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["Dropout", "dropout", "replace_dropout"]

_LANES = 4  # of 16 bits each, in one random integer
_LEVELS = 1 << 16


def dropout(states: Tensor, rate: float) -> Tensor:
    """``torch.nn.functional.dropout`` in training, with the rate rounded to 16 bits on a CPU.

    Args:
        states: Of any shape and float type.
        rate: Share of numbers that become 0; the others are scaled up.
    """
    if not rate:
        return states
    if states.device.type != "cpu" or rate == 1:
        return F.dropout(states, rate)
    count = states.numel()
    # One random integer for four elements, without conversion to floats
    draws = torch.empty((count + _LANES - 1) // _LANES, dtype=torch.int64).random_(-(1 << 63), None)
    kept = draws.view(torch.int16)[:count].view(states.shape) >= round(rate * _LEVELS) - _LEVELS // 2
    return states * kept.to(states.dtype).mul_(1 / (1 - rate))


class Dropout(nn.Dropout):
    """``nn.Dropout`` that uses ``dropout``."""

    def forward(self, states: Tensor) -> Tensor:
        """States of any shape, some of them 0 in training."""
        return dropout(states, self.p) if self.training else states


def replace_dropout(model: nn.Module, kind: type[nn.Dropout] = Dropout) -> None:
    """Replaces every dropout module of a model by one of ``kind``."""
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.Dropout):
                setattr(module, name, kind(child.p))
