"""The relevance network: what two texts and those of earlier clicks say about a click.

Letters: B rows, T slots of a history, W width of a pair's vectors.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recbole_clickprompt import distributed
from recbole_clickprompt.backbones.batch_norm import RunningBatchNorm1d, sum_over_ranks

__all__ = ["Incentive", "RelevanceIncentive", "balance", "read_history"]

_WIDTH = 64  # of a reduced vector
_DROPOUT = 0.1
_TEMPERATURE = 0.1
_NOISE = 0.02  # standard deviation, in training


class Incentive(NamedTuple):
    """What the network adds to a row's logit.

    Attributes:
        logit: ``(B,)``.
        types: Shares of the three types, ``(B, 3)``: encouraging, discouraging, neutral.
    """

    logit: Tensor
    types: Tensor


def read_history(similarity: Tensor, clicks: Tensor, mask: Tensor) -> Tensor:
    """The mean of a row's clicks, weighted by the softmax of their similarities; each row by its own.

    Args:
        similarity: ``(B, T)``.
        clicks: ``(B, T, W)``.
        mask: Slots that hold a click, ``(B, T)``; others have no weight.

    Returns:
        ``(B, W)``; 0 where a row has no clicks.
    """
    weights = similarity.masked_fill(~mask, -torch.inf).softmax(1).nan_to_num(0.0)  # NaN: no clicks
    return torch.einsum("bt,btw->bw", weights, clicks)


class RelevanceIncentive(nn.Module):
    """Three types of incentive, chosen by the relevance of the target pair and of earlier ones::

        r, p (B, W) -> Linear, ReLU, dropout -> [r, p, r - p, r * p] -> batch norm -> c (B, 256)
        c -> MLP -> types (B, 3): Gumbel softmax in training, softmax without noise in evaluation
        c -> values [softplus(g0(c)), -softplus(g1(c)), 0]
        logit = sum of types * values

    Args:
        width: W.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        size = 4 * _WIDTH
        self.target, self.preference = nn.Linear(width, _WIDTH), nn.Linear(width, _WIDTH)
        self.norm = RunningBatchNorm1d(size)
        self.types = nn.Sequential(
            nn.Linear(size, 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(),
            nn.Linear(64, 3),
        )  # fmt: skip
        self.gain, self.loss = (
            nn.Sequential(nn.Linear(size, _WIDTH), nn.ReLU(), nn.Linear(_WIDTH, 1)) for _ in range(2)
        )

    def forward(self, relevance: Tensor, preference: Tensor) -> Incentive:
        """
        Args:
            relevance: r, of the target pair, ``(B, W)``.
            preference: p, of the pairs of earlier clicks, ``(B, W)``.
        """
        r = F.dropout(self.target(relevance).relu(), _DROPOUT, self.training)
        p = F.dropout(self.preference(preference).relu(), _DROPOUT, self.training)
        c = self.norm(torch.cat([r, p, r - p, r * p], dim=1))
        logits = self.types(c)
        if self.training:
            chosen = F.gumbel_softmax(logits + _NOISE * torch.randn_like(logits), tau=_TEMPERATURE)
        else:
            chosen = (logits / _TEMPERATURE).softmax(1)
        up, down = F.softplus(self.gain(c)), -F.softplus(self.loss(c))
        values = torch.cat([up, down, torch.zeros_like(up)], dim=1)
        return Incentive((chosen * values).sum(1), logits.softmax(1))


def balance(types: Tensor) -> Tensor:
    """The squared coefficient of variation of the use of types over the rows of all ranks, a scalar.

    Args:
        types: Shares of the types, ``(B, 3)``.
    """
    used = types.sum(0) * (not distributed.current().is_padding)
    total = sum_over_ranks(used)
    return total.var() / (total.mean().square() + 1e-10)
