"""What the context-aware models of this package share."""

from __future__ import annotations

import torch
from recbole.data.dataset import Dataset
from recbole.data.interaction import Interaction
from recbole.model.abstract_recommender import ContextRecommender
from torch import Tensor, nn

from recbole_clickprompt.errors import SettingError
from recbole_clickprompt.settings.values import Settings

__all__ = ["LogitModel", "check_fields", "feature_names"]


class LogitModel(ContextRecommender):
    """A RecBole model whose ``forward`` gives logits, ``(B,)``; also what RecBole's own trainer asks for.

    F fields of width d are embedded by ``concat_embed_input_fields``, ``(B, F, d)``.
    """

    def __init__(self, config: Settings, dataset: Dataset) -> None:
        super().__init__(config, dataset)
        self.loss = nn.BCEWithLogitsLoss()
        self.flat_size = self.num_feature_field * self.embedding_size

    def forward(self, interaction: Interaction) -> Tensor:
        """Logits, ``(B,)``."""
        raise NotImplementedError

    def calculate_loss(self, interaction: Interaction) -> Tensor:
        """Binary cross entropy, a scalar."""
        return self.loss(self.forward(interaction), interaction[self.LABEL])

    def predict(self, interaction: Interaction) -> Tensor:
        """Scores, ``(B,)``."""
        return torch.sigmoid(self.forward(interaction))


def feature_names(model: ContextRecommender) -> list[str]:
    """Names of the F features, in the order of ``concat_embed_input_fields``."""
    return [
        *model.token_seq_field_names,
        *model.token_field_names,
        *model.float_seq_field_names,
        *model.float_field_names,
    ]


def check_fields(fields: dict[int, list[str]] | None, features: list[str]) -> None:
    """Checks the setting ``fields`` of FFM and FwFM against the features of a model.

    Raises:
        SettingError: A feature is in no field or in several, or a field contains a name that is no feature.
    """
    given = [name for members in (fields or {}).values() for name in members]
    for name in given:
        if name not in features:
            raise SettingError(f"fields holds {name!r}, which is no feature; these are {', '.join(features)}")
    for name in features:
        if fields is not None and given.count(name) != 1:
            raise SettingError(f"fields must hold each feature once, but holds {name!r} {given.count(name)} times")
