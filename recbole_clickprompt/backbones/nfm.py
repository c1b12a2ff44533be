"""NFM without batch norm, on RecBole's class."""

from __future__ import annotations

from recbole.data.dataset import Dataset
from recbole.model.context_aware_recommender.nfm import NFM as HostNFM
from recbole.model.init import xavier_normal_initialization
from recbole.model.layers import MLPLayers
from torch import nn

from recbole_clickprompt.settings.values import Settings

__all__ = ["NFM"]


class NFM(HostNFM):
    """Neural factorization machine (He and Chua, SIGIR 2017): RecBole's NFM with these fixes.

    - No batch norm, which would make scores depend on the other rows of a batch or micro-batch.
    - ReLU in the MLP, as in the authors' code; RecBole has sigmoids.
    """

    def __init__(self, config: Settings, dataset: Dataset) -> None:
        super().__init__(config, dataset)
        sizes = [self.embedding_size, *self.mlp_hidden_size]
        self.bn = nn.Identity()
        self.mlp_layers = MLPLayers(sizes, self.dropout_prob).apply(xavier_normal_initialization)
