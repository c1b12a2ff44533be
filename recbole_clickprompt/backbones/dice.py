"""Dice, the activation of DIN (Zhou et al., KDD 2018, Eq. 3)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recbole_clickprompt import distributed

__all__ = ["Dice"]


class Dice(nn.Module):
    """``p * x + (1 - p) * alpha * x`` with ``p = sigmoid(batch_norm(x))`` and one learnt alpha per unit.

    A batch of fewer than two rows has no variance; it is normalized with the running statistics.

    Args:
        units: Width of x.
    """

    def __init__(self, units: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(units, eps=1e-8, affine=False)
        self.alpha = nn.Parameter(torch.zeros(units))

    def forward(self, x: Tensor) -> Tensor:
        """``(N, units)`` to the same shape."""
        if self.training and len(x) < 2 and distributed.current().world == 1:
            mean, variance = self.norm.running_mean, self.norm.running_var
            p = torch.sigmoid(F.batch_norm(x, mean, variance, eps=self.norm.eps))
        else:
            p = torch.sigmoid(self.norm(x))
        return x * torch.addcmul(self.alpha, 1 - self.alpha, p)  # the same, in fewer passes
