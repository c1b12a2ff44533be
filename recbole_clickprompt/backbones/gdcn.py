"""GDCN: a cross network whose every step is gated (Wang et al., CIKM 2023)."""

from __future__ import annotations

import torch
from recbole.data.dataset import Dataset
from recbole.data.interaction import Interaction
from recbole.model.init import xavier_normal_initialization
from recbole.model.layers import MLPLayers
from torch import Tensor, nn

from recbole_clickprompt.backbones.base import LogitModel
from recbole_clickprompt.settings.values import Settings

__all__ = ["GDCN", "GatedCrossLayer"]


class GatedCrossLayer(nn.Module):
    """``c_{l+1} = c_0 * (W_c c_l + b) * sigmoid(W_g c_l) + c_l``.

    Args:
        size: Width of all embeddings of a row, F * d.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.cross = nn.Linear(size, size)
        self.gate = nn.Linear(size, size, bias=False)

    def forward(self, c_0: Tensor, c: Tensor) -> Tensor:
        """
        Args:
            c_0: The embeddings, ``(B, size)``.
            c: Output of the previous layer, ``(B, size)``.

        Returns:
            Interactions of the next higher order, ``(B, size)``.
        """
        return c_0 * self.cross(c) * torch.sigmoid(self.gate(c)) + c


class GDCN(LogitModel):
    """GDCN-P: the gated cross network in parallel with an MLP, and one linear layer on both.

    q is the concatenation of the outputs of cross network and MLP.

    Reads ``embedding_size``, ``cross_layer_num``, ``mlp_hidden_size`` and ``dropout_prob`` from the config.
    """

    def __init__(self, config: Settings, dataset: Dataset) -> None:
        super().__init__(config, dataset)
        sizes = [self.flat_size, *config["mlp_hidden_size"]]
        self.cross_layers = nn.ModuleList(
            GatedCrossLayer(self.flat_size) for _ in range(config["cross_layer_num"])
        )
        self.mlp_layers = MLPLayers(sizes, config["dropout_prob"])
        self.predict_layer = nn.Linear(self.flat_size + sizes[-1], 1)
        self.apply(xavier_normal_initialization)

    def forward(self, interaction: Interaction) -> Tensor:
        """Logits, ``(B,)``."""
        c_0 = c = self.concat_embed_input_fields(interaction).flatten(1)  # (B, F * d)
        for layer in self.cross_layers:
            c = layer(c_0, c)
        return self.predict_layer(torch.cat([c, self.mlp_layers(c_0)], dim=1)).squeeze(1)
