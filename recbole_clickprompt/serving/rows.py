"""Raw rows to what a model reads."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import pyarrow as pa

from recbole_clickprompt.preprocessing.preprocessing import Field, Preprocessing
from recbole_clickprompt.serving.columns import raw_values
from recbole_clickprompt.serving.text import RowTokens, value_texts

__all__ = ["INPUT_IDS", "SEGMENT_LENGTHS", "TEXT_LENGTH", "Counts", "RowEncoder"]

# Columns of a batch that hold its text
INPUT_IDS, TEXT_LENGTH, SEGMENT_LENGTHS = "input_ids", "text_length", "segment_lengths"


@dataclass
class Counts:
    """What was met in rows.

    Attributes:
        rows: How many.
        unseen: Field: values of rows that training never saw, and which therefore count as none.
        overridden: Rows that say something else on a user or item than training did; training's was taken.
        no_id: User or item field: rows without an id, which are scored like those of an unseen one.
        blanks: User or item field: rows whose id had surrounding blanks, which were left out.
        infinite: Number field: rows with an infinite number, which counts as missing.
        far: Number field: numbers far beyond those of training, which were replaced by ``Field.bounds``.
    """

    rows: int = 0
    unseen: Counter[str] = field(default_factory=Counter)
    overridden: int = 0
    no_id: Counter[str] = field(default_factory=Counter)
    blanks: Counter[str] = field(default_factory=Counter)
    infinite: Counter[str] = field(default_factory=Counter)
    far: Counter[str] = field(default_factory=Counter)

    def changes(self) -> list[str]:
        """Values that could not be read as they stand, a line each."""
        return [
            *_lines(self.no_id, "rows hold no id; they were scored like rows of an unseen one"),
            *_lines(self.blanks, "rows hold an id with surrounding blanks, which were left out"),
            *_lines(self.infinite, "rows hold an infinite number, read as missing"),
            *_lines(
                self.far,
                "numbers lie far outside training's range; they were limited to ten times its width beyond it",
            ),
        ]

    def remarks(self) -> list[str]:
        """All that a user should know, a line each."""
        lines = [*self.changes(), *_lines(self.unseen, "rows hold what training never saw")]
        if self.overridden:
            lines.append(
                f"{self.overridden:,} rows say something else on a user or item than training did; "
                "training's features were used"
            )
        return lines


def _lines(counter: Counter[str], what: str) -> list[str]:
    return [f"{name}: {count:,} {what}" for name, count in counter.items() if count]


class RowEncoder:
    """Turns raw rows into columns of ids, numbers and tokens.

    A user's and an item's features are those of training, whatever the row says, so that a known row gets its
    training-time score. Of a user or item that training never saw, they are the row's own; the id itself and
    values that training never saw are id 0, RecBole's padding. Numbers are scaled as in training.

    Args:
        preprocessing: Of a training.
    """

    def __init__(self, preprocessing: Preprocessing) -> None:
        self.preprocessing = preprocessing
        # Features of users and items are looked up by ids, so those come first
        self._fields = sorted(preprocessing.fields.values(), key=lambda f: preprocessing.key(f) is not None)
        self._index = {name: pd.Index(tokens[1:]) for name, tokens in preprocessing.vocabulary.items()}
        self._tokens = None if preprocessing.text is None else RowTokens(preprocessing)

    def __call__(self, table: pa.Table, counts: Counts) -> dict[str, np.ndarray]:
        """
        Args:
            table: Raw rows, their columns checked; one or more.
            counts: Counted on.

        Returns:
            Each feature of the backbone, ``(B,)`` or ``(B, ...)``; with text also its tokens, ``(B, Z)``,
            how many they are, ``(B,)``, and how many of each of its S segments, ``(B, S)``.

        Raises:
            DataError: A value is of a wrong type.
        """
        fields, separator = self.preprocessing.fields, self.preprocessing.seq_separator
        raw = {
            name: raw_values(table[name], fields[name], separator, counts.rows + 1)
            for name in table.column_names
            if name in fields
        }
        self._clean(raw, counts)
        for entry in fields.values():
            if entry.source == "net":  # the text of a context column that is no token
                of = fields[entry.name.removesuffix("_text")]
                raw[entry.name] = np.array(value_texts(of, raw[of.name], {}), dtype=object)
        columns: dict[str, np.ndarray] = {}
        overridden = np.zeros(len(table), dtype=bool)
        for entry in self._fields:
            key = self.preprocessing.key(entry)
            own = self._encoded(entry, raw[entry.name], counts) if entry.name in raw else None
            if key is None and own is not None:
                columns[entry.name] = own
                counts.unseen[entry.name] += int(_unseen(entry, raw[entry.name], own).sum())
            elif key is not None:
                columns[entry.name] = of_training = self.preprocessing.tables[entry.name][columns[key]]
                if own is not None:
                    known = columns[key] > 0
                    overridden |= known & _given(entry, raw[entry.name]) & _differs(entry, own, of_training)
                    of_training[~known] = own[~known]
                    unseen = _unseen(entry, raw[entry.name], own) & ~known
                    counts.unseen[entry.name] += int(unseen.sum())
        counts.overridden += int(overridden.sum())
        counts.rows += len(table)
        features = {name: values for name, values in columns.items() if fields[name].feature}
        if self._tokens is not None:
            text = self._tokens(columns, raw)
            features |= dict(zip((INPUT_IDS, TEXT_LENGTH, SEGMENT_LENGTHS), text, strict=True))
        return features

    def _clean(self, raw: dict[str, np.ndarray], counts: Counts) -> None:
        """Leaves out the blanks around ids, and makes infinite numbers missing ones."""
        for name in (self.preprocessing.user, self.preprocessing.item):
            ids, index = raw[name], self._index[name]
            for row in np.flatnonzero(index.get_indexer(ids) < 0):  # a known id may well have blanks
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
        with np.errstate(over="ignore"):  # an overflow is infinity, which lies beyond the bounds
            scaled = entry.scale.feature(values) if entry.feature else entry.scale.scaled(values)
        numbers = scaled[..., 0] if entry.feature else scaled
        low, high = entry.bounds
        counts.far[entry.name] += int(((numbers < low) | (numbers > high)).sum())
        np.clip(numbers, low, high, out=numbers)
        return scaled.astype(np.float32)


def _given(entry: Field, values: np.ndarray) -> np.ndarray:
    if entry.type.endswith("_seq"):
        return np.array([len(row) > 0 for row in values])
    return ~np.isnan(values) if entry.type == "float" else np.array([value is not None for value in values])


def _unseen(entry: Field, values: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Rows with a value that has no id, ``(B,)``."""
    if entry.type == "token":
        return _given(entry, values) & (ids == 0)
    if entry.type == "token_seq":
        return (ids > 0).sum(axis=1) < np.array([min(len(row), entry.width) for row in values])
    return np.zeros(len(values), dtype=bool)


def _differs(entry: Field, one: np.ndarray, other: np.ndarray) -> np.ndarray:
    if entry.type == "token_seq":  # no model reads their order
        one, other = np.sort(one, axis=1), np.sort(other, axis=1)
    return (~np.isclose(one, other)).reshape(len(one), -1).any(axis=1)
