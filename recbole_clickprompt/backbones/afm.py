"""AFM with small initial weights, on RecBole's class."""

from __future__ import annotations

from recbole.data.dataset import Dataset
from recbole.model.context_aware_recommender.afm import AFM as HostAFM
from torch.nn.init import xavier_normal_

from recbole_clickprompt.settings.values import Settings

__all__ = ["AFM"]


class AFM(HostAFM):
    """Attentional factorization machine (Xiao et al., IJCAI 2017): RecBole's AFM with one fix.

    The vectors after attention and pooling start Xavier-normal.

    RecBole's initializer skips bare parameters, so in RecBole they stay N(0, 1). The L2 penalty in RecBole's
    ``calculate_loss`` is not used: our loss is cross entropy only.
    """

    def __init__(self, config: Settings, dataset: Dataset) -> None:
        super().__init__(config, dataset)
        for vector in (self.p, self.attlayer.h):
            xavier_normal_(vector.data.unsqueeze(0))  # as a linear map to one output
