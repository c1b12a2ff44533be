"""Encodes raw rows as the inputs of a model."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import pandas as pd
import pyarrow as pa

from recbole_clickprompt.preprocessing.preprocessing import Preprocessing
from recbole_clickprompt.preprocessing.schema import Field
from recbole_clickprompt.serving.columns import raw_values
from recbole_clickprompt.serving.counts import Counts
from recbole_clickprompt.serving.descriptions import UnseenTexts
from recbole_clickprompt.serving.history import encode_history
from recbole_clickprompt.serving.text import RowTokens, value_texts
from recbole_clickprompt.serving.text_vectors import text_column

__all__ = ["Counts", "RowEncoder"]


class RowEncoder:
    """Turns raw rows into columns of ids, numbers and tokens.

    Known users and items have the features of training, even if the row has others, so that a known row has the
    same score as in evaluation. Features of unseen users and items are read from the row; their ids, and values
    that training never saw, become id 0, RecBole's padding. Numbers are scaled as in training.

    Args:
        preprocessing: The preprocessing of a model.
        separate_texts: The model looks up states of known texts, so that only tokens of unseen ones are needed.
        encodes_texts: The model can encode texts of unseen users and items, which are returned.
        answered_levels: Levels whose texts had a teacher's answers in training.
    """

    def __init__(
        self,
        preprocessing: Preprocessing,
        *,
        separate_texts: bool = False,
        encodes_texts: bool = False,
        answered_levels: Collection[str] = (),
    ) -> None:
        self.preprocessing = preprocessing
        # Ids come first, because features of users and items are looked up by them
        self._fields = sorted(preprocessing.fields.values(), key=lambda f: preprocessing.key(f) is not None)
        self._index = {name: pd.Index(tokens[1:]) for name, tokens in preprocessing.vocabulary.items()}
        self._tokens = None if preprocessing.text is None else RowTokens(preprocessing, separate=separate_texts)
        self._texts = None if preprocessing.descriptions is None else UnseenTexts(preprocessing)
        self._encodes_texts, self._answered_levels = encodes_texts, answered_levels

    def __call__(self, table: pa.Table, counts: Counts) -> dict[str, np.ndarray]:
        """
        Args:
            table: One or more raw rows with checked columns.
            counts: Updated with these rows.

        Returns:
            Each feature of the backbone, ``(B,)`` or ``(B, ...)``; the columns of histories; with text also
            the columns of ``RowTokens``; and the texts of unseen users and items (``text_column``), ``(B,)``.

        Raises:
            DataError: A value has the wrong type.
        """
        fields, separator = self.preprocessing.fields, self.preprocessing.seq_separator
        raw = {
            name: raw_values(table[name], fields[name], separator, counts.rows + 1)
            for name in table.column_names
            if name in fields
        }
        self._clean(raw, counts)
        for entry in fields.values():
            if entry.source == "net":  # the text of a context column that is not a token field
                context = fields[entry.name.removesuffix("_text")]
                raw[entry.name] = np.array(value_texts(context, raw[context.name], {}, separator), dtype=object)
        columns: dict[str, np.ndarray] = {}
        overridden = np.zeros(len(table), dtype=bool)
        for entry in self._fields:
            key = self.preprocessing.key(entry)
            given = self._encoded(entry, raw[entry.name], counts) if entry.name in raw else None
            if key is None and given is not None:
                columns[entry.name] = given
                counts.unseen[entry.name] += int(_unseen(entry, raw[entry.name], given).sum())
            elif key is not None:
                columns[entry.name] = trained = self.preprocessing.tables[entry.name][columns[key]]
                if given is not None:
                    known = columns[key] > 0
                    overridden |= known & _is_present(entry, raw[entry.name]) & _differs(entry, given, trained)
                    trained[~known] = given[~known]
                    unseen = _unseen(entry, raw[entry.name], given) & ~known
                    counts.unseen[entry.name] += int(unseen.sum())
        counts.overridden += int(overridden.sum())
        features = {name: values for name, values in columns.items() if fields[name].feature}
        if self.preprocessing.history is not None:
            items = self._index[self.preprocessing.item]
            features |= encode_history(table, self.preprocessing.history, items, counts.history, counts.rows + 1)
        if self._texts is not None:
            features |= self._unseen_texts(self._texts, table, columns, raw, counts)
        counts.rows += len(table)
        if self._tokens is not None:
            features |= self._tokens(columns, raw)
        return features

    def _unseen_texts(
        self,
        find: UnseenTexts,
        table: pa.Table,
        columns: dict[str, np.ndarray],
        raw: dict[str, np.ndarray],
        counts: Counts,
    ) -> dict[str, np.ndarray]:
        encoded = {}
        for level, (texts, written) in find(table, columns, raw, counts.rows + 1).items():
            key = {"user": self.preprocessing.user, "item": self.preprocessing.item}[level]
            given = sum(text is not None for text in texts)
            counts.no_text[key] += int((columns[key] == 0).sum()) - given
            if self._encodes_texts:
                encoded[text_column(level)] = texts
                counts.no_answer[key] += written if level in self._answered_levels else 0
            else:
                counts.not_encoded[key] += given
        return encoded

    def _clean(self, raw: dict[str, np.ndarray], counts: Counts) -> None:
        """Removes blanks around unknown ids, and replaces infinite numbers by missing ones."""
        for name in (self.preprocessing.user, self.preprocessing.item):
            ids, index = raw[name], self._index[name]
            for row in np.flatnonzero(index.get_indexer(ids) < 0):  # known ids may contain blanks
                text = ids[row]
                if text is not None and text != text.strip():
                    ids[row] = text.strip() or None
                    counts.blanks[name] += 1
            counts.no_id[name] += sum(text is None for text in ids)
        for name, values in raw.items():
            kind = self.preprocessing.fields[name].type
            if kind == "float":
                infinite = np.isinf(values)
                values[infinite] = np.nan
                counts.infinite[name] += int(infinite.sum())
            elif kind == "float_seq":
                for row in np.flatnonzero([bool(np.isinf(row).any()) for row in values]):
                    values[row] = [np.nan if np.isinf(number) else number for number in values[row]]
                    counts.infinite[name] += 1

    def _encoded(self, entry: Field, values: np.ndarray, counts: Counts) -> np.ndarray:
        """Ids, or scaled numbers, of a column's raw values."""
        if not entry.type.endswith("_seq"):
            return self._encoded_values(entry, values, counts)
        rows = [row[: entry.width] for row in values]
        dtype = object if entry.type == "token_seq" else np.float64
        flat = self._encoded_values(entry, np.array([v for row in rows for v in row], dtype=dtype), counts)
        padded = np.zeros((len(rows), entry.width, *flat.shape[1:]), dtype=flat.dtype)
        padded[np.arange(entry.width) < np.array([[len(row)] for row in rows])] = flat
        return padded

    def _encoded_values(self, entry: Field, values: np.ndarray, counts: Counts) -> np.ndarray:
        if entry.scale is None:
            return self._index[entry.name].get_indexer(values).astype(np.int64) + 1
        with np.errstate(over="ignore"):  # an overflow gives infinity, which is clipped below
            scaled = entry.scale.feature(values) if entry.feature else entry.scale.scaled(values)
        numbers = scaled[..., 0] if entry.feature else scaled
        low, high = entry.bounds
        counts.far[entry.name] += int(((numbers < low) | (numbers > high)).sum())
        np.clip(numbers, low, high, out=numbers)
        return scaled.astype(np.float32)


def _is_present(entry: Field, values: np.ndarray) -> np.ndarray:
    if entry.type.endswith("_seq"):
        return np.array([len(row) > 0 for row in values])
    return ~np.isnan(values) if entry.type == "float" else np.array([value is not None for value in values])


def _unseen(entry: Field, values: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Rows with a value that has no id, ``(B,)``."""
    if entry.type == "token":
        return _is_present(entry, values) & (ids == 0)
    if entry.type == "token_seq":
        return (ids > 0).sum(axis=1) < np.array([min(len(row), entry.width) for row in values])
    return np.zeros(len(values), dtype=bool)


def _differs(entry: Field, one: np.ndarray, other: np.ndarray) -> np.ndarray:
    if entry.type == "token_seq":  # their order has no meaning
        one, other = np.sort(one, axis=1), np.sort(other, axis=1)
    return (~np.isclose(one, other)).reshape(len(one), -1).any(axis=1)
