"""FiGNN with one graph layer for all steps, on RecBole's class."""

from __future__ import annotations

from recbole.data.dataset import Dataset
from recbole.model.context_aware_recommender.fignn import FiGNN as HostFiGNN
from recbole.model.context_aware_recommender.fignn import GraphLayer
from torch.nn.init import xavier_normal_

from recbole_clickprompt.settings.values import Settings

__all__ = ["FiGNN"]


class _SharedLayer(GraphLayer):
    """A graph layer that stands for the list of the layers of all steps."""

    def __getitem__(self, step: int) -> _SharedLayer:
        return self


class FiGNN(HostFiGNN):
    """Feature interaction graph network (Li et al., CIKM 2019): RecBole's FiGNN with these fixes.

    - All steps share one graph layer, as in the paper; in RecBole each has its own.
    - Each field's matrix starts Xavier-normal; RecBole's initializer treats the fields as the channels of a
      convolution, so wider matrices start with smaller weights.
    """

    def __init__(self, config: Settings, dataset: Dataset) -> None:
        super().__init__(config, dataset)
        self.gnn = _SharedLayer(self.num_feature_field, self.attention_size)
        for weight in (self.gnn.W_in, self.gnn.W_out):
            for matrix in weight.data:
                xavier_normal_(matrix)
