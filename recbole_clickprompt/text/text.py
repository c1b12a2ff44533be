"""Modality transformation (ClickPrompt, Eq. 4): a row as ``"<field> is <value>. <field> is <value>."``"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

__all__ = ["FieldText", "Textualizer", "list_joiner"]


@dataclass(frozen=True)
class FieldText:
    """The sentence parts of one field, each distinct value once.

    Attributes:
        name: The field in words.
        key: Column of a batch whose id selects the part: the user, the item, or the field itself.
        parts: Distinct parts, such as ``"gender is female."``.
        codes: Index into ``parts`` for each id of ``key``, ``(ids,)``; -1 if the value is missing, so the field
            has no part in the sentence.
    """

    name: str
    key: str
    parts: list[str]
    codes: np.ndarray

    @property
    def prefix(self) -> str:
        """The words before the value in each part."""
        return f"{self.name} is"

    def value(self, code: int) -> str:
        """The rest of a part: a blank, the value and the full stop."""
        return self.parts[code].removeprefix(self.prefix)

    @classmethod
    def of_texts(cls, name: str, key: str, texts: Sequence[str | None], words: Mapping[str, str]) -> FieldText:
        """Builds the parts from texts.

        Args:
            name: The field in words.
            key: Column of ids that select the part.
            texts: The value of each id of ``key``; None is a missing value.
            words: Words for values that are codes (``value_labels``).
        """
        codes, values = pd.factorize(np.asarray(texts, dtype=object))
        return cls(name, key, [f"{name} is {words.get(value, value)}." for value in values], codes)

    @classmethod
    def of_ids(cls, name: str, key: str, tokens: np.ndarray, words: Mapping[str, str]) -> FieldText:
        """Builds the parts of the field ``key`` itself from RecBole's ``id -> token`` array; id 0 is padding."""
        return cls.of_texts(name, key, [None, *map(str, tokens[1:])], words)

    @classmethod
    def of_id_rows(
        cls,
        name: str,
        key: str,
        tokens: np.ndarray,
        ids: np.ndarray,
        words: Mapping[str, str],
        joiner: str = " ",
    ) -> FieldText:
        """Builds the parts of a feature of users or items that has one or more values.

        Args:
            name: The field in words.
            key: Column of the user's or the item's ids.
            tokens: RecBole's ``id -> token`` array of the feature.
            ids: Ids of the feature's values for each id of ``key``, ``(ids, values)``; 0 is no value.
            words: Words for values that are codes (``value_labels``).
            joiner: Written between two values, see ``list_joiner``.
        """
        rows, codes = np.unique(ids, axis=0, return_inverse=True)
        texts = [
            joiner.join(words.get(str(token), str(token)) for token in tokens[row[row > 0]]) or None
            for row in rows
        ]
        field = cls.of_texts(name, key, texts, {})
        return cls(name, key, field.parts, field.codes[codes.reshape(-1)])

    def shuffled(self, seed: int) -> FieldText:
        """A copy in which each id has the part of a random id; fields of equal ``key`` are permuted alike."""
        order = 1 + np.random.default_rng(seed).permutation(len(self.codes) - 1)
        return replace(self, codes=self.codes[np.concatenate([[0], order])])


def list_joiner(separator: str) -> str:
    """What is written between the values of a list in the text: a blank where blanks separate them in the files,
    else a comma and a blank, as the values may contain blanks themselves.
    """
    return " " if separator == " " else ", "


class Textualizer:
    """The text of rows.

    Args:
        fields: Fields in the order of the sentence.
    """

    def __init__(self, fields: Sequence[FieldText]) -> None:
        self.fields = tuple(fields)

    def sentence(self, row: Mapping[str, int]) -> str:
        """The text of one row, given the id in each key column: parts joined by blanks, missing values skipped."""
        codes = [(field, field.codes[int(row[field.key])]) for field in self.fields]
        return " ".join(field.parts[code] for field, code in codes if code >= 0)
