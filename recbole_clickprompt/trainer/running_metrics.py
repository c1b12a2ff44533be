"""Running loss and accuracy of an objective over all ranks."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from recbole_clickprompt import distributed

__all__ = ["RunningMean", "compute_and_reset"]


class RunningMean:
    """Mean loss and accuracy of predictions since the last reset.

    Attributes:
        sums: Sum of losses (nats), number of correct predictions and number of predictions, on this rank.
    """

    def __init__(self) -> None:
        self.sums = (0.0, 0.0, 0.0)

    def add(self, loss: Tensor, correct: Tensor) -> None:
        """Adds N predictions, unless this rank computes padding rows.

        Args:
            loss: Their mean loss, a scalar.
            correct: Whether each prediction is correct, ``(N,)``.
        """
        if distributed.current().is_padding:
            return
        losses, hits, count = self.sums
        self.sums = (losses + loss.item() * len(correct), hits + float(correct.sum()), count + len(correct))

    def compute_and_reset(self, device: torch.device) -> tuple[float, float]:
        """Mean loss and accuracy over all ranks; resets the sums."""
        loss, hits, count = distributed.current().all_reduce(self.sums, device)
        self.sums = (0.0, 0.0, 0.0)
        return loss / max(count, 1), hits / max(count, 1)


def compute_and_reset(metrics: Mapping[str, RunningMean], device: torch.device) -> dict[str, float]:
    """``<objective>_loss`` and ``<objective>_accuracy`` of each objective, after which all metrics are reset."""
    found = {}
    for name, metric in metrics.items():
        found[f"{name}_loss"], found[f"{name}_accuracy"] = metric.compute_and_reset(device)
    return found
