"""From vectors of texts to vectors of the width of an id embedding."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["Adaptor", "Standardized"]


class Standardized(nn.Module):
    """Base class of adaptors: subclasses set ``layers``, which read standardized vectors.

    The vectors of a language model's texts differ little from their mean, so that all cosines between them are
    near 1. Subtracting the mean and dividing by the standard deviation of each component, over the texts of
    training rows, is ours; papers do not say how vectors are scaled.

    Args:
        width: W.

    Attributes:
        layers: ``(N, W)`` to ``(N, A)``.
    """

    layers: nn.Module

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.mean: Tensor
        self.scale: Tensor
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("scale", torch.ones(width))

    @torch.no_grad()
    def standardize(self, vectors: Tensor) -> None:
        """Sets mean and scale so that these vectors, ``(N, W)``, have mean 0 and, if they differ, deviation 1."""
        deviation = vectors.std(0, correction=0)
        self.mean.copy_(vectors.mean(0))
        self.scale.copy_(torch.where(deviation > 1e-6, 1 / deviation.clamp(min=1e-6), torch.ones_like(deviation)))

    def forward(self, vectors: Tensor) -> Tensor:
        """Vectors of N texts, ``(N, W)``, to ``(N, A)`` float32, also under autocast.

        A vector of zeros is that of no text; it counts as the mean, from which it may be far away.
        """
        with torch.autocast(vectors.device.type, enabled=False):
            standardized = (vectors.float() - self.mean) * self.scale
            return self.layers(standardized * (vectors != 0).any(1, keepdim=True))


class Adaptor(Standardized):
    """``Linear(W, hidden), ReLU, Linear(hidden, A)`` (MSD, Eq. 3-5).

    Args:
        width: W.
        hidden: Width of the hidden layer.
        out: A.
    """

    def __init__(self, width: int, *, hidden: int, out: int) -> None:
        super().__init__(width)
        self.layers = nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, out))
