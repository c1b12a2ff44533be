"""The projections of ids and of text that FLIP contrasts. Letters: see ``pretraining.py``."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["Projection"]


class Projection(nn.Module):
    """A representation for the contrast: ``LayerNorm(h + Dropout(Linear(GELU(h))))`` with ``h = Linear(x)``.

    Args:
        input_size: Width of x.
        width: w, width of the result.
        dropout: Its rate.
    """

    def __init__(self, input_size: int, width: int, dropout: float) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(input_size, width), nn.Linear(width, width)
        self.dropout, self.norm = nn.Dropout(dropout), nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        """``(n, input_size)`` to ``(n, w)``."""
        hidden = self.first(x)
        return self.norm(hidden + self.dropout(self.second(F.gelu(hidden))))
