"""FiGNN with one graph layer for all steps, on RecBole's class."""

from __future__ import annotations

from recbole.data.dataset import Dataset
from recbole.model.context_aware_recommender.fignn import FiGNN as HostFiGNN
from recbole.model.context_aware_recommender.fignn import GraphLayer
from torch.nn.init import xavier_normal_

from recbole_clickprompt.settings.values import Settings

__all__ = ["FiGNN"]


class _SharedLayer(GraphLayer):
    """One layer for every step."""

    def __getitem__(self, step: int) -> _SharedLayer:
        return self


class FiGNN(HostFiGNN):
    """RecBole's FiGNN with these fixes, after the paper.

    - All steps share one graph layer; RecBole's have one each.
    - Each field's matrix starts Xavier-normal; RecBole's initializer takes the fields for the channels of a
      convolution, so that wider matrices start smaller.
    """

    def __init__(self, config: Settings, dataset: Dataset) -> None:
        super().__init__(config, dataset)
        self.gnn = _SharedLayer(self.num_feature_field, self.attention_size)
        for weight in (self.gnn.W_in, self.gnn.W_out):
            for matrix in weight.data:
                xavier_normal_(matrix)
