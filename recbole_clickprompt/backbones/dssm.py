"""DSSM without batch norm, on RecBole's class."""

from __future__ import annotations

import torch
from recbole.data.dataset import Dataset
from recbole.data.interaction import Interaction
from recbole.model.context_aware_recommender.dssm import DSSM as HostDSSM
from recbole.model.init import xavier_normal_initialization
from recbole.model.layers import MLPLayers
from torch import Tensor

from recbole_clickprompt.backbones.base import feature_names
from recbole_clickprompt.settings.values import Settings

__all__ = ["DSSM"]


class DSSM(HostDSSM):
    """Two-tower model (Huang et al., CIKM 2013): RecBole's DSSM with these fixes.

    Its logit is the cosine of the towers' outputs, from -1 to 1. Fields of neither user nor item are not read.

    - Float fields outside ``numerical_features`` are not features; the sizes of RecBole's MLPs count them, so
      its first batch fails.
    - Fields are assigned to towers by name; RecBole assigns float fields in a wrong order.
    - No batch norm, which would make scores depend on the other rows of a batch or micro-batch.
    """

    def __init__(self, config: Settings, dataset: Dataset) -> None:
        super().__init__(config, dataset)
        names = feature_names(self)
        self.user_columns = [i for i, name in enumerate(names) if name in self.user_field_names]
        self.item_columns = [i for i, name in enumerate(names) if name in self.item_field_names]
        self.user_mlp_layers = self._tower(len(self.user_columns))
        self.item_mlp_layers = self._tower(len(self.item_columns))

    def _tower(self, fields: int) -> MLPLayers:
        """A tanh MLP on the embeddings of a tower's fields."""
        sizes = [fields * self.embedding_size, *self.mlp_hidden_size]
        return MLPLayers(sizes, self.dropout_prob, activation="tanh").apply(xavier_normal_initialization)

    def forward(self, interaction: Interaction) -> Tensor:
        """Logits, ``(B,)``: cosines of the towers' outputs."""
        embeddings = self.concat_embed_input_fields(interaction)  # (B, F, d)
        user = self.user_mlp_layers(embeddings[:, self.user_columns].flatten(1))
        item = self.item_mlp_layers(embeddings[:, self.item_columns].flatten(1))
        return torch.cosine_similarity(user, item, dim=1)
