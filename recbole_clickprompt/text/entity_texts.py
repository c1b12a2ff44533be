"""The separate text of each user, item or value, for frozen layers of a PLM."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

__all__ = ["EntityTexts", "TextsOfKeys", "entity_texts", "state_offsets"]


@dataclass(frozen=True)
class EntityTexts:
    """The texts of all ids of one key, each between the tokenizer's special tokens.

    Of a middle key (neither the first nor the last of a row), for a tokenizer with one token at each end::

        tokens       [CLS] t t t [SEP] | [CLS] t t [SEP] | ...
        in_row_mask    0   1 1 1   0   |   0   1 1   0   | ...
        offsets        0                   5                 9
                       prefix_len = 1     suffix_len = 1

    Attributes:
        tokens: Text after text, ``(tokens,)`` int64.
        fields: Number of the field whose value each token is part of, from 1; 0 for all other tokens,
            ``(tokens,)`` int64.
        offsets: Where the text of each id begins, and the end of the last one, ``(ids + 1,)`` int64.
        prefix_len: Special tokens at the start that are not part of a row's text; 0 for the first key.
        suffix_len: Special tokens at the end that are not part of a row's text; 0 for the last key.
    """

    tokens: Tensor
    fields: Tensor
    offsets: Tensor
    prefix_len: int
    suffix_len: int

    @property
    def lengths(self) -> Tensor:
        """Tokens of each text, ``(ids,)``."""
        return self.offsets.diff()

    def padded(self, values: Tensor, ids: Tensor, fill: int) -> Tensor:
        """A padded batch of texts.

        Args:
            values: A value for every token, such as ``tokens`` or ``fields``, ``(tokens,)``.
            ids: Texts, ``(B,)``.
            fill: Value at padding.

        Returns:
            ``(B, Z)``, Z the length of the longest of these texts.
        """
        lengths = self.lengths[ids]
        within = torch.arange(int(lengths.max()))  # (Z,)
        inside = within < lengths.unsqueeze(1)  # (B, Z)
        return torch.where(
            inside, values[(self.offsets[ids].unsqueeze(1) + within).clamp(max=len(values) - 1)], fill
        )

    def in_row_mask(self) -> Tensor:
        """True at the tokens that are part of a row's text, ``(tokens,)``."""
        lengths = self.lengths
        text = torch.repeat_interleave(torch.arange(len(lengths)), lengths)  # id of each token, (tokens,)
        within = torch.arange(len(self.tokens)) - self.offsets[text]  # position of each token in its text
        return (within >= self.prefix_len) & (within < lengths[text] - self.suffix_len)


class TextsOfKeys(Protocol):
    """The part of ``TokenTable`` that the texts of each key are made of."""

    keys: list[str]
    prefix: list[int]
    suffix: list[int]
    max_length: int

    def segment(self, index: int) -> tuple[Tensor, Tensor, Tensor]: ...


def entity_texts(table: TextsOfKeys) -> list[EntityTexts]:
    """The texts of each of the table's keys, cut to ``table.max_length`` tokens, special ones included."""
    texts = []
    for index in range(len(table.keys)):
        tokens, fields, offsets = (t.long() for t in table.segment(index))
        special = len(table.prefix) + len(table.suffix)
        lengths = offsets.diff().clamp(max=table.max_length - special)
        text = torch.repeat_interleave(torch.arange(len(lengths)), lengths)
        starts = torch.cat([lengths.new_zeros(1), (lengths + special).cumsum(0)])
        # Position of each token in its text without special tokens
        within = torch.arange(len(text)) - (lengths.cumsum(0) - lengths)[text]
        source, target = offsets[text] + within, starts[text] + len(table.prefix) + within
        all_tokens, all_fields = (torch.zeros(int(starts[-1]), dtype=torch.long) for _ in range(2))
        all_tokens[target], all_fields[target] = tokens[source], fields[source]
        for step, token in enumerate(table.prefix):
            all_tokens[starts[:-1] + step] = token
        for step, token in enumerate(table.suffix):
            all_tokens[starts[1:] - len(table.suffix) + step] = token
        last = index == len(table.keys) - 1
        texts.append(
            EntityTexts(
                all_tokens,
                all_fields,
                starts,
                prefix_len=len(table.prefix) if index else 0,
                suffix_len=0 if last else len(table.suffix),
            )
        )
    return texts


def state_offsets(texts: Sequence[EntityTexts]) -> list[Tensor]:
    """Where the states of each id begin in the result of ``cached_hidden_states``, ``(ids + 1,)`` for each key."""
    offsets, begin = [], 0
    for text in texts:
        kept = torch.cat([torch.zeros(1, dtype=torch.long), text.in_row_mask().cumsum(0)])
        offsets.append(kept[text.offsets] + begin)
        begin += int(kept[-1])
    return offsets
