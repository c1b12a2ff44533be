"""Values of fields as tokens: one per value, and one per field for all values that training never saw.

Letters: B rows, S slots for the values of a row, N numbers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from recbole.data.interaction import Interaction
from recbole.utils import FeatureSource, FeatureType
from torch import Tensor, nn

from recbole_clickprompt.errors import SettingError
from recbole_clickprompt.settings.values import Settings

if TYPE_CHECKING:
    from recbole.data.dataset import Dataset

__all__ = ["ValueTokens", "append_tokens"]

_ROWS = 1 << 16  # read at once
_SOURCES = (
    FeatureSource.INTERACTION, FeatureSource.USER, FeatureSource.USER_ID, FeatureSource.ITEM,
    FeatureSource.ITEM_ID,
)  # fmt: skip


class _Field(NamedTuple):
    """A field whose values are tokens.

    Attributes:
        name: Its column.
        type: RecBole's type.
        offset: The number of its token ``[unknown]``; those of its values follow.
        size: Number of its tokens.
    """

    name: str
    type: FeatureType
    offset: int
    size: int


class ValueTokens(nn.Module):
    """Numbers the values of all features that are not free text (``whole_text_fields``)::

        field     gender                    age (numbers, 3 buckets)
        token     [unknown]  F  M           [unknown]  up to 24  up to 39  above
        number        0      1  2               3         4         5        6

    Which values are known, and where numbers are cut, comes from training rows (``observe``) and is saved with the
    model. A list has a token for each of its values. Missing values and empty lists are
    unknown; a missing number is the mean of its column, by which RecBole replaces it.

    Args:
        config: Settings of the run: ``whole_text_fields``, ``numerical_features`` and ``number_buckets``.
        dataset: Data set with the fields.

    Attributes:
        size: Number of tokens.

    Raises:
        SettingError: A field of ``numerical_features`` is a list of numbers.
    """

    def __init__(self, config: Settings, dataset: Dataset) -> None:
        super().__init__()
        text, numerical = config["whole_text_fields"] or (), config["numerical_features"] or ()
        self.fields: list[_Field] = []
        self.size = 0
        for name in dataset.fields(source=_SOURCES):
            kind = dataset.field2type[name]
            is_number = kind in (FeatureType.FLOAT, FeatureType.FLOAT_SEQ)
            if name == config["LABEL_FIELD"] or name in text or (is_number and name not in numerical):
                continue
            if kind is FeatureType.FLOAT_SEQ:
                raise SettingError(
                    f"numerical_features names {name}, a list of numbers, which has no token here; take it out"
                )
            size = 1 + config["number_buckets"] if is_number else dataset.num(name)
            self.fields.append(_Field(name, kind, self.size, size))
            self.size += size
        numbers = sum(field.type is FeatureType.FLOAT for field in self.fields)
        self.known: Tensor
        self.edges: Tensor
        self.register_buffer("known", torch.zeros(self.size, dtype=torch.bool))
        self.register_buffer("edges", torch.zeros(numbers, config["number_buckets"] - 1))

    @property
    def rows(self) -> list[str | int]:
        """Whose ids the tokens are: those of a field, or of a number field none; see ``HasTableRows``."""
        return [field.size if field.type is FeatureType.FLOAT else field.name for field in self.fields]

    def table_rows(self) -> dict[str, list[str | int]]:
        """Values that were known stay known; see ``HasTableRows``."""
        return {"known": self.rows}

    @torch.no_grad()
    def observe(self, dataset: Dataset) -> None:
        """Sets the known values and the edges of buckets from rows that are trained on."""
        numbers: list[list[Tensor]] = [[] for _ in self.edges]
        self.known.zero_()
        for start in range(0, len(dataset), _ROWS):
            rows = dataset[torch.arange(start, min(start + _ROWS, len(dataset)))]
            floats = iter(numbers)
            for field in self.fields:
                if field.type is FeatureType.FLOAT:
                    next(floats).append(_number(rows[field.name]))
                    self.known[field.offset + 1 : field.offset + field.size] = True
                else:
                    ids = rows[field.name].unique()
                    self.known[field.offset + ids[ids > 0].to(self.known.device)] = True
        for edges, parts in zip(self.edges, numbers, strict=True):
            shares = np.arange(1, len(edges) + 1) / (len(edges) + 1)
            edges.copy_(torch.from_numpy(np.quantile(torch.cat(parts).double().numpy(), shares)))

    def slots(self, batch: Interaction) -> int:
        """S: the values of a row, those of lists at their full length."""
        return sum(batch[f.name].shape[1] if f.type is FeatureType.TOKEN_SEQ else 1 for f in self.fields)

    def forward(self, batch: Interaction) -> tuple[Tensor, Tensor]:
        """
        Args:
            batch: B rows.

        Returns:
            Numbers of their tokens, ``(B, S)`` int64, and which slots are used, ``(B, S)``.
        """
        numbers, used = [], []
        edges = iter(self.edges)
        for field in self.fields:
            column = batch[field.name]
            if field.type is FeatureType.FLOAT:
                values = 1 + torch.searchsorted(next(edges), _number(column), right=True).unsqueeze(1)
            else:
                values = column if column.dim() == 2 else column.unsqueeze(1)
            filled = torch.ones_like(values, dtype=torch.bool)
            filled[:, 1:] = values[:, 1:] > 0  # the first slot of an empty list is [unknown]
            known = self.known[field.offset + values]
            numbers.append(field.offset + values * known)
            used.append(filled)
        return torch.cat(numbers, dim=1), torch.cat(used, dim=1)


def _number(column: Tensor) -> Tensor:
    """A number that grows with the values of a numerical feature, ``(B, 2)``, ``(B, 1, 2)``: ``(B,)``.

    RecBole has a factor and a row of its embedding table; one of them is the same for all values.
    """
    return column.reshape(len(column), 2).sum(1).contiguous()


def append_tokens(
    text: Tensor, lengths: Tensor, tokens: Tensor, used: Tensor, *, pad: int
) -> tuple[Tensor, Tensor]:
    """Writes tokens after the texts of rows, without gaps.

    Args:
        text: Token ids, ``(B, Z)``.
        lengths: Tokens of each row to keep, ``(B,)``.
        tokens: ``(B, S)``.
        used: Which of them to write, ``(B, S)``.
        pad: Id of padding.

    Returns:
        Token ids, as wide as the longest row, and lengths, ``(B,)``.
    """
    places = lengths.unsqueeze(1) + used.long().cumsum(1) - 1
    longer = lengths + used.sum(1)
    width = int(longer.max())
    # The last column is scratch space for slots that are not used
    whole = text.new_full((len(text), width + 1), pad)
    whole[:, : text.shape[1]] = text[:, : width + 1]
    whole[torch.arange(width + 1, device=text.device) >= lengths.unsqueeze(1)] = pad
    whole.scatter_(1, torch.where(used, places, width), tokens)
    return whole[:, :width].contiguous(), longer
