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
    """Squeeze-and-excitation: weights each field by a function of the means of all fields.

    Args:
        num_fields: F.
        reduction_ratio: F divided by the width of the hidden layer.
    """

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
        """Embeddings ``(B, F, d)`` times the weights of their fields, in the same shape."""
        return embeddings * self.excitation(embeddings.mean(2)).unsqueeze(2)


class BilinearInteraction(nn.Module):
    """Bilinear products ``(v_i weight) * v_j`` of each pair of fields i < j.

    Args:
        num_fields: F.
        size: Width of an embedding, d.
        bilinear_type: Number of matrices ``(d, d)``: one for ``all`` pairs, one for ``each`` first field i, or one
            for each ``interaction`` (i, j).
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
        """Products, ``(B, F * (F - 1) / 2, d)``, of embeddings ``(B, F, d)``."""
        left, right, matrix = self.pairs
        return torch.einsum("bpd,pde->bpe", embeddings[:, left], self.weight[matrix]) * embeddings[:, right]


class FiBiNET(LogitModel):
    """Bilinear products of the embeddings and of the weighted embeddings, an MLP on both, and a linear part.

    q is the output of the MLP; the linear part is added to the logit only.

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
        # (B, F * (F - 1), d)
        products = torch.cat([self.bilinear(embeddings), self.bilinear(self.senet(embeddings))], dim=1)
        deep = self.predict_layer(self.mlp_layers(products.flatten(1)))
        return (self.first_order_linear(interaction) + deep).squeeze(1)
