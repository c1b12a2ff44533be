"""What a pretraining objective has answered so far, of all ranks."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from recbole_clickprompt import distributed as ranks

__all__ = ["Tally", "pop_figures"]


class Tally:
    """Sums since they were last taken.

    Attributes:
        sums: Of the losses (nats), of right answers and of questions, of this rank.
    """

    def __init__(self) -> None:
        self.sums = (0.0, 0.0, 0.0)

    def add(self, loss: Tensor, right: Tensor) -> None:
        """Counts the answers to N questions, unless another rank counts them.

        Args:
            loss: Their mean loss, a scalar.
            right: Which answers are, ``(N,)``.
        """
        if ranks.current().idle:
            return
        losses, told, asked = self.sums
        self.sums = (losses + loss.item() * len(right), told + float(right.sum()), asked + len(right))

    def pop(self, device: torch.device) -> tuple[float, float]:
        """Mean loss and share of right answers over all ranks; begins anew."""
        loss, told, asked = ranks.current().sum(self.sums, device)
        self.sums = (0.0, 0.0, 0.0)
        return loss / max(asked, 1), told / max(asked, 1)


def pop_figures(tallies: Mapping[str, Tally], device: torch.device) -> dict[str, float]:
    """``<objective>_loss`` and ``<objective>_accuracy`` of each."""
    figures = {}
    for name, tally in tallies.items():
        figures[f"{name}_loss"], figures[f"{name}_accuracy"] = tally.pop(device)
    return figures
