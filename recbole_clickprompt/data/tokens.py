"""Token ids of rows, gathered from a table that holds each user's, item's and value's tokens once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from recbole_clickprompt.data.ragged import Ragged
from recbole_clickprompt.data.text import FieldText, Textualizer
from recbole_clickprompt.errors import DataError

__all__ = ["TokenTable"]

Batch = Mapping[str, Tensor]


class TokenTable(nn.Module):
    """Assembles the tokens of a row without tokenising it.

    A field's value is tokenised with the blank before it and the full stop behind it, which is where both
    WordPiece and byte-level BPE break; so the pieces put together are the tokens of the whole sentence.
    Neighbouring fields that hang on the same id (all of a user's, all of an item's) form one segment.

    The table moves with the model but is no part of its state: it is made anew from the data set.

    Args:
        textualizer: Text of the rows.
        tokenizer: A Hugging Face tokenizer.
        max_length: Most tokens of a row, special ones included; the end of a longer text is cut.
    """

    def __init__(self, *, textualizer: Textualizer, tokenizer: Any, max_length: int) -> None:
        super().__init__()
        self.textualizer, self.max_length = textualizer, max_length
        self.prefix, self.suffix = _special_tokens(tokenizer)
        self.pad_id: int = tokenizer.pad_token_id
        self.keys: list[str] = []
        for key, group in groupby(textualizer.fields, key=lambda field: field.key):
            first = not self.keys
            tokens = _segment_tokens(list(group), tokenizer, leading=first)
            index = len(self.keys)
            self.keys.append(key)
            self.register_buffer(f"values_{index}", torch.from_numpy(tokens.values), persistent=False)
            self.register_buffer(f"offsets_{index}", torch.from_numpy(tokens.offsets), persistent=False)

    def _segments(self, batch: Batch) -> list[tuple[Tensor, Tensor, Tensor]]:
        segments = []
        for index, key in enumerate(self.keys):
            offsets = self.get_buffer(f"offsets_{index}")
            ids = batch[key]
            start = offsets[ids]
            segments.append((self.get_buffer(f"values_{index}"), start, offsets[ids + 1] - start))
        return segments

    def full_lengths(self, batch: Batch) -> Tensor:
        """Tokens of each row before any cut, special ones included: ``(B,)`` int64."""
        special = len(self.prefix) + len(self.suffix)
        return torch.stack([length for _, _, length in self._segments(batch)]).sum(0) + special

    def lengths(self, batch: Batch) -> Tensor:
        """Tokens of each row, special ones included: ``(B,)`` int64."""
        return self.full_lengths(batch).clamp(max=self.max_length)

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """
        Args:
            batch: Columns of ids, each ``(B,)``; those named in ``keys`` are read.

        Returns:
            Token ids, ``(B, Z)`` int64, padded to the longest row; and lengths, ``(B,)`` int64.
        """
        segments = self._segments(batch)
        lengths = self.lengths(batch)
        rows = torch.arange(len(lengths), device=lengths.device)
        width = int(lengths.max())
        last = lengths - len(self.suffix)  # where text ends, (B,)
        # One spare column takes whatever lies beyond the end of its row
        input_ids = lengths.new_full((len(lengths), width + 1), self.pad_id)
        if self.prefix:
            input_ids[:, : len(self.prefix)] = lengths.new_tensor(self.prefix)
        begin = torch.full_like(lengths, len(self.prefix))
        for values, start, length in segments:
            row = torch.repeat_interleave(rows, length)
            within = torch.arange(len(row), device=row.device) - (length.cumsum(0) - length)[row]
            column = begin[row] + within
            column = torch.where(column < last[row], column, width)
            input_ids[row, column] = values[start[row] + within].long()
            begin = begin + length
        for step, token in enumerate(self.suffix):
            input_ids[rows, last + step] = token
        return input_ids[:, :width].contiguous(), lengths

    def check(self, batch: Batch, tokenizer: Any) -> None:
        """Compares the assembled tokens of some rows with the tokenizer's own on their sentences.

        Raises:
            DataError: They differ, so this tokenizer does not break text where fields meet.
        """
        input_ids, lengths = (t.tolist() for t in self(batch))
        for row, (ids, length) in enumerate(zip(input_ids, lengths, strict=True)):
            sentence = self.textualizer.sentence({key: int(batch[key][row]) for key in self.keys})
            expected = tokenizer(sentence, truncation=True, max_length=self.max_length)["input_ids"]
            if ids[:length] != expected:
                raise DataError(
                    f"{type(tokenizer).__name__} does not tokenise the fields of a row one by one: for "
                    f"{sentence!r} it gives {expected}, its parts give {ids[:length]}; choose another PLM"
                )


def _special_tokens(tokenizer: Any) -> tuple[list[int], list[int]]:
    probe = tokenizer("a", add_special_tokens=False)["input_ids"]
    whole = tokenizer("a")["input_ids"]
    start = next(i for i in range(len(whole)) if whole[i : i + len(probe)] == probe)
    return whole[:start], whole[start + len(probe) :]


def _segment_tokens(fields: Sequence[FieldText], tokenizer: Any, *, leading: bool) -> Ragged:
    def tokenised(parts: list[str]) -> Ragged:
        return Ragged.of(tokenizer(parts, add_special_tokens=False)["input_ids"] if parts else [])

    behind_blank = [(tokenised([f" {part}" for part in field.parts]), field.codes) for field in fields]
    if not leading or tokenizer.tokenize("a") == tokenizer.tokenize(" a"):
        return Ragged.join(behind_blank)
    # Byte-level BPE tells " a" from "a": the first part that a row has comes without the blank
    columns = []
    open_ = np.ones(len(fields[0].codes), dtype=bool)
    for field, (tokens, codes) in zip(fields, behind_blank, strict=True):
        first = open_ & (codes >= 0)
        if first.any():
            columns.append((tokenised(list(field.parts)), np.where(first, codes, -1)))
        columns.append((tokens, np.where(first, -1, codes)))
        open_ &= ~first
    if open_[1:].any():
        raise DataError(
            f"this PLM's tokenizer needs a first text field that no row lacks, but all of the first ones of "
            f"{fields[0].key} are missing for {int(open_[1:].sum())} of its ids; put an id first in text_fields"
        )
    return Ragged.join(columns)
