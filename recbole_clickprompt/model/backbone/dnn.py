"""DNN: embeddings, a ReLU MLP, one linear layer (RecBole's nearest, FNN, is a tanh one)."""

from __future__ import annotations

from typing import Any

import torch
from recbole.data.interaction import Interaction
from recbole.model.abstract_recommender import ContextRecommender
from recbole.model.init import xavier_normal_initialization
from recbole.model.layers import MLPLayers
from torch import Tensor, nn

__all__ = ["DNN"]


class DNN(ContextRecommender):
    """The paper's DNN backbone.

    Reads ``embedding_size``, ``mlp_hidden_size`` and ``dropout_prob`` from the config.
    """

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        sizes = [self.num_feature_field * self.embedding_size, *config["mlp_hidden_size"]]
        self.mlp_layers = MLPLayers(sizes, config["dropout_prob"])
        self.predict_layer = nn.Linear(sizes[-1], 1)
        self.loss = nn.BCEWithLogitsLoss()
        self.apply(xavier_normal_initialization)

    def forward(self, interaction: Interaction) -> Tensor:
        """Logits, ``(B,)``."""
        embeddings = self.concat_embed_input_fields(interaction)  # (B, F, embedding_size)
        return self.predict_layer(self.mlp_layers(embeddings.flatten(1))).squeeze(1)

    def calculate_loss(self, interaction: Interaction) -> Tensor:
        """Binary cross entropy, a scalar."""
        return self.loss(self.forward(interaction), interaction[self.LABEL])

    def predict(self, interaction: Interaction) -> Tensor:
        """Scores, ``(B,)``."""
        return torch.sigmoid(self.forward(interaction))
