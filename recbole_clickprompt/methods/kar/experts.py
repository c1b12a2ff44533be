"""Hybrid-expert adaptor (KAR): from vectors of texts to vectors of the width of an id embedding.

Letters: N texts, W width of a text's vector, A width of an adapted vector, E experts of a level.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from recbole_clickprompt.methods.text_vectors.adaptors import Standardized

__all__ = ["HybridExperts", "build_experts"]


class _Mixture(nn.Module):
    """``sum_e softmax(Linear(W, E)(k))_e expert_e(k)``."""

    def __init__(self, experts: Sequence[nn.Module], width: int) -> None:
        super().__init__()
        self.experts = nn.ModuleList(experts)
        self.gate = nn.Linear(width, len(experts))

    def forward(self, vectors: Tensor) -> Tensor:
        """``(N, W)`` to ``(N, A)``."""
        outputs = torch.stack([expert(vectors) for expert in self.experts], dim=1)  # (N, E, A)
        return torch.einsum("ne,nea->na", self.gate(vectors).softmax(1), outputs)


class HybridExperts(Standardized):
    """The experts of one level, items or users, on standardized vectors::

        vectors (N, W) ──┬── shared experts, also those of the other level ──┐
                         ├── experts of this level ─────────────────────────┤ (N, E, A)
                         └── gate: softmax over all of them (N, E) ──────────┴──> weighted sum (N, A)

    Args:
        shared: Experts of all levels.
        specific: Experts of this level.
        width: W.
    """

    def __init__(self, shared: Sequence[nn.Module], specific: Sequence[nn.Module], *, width: int) -> None:
        super().__init__(width)
        self.layers = _Mixture([*shared, *specific], width)


def build_experts(
    levels: Sequence[str], *, shared: int, specific: int, width: int, hidden: int, out: int
) -> dict[str, HybridExperts]:
    """The adaptor of each level.

    Args:
        levels: Their names.
        shared: Number of experts that all levels share.
        specific: Number of experts of each level alone.
        width: W.
        hidden: Width of the hidden layer of an expert, ``Linear(W, hidden), ReLU, Linear(hidden, A)``.
        out: A.
    """

    def experts(count: int) -> list[nn.Module]:
        return [nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, out)) for _ in range(count)]

    common = experts(shared)
    return {level: HybridExperts(common, experts(specific), width=width) for level in levels}
