"""What context-aware models of our own share."""

from __future__ import annotations

from typing import Any

import torch
from recbole.data.interaction import Interaction
from recbole.model.abstract_recommender import ContextRecommender
from torch import Tensor, nn

__all__ = ["LogitModel"]


class LogitModel(ContextRecommender):
    """A RecBole model whose ``forward`` gives logits, ``(B,)``; also what RecBole's own trainer asks for.

    F fields of width d are embedded by ``concat_embed_input_fields``, ``(B, F, d)``.
    """

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        self.loss = nn.BCEWithLogitsLoss()
        self.flat_size = self.num_feature_field * self.embedding_size

    def forward(self, interaction: Interaction) -> Tensor:
        """Logits, ``(B,)``."""
        raise NotImplementedError

    def calculate_loss(self, interaction: Interaction) -> Tensor:
        """Binary cross entropy, a scalar."""
        return self.loss(self.forward(interaction), interaction[self.LABEL])

    def predict(self, interaction: Interaction) -> Tensor:
        """Scores, ``(B,)``."""
        return torch.sigmoid(self.forward(interaction))
