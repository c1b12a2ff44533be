"""What vectors of the fields' names add to logit and loss (LLaCTR).

Letters: B rows, F fields, d width of an embedding, W width of a name's vector, P = F (F - 1) / 2 pairs of fields.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["FieldAlignment", "FieldInteractions"]


class FieldInteractions(nn.Module):
    """``sum_{i < j} <e_i, e_j> (M c)_ij``, with the cosines c of the names of the fields and a learned matrix M.

    Args:
        fields: F.
    """

    def __init__(self, fields: int) -> None:
        super().__init__()
        first, second = torch.triu_indices(fields, fields, offset=1)
        self.pairs: Tensor  # their places in a flattened (F, F) matrix
        self.cosines: Tensor
        self.register_buffer("pairs", first * fields + second, persistent=False)
        self.register_buffer("cosines", torch.zeros(len(first)))
        self.mix = nn.Linear(len(first), len(first), bias=False)

    def set_names(self, vectors: Tensor) -> None:
        """Sets the cosines from the vectors of the names, ``(F, W)``."""
        unit = F.normalize(vectors, dim=1)
        self.cosines.copy_((unit @ unit.T).flatten()[self.pairs.to(unit.device)])

    def forward(self, embeddings: Tensor) -> Tensor:
        """``(B, F, d)`` to ``(B,)``."""
        products = torch.bmm(embeddings, embeddings.transpose(1, 2)).flatten(1)  # (B, F * F)
        return products.index_select(1, self.pairs) @ self.mix(self.cosines)


class FieldAlignment(nn.Module):
    """``KL(softmax(M h_k) || softmax(e_k))`` of each field's embedding e_k and its name's vector h_k.

    Args:
        fields: F.
        width: W.
        embedding_size: d.
    """

    def __init__(self, fields: int, *, width: int, embedding_size: int) -> None:
        super().__init__()
        self.names: Tensor
        self.register_buffer("names", torch.zeros(fields, width))
        self.projection = nn.Linear(width, embedding_size, bias=False)

    def set_names(self, vectors: Tensor) -> None:
        """Sets the vectors of the names, ``(F, W)``."""
        self.names.copy_(vectors)

    def forward(self, embeddings: Tensor) -> Tensor:
        """The mean over rows of the sum over fields, a scalar; ``embeddings``: ``(B, F, d)``."""
        target = self.projection(self.names).log_softmax(1).expand_as(embeddings)
        return F.kl_div(embeddings.log_softmax(2), target, reduction="sum", log_target=True) / len(embeddings)
