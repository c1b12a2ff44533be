"""The text of each user, item or value on its own, for layers of a PLM that see nothing else."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from recbole_clickprompt.text.tokens import TokenTable

__all__ = ["LoneTexts", "lone_texts"]


@dataclass(frozen=True)
class LoneTexts:
    """The texts of all ids of one key, each with the tokenizer's special tokens around it.

    Attributes:
        tokens: End to end, ``(N,)`` int64.
        fields: The field whose value each is part of, from 1; 0 for all others, ``(N,)`` int64.
        offsets: Where the text of each id begins, ``(ids + 1,)`` int64.
        front: Special tokens at the beginning that are no part of a row's text: all but the first key's.
        behind: Special tokens at the end that are none: all but the last key's.
    """

    tokens: Tensor
    fields: Tensor
    offsets: Tensor
    front: int
    behind: int

    @property
    def lengths(self) -> Tensor:
        """Tokens of each text, ``(ids,)``."""
        return self.offsets.diff()

    def padded(self, values: Tensor, ids: Tensor, fill: int) -> Tensor:
        """Values ``(N,)`` of some texts, ``(len(ids), Z)``."""
        lengths = self.lengths[ids]
        within = torch.arange(int(lengths.max()))
        inside = within < lengths.unsqueeze(1)
        return torch.where(
            inside, values[(self.offsets[ids].unsqueeze(1) + within).clamp(max=len(values) - 1)], fill
        )

    def kept(self) -> Tensor:
        """True at the tokens that are part of a row's text, ``(N,)``."""
        lengths = self.lengths
        text = torch.repeat_interleave(torch.arange(len(lengths)), lengths)
        within = torch.arange(len(self.tokens)) - self.offsets[text]
        return (within >= self.front) & (within < lengths[text] - self.behind)


def lone_texts(table: TokenTable) -> list[LoneTexts]:
    """The texts of each of the table's keys; one that is longer than ``table.max_length`` is cut."""
    texts = []
    for index in range(len(table.keys)):
        tokens, fields, offsets = (t.long() for t in table.segment(index))
        special = len(table.prefix) + len(table.suffix)
        lengths = offsets.diff().clamp(max=table.max_length - special)
        text = torch.repeat_interleave(torch.arange(len(lengths)), lengths)
        starts = torch.cat([lengths.new_zeros(1), (lengths + special).cumsum(0)])
        # Where in its text, and so in the row with special tokens, each token lies
        within = torch.arange(len(text)) - (lengths.cumsum(0) - lengths)[text]
        source, place = offsets[text] + within, starts[text] + len(table.prefix) + within
        whole, of_field = (torch.zeros(int(starts[-1]), dtype=torch.long) for _ in range(2))
        whole[place], of_field[place] = tokens[source], fields[source]
        for step, token in enumerate(table.prefix):
            whole[starts[:-1] + step] = token
        for step, token in enumerate(table.suffix):
            whole[starts[1:] - len(table.suffix) + step] = token
        last = index == len(table.keys) - 1
        texts.append(
            LoneTexts(
                whole,
                of_field,
                starts,
                front=len(table.prefix) if index else 0,
                behind=0 if last else len(table.suffix),
            )
        )
    return texts
