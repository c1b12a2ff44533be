"""Dice, the activation of DIN (Zhou et al., KDD 2018, Eq. 3)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from recbole_clickprompt.backbones.batch_norm import RunningBatchNorm1d

__all__ = ["Dice"]


class Dice(nn.Module):
    """``p * x + (1 - p) * alpha * x`` with ``p = sigmoid(batch_norm(x))`` and one learnt alpha per unit.

    Args:
        units: Width of x.
    """

    def __init__(self, units: int) -> None:
        super().__init__()
        self.norm = RunningBatchNorm1d(units, eps=1e-8, affine=False)  # a batch may have a single click or none
        self.alpha = nn.Parameter(torch.zeros(units))

    def forward(self, x: Tensor) -> Tensor:
        """``(N, units)`` to the same shape."""
        p = torch.sigmoid(self.norm(x))
        return x * torch.addcmul(self.alpha, 1 - self.alpha, p)  # the same, in fewer passes
