"""Outputs of a PLM's frozen layers for separate texts, assembled into rows. Letters: see ``plm/__init__.py``."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from recbole_clickprompt.text.masking import MaskedTokens, NextTokens, true_positions
from recbole_clickprompt.text.tokens import Batch

__all__ = ["MaskedStates", "NextStates", "StateTable"]


class StateTable(nn.Module):
    """States of the rows' texts, assembled from the states of each user's, item's and value's text.

    It replaces ``TokenTable`` if lower layers are frozen. There may be several copies of the states, each with
    masks of its own. They are stored in a memory-mapped file, so a batch reads only what it needs::

        states, one per line of W numbers                    offsets_0   offsets_1

        copy 0   key 0, id 0   first token                   [0]
                               ...
                 key 0, id 1   first token                   [1]
                               ...
                 key 1, id 0   first token                   [2] =       [0]
                               ...
        copy 1   the same texts with other masks, ``stride`` lines further on

        a row of ids 1 (key 0) and 0 (key 1):  | states of key 0, id 1 | states of key 1, id 0 | padding |

    Args:
        keys: Columns of a batch whose ids select texts, in the order in which a row reads them.
        offsets: For each key, where the states of each id begin in copy 0, ``(ids + 1,)`` int64.
        states: ``(copies * tokens, W)`` of any float type.
        copies: Number of copies of the states of all texts.
        max_length: Maximum number of tokens of a row; the end of a longer row is cut.
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
        """Tokens of each row, ``(B,)`` int64."""
        return self.lengths_by_key(batch).sum(0)

    def lengths_by_key(self, batch: Batch) -> Tensor:
        """Tokens of each key in each row, ``(keys, B)`` int64, after the cut to ``max_length``."""
        offsets = [self.get_buffer(f"offsets_{index}") for index in range(len(self.keys))]
        ids = [batch[key] for key in self.keys]
        lengths = torch.stack([o[i + 1] - o[i] for o, i in zip(offsets, ids, strict=True)])  # (keys, B)
        ends = lengths.cumsum(0).clamp(max=self.max_length)  # column after the last token of each key
        return ends.diff(dim=0, prepend=ends.new_zeros(1, len(ends[0])))

    def places(self, batch: Batch, copies: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Indices of the states of each row's tokens.

        Args:
            batch: Columns of ids, each ``(B,)``; those named in ``keys`` are read.
            copies: The copy to read for each key and row, ``(keys, B)`` int64; None is the first copy.

        Returns:
            Lines of ``states``, ``(B, Z)`` int64, 0 at padding; and lengths, ``(B,)`` int64.
        """
        key_lengths = self.lengths_by_key(batch)  # (keys, B)
        lengths, ends = key_lengths.sum(0), key_lengths.cumsum(0)  # (B,), (keys, B)
        column = torch.arange(int(lengths.max()), device=lengths.device)  # (Z,)
        stride = len(self.states) // self.copies  # lines per copy
        places = torch.zeros(len(lengths), len(column), dtype=torch.long, device=lengths.device)
        for index, key in enumerate(self.keys):
            begin = (ends[index] - key_lengths[index]).unsqueeze(1)  # first column of the key, (B, 1)
            start = self.get_buffer(f"offsets_{index}")[batch[key]]  # first line of the text, (B,)
            if copies is not None:
                start = start + stride * copies[index]
            inside = (column >= begin) & (column < ends[index].unsqueeze(1))  # (B, Z)
            places = torch.where(inside, start.unsqueeze(1) + column - begin, places)
        return places, lengths

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """
        Args:
            batch: Columns of ids, each ``(B,)``.

        Returns:
            States, ``(B, Z, W)``, without meaning at padding; and lengths, ``(B,)`` int64.
        """
        places, lengths = self.places(batch)
        return self.gather(places), lengths

    def gather(self, places: Tensor) -> Tensor:
        """States at ``places``, ``(B, Z)``: ``(B, Z, W)``."""
        return self.states.index_select(0, places.flatten()).unflatten(0, places.shape)


class MaskedStates(nn.Module):
    """States of masked text. Masks were drawn in advance, and each row reads a random copy of each key.

    Args:
        table: Several copies of the states, each with its own masks.
        labels: The original token of each state where it was sampled, elsewhere -100, ``(copies * tokens,)``.
    """

    def __init__(self, table: StateTable, labels: Tensor) -> None:
        super().__init__()
        self.table = table
        self.labels: Tensor
        self.register_buffer("labels", labels, persistent=False)

    def forward(self, batch: Batch) -> tuple[MaskedTokens, Tensor]:
        """
        Args:
            batch: Columns of ids, each ``(B,)``.

        Returns:
            States of corrupted text with the tokens to predict; and tokens of each row, ``(B,)`` int64.
        """
        rows = len(batch[self.table.keys[0]])
        device = self.labels.device
        copies = torch.randint(self.table.copies, (len(self.table.keys), rows), device=device)
        places, lengths = self.table.places(batch, copies)
        inside = torch.arange(places.shape[1], device=device) < lengths.unsqueeze(1)
        labels = self.labels[places].masked_fill(~inside, -100)  # (B, Z)
        positions, used = true_positions(labels >= 0)
        labels = labels.gather(1, positions).masked_fill(~used, -100)  # (B, P)
        return MaskedTokens(self.table.gather(places), positions, labels), lengths


class NextStates(nn.Module):
    """The counterpart of ``MaskedStates`` for a causal PLM: each token predicts the next one.

    Args:
        table: One copy of the states, of intact text.
        tokens: The token of each state, ``(tokens,)``.
    """

    def __init__(self, table: StateTable, tokens: Tensor) -> None:
        super().__init__()
        self.table, self.next_tokens = table, NextTokens()
        self.tokens: Tensor
        self.register_buffer("tokens", tokens, persistent=False)

    def forward(self, batch: Batch) -> tuple[MaskedTokens, Tensor]:
        """Arguments and return values as for ``MaskedStates``."""
        places, lengths = self.table.places(batch)
        targets = self.next_tokens(self.tokens[places], lengths)
        return MaskedTokens(self.table.gather(places), targets.positions, targets.labels), lengths
