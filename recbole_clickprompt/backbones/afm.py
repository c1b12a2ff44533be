"""AFM with small initial weights, on RecBole's class."""

from __future__ import annotations

from recbole.data.dataset import Dataset
from recbole.model.context_aware_recommender.afm import AFM as HostAFM
from torch.nn.init import xavier_normal_

from recbole_clickprompt.settings.values import Settings

__all__ = ["AFM"]


class AFM(HostAFM):
    """RecBole's AFM with this fix: the vectors after attention and pooling start Xavier-normal.

    RecBole's initializer skips bare parameters, so they would keep the N(0, 1) they are drawn from. The norm of a
    weight in its ``calculate_loss`` is not used: our loss is cross entropy only.
    """

    def __init__(self, config: Settings, dataset: Dataset) -> None:
        super().__init__(config, dataset)
        for vector in (self.p, self.attlayer.h):
            xavier_normal_(vector.data.unsqueeze(0))  # a linear map to one number
