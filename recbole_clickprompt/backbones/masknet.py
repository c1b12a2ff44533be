"""MaskNet: features multiplied by a mask computed from the row (Wang et al., DLP-KDD 2021)."""

from __future__ import annotations

import torch
from recbole.data.dataset import Dataset
from recbole.data.interaction import Interaction
from recbole.model.init import xavier_normal_initialization
from recbole.model.layers import MLPLayers
from torch import Tensor, nn

from recbole_clickprompt.backbones.base import LogitModel
from recbole_clickprompt.settings.values import Settings

__all__ = ["MaskBlock", "MaskNet"]


class MaskBlock(nn.Module):
    """``ReLU(LayerNorm(linear(mask(embeddings) * normed)))``, with an instance-guided mask.

    Args:
        size: Width of all embeddings of a row, F * d.
        output_size: Width of the output.
        reduction_ratio: Width of the mask's hidden layer divided by ``size``.
        dropout: Rate of dropout of the output.
    """

    def __init__(self, *, size: int, output_size: int, reduction_ratio: float, dropout: float) -> None:
        super().__init__()
        hidden_size = max(1, round(size * reduction_ratio))
        self.mask = nn.Sequential(nn.Linear(size, hidden_size), nn.ReLU(), nn.Linear(hidden_size, size))
        self.hidden = nn.Sequential(
            nn.Linear(size, output_size, bias=False), nn.LayerNorm(output_size), nn.ReLU(), nn.Dropout(dropout)
        )

    def forward(self, embeddings: Tensor, normed: Tensor) -> Tensor:
        """
        Args:
            embeddings: Embeddings, from which the mask is computed, ``(B, size)``.
            normed: Embeddings after layer norm, which are multiplied by the mask, ``(B, size)``.

        Returns:
            ``(B, output_size)``.
        """
        return self.hidden(self.mask(embeddings) * normed)


class MaskNet(LogitModel):
    """Parallel MaskNet: several blocks on the embeddings, an MLP on their outputs. q is the output of the MLP.

    Reads ``embedding_size``, ``num_blocks``, ``block_size``, ``reduction_ratio``, ``mlp_hidden_size`` and
    ``dropout_prob`` from the config.
    """

    def __init__(self, config: Settings, dataset: Dataset) -> None:
        super().__init__(config, dataset)
        # Layer norm of each field separately, with its own scale: a group norm with F groups
        self.norm = nn.GroupNorm(self.num_feature_field, self.flat_size)
        self.blocks = nn.ModuleList(
            MaskBlock(
                size=self.flat_size,
                output_size=config["block_size"],
                reduction_ratio=config["reduction_ratio"],
                dropout=config["dropout_prob"],
            )
            for _ in range(config["num_blocks"])
        )
        sizes = [config["num_blocks"] * config["block_size"], *config["mlp_hidden_size"]]
        self.mlp_layers = MLPLayers(sizes, config["dropout_prob"])
        self.predict_layer = nn.Linear(sizes[-1], 1)
        self.apply(xavier_normal_initialization)

    def forward(self, interaction: Interaction) -> Tensor:
        """Logits, ``(B,)``."""
        embeddings = self.concat_embed_input_fields(interaction).flatten(1)  # (B, F * d)
        normed = self.norm(embeddings)
        blocks = torch.cat([block(embeddings, normed) for block in self.blocks], dim=1)  # (B, blocks * block_size)
        return self.predict_layer(self.mlp_layers(blocks)).squeeze(1)
