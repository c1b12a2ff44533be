"""DIN (Zhou et al., KDD 2018) on the rows of context-aware models."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from recbole.data.interaction import Interaction
from recbole.model.init import xavier_normal_initialization
from recbole.model.layers import MLPLayers
from torch import Tensor, nn

from recbole_clickprompt.backbones.base import LogitModel
from recbole_clickprompt.backbones.history import History, TargetAttention
from recbole_clickprompt.settings.values import Settings

if TYPE_CHECKING:
    from recbole.data.dataset import Dataset

__all__ = ["DIN"]


class DIN(LogitModel):
    """An MLP over the embeddings of all fields and the history as the target item sees it.

    Differences to RecBole's DIN, which is a sequential model with other rows: features of users and of the
    context reach the MLP; Dice has batch norm and a learnt alpha; weights are not divided by a constant; padding
    has no weight at all.

    Reads ``embedding_size``, ``mlp_hidden_size``, ``dropout_prob``, ``attention_hidden_size`` and
    ``attention_softmax`` from the config.
    """

    def __init__(self, config: Settings, dataset: Dataset) -> None:
        super().__init__(config, dataset)
        self.history = History(config, dataset, self)
        width = len(self.history.item_fields) * self.embedding_size
        self.attention = nn.ModuleList(
            TargetAttention(width, hidden=config["attention_hidden_size"], softmax=config["attention_softmax"])
            for _ in range(self.history.groups)
        )
        sizes = [self.flat_size + self.history.groups * width, *config["mlp_hidden_size"]]
        self.mlp_layers = MLPLayers(sizes, config["dropout_prob"])
        self.predict_layer = nn.Linear(sizes[-1], 1)
        self.apply(xavier_normal_initialization)

    def forward(self, interaction: Interaction) -> Tensor:
        """Logits, ``(B,)``."""
        embeddings = self.concat_embed_input_fields(interaction)  # (B, F, d)
        target = embeddings[:, self.history.item_fields].flatten(1)
        clicks = self.history(self, interaction)
        masks = self.history.masks(interaction)
        pooled = [pool(target, clicks, mask) for pool, mask in zip(self.attention, masks, strict=True)]
        return self.predict_layer(self.mlp_layers(torch.cat([embeddings.flatten(1), *pooled], dim=1))).squeeze(1)
