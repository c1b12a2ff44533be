"""FiBiNET: fields weighted by squeeze-and-excitation, pairs by bilinear products (Huang et al., RecSys 2019)."""

from __future__ import annotations

import torch
from recbole.data.dataset import Dataset
from recbole.data.interaction import Interaction
from recbole.model.init import xavier_normal_initialization
from recbole.model.layers import MLPLayers
from torch import Tensor, nn
from torch.nn.init import xavier_normal_

from recbole_clickprompt.backbones.base import LogitModel
from recbole_clickprompt.settings.values import Settings

__all__ = ["SENET", "BilinearInteraction", "FiBiNET"]


class SENET(nn.Module):
    """Weights each field by a function of all fields: ``(B, F, d)`` to the same shape."""

    def __init__(self, *, num_fields: int, reduction_ratio: float) -> None:
        super().__init__()
        squeezed = max(1, int(num_fields / reduction_ratio))
        self.excitation = nn.Sequential(
            nn.Linear(num_fields, squeezed, bias=False),
            nn.ReLU(),
            nn.Linear(squeezed, num_fields, bias=False),
            nn.ReLU(),
        )

    def forward(self, embeddings: Tensor) -> Tensor:
        """Embeddings times the weights of their fields, ``(B, F, d)``."""
        return embeddings * self.excitation(embeddings.mean(2)).unsqueeze(2)


class BilinearInteraction(nn.Module):
    """``(v_i W) * v_j`` of each pair of fields i < j.

    Args:
        num_fields: F.
        size: Width d of an embedding.
        bilinear_type: One W for ``all`` pairs, for ``each`` first field i, or for each ``interaction`` (i, j).
    """

    pairs: Tensor

    def __init__(self, *, num_fields: int, size: int, bilinear_type: str) -> None:
        super().__init__()
        left, right = torch.triu_indices(num_fields, num_fields, 1)
        matrix = {
            "all": torch.zeros_like(left),
            "each": left,
            "interaction": torch.arange(len(left)),
        }[bilinear_type]
        self.register_buffer("pairs", torch.stack([left, right, matrix]), persistent=False)
        self.weight = nn.Parameter(torch.empty(int(matrix.max()) + 1, size, size))
        for w in self.weight.data:
            xavier_normal_(w)

    def forward(self, embeddings: Tensor) -> Tensor:
        """``(B, F, d)`` to ``(B, F * (F - 1) / 2, d)``."""
        left, right, matrix = self.pairs
        return torch.einsum("bpd,pde->bpe", embeddings[:, left], self.weight[matrix]) * embeddings[:, right]


class FiBiNET(LogitModel):
    """Bilinear products of the embeddings and of the weighted embeddings, an MLP on both, and a linear part.

    Reads ``embedding_size``, ``reduction_ratio``, ``bilinear_type``, ``mlp_hidden_size`` and ``dropout_prob``
    from the config.
    """

    def __init__(self, config: Settings, dataset: Dataset) -> None:
        super().__init__(config, dataset)
        fields = self.num_feature_field
        self.senet = SENET(num_fields=fields, reduction_ratio=config["reduction_ratio"])
        self.bilinear = BilinearInteraction(
            num_fields=fields, size=self.embedding_size, bilinear_type=config["bilinear_type"]
        )
        sizes = [fields * (fields - 1) * self.embedding_size, *config["mlp_hidden_size"]]
        self.mlp_layers = MLPLayers(sizes, config["dropout_prob"])
        self.predict_layer = nn.Linear(sizes[-1], 1)
        self.apply(xavier_normal_initialization)

    def forward(self, interaction: Interaction) -> Tensor:
        """Logits, ``(B,)``."""
        embeddings = self.concat_embed_input_fields(interaction)  # (B, F, d)
        products = torch.cat([self.bilinear(embeddings), self.bilinear(self.senet(embeddings))], dim=1)
        deep = self.predict_layer(self.mlp_layers(products.flatten(1)))
        return (self.first_order_linear(interaction) + deep).squeeze(1)
