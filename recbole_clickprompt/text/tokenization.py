"""Tokenizes the text of rows: every user, item and field value once.

Letters: see ``plm/__init__.py``; ``tokens`` in a shape is the number of tokens of all texts of a segment.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from recbole_clickprompt.errors import DataError
from recbole_clickprompt.text.ragged import Ragged
from recbole_clickprompt.text.text import FieldText, Textualizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["Segment", "tokenize"]

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
