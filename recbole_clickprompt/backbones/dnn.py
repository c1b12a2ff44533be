"""DNN: embeddings, a ReLU MLP, one linear layer. RecBole's closest model, FNN, has a tanh MLP."""

from __future__ import annotations

from recbole.data.dataset import Dataset
from recbole.data.interaction import Interaction
from recbole.model.init import xavier_normal_initialization
from recbole.model.layers import MLPLayers
from torch import Tensor, nn

from recbole_clickprompt.backbones.base import LogitModel
from recbole_clickprompt.settings.values import Settings

__all__ = ["DNN"]


class DNN(LogitModel):
    """The DNN backbone of the ClickPrompt paper; q is the output of the MLP.

    Reads ``embedding_size``, ``mlp_hidden_size`` and ``dropout_prob`` from the config.
    """

    def __init__(self, config: Settings, dataset: Dataset) -> None:
        super().__init__(config, dataset)
        sizes = [self.flat_size, *config["mlp_hidden_size"]]
        self.mlp_layers = MLPLayers(sizes, config["dropout_prob"])
        self.predict_layer = nn.Linear(sizes[-1], 1)
        self.apply(xavier_normal_initialization)

    def forward(self, interaction: Interaction) -> Tensor:
        """Logits, ``(B,)``."""
        embeddings = self.concat_embed_input_fields(interaction)  # (B, F, d)
        return self.predict_layer(self.mlp_layers(embeddings.flatten(1))).squeeze(1)
