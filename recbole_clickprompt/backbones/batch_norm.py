"""Batch norm over the rows of all ranks, also on CPUs, which ``torch.nn.SyncBatchNorm`` does not support."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from recbole_clickprompt import distributed

__all__ = ["batch_norm_over_ranks"]


def batch_norm_over_ranks(model: nn.Module) -> None:
    """Makes every batch norm of a model compute its statistics over the rows of all ranks.

    The layers stay the same objects, with their weights, hooks and names in the state dict.
    """
    for module in list(model.modules()):
        if type(module) in _KINDS:
            module.__class__ = _KINDS[type(module)]


class _SumOverRanks(torch.autograd.Function):
    """Sums a tensor over the ranks. Each rank's loss depends on the sum, so gradients are summed as well."""

    @staticmethod
    def forward(ctx: Any, local: Tensor) -> Tensor:
        total = local.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone()
        dist.all_reduce(total)
        return total


class _OverRanks(_BatchNorm):
    def forward(self, input: Tensor) -> Tensor:
        """This rank's part of the layer's output for the rows of all ranks: ``(B, C, ...)``."""
        if not self.training or distributed.current().world == 1:
            return super().forward(input)
        self._check_input_dim(input)
        rest = [d for d in range(input.dim()) if d != 1]
        mean, var, count = _statistics(input, rest)
        if self.track_running_stats:
            self._follow(mean.detach(), var.detach() * count / (count - 1))
        shape = [1, -1, *[1] * (input.dim() - 2)]
        normal = (input - mean.view(shape)) * torch.rsqrt(var.view(shape) + self.eps)
        return normal * self.weight.view(shape) + self.bias.view(shape) if self.affine else normal

    @torch.no_grad()
    def _follow(self, mean: Tensor, unbiased: Tensor) -> None:
        assert self.num_batches_tracked is not None
        self.num_batches_tracked += 1
        momentum = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        for running, now in ((self.running_mean, mean), (self.running_var, unbiased)):
            assert running is not None
            running.lerp_(now, momentum)


def _statistics(input: Tensor, rest: list[int]) -> tuple[Tensor, Tensor, int]:
    """Mean and biased variance of each channel over all ranks, ``(C,)``, and their number of values.

    Every rank contributes the mean of its values and their squared distances to it; combined in this way, no
    digits are lost where the mean is large compared with the spread.
    """
    here = distributed.current()
    channels = input.shape[1]
    mean = input.mean(rest)
    spread = (input - mean.view([1, -1, *[1] * (input.dim() - 2)])).square().sum(rest)
    count = 0 if here.is_padding else input.numel() // channels
    row = torch.cat([mean, spread * bool(count), mean.new_tensor([count])])
    # Each rank fills its own row of a table, and the sum over ranks has all of them
    table = _SumOverRanks.apply(F.pad(row.unsqueeze(0), (0, 0, here.rank, here.world - 1 - here.rank)))
    means, spreads, counts = table[:, :channels], table[:, channels:-1], table[:, -1].detach()
    count = int(counts.sum())
    if count < 2:
        raise ValueError("batch norm needs more than one row; change the batch size so that the last one has two")
    mean = counts @ means / count
    return mean, (spreads.sum(0) + counts @ (means - mean).square()) / count, count


_KINDS: dict[type[nn.Module], type[nn.Module]] = {
    kind: type(f"{kind.__name__}OverRanks", (_OverRanks, kind), {})
    for kind in (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
}
