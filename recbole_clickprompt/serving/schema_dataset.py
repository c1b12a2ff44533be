"""What a model asks of a data set when it is built, answered without the data."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
from recbole.data.interaction import Interaction
from recbole.utils import FeatureSource, FeatureType
from torch import Tensor, nn

from recbole_clickprompt.preprocessing.preprocessing import Preprocessing
from recbole_clickprompt.serving.rows import INPUT_IDS, TEXT_LENGTH

__all__ = ["PrecomputedTokens", "SchemaDataset"]


class PrecomputedTokens(nn.Module):
    """In the place of ``TokenTable``: rows bring their tokens along."""

    def lengths(self, batch: Any) -> Tensor:
        """Tokens of each row, ``(B,)`` int64."""
        return batch[TEXT_LENGTH]

    def forward(self, batch: Any) -> tuple[Tensor, Tensor]:
        """Token ids without columns that are padding alone, ``(B, Z)``; and lengths, ``(B,)``."""
        lengths = batch[TEXT_LENGTH]
        return batch[INPUT_IDS][:, : int(lengths.max())], lengths


class SchemaDataset:
    """A data set of one row of missing values, with the fields of the training's.

    Args:
        preprocessing: Of the training.
    """

    def __init__(self, preprocessing: Preprocessing) -> None:
        self.preprocessing = preprocessing
        self.field2type = {name: FeatureType(field.type) for name, field in preprocessing.fields.items()}
        self.field2source = {name: FeatureSource(field.source) for name, field in preprocessing.fields.items()}

    def fields(
        self, ftype: Collection[FeatureType] | None = None, source: Collection[FeatureSource] | None = None
    ) -> list[str]:
        """Names of the fields of these types and sources; None is any."""
        return [
            name
            for name in self.preprocessing.fields
            if (ftype is None or self.field2type[name] in ftype)
            and (source is None or self.field2source[name] in source)
        ]

    def num(self, field: str) -> int:
        """Rows of the field's embedding table."""
        return self.preprocessing.fields[field].size

    def __len__(self) -> int:
        return 1

    def __getitem__(self, rows: Tensor) -> Interaction:
        columns = {}
        for name, field in self.preprocessing.fields.items():
            number, shape = field.scale is not None, [len(rows)]
            shape += [field.width] if field.type.endswith("_seq") else []
            shape += [2] if number and field.feature else []
            columns[name] = torch.zeros(shape, dtype=torch.float32 if number else torch.int64)
        return Interaction(columns)

    def token_table(self, plm: str) -> PrecomputedTokens:
        """Of whatever PLM: rows bring their tokens along."""
        return PrecomputedTokens()
