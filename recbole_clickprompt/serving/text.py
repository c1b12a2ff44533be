"""Tokens of rows: known texts are looked up, unseen ones are tokenized."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

from recbole_clickprompt.data.numbers import number_text
from recbole_clickprompt.errors import DataError
from recbole_clickprompt.host.dataset_text import value_text
from recbole_clickprompt.preprocessing.preprocessing import Preprocessing
from recbole_clickprompt.preprocessing.schema import Field, Segment
from recbole_clickprompt.text.text import list_joiner

__all__ = ["INPUT_IDS", "NEW_LENGTHS", "NEW_TOKENS", "TEXT_LENGTH", "RowTokens", "sentence_parts", "value_texts"]

# Columns of a batch that contain its text
INPUT_IDS, TEXT_LENGTH = "input_ids", "text_length"
# Likewise for models that look up states of known texts: the unseen texts alone
NEW_TOKENS, NEW_LENGTHS = "new_tokens", "new_lengths"


class _Piece(NamedTuple):
    """A segment of several rows: ``rows[i]`` has the tokens ``values[start[i]:start[i] + length[i]]``."""

    rows: np.ndarray
    values: np.ndarray
    start: np.ndarray
    length: np.ndarray


class RowTokens:
    """Assembles the tokens of rows as ``TokenTable`` does, and also for unseen ids.

    The text of an unseen user or item is composed of the columns of the row; that of an unseen value is the value.

    Args:
        preprocessing: The preprocessing of a model that reads text.
        separate: Return only the tokens of unseen texts, without special tokens.

    Raises:
        DataError: Its tokenizer is damaged.
    """

    def __init__(self, preprocessing: Preprocessing, *, separate: bool = False) -> None:
        from tokenizers import Tokenizer

        assert preprocessing.text is not None
        self.text, self.fields = preprocessing.text, preprocessing.fields
        self._separator, self._separate = preprocessing.seq_separator, separate
        try:
            self._tokenizer = Tokenizer.from_str(self.text.tokenizer)
        except Exception as error:  # tokenizers has no more specific class
            raise DataError(f"tokenizer.json is damaged: {' '.join(str(error).split())}") from error
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()

    def __call__(self, ids: Mapping[str, np.ndarray], raw: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """
        Args:
            ids: Ids of each segment's key, ``(B,)``; 0 for those that training never saw.
            raw: Values of the columns of the rows, ``(B,)`` each.

        Returns:
            ``INPUT_IDS``, ``(B, Z)`` int64, padded to the longest row, and ``TEXT_LENGTH``, ``(B,)`` int64; or
            ids of the S segments' keys, ``NEW_TOKENS``, ``(B, Z)``, and their number in each segment,
            ``NEW_LENGTHS``, ``(B, S)``.
        """
        if self._separate:
            tokens, lengths = self._assembled(ids, raw, [], [], len(self.text.segments) * self.text.max_length)
            keys = {segment.key: ids[segment.key] for segment in self.text.segments}
            return {**keys, NEW_TOKENS: tokens, NEW_LENGTHS: lengths}
        tokens, lengths = self._assembled(ids, raw, self.text.prefix, self.text.suffix, self.text.max_length)
        special = len(self.text.prefix) + len(self.text.suffix)
        return {INPUT_IDS: tokens, TEXT_LENGTH: lengths.sum(axis=1) + special}

    def _assembled(
        self,
        ids: Mapping[str, np.ndarray],
        raw: Mapping[str, np.ndarray],
        prefix: list[int],
        suffix: list[int],
        max_length: int,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Tokens of each row, cut to ``max_length``, ``(B, Z)``; those of each segment, ``(B, S)``."""
        segments, pieces = self.text.segments, []
        special = len(prefix) + len(suffix)
        parts = np.zeros((len(ids[segments[0].key]), len(segments)), dtype=np.int64)
        for index, segment in enumerate(segments):
            for piece in self._pieces(segment, ids[segment.key], raw, index == 0):
                parts[piece.rows, index] = piece.length
                pieces.append(piece)
        ends = parts.cumsum(axis=1).clip(max=max_length - special)
        parts = np.diff(ends, axis=1, prepend=0)
        lengths = ends[:, -1] + special
        last, width = lengths - len(suffix), int(lengths.max())  # end of the text, (B,)
        # A spare last column receives tokens beyond the end of their row
        input_ids = np.full((len(lengths), width + 1), self.text.pad_id, dtype=np.int64)
        input_ids[:, : len(prefix)] = prefix
        begin = np.full_like(lengths, len(prefix))
        for piece in pieces:
            row = np.repeat(piece.rows, piece.length)
            within = np.arange(len(row)) - np.repeat(piece.length.cumsum() - piece.length, piece.length)
            column = begin[row] + within
            source = np.repeat(piece.start, piece.length) + within
            input_ids[row, np.where(column < last[row], column, width)] = piece.values[source]
            begin[piece.rows] += piece.length
        for step, token in enumerate(suffix):
            input_ids[np.arange(len(last)), last + step] = token
        return np.ascontiguousarray(input_ids[:, :width]), parts

    def _pieces(
        self, segment: Segment, ids: np.ndarray, raw: Mapping[str, np.ndarray], leading: bool
    ) -> Iterator[_Piece]:
        rows = np.flatnonzero(ids > 0) if not self._separate else np.zeros(0, dtype=np.int64)
        start = segment.offsets[ids[rows]]
        yield _Piece(rows, segment.values, start, segment.offsets[ids[rows] + 1] - start)
        rows = np.flatnonzero(ids == 0)
        if len(rows):
            tokens = self._tokenize(self._parts(segment, rows, raw), leading and self.text.blank_matters)
            length = np.array([len(row) for row in tokens], dtype=np.int64)
            values = np.array([token for row in tokens for token in row], dtype=np.int64)
            yield _Piece(rows, values, length.cumsum() - length, length)

    def _parts(self, segment: Segment, rows: np.ndarray, raw: Mapping[str, np.ndarray]) -> list[list[str]]:
        """The phrases of the segment's fields for each of these rows; fields without a value are skipped."""
        fields = {name: self.fields[name] for name in segment.fields}
        return sentence_parts(fields, self.text.names, self.text.words, raw, rows, self._separator)

    def _tokenize(self, rows: list[list[str]], bare_start: bool) -> list[list[int]]:
        # Byte-level BPE distinguishes " a" from "a": at the start of a row there is no blank
        texts = [[part if bare_start and not i else f" {part}" for i, part in enumerate(row)] for row in rows]
        distinct = list(dict.fromkeys(part for row in texts for part in row))
        tokens = dict(
            zip(
                distinct,
                (e.ids for e in self._tokenizer.encode_batch(distinct, add_special_tokens=False)),
                strict=True,
            )
        )
        return [[token for part in row for token in tokens[part]] for row in texts]


def sentence_parts(
    fields: Mapping[str, Field],
    names: Mapping[str, str],
    words: Mapping[str, Mapping[str, str]],
    raw: Mapping[str, np.ndarray],
    rows: np.ndarray,
    separator: str,
) -> list[list[str]]:
    """The parts of the sentence of some rows, such as ``"year is 1996."``, as in ``build_textualizer``.

    Args:
        fields: The fields of the sentence, in its order.
        names: Their names in words.
        words: By field, the words that replace its codes.
        raw: The result of ``raw_values`` by column; fields without a column or a value are left out.
        rows: Numbers of the rows, ``(N,)``.
        separator: Separates the values of a sequence in the atomic files.
    """
    parts: list[list[str]] = [[] for _ in rows]
    for name, field in fields.items():
        if name in raw:
            values = value_texts(field, raw[name][rows], words.get(name, {}), separator)
            for part, value in zip(parts, values, strict=True):
                if value is not None:
                    part.append(f"{names[name]} is {value}.")
    return parts


def value_texts(field: Field, values: np.ndarray, words: Mapping[str, str], separator: str) -> list[str | None]:
    """Values of a column in words, as in ``build_textualizer``; None if missing.

    Args:
        field: The column.
        values: The result of ``raw_values``.
        words: Words of codes.
        separator: Separates the values of a sequence in the atomic files.
    """
    joiner = list_joiner(separator)
    if field.type == "token_seq" and field.source != "inter":
        return [joiner.join(words.get(v, v) for v in row) or None for row in values]
    if field.type.endswith("_seq"):
        whole = [
            joiner.join(v if isinstance(v, str) else number_text(v) for v in row if v == v) or None  # not NaN
            for row in values
        ]
    elif field.type == "float":
        whole = [value_text(value) for value in values]
    else:
        whole = list(values)
    return [None if text is None else words.get(text, text) for text in whole]
