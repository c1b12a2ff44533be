"""FFM whose multi-valued features are field-aware, on RecBole's class."""

from __future__ import annotations

from recbole.data.dataset import Dataset
from recbole.model.context_aware_recommender.ffm import FFM as HostFFM
from torch import nn
from torch.nn.init import xavier_normal_

from recbole_clickprompt.backbones.base import check_fields, feature_names
from recbole_clickprompt.settings.values import Settings

__all__ = ["FFM"]


class FFM(HostFFM):
    """RecBole's FFM with this fix: a ``token_seq`` or ``float_seq`` feature has one table per field.

    RecBole makes those tables but reads the first field's only, so that such features are not field-aware.

    Raises:
        SettingError: ``fields`` does not contain each feature once.
    """

    def __init__(self, config: Settings, dataset: Dataset) -> None:
        super().__init__(config, dataset)
        check_fields(self.fields, feature_names(self))
        for kind, dims in (("token_seq", self.token_seq_field_dims), ("float_seq", self.float_seq_field_dims)):
            if dims:
                delattr(self.ffm, f"{kind}_embedding")  # the list of all tables that each field shares
                tables = nn.ModuleList(
                    nn.ModuleList(nn.Embedding(size, self.embedding_size) for size in dims)
                    for _ in range(self.num_fields)
                )
                for weight in tables.parameters():
                    xavier_normal_(weight.data)
                setattr(self.ffm, f"{kind}_embeddings", tables)
