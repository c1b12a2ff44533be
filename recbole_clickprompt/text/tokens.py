"""Token ids of rows, assembled from a table with the tokens of each user, item and value.

Letters: see ``plm/__init__.py``; ``tokens`` in a shape is the number of tokens of all texts of a segment.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from recbole_clickprompt.errors import DataError
from recbole_clickprompt.text.text import Textualizer
from recbole_clickprompt.text.tokenization import Segment, tokenize

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["Batch", "Segment", "TokenTable", "special_tokens", "tokenize"]

Batch = Mapping[str, Tensor]


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
        self.prefix, self.suffix = special_tokens(tokenizer)
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
            row = torch.repeat_interleave(rows, length)  # row of each token of the segment in the batch
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


def special_tokens(tokenizer: PreTrainedTokenizerBase) -> tuple[list[int], list[int]]:
    """The special tokens before and after a text."""
    probe = tokenizer("a", add_special_tokens=False)["input_ids"]
    whole = tokenizer("a")["input_ids"]
    start = next(i for i in range(len(whole)) if whole[i : i + len(probe)] == probe)
    return whole[:start], whole[start + len(probe) :]
