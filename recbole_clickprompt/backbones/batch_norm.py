"""Batch norm over the rows of all ranks, also on CPUs, which ``torch.nn.SyncBatchNorm`` does not support."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from recbole_clickprompt import distributed

__all__ = ["RunningBatchNorm1d", "batch_norm_over_ranks", "sum_over_ranks"]


class RunningBatchNorm1d(nn.BatchNorm1d):
    """Batch norm for any number of rows: fewer than two have no variance and get the running statistics."""

    def forward(self, input: Tensor) -> Tensor:
        """``(N, channels)`` to the same shape; N may be 0."""
        return self.normalize_by_running(input) if self.training and len(input) < 2 else super().forward(input)

    def normalize_by_running(self, input: Tensor) -> Tensor:
        """Normalizes as in evaluation, ``(N, channels)`` to the same shape."""
        return F.batch_norm(input, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)


def batch_norm_over_ranks(model: nn.Module) -> None:
    """Makes every batch norm of a model compute its statistics over the rows of all ranks.

    The layers stay the same objects, with their weights, hooks and names in the state dict; only their class
    changes. With one process the result equals that of the original layers.

    Args:
        model: Changed in place.
    """
    for module in list(model.modules()):
        if type(module) in _KINDS:
            module.__class__ = _KINDS[type(module)]


class _SumOverRanks(torch.autograd.Function):
    """Sums a tensor over the ranks. The loss of every rank depends on the sum, so gradients are summed too."""

    @staticmethod
    def forward(ctx: FunctionCtx, local: Tensor) -> Tensor:
        total = local.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: FunctionCtx, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone()
        dist.all_reduce(total)
        return total


def sum_over_ranks(local: Tensor) -> Tensor:
    """The sum of the tensors of all ranks, of any shape; ranks whose losses depend on it share its gradient.

    All ranks call it as often as each other, in forward and in backward passes.
    """
    if distributed.current().world == 1:
        return local
    total: Tensor = _SumOverRanks.apply(local)
    return total


class _OverRanks(_BatchNorm):
    """``forward`` of the batch norms over ranks; the original classes come second among the bases."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalized values of this rank's rows, ``(B, channels, ...)``, like ``input``."""
        if not self.training or distributed.current().world == 1:
            return super().forward(input)
        self._check_input_dim(input)
        rest = [d for d in range(input.dim()) if d != 1]
        mean, var, count = _statistics(input, rest)
        if count < 2:
            if isinstance(self, RunningBatchNorm1d):
                return self.normalize_by_running(input)
            raise ValueError(
                "batch norm needs more than one row; change the batch size so that the last batch has two"
            )
        if self.track_running_stats:
            self._update_running(mean.detach(), var.detach() * count / (count - 1))
        shape = [1, -1, *[1] * (input.dim() - 2)]
        normal = (input - mean.view(shape)) * torch.rsqrt(var.view(shape) + self.eps)
        return normal * self.weight.view(shape) + self.bias.view(shape) if self.affine else normal

    @torch.no_grad()
    def _update_running(self, mean: Tensor, unbiased: Tensor) -> None:
        """Updates the running statistics from those of a batch, ``(channels,)``, as torch does."""
        assert self.num_batches_tracked is not None
        self.num_batches_tracked += 1
        momentum = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        for running, now in ((self.running_mean, mean), (self.running_var, unbiased)):
            assert running is not None
            running.lerp_(now, momentum)


def _statistics(input: Tensor, rest: list[int]) -> tuple[Tensor, Tensor, int]:
    """Statistics of each channel over the values of all ranks.

    Every rank contributes its number n of values, their mean m and the sum s of their squared distances to m.
    Combined by the pairwise formula of Chan et al. (1979), no digits are lost if the mean is large compared with
    the standard deviation::

        mean = sum(n m) / sum(n)        var = sum(s + n (m - mean)^2) / sum(n)

    Args:
        input: This rank's values, ``(B, channels, ...)``.
        rest: All dimensions except that of the channels.

    Returns:
        Mean and biased variance, ``(channels,)`` each, and the number of values of a channel.
    """
    group = distributed.current()
    channels = input.shape[1]
    here = input.numel() // channels  # values of a channel; 0 on a rank whose rows have no clicks
    mean = input.sum(rest) / max(here, 1)
    spread = (input - mean.view([1, -1, *[1] * (input.dim() - 2)])).square().sum(rest)
    count = 0 if group.is_padding else here
    row = torch.cat([mean, spread * bool(count), mean.new_tensor([count])])
    # Each rank fills its row of a table that is 0 elsewhere; the sum over ranks is the complete table:
    #
    #              mean (channels)   spread (channels)   count
    #     rank 0        ...                ...            ...
    #     rank 1        ...                ...            ...
    table = _SumOverRanks.apply(F.pad(row.unsqueeze(0), (0, 0, group.rank, group.world - 1 - group.rank)))
    means, spreads, counts = table[:, :channels], table[:, channels:-1], table[:, -1].detach()
    count = int(counts.sum())
    mean = counts @ means / max(count, 1)
    return mean, (spreads.sum(0) + counts @ (means - mean).square()) / max(count, 1), count


_KINDS: dict[type[nn.Module], type[nn.Module]] = {
    kind: type(f"{kind.__name__}OverRanks", (_OverRanks, kind), {})
    for kind in (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, RunningBatchNorm1d)
}
