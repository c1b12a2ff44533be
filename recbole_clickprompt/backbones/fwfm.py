"""FwFM with learned field weights, on RecBole's class."""

from __future__ import annotations

import torch
from recbole.data.dataset import Dataset
from recbole.model.context_aware_recommender.fwfm import FwFM as HostFwFM
from torch import Tensor, nn
from torch.nn.init import xavier_normal_

from recbole_clickprompt.backbones.base import check_fields, feature_names
from recbole_clickprompt.settings.values import Settings

__all__ = ["FwFM"]


class FwFM(HostFwFM):
    """Field-weighted factorization machine (Pan et al., WWW 2018): RecBole's FwFM with these fixes.

    - The weight of a pair of fields is a parameter; RecBole's is a plain tensor, neither trained nor saved.
    - It starts Xavier-normal instead of N(0, 1).
    - ``fields`` refers to features in the order of the embeddings; RecBole assumes ``token`` before ``token_seq``
      and no ``float_seq``.
    - All pairs are computed by one matrix product; RecBole loops over them.

    Raises:
        SettingError: ``fields`` does not contain each feature once.
    """

    def __init__(self, config: Settings, dataset: Dataset) -> None:
        super().__init__(config, dataset)
        self.weight = nn.Parameter(torch.empty(self.num_fields, self.num_fields, 1))
        xavier_normal_(self.weight.data.squeeze(2))
        self.field_of = [self.feature2field[i] for i in range(self.num_features)]

    def _get_feature2field(self) -> None:
        names = feature_names(self)
        check_fields(self.fields, names)
        self.feature_names = (names,)
        super()._get_feature2field()

    def fwfm_layer(self, embeddings: Tensor) -> Tensor:
        """``sum_{i<j} r_ij <v_i, v_j>``.

        Args:
            embeddings: ``(B, F, d)``.

        Returns:
            ``(B, 1)``.
        """
        r = self.weight.squeeze(2)[self.field_of][:, self.field_of].triu(1)  # (F, F)
        pairs = (embeddings * (r @ embeddings)).sum(1)  # (B, d)
        return self.dropout_layer(pairs).sum(1, keepdim=True)
