"""Token ids of rows, assembled from a table with the tokens of each user, item and value.

Letters: see ``plm/__init__.py``; ``tokens`` in a shape is the number of tokens of all texts of a segment.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from recbole_clickprompt.errors import DataError
from recbole_clickprompt.text.ragged import Ragged
from recbole_clickprompt.text.text import FieldText, Textualizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["Batch", "Segment", "TokenTable", "tokenize"]

Batch = Mapping[str, Tensor]

_BLOCK = 1 << 14  # values tokenized at once: tokens as Python integers take ten times the memory of the table


class Segment(NamedTuple):
    """The tokens of neighboring fields that depend on the same key, such as an item's id and its title.

    Of a text ``item ID is i7. title is A B.``, one token per word, and the fields 2 and 3 of the sentence::

        tokens   item ID is i7 . title is A B . | item ID ...     text after text, id after id
        fields    0   0  0  2  0   0   0  3 3 0 |  0   0
        offsets   0                                10

    Attributes:
        key: Column of ids.
        tokens: Token ids, ``(tokens,)`` int32.
        fields: Number of the field whose value each token is part of, from 1, otherwise 0, ``(tokens,)`` uint8.
        offsets: Where each id's text begins, and the end of the last one, ``(ids + 1,)`` int64.
    """

    key: str
    tokens: np.ndarray
    fields: np.ndarray
    offsets: np.ndarray


class TokenTable(nn.Module):
    """Assembles the tokens of a row without tokenizing it.

    A field's value is tokenized with the blank before it and the full stop after it. Both WordPiece and byte-level
    BPE split there, so the pieces together are the tokens of the whole sentence. Neighboring fields that depend on
    the same id (all of a user's, all of an item's) form one segment. The tokens of a row are slices of segments::

        segment 0 (user)   | u0 . . | u1 . . . . | u2 . . | ...     values_0, fields_0, offsets_0
        segment 1 (item)   | i0 . . . | i1 . . | i2 . . . | ...     values_1, fields_1, offsets_1

        row (u1, i2)       | prefix | u1 . . . . | i2 . . . | suffix | padding ... |
                             [CLS]                            [SEP]

    If a row is longer than ``max_length``, its last tokens before the suffix are cut.

    The table moves with the model but is not part of its state: it is built again from the data set.

    Args:
        textualizer: Text of the rows.
        tokenizer: A fast tokenizer of transformers.
        max_length: Maximum number of tokens of a row, special ones included.
        segments: Result of ``tokenize`` for this text and tokenizer; None calls it.

    Raises:
        DataError: As for ``tokenize``.
    """

    def __init__(
        self,
        *,
        textualizer: Textualizer,
        tokenizer: PreTrainedTokenizerBase,
        max_length: int,
        segments: Sequence[Segment] | None = None,
    ) -> None:
        super().__init__()
        self.textualizer, self.max_length = textualizer, max_length
        self.prefix, self.suffix = _special_tokens(tokenizer)
        self.pad_id: int = tokenizer.pad_token_id
        segments = segments or tokenize(textualizer, tokenizer)
        self.keys = [segment.key for segment in segments]
        for index, (_, tokens, fields, offsets) in enumerate(segments):
            self.register_buffer(f"values_{index}", torch.from_numpy(tokens), persistent=False)
            self.register_buffer(f"offsets_{index}", torch.from_numpy(offsets), persistent=False)
            self.register_buffer(f"fields_{index}", torch.from_numpy(fields), persistent=False)

    def segment(self, index: int) -> tuple[Tensor, Tensor, Tensor]:
        """Tokens and their fields, each ``(tokens,)``, and offsets, ``(ids + 1,)``, of the key ``keys[index]``."""
        tokens, fields = self.get_buffer(f"values_{index}"), self.get_buffer(f"fields_{index}")
        return tokens, fields, self.get_buffer(f"offsets_{index}")

    def vocabulary(self) -> Tensor:
        """Tokens that may occur in the text of rows, special ones included, ``(V,)`` int64 ascending."""
        tokens = [self.get_buffer(f"values_{index}").long() for index in range(len(self.keys))]
        return torch.cat([*tokens, torch.tensor([*self.prefix, *self.suffix, self.pad_id])]).unique()

    def _segments(self, batch: Batch) -> list[tuple[Tensor, Tensor]]:
        """For each segment, where the tokens of each row start in it, and their number; both ``(B,)``."""
        segments = []
        for index, key in enumerate(self.keys):
            offsets = self.get_buffer(f"offsets_{index}")
            ids = batch[key]
            start = offsets[ids]
            segments.append((start, offsets[ids + 1] - start))
        return segments

    def full_lengths(self, batch: Batch) -> Tensor:
        """Tokens of each row before the cut to ``max_length``, special ones included, ``(B,)`` int64."""
        special = len(self.prefix) + len(self.suffix)
        return torch.stack([length for _, length in self._segments(batch)]).sum(0) + special

    def lengths(self, batch: Batch) -> Tensor:
        """Tokens of each row, special ones included, ``(B,)`` int64."""
        return self.full_lengths(batch).clamp(max=self.max_length)

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """
        Args:
            batch: Columns of ids, each ``(B,)``; those named in ``keys`` are read.

        Returns:
            Token ids, ``(B, Z)`` int64, Z the length of the longest row; and lengths, ``(B,)`` int64.
        """
        lengths = self.lengths(batch)
        rows = torch.arange(len(lengths), device=lengths.device)
        width = int(lengths.max())
        last = lengths - len(self.suffix)  # where the suffix begins, (B,)
        # The last column is scratch space for tokens that are cut
        input_ids = lengths.new_full((len(lengths), width + 1), self.pad_id)
        if self.prefix:
            input_ids[:, : len(self.prefix)] = lengths.new_tensor(self.prefix)
        for index, row, column, source in self._places(batch, last, width):
            input_ids[row, column] = self.get_buffer(f"values_{index}")[source].long()
        for step, token in enumerate(self.suffix):
            input_ids[rows, last + step] = token
        return input_ids[:, :width].contiguous(), lengths

    def fields(self, batch: Batch) -> Tensor:
        """Number of the field whose value each token of ``forward`` is part of, from 1, ``(B, Z)`` int64.

        Tokens between values, special tokens and padding have 0.
        """
        lengths = self.lengths(batch)
        width = int(lengths.max())
        fields = lengths.new_zeros(len(lengths), width + 1)
        for index, row, column, source in self._places(batch, lengths - len(self.suffix), width):
            fields[row, column] = self.get_buffer(f"fields_{index}")[source].long()
        return fields[:, :width].contiguous()

    def _places(self, batch: Batch, last: Tensor, spare: int) -> Iterator[tuple[int, Tensor, Tensor, Tensor]]:
        """Where the tokens of a batch go.

        Args:
            batch: Columns of ids, each ``(B,)``.
            last: Column at which the tokens of each row are cut, ``(B,)``.
            spare: Column for tokens that are cut.

        Yields:
            For each segment its number and, for each of its tokens in the batch, the row, the column, and the
            index in the segment.
        """
        rows = torch.arange(len(last), device=last.device)
        begin = torch.full_like(last, len(self.prefix))
        for index, (start, length) in enumerate(self._segments(batch)):
            row = torch.repeat_interleave(rows, length)
            within = torch.arange(len(row), device=row.device) - (length.cumsum(0) - length)[row]
            column = begin[row] + within
            yield index, row, torch.where(column < last[row], column, spare), start[row] + within
            begin = begin + length

    def check(self, batch: Batch, tokenizer: PreTrainedTokenizerBase) -> None:
        """Compares the assembled tokens of rows with those of their whole sentences.

        Args:
            batch: Columns of ids, each ``(B,)``.
            tokenizer: The tokenizer of this table.

        Raises:
            DataError: They differ, so this tokenizer does not split text between fields.
        """
        input_ids, lengths = (t.tolist() for t in self(batch))
        for row, (ids, length) in enumerate(zip(input_ids, lengths, strict=True)):
            sentence = self.textualizer.sentence({key: int(batch[key][row]) for key in self.keys})
            expected = tokenizer(sentence, truncation=True, max_length=self.max_length)["input_ids"]
            if ids[:length] != expected:
                raise DataError(
                    f"{type(tokenizer).__name__} does not tokenize the fields of a row one by one: "
                    f"{sentence!r} becomes {expected}, its parts {ids[:length]}; choose another PLM"
                )


def tokenize(textualizer: Textualizer, tokenizer: PreTrainedTokenizerBase) -> list[Segment]:
    """Tokenizes every value once.

    Args:
        textualizer: Text of the rows.
        tokenizer: A fast tokenizer of transformers.

    Returns:
        The segments in the order of the sentence.

    Raises:
        DataError: The tokenizer distinguishes " a" and "a", and the first fields are missing in some rows.
    """
    segments: list[Segment] = []
    seen = 0  # fields of the previous segments
    for key, group in groupby(textualizer.fields, key=lambda field: field.key):
        fields = list(group)
        tokens, token_fields = _segment_tokens(fields, tokenizer, leading=not segments, before=seen)
        seen += len(fields)
        segments.append(Segment(key, tokens.values, token_fields.astype(np.uint8), tokens.offsets))
    return segments


def _special_tokens(tokenizer: PreTrainedTokenizerBase) -> tuple[list[int], list[int]]:
    """The special tokens before and after a text."""
    probe = tokenizer("a", add_special_tokens=False)["input_ids"]
    whole = tokenizer("a")["input_ids"]
    start = next(i for i in range(len(whole)) if whole[i : i + len(probe)] == probe)
    return whole[:start], whole[start + len(probe) :]


def _segment_tokens(
    fields: Sequence[FieldText], tokenizer: PreTrainedTokenizerBase, *, leading: bool, before: int
) -> tuple[Ragged, np.ndarray]:
    """Tokenizes one segment.

    Args:
        fields: Neighboring fields of the same key.
        tokenizer: A fast tokenizer of transformers.
        leading: The segment is the first one of the sentence.
        before: Number of fields in the previous segments.

    Returns:
        Tokens of each id of the key; and for each token the number of the field whose value it is in, or 0,
        ``(tokens,)``.
    """

    def tokenized(parts: Sequence[str]) -> Ragged:
        # The backend directly: transformers' wrapper doubles the time
        backend = tokenizer.backend_tokenizer
        backend.no_truncation()
        backend.no_padding()
        blocks = (list(parts[start : start + _BLOCK]) for start in range(0, len(parts), _BLOCK))
        encoded = (backend.encode_batch_fast(block, add_special_tokens=False) for block in blocks)
        return Ragged.stacked([Ragged.of([text.ids for text in texts]) for texts in encoded])

    columns, marks = [], []  # parts in the order of the text: their tokens, and the field of each token

    def add(number: int, blank: str, codes: np.ndarray) -> None:
        field = fields[number]
        present = (codes >= 0).any()
        # The words before the values are tokenized once, not with each value
        words = tokenized([blank + field.prefix] if present else [])
        values = tokenized([field.value(code) for code in range(len(field.parts))] if present else [])
        columns.extend([(words, np.minimum(codes, 0)), (values, codes)])
        marks.extend([np.zeros_like(words.values), _all_but_last(values, before + number + 1)])

    split_at_blanks = tokenizer.tokenize("a") == tokenizer.tokenize(" a")
    open_ = np.full(len(fields[0].codes), leading and not split_at_blanks)
    for number, field in enumerate(fields):
        # In byte-level BPE " a" and "a" differ, and the first part of a row has no blank before it
        first = open_ & (field.codes >= 0)
        if first.any():
            add(number, "", np.where(first, field.codes, -1))
        add(number, " ", np.where(first, -1, field.codes))
        open_ &= ~first
    if open_[1:].any():
        raise DataError(
            f"this PLM's tokenizer needs a first text field that no row lacks, but {int(open_[1:].sum())} ids of "
            f"{fields[0].key} have none of the first text fields; put an id first in text_fields"
        )
    marked = [
        (Ragged(numbers, ragged.offsets), codes) for (ragged, codes), numbers in zip(columns, marks, strict=True)
    ]
    return Ragged.join(columns), Ragged.join(marked).values


def _all_but_last(values: Ragged, number: int) -> np.ndarray:
    """``number`` at each token of a value except the last one, the full stop, which has 0."""
    numbers = np.full_like(values.values, number)
    numbers[values.offsets[1:] - 1] = 0
    return numbers
