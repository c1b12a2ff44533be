"""Near items fusion (MSD, Eq. 6-8): the clicks whose texts are most similar to the target's, as one vector.

``SimilarityHistogram`` is a control: how similar the clicks are, without what they are.

Letters: B rows, T slots of a history, A width of a vector, M near items, U distinct items.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recbole_clickprompt.backbones.history import HISTOGRAM_BINS, similarity_histogram

__all__ = ["NearItems", "SimilarityHistogram", "latest_occurrences"]

_EPS = 1e-8


class NearItems(nn.Module):
    """The M clicks with the largest cosine similarity to the target, fused into one vector.

    ::

        target (B, A) ──┬── cosines (B, T), -inf at masked and empty slots ──> places of the M largest (B, M)
        clicks (B, T, A)┴───────────────────────────────────────────────> vectors (B, M, A) ──> fused (B, A)

    No gradient flows through the choice. Equal items have equal vectors, so the order of ties does not matter.

    ``sum`` and ``mean`` are over the near items; ``softmax`` weighs them by their cosine divided by a temperature;
    ``attention`` by a learned score. Only ``sum`` is the paper's. So is the learned vector of rows without clicks
    ours.

    Args:
        width: A.
        count: M.
        fusion: ``sum``, ``mean``, ``softmax`` or ``attention``.
        temperature: Of ``softmax``.
    """

    def __init__(self, width: int, *, count: int, fusion: str, temperature: float) -> None:
        super().__init__()
        self.count, self.fusion, self.temperature = count, fusion, temperature
        self.no_history = nn.Parameter(torch.zeros(width))
        if fusion == "attention":
            self.query = nn.Linear(width, width, bias=False)
            self.key = nn.Linear(width, width, bias=False)

    def forward(self, target: Tensor, items: Tensor, places: Tensor, seen: Tensor) -> Tensor:
        """
        Args:
            target: Vectors of the target items, ``(B, A)``.
            items: Vectors of items, ``(U, A)``.
            places: Of each slot, the row of ``items``, ``(B, T)``.
            seen: Slots that hold a click that is not masked, ``(B, T)``.

        Returns:
            ``(B, A)``.
        """
        clicks = F.embedding(places, items)  # (B, T, A)
        cosine = _cosines(target, clicks).masked_fill(~seen, -torch.inf)
        if self.count < places.shape[1]:
            cosine, index = cosine.topk(self.count, dim=1)
            clicks = clicks.gather(1, index.unsqueeze(2).expand(-1, -1, clicks.shape[2]))
        near = cosine > -torch.inf  # (B, M)
        fused = torch.einsum("bm,bma->ba", self._weights(target, clicks, cosine, near), clicks)
        return torch.where(near.any(1, keepdim=True), fused, self.no_history.to(fused.dtype))

    def _weights(self, target: Tensor, clicks: Tensor, cosine: Tensor, near: Tensor) -> Tensor:
        """Weights of the near items, ``(B, M)``; 0 where there is none."""
        if self.fusion == "sum":
            return near.to(clicks.dtype)
        if self.fusion == "mean":
            return near.to(clicks.dtype) / near.sum(1, keepdim=True).clamp(min=1)
        if self.fusion == "softmax":
            scores = cosine / self.temperature
        else:
            scores = torch.einsum("bma,ba->bm", self.key(clicks), self.query(target)) / clicks.shape[2] ** 0.5
        # A row without near items has finite scores in the softmax, whose result is then masked: NaN would have a
        # gradient
        return scores.masked_fill(~near, torch.finfo(scores.dtype).min).softmax(1) * near


class SimilarityHistogram(nn.Module):
    """A projection of the counts of clicks by their cosine similarity to the target.

    After SimTier (Sheng et al., CIKM 2024). Counts in 20 bins of equal width from -1 to 1 are divided by T.
    They have no gradient, so vectors learn nothing from them.

    Args:
        width: A.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.projection = nn.Linear(HISTOGRAM_BINS, width)

    def forward(self, target: Tensor, items: Tensor, places: Tensor, seen: Tensor) -> Tensor:
        """As for ``NearItems``."""
        with torch.no_grad():
            cosine = _cosines(target, F.embedding(places, items))
            counts = similarity_histogram(cosine, seen.to(cosine.dtype) / seen.shape[1])
        return self.projection(counts)


def _cosines(target: Tensor, clicks: Tensor) -> Tensor:
    """Cosines of each row's clicks, ``(B, T, A)``, with its target, ``(B, A)``: ``(B, T)``."""
    unit = F.normalize(target, dim=1, eps=_EPS)
    return torch.einsum("bta,ba->bt", clicks, unit) / clicks.norm(dim=2).clamp(min=_EPS)


def latest_occurrences(items: Tensor, seen: Tensor) -> Tensor:
    """Of each item in a row's history, the latest slot alone (``unique_history``).

    Args:
        items: Item ids, oldest first, ``(B, T)``.
        seen: Slots that count, ``(B, T)``.

    Returns:
        ``seen`` without slots whose item a later slot that counts holds too, ``(B, T)``.
    """
    equal = (items.unsqueeze(2) == items.unsqueeze(1)) & seen.unsqueeze(1)  # (B, T, T): slot, other slot
    later = torch.ones(items.shape[1], items.shape[1], dtype=torch.bool, device=items.device).triu(1)
    return seen & ~(equal & later).any(2)
