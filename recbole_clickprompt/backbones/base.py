"""Base class and checks of the context-aware models of this package. Letters: see ``plm/__init__.py``."""

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
    """A RecBole model whose ``forward`` returns logits, ``(B,)``.

    ``calculate_loss`` and ``predict`` let RecBole's trainer train it too. Embeddings come from RecBole's
    ``concat_embed_input_fields``, ``(B, F, d)``, whose F fields are in the order of ``feature_names``.

    Args:
        config: Settings of the run; RecBole reads ``embedding_size`` and the names of fields.
        dataset: Data set whose fields are embedded.

    Attributes:
        flat_size: Width of all embeddings of a row, F * d.
    """

    def __init__(self, config: Settings, dataset: Dataset) -> None:
        super().__init__(config, dataset)
        self.loss = nn.BCEWithLogitsLoss()
        self.flat_size = self.num_feature_field * self.embedding_size

    def forward(self, interaction: Interaction) -> Tensor:
        """Logits, ``(B,)``."""
        raise NotImplementedError

    def calculate_loss(self, interaction: Interaction) -> Tensor:
        """Mean binary cross entropy, a scalar."""
        return self.loss(self.forward(interaction), interaction[self.LABEL])

    def predict(self, interaction: Interaction) -> Tensor:
        """Probabilities of a click, ``(B,)``."""
        return torch.sigmoid(self.forward(interaction))


def feature_names(model: ContextRecommender) -> list[str]:
    """Names of a model's F fields in the order of ``concat_embed_input_fields``."""
    return [
        *model.token_seq_field_names,
        *model.token_field_names,
        *model.float_seq_field_names,
        *model.float_field_names,
    ]


def check_fields(fields: dict[int, list[str]] | None, features: list[str]) -> None:
    """Checks the setting ``fields`` of FFM and FwFM against the features of a model.

    Args:
        fields: Features of each field, by the field's number; None: each feature is a field.
        features: Features of the model.

    Raises:
        SettingError: A feature is in no field or in several, or a field contains a name that is not a feature.
    """
    given = [name for members in (fields or {}).values() for name in members]
    for name in given:
        if name not in features:
            raise SettingError(
                f"fields contains {name!r}, which is not a feature; features are {', '.join(features)}"
            )
    for name in features:
        if fields is not None and given.count(name) != 1:
            raise SettingError(f"fields must contain each feature once; got {name!r} {given.count(name)} times")
