"""xDeepFM with a linear output, on RecBole's class."""

from __future__ import annotations

from recbole.data.dataset import Dataset
from recbole.model.context_aware_recommender.xdeepfm import xDeepFM as HostXDeepFM
from recbole.model.init import xavier_normal_initialization
from recbole.model.layers import MLPLayers
from torch import nn

from recbole_clickprompt.settings.values import Settings

__all__ = ["xDeepFM"]


class xDeepFM(HostXDeepFM):
    """Extreme deep factorization machine (Lian et al., KDD 2018): RecBole's xDeepFM with one fix.

    The MLP's last unit is linear. In RecBole it has a ReLU, so the MLP can only increase a logit, and gets no
    gradient where it returns 0.
    """

    def __init__(self, config: Settings, dataset: Dataset) -> None:
        super().__init__(config, dataset)
        sizes = [self.num_feature_field * self.embedding_size, *self.mlp_hidden_size]
        self.mlp_layers = nn.Sequential(MLPLayers(sizes, dropout=self.dropout_prob), nn.Linear(sizes[-1], 1))
        self.mlp_layers.apply(xavier_normal_initialization)
