"""Running loss and accuracy of an objective over all ranks."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from recbole_clickprompt import distributed

__all__ = ["RunningMean", "compute_and_reset"]


class RunningMean:
    """Sums since the last reset.

    Attributes:
        sums: Of the losses (nats), of right answers and of questions, of this rank.
    """

    def __init__(self) -> None:
        self.sums = (0.0, 0.0, 0.0)

    def add(self, loss: Tensor, right: Tensor) -> None:
        """Counts N answers, unless another rank counts them.

        Args:
            loss: Their mean loss, a scalar.
            right: Which answers are right, ``(N,)``.
        """
        if distributed.current().is_padding:
            return
        losses, hits, count = self.sums
        self.sums = (losses + loss.item() * len(right), hits + float(right.sum()), count + len(right))

    def compute_and_reset(self, device: torch.device) -> tuple[float, float]:
        """Mean loss and share of right answers over all ranks; the sums start again at zero."""
        loss, hits, count = distributed.current().all_reduce(self.sums, device)
        self.sums = (0.0, 0.0, 0.0)
        return loss / max(count, 1), hits / max(count, 1)


def compute_and_reset(metrics: Mapping[str, RunningMean], device: torch.device) -> dict[str, float]:
    """``<objective>_loss`` and ``<objective>_accuracy`` of each objective."""
    found = {}
    for name, metric in metrics.items():
        found[f"{name}_loss"], found[f"{name}_accuracy"] = metric.compute_and_reset(device)
    return found
