"""Rows of masked text."""

from __future__ import annotations

from torch import Tensor, nn

from recbole_clickprompt.text.masking import MaskedTokens, NextTokens, TokenMasker
from recbole_clickprompt.text.tokens import Batch, TokenTable

__all__ = ["MaskedText", "MaskedValues"]


class MaskedText(nn.Module):
    """Any token of a row may be masked.

    Args:
        table: Tokens of the rows.
        masker: Samples those to recover.
    """

    def __init__(self, table: TokenTable, masker: TokenMasker | NextTokens) -> None:
        super().__init__()
        self.table, self.masker = table, masker

    def forward(self, batch: Batch) -> tuple[MaskedTokens, Tensor]:
        """Corrupted text with what has to be recovered, and lengths, ``(B,)``."""
        input_ids, lengths = self.table(batch)
        return self.masker(input_ids, lengths), lengths


class MaskedValues(nn.Module):
    """Only the values of fields are masked, not the words between them, which are the same in every row.

    Args:
        table: Tokens of the rows.
        masker: Samples those to recover.
    """

    def __init__(self, table: TokenTable, masker: TokenMasker) -> None:
        super().__init__()
        self.table, self.masker = table, masker

    def forward(self, batch: Batch) -> tuple[MaskedTokens, Tensor]:
        """As for ``MaskedText``."""
        input_ids, lengths = self.table(batch)
        return self.masker(input_ids, lengths, self.table.fields(batch)), lengths
