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
    """Field-aware factorization machine (Juan et al., RecSys 2016): RecBole's FFM with one fix.

    A ``token_seq`` or ``float_seq`` feature has one table per field. RecBole creates those tables but reads only
    the first field's, so such features are not field-aware.

    Raises:
        SettingError: ``fields`` does not contain each feature once.
    """

    def __init__(self, config: Settings, dataset: Dataset) -> None:
        super().__init__(config, dataset)
        check_fields(self.fields, feature_names(self))
        for kind, dims in (("token_seq", self.token_seq_field_dims), ("float_seq", self.float_seq_field_dims)):
            if dims:
                delattr(self.ffm, f"{kind}_embedding")  # RecBole's list of tables, shared by all fields
                tables = nn.ModuleList(
                    nn.ModuleList(nn.Embedding(size, self.embedding_size) for size in dims)
                    for _ in range(self.num_fields)
                )
                for weight in tables.parameters():
                    xavier_normal_(weight.data)
                setattr(self.ffm, f"{kind}_embeddings", tables)
