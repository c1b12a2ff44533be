"""Outputs of a PLM's frozen layers, which read each text separately, gathered row by row."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from recbole_clickprompt.text.masking import MaskedTokens, NextTokens, true_positions
from recbole_clickprompt.text.tokens import Batch

__all__ = ["MaskedStates", "NextStates", "StateTable"]


class StateTable(nn.Module):
    """States of the rows' texts, assembled from those of each user's, item's and value's text.

    It replaces ``TokenTable`` where lower layers are frozen. There may be several copies of the states, one for
    each time that masks were drawn. They are in a memory-mapped file, of which a batch reads what it needs::

        states  copy 0 | key 0: id 0 ... id 1 ... | key 1: id 0 ... id 1 ... |
                copy 1 | key 0: id 0 ... id 1 ... | key 1: id 0 ... id 1 ... |
        a row of ids 1 and 0:  | key 0, id 1 | key 1, id 0 | padding |

    Args:
        keys: Columns of a batch whose ids select texts, in the order of the row.
        offsets: For each key, where the states of each id begin, ``(ids + 1,)``, within a copy.
        states: ``(copies * N, W)``, of any float type.
        copies: Copies of the same N tokens.
        max_length: Most tokens of a row; the end of a longer one is cut.
    """

    def __init__(
        self, *, keys: Sequence[str], offsets: Sequence[Tensor], states: Tensor, copies: int, max_length: int
    ) -> None:
        super().__init__()
        self.keys, self.copies, self.max_length = list(keys), copies, max_length
        self.states: Tensor
        self.register_buffer("states", states, persistent=False)
        for index, key_offsets in enumerate(offsets):
            self.register_buffer(f"offsets_{index}", key_offsets, persistent=False)

    def lengths(self, batch: Batch) -> Tensor:
        """Tokens of each row: ``(B,)`` int64."""
        return self.lengths_by_key(batch).sum(0)

    def lengths_by_key(self, batch: Batch) -> Tensor:
        """Tokens of each key that each row has, ``(keys, B)`` int64, without those that are cut."""
        offsets = [self.get_buffer(f"offsets_{index}") for index in range(len(self.keys))]
        ids = [batch[key] for key in self.keys]
        lengths = torch.stack([o[i + 1] - o[i] for o, i in zip(offsets, ids, strict=True)])
        ends = lengths.cumsum(0).clamp(max=self.max_length)
        return ends.diff(dim=0, prepend=ends.new_zeros(1, len(ends[0])))

    def places(self, batch: Batch, copies: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Indices of the states of each token.

        Args:
            batch: Columns of ids, each ``(B,)``; those named in ``keys`` are read.
            copies: The copy for each key and row, ``(keys, B)``; None is the first copy.

        Returns:
            Rows of ``states``, ``(B, Z)`` int64, arbitrary at padding; and lengths, ``(B,)`` int64.
        """
        key_lengths = self.lengths_by_key(batch)
        lengths, ends = key_lengths.sum(0), key_lengths.cumsum(0)
        column = torch.arange(int(lengths.max()), device=lengths.device)
        stride = len(self.states) // self.copies
        places = torch.zeros(len(lengths), len(column), dtype=torch.long, device=lengths.device)
        for index, key in enumerate(self.keys):
            begin = (ends[index] - key_lengths[index]).unsqueeze(1)
            start = self.get_buffer(f"offsets_{index}")[batch[key]]
            if copies is not None:
                start = start + stride * copies[index]
            inside = (column >= begin) & (column < ends[index].unsqueeze(1))
            places = torch.where(inside, start.unsqueeze(1) + column - begin, places)
        return places, lengths

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """
        Args:
            batch: Columns of ids, each ``(B,)``.

        Returns:
            States, ``(B, Z, W)``, arbitrary at padding; and lengths, ``(B,)`` int64.
        """
        places, lengths = self.places(batch)
        return self.gather(places), lengths

    def gather(self, places: Tensor) -> Tensor:
        """States at ``places``, ``(B, Z)``: ``(B, Z, W)``."""
        return self.states.index_select(0, places.flatten()).unflatten(0, places.shape)


class MaskedStates(nn.Module):
    """States of masked text; masks were drawn in advance, and each row takes a random copy of each key.

    Args:
        table: States of several copies, each with its own masks.
        labels: The original token where one was sampled, elsewhere -100, ``(copies * N,)``.
    """

    def __init__(self, table: StateTable, labels: Tensor) -> None:
        super().__init__()
        self.table = table
        self.labels: Tensor
        self.register_buffer("labels", labels, persistent=False)

    def forward(self, batch: Batch) -> tuple[MaskedTokens, Tensor]:
        """States of corrupted text with the tokens to recover, and lengths, ``(B,)``."""
        rows = len(batch[self.table.keys[0]])
        device = self.labels.device
        copies = torch.randint(self.table.copies, (len(self.table.keys), rows), device=device)
        places, lengths = self.table.places(batch, copies)
        inside = torch.arange(places.shape[1], device=device) < lengths.unsqueeze(1)
        labels = self.labels[places].masked_fill(~inside, -100)
        positions, used = true_positions(labels >= 0)
        labels = labels.gather(1, positions).masked_fill(~used, -100)
        return MaskedTokens(self.table.gather(places), positions, labels), lengths


class NextStates(nn.Module):
    """As ``MaskedStates``, for a PLM that reads forward: each token has to predict the next one.

    Args:
        table: States of intact text.
        tokens: The text, ``(N,)``.
    """

    def __init__(self, table: StateTable, tokens: Tensor) -> None:
        super().__init__()
        self.table, self.next_tokens = table, NextTokens()
        self.tokens: Tensor
        self.register_buffer("tokens", tokens, persistent=False)

    def forward(self, batch: Batch) -> tuple[MaskedTokens, Tensor]:
        """As for ``MaskedStates``."""
        places, lengths = self.table.places(batch)
        asked = self.next_tokens(self.tokens[places], lengths)
        return MaskedTokens(self.table.gather(places), asked.positions, asked.labels), lengths
