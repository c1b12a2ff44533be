"""Stands in for the data set when a model is built without its data."""

from __future__ import annotations

from collections.abc import Collection

import torch
from recbole.data.interaction import Interaction
from recbole.utils import FeatureSource, FeatureType
from torch import Tensor, nn

from recbole_clickprompt.preprocessing.preprocessing import Preprocessing
from recbole_clickprompt.preprocessing.schema import Text
from recbole_clickprompt.serving.text import INPUT_IDS, TEXT_LENGTH

__all__ = ["PrecomputedTokens", "SchemaDataset"]


class PrecomputedTokens(nn.Module):
    """Replaces ``TokenTable`` in serving: tokens are columns of the batch.

    Args:
        text: The text of the training data, whose states models with frozen layers look up.
    """

    def __init__(self, text: Text) -> None:
        super().__init__()
        self._segments = text.segments
        self.keys = [segment.key for segment in text.segments]
        self.prefix, self.suffix, self.max_length = text.prefix, text.suffix, text.max_length

    def segment(self, index: int) -> tuple[Tensor, Tensor, Tensor]:
        """As for ``TokenTable``; the fields of tokens are not known, and 0."""
        segment = self._segments[index]
        tokens = torch.from_numpy(segment.values)
        return tokens, torch.zeros_like(tokens), torch.from_numpy(segment.offsets)

    def lengths(self, batch: Interaction) -> Tensor:
        """Number of tokens of each row, ``(B,)`` int64."""
        return batch[TEXT_LENGTH]

    def forward(self, batch: Interaction) -> tuple[Tensor, Tensor]:
        """Token ids without columns of padding only, ``(B, Z)``; and lengths, ``(B,)``."""
        lengths = batch[TEXT_LENGTH]
        return batch[INPUT_IDS][:, : int(lengths.max())], lengths


class SchemaDataset:
    """A data set with one row of missing values, and the fields of the training data.

    Args:
        preprocessing: The preprocessing of the model.
    """

    def __init__(self, preprocessing: Preprocessing) -> None:
        self.preprocessing = preprocessing
        self.field2type = {name: FeatureType(field.type) for name, field in preprocessing.fields.items()}
        self.field2source = {name: FeatureSource(field.source) for name, field in preprocessing.fields.items()}
        items = [name for name, field in preprocessing.fields.items() if field.source == "item"]
        # Features by item id, for items of click histories
        self.item_feat = Interaction({name: torch.from_numpy(preprocessing.tables[name]) for name in items})

    def fields(
        self, ftype: Collection[FeatureType] | None = None, source: Collection[FeatureSource] | None = None
    ) -> list[str]:
        """Names of the fields with these types and sources; None means any.

        With sources, by which models choose their features, fields that only language models read are left out.
        """
        return [
            name
            for name in self.preprocessing.fields
            if (ftype is None or self.field2type[name] in ftype)
            and (source is None or (self.field2source[name] in source and not self._is_text_only(name)))
        ]

    def _is_text_only(self, name: str) -> bool:
        field = self.preprocessing.fields[name]
        return field.scale is None and not field.feature

    def num(self, field: str) -> int:
        """Number of rows of the field's embedding table."""
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
        if history := self.preprocessing.history:
            for name in history.raw:
                columns[name] = torch.zeros(len(rows), history.length, dtype=torch.int64)
            columns[history.lengths] = torch.zeros(len(rows), dtype=torch.int64)
        return Interaction(columns)

    def token_table(self, plm: str) -> PrecomputedTokens:
        """The same for any PLM, because tokens are columns of the batch."""
        assert self.preprocessing.text is not None
        return PrecomputedTokens(self.preprocessing.text)
