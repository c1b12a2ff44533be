"""DCN as the paper uses it, on RecBole's class."""

from __future__ import annotations

from recbole.data.dataset import Dataset
from recbole.model.context_aware_recommender.dcn import DCN as HostDCN
from recbole.model.init import xavier_normal_initialization
from recbole.model.layers import MLPLayers
from torch.nn.init import xavier_normal_

from recbole_clickprompt.settings.values import Settings

__all__ = ["DCN"]


class DCN(HostDCN):
    """Deep & cross network (Wang et al., ADKDD 2017): RecBole's DCN with these fixes.

    - Cross weights start Xavier-normal: RecBole's initializer skips bare parameters, which stay N(0, 1).
    - No batch norm in the MLP.
    """

    def __init__(self, config: Settings, dataset: Dataset) -> None:
        super().__init__(config, dataset)
        sizes = [self.num_feature_field * self.embedding_size, *self.mlp_hidden_size]
        self.mlp_layers = MLPLayers(sizes, dropout=self.dropout_prob).apply(xavier_normal_initialization)
        for weight in self.cross_layer_w:
            xavier_normal_(weight.data.unsqueeze(0))  # as a linear map to one output
