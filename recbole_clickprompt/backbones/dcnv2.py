"""DCNv2 as the paper uses it, on RecBole's class."""

from __future__ import annotations

import torch
from recbole.data.dataset import Dataset
from recbole.data.interaction import Interaction
from recbole.model.context_aware_recommender.dcnv2 import DCNV2 as HostDCNV2
from recbole.model.layers import MLPLayers
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.init import xavier_normal_

from recbole_clickprompt.settings.values import Settings

__all__ = ["DCNV2"]


class DCNV2(HostDCNV2):
    """Improved deep & cross network (Wang et al., WWW 2021): RecBole's DCNV2 with these fixes.

    - Cross weights start Xavier-normal: RecBole's initializer skips bare parameters, which stay N(0, 1).
    - No batch norm in the MLP.
    - ``forward`` returns logits, as in most of RecBole's models; RecBole's DCNV2 returns probabilities.
    - The cross layer is one matrix product for the batch; RecBole's multiplies row by row.
    - Under autocast the whole model computes in the lower precision; RecBole's would alternate between
      matrix products in bf16 and elementwise ones in float32.
    """

    def __init__(self, config: Settings, dataset: Dataset) -> None:
        super().__init__(config, dataset)
        sizes = [self.in_feature_num, *self.mlp_hidden_size]
        self.mlp_layers = MLPLayers(sizes, dropout=self.dropout_prob)
        self.mlp_layers.apply(_initialize)
        for name, weight in self.named_parameters():
            if name.startswith(("cross_layer_w", "cross_layer_u", "cross_layer_v", "cross_layer_c")):
                for matrix in weight.data.view(-1, *weight.shape[-2:]):
                    xavier_normal_(matrix)
        self.sigmoid = nn.Identity()  # in place of the sigmoid at the end of RecBole's forward
        self.loss = nn.BCEWithLogitsLoss()

    def concat_embed_input_fields(self, interaction: Interaction) -> Tensor:
        """Embeddings, ``(B, F, d)``, in the precision of autocast if it is enabled."""
        embeddings = super().concat_embed_input_fields(interaction)
        kind = embeddings.device.type
        return embeddings.to(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else embeddings

    def cross_network(self, x_0: Tensor) -> Tensor:
        """Cross layers ``x_{l+1} = x_0 * (W_l x_l + b_l) + x_l``.

        Args:
            x_0: Embeddings, ``(B, F * d)``.

        Returns:
            Output of the last layer, ``(B, F * d)``.
        """
        x = x_0
        for weight, bias in zip(self.cross_layer_w, self.bias, strict=True):
            x = x_0 * F.linear(x, weight, bias.squeeze(1)) + x
        return x

    def predict(self, interaction: Interaction) -> Tensor:
        """Probabilities of a click, ``(B,)``."""
        return torch.sigmoid(self.forward(interaction))


def _initialize(module: nn.Module) -> None:
    """Xavier-normal weights and zero biases of a linear layer."""
    if isinstance(module, nn.Linear):
        xavier_normal_(module.weight)
        nn.init.zeros_(module.bias)
