"""The texts of users and items that training never saw, for a model that encodes them one by one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from recbole_clickprompt.preprocessing.preprocessing import Preprocessing
from recbole_clickprompt.preprocessing.schema import Field
from recbole_clickprompt.serving.columns import raw_values
from recbole_clickprompt.serving.text import sentence_parts

__all__ = ["LevelTexts", "UnseenTexts"]


class LevelTexts(NamedTuple):
    """Texts of unseen users, or items, of B rows.

    Attributes:
        texts: The text of each row whose user or item is unseen, and None in other rows and where the row has no
            text, ``(B,)`` of objects.
        written: Number of these texts that were written from fields; the others are the rows' own.
    """

    texts: np.ndarray
    written: int


class UnseenTexts:
    """Finds the texts of unseen users and items in raw rows.

    A text is the row's own (a column ``item_text`` or ``user_text``), else it is written from the fields of the
    item or the user, as the texts of training are.

    Args:
        preprocessing: The preprocessing of a model with descriptions.
    """

    def __init__(self, preprocessing: Preprocessing) -> None:
        assert preprocessing.descriptions is not None
        self._preprocessing, self._descriptions = preprocessing, preprocessing.descriptions
        self._keys = {"user": preprocessing.user, "item": preprocessing.item}

    def __call__(
        self, table: pa.Table, ids: Mapping[str, np.ndarray], raw: Mapping[str, np.ndarray], first_row: int
    ) -> dict[str, LevelTexts]:
        """
        Args:
            table: B raw rows.
            ids: Ids of users and items, ``(B,)`` each; 0 for those that training never saw.
            raw: The result of ``raw_values`` for the fields of the rows, ``(B,)`` each.
            first_row: Number of the first of these rows, for errors.

        Returns:
            The texts by level.

        Raises:
            DataError: A value has the wrong type.
        """
        found = {}
        for level, names in self._descriptions.names.items():
            rows = np.flatnonzero(ids[self._keys[level]] == 0)
            texts = np.full(len(table), None, dtype=object)
            own = self._own(level, table, first_row)
            parts = self._parts(names, raw, rows)
            written = [None if own[row] else " ".join(part) or None for row, part in zip(rows, parts, strict=True)]
            texts[rows] = [own[row] or text for row, text in zip(rows, written, strict=True)]
            found[level] = LevelTexts(texts, sum(text is not None for text in written))
        return found

    def _own(self, level: str, table: pa.Table, first_row: int) -> np.ndarray | Sequence[None]:
        column = self._descriptions.columns[level]
        if column not in table.column_names:
            return [None] * len(table)
        field = Field(column, "token", "inter", 0, 1, feature=False, unsplit=True, scale=None)
        return raw_values(table[column], field, " ", first_row)

    def _parts(self, names: Mapping[str, str], raw: Mapping[str, np.ndarray], rows: np.ndarray) -> list[list[str]]:
        fields = {name: self._preprocessing.fields[name] for name in names}
        separator = self._preprocessing.seq_separator
        return sentence_parts(fields, names, self._descriptions.words, raw, rows, separator)
