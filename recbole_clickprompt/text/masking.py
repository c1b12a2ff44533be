"""Token masking of masked language modeling (ClickPrompt, section 3.5.1; BERT, section 3.1)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from recbole_clickprompt.text.tokens import Batch, TokenTable

__all__ = [
    "FieldMasker",
    "MaskedText",
    "MaskedTokens",
    "MaskedValues",
    "NextTokens",
    "TokenMasker",
    "true_positions",
]


@dataclass(frozen=True)
class MaskedTokens:
    """Corrupted text and the tokens to predict. A row with two tokens to predict where P is 3::

        text        [CLS] user [M] is u0 [M] [SEP] pad
        positions       2     5     0
        labels         ID     .  -100

    Attributes:
        text: Corrupted tokens, ``(B, Z)``; or outputs of a PLM's frozen layers for them, ``(B, Z, W)``.
        positions: Positions in the text whose states predict a token, ``(B, P)`` int64; 0 in unused slots.
        labels: The tokens to predict, ``(B, P)`` int64; -100 in unused slots.
    """

    text: Tensor
    positions: Tensor
    labels: Tensor


def true_positions(sampled: Tensor) -> tuple[Tensor, Tensor]:
    """Positions of the True elements of each row.

    Args:
        sampled: ``(B, Z)`` bool.

    Returns:
        The positions in ascending order, 0 in unused slots; and True at used slots. Both ``(B, P)``, P the largest
        number of True elements of a row.
    """
    count = sampled.sum(1, keepdim=True)
    most = int(count.max())
    positions = sampled.int().argsort(dim=1, descending=True, stable=True)[:, :most]
    used = torch.arange(most, device=sampled.device) < count
    return positions.masked_fill(~used, 0), used


class TokenMasker(nn.Module):
    """Samples tokens of each row: 80 % become the mask token, 10 % a random one, 10 % stay unchanged.

    Args:
        mask_ratio: Share of a row's tokens that are sampled; their number is rounded and at least 1.
        mask_id: The mask token.
        special_ids: Tokens that are never sampled and never used as a random replacement.
        vocab_size: Number of tokens of the tokenizer.
    """

    def __init__(self, *, mask_ratio: float, mask_id: int, special_ids: list[int], vocab_size: int) -> None:
        super().__init__()
        self.mask_ratio, self.mask_id = mask_ratio, mask_id
        special = torch.zeros(vocab_size, dtype=torch.bool)
        special[special_ids] = True
        self.special: Tensor
        self.ordinary_ids: Tensor
        self.register_buffer("special", special, persistent=False)
        self.register_buffer("ordinary_ids", torch.nonzero(~special).squeeze(1), persistent=False)

    def forward(self, input_ids: Tensor, lengths: Tensor, fields: Tensor | None = None) -> MaskedTokens:
        """
        Args:
            input_ids: Tokens, ``(B, Z)`` int64; padding is one of the special tokens.
            lengths: Tokens of each row, ``(B,)``; unused, for the same signature as ``NextTokens``.
            fields: Number of the field whose value each token is part of, from 1, ``(B, Z)``; tokens with 0, the
                words between values, are never sampled. None samples from all tokens.

        Returns:
            Corrupted text and the original tokens at the sampled positions.
        """
        candidates = ~self.special[input_ids]  # (B, Z)
        if fields is not None:
            candidates = candidates & (fields > 0)
        positions, used = self._sample(candidates, fields)  # (B, P)
        original = input_ids.gather(1, positions)  # (B, P)

        draw = torch.rand(positions.shape, device=input_ids.device)
        random_ids = self.ordinary_ids[
            torch.randint(len(self.ordinary_ids), positions.shape, device=input_ids.device)
        ]
        replacement = torch.where(draw < 0.8, self.mask_id, torch.where(draw < 0.9, random_ids, original))
        row, slot = torch.nonzero(used, as_tuple=True)
        corrupted = input_ids.clone()
        corrupted[row, positions[row, slot]] = replacement[row, slot]
        return MaskedTokens(corrupted, positions, original.masked_fill(~used, -100))

    def _sample(self, candidates: Tensor, fields: Tensor | None) -> tuple[Tensor, Tensor]:
        """Draws positions among the candidates, ``(B, Z)``; returns the same as ``true_positions``."""
        available = candidates.sum(1)  # (B,)
        count = (available * self.mask_ratio).round().long().clamp(min=1).minimum(available)  # (B,)
        # The candidates with the smallest random numbers; 2 is larger than any of them
        order = torch.rand(candidates.shape, device=candidates.device).masked_fill(~candidates, 2.0)  # (B, Z)
        most = int(count.max())
        positions = order.topk(most, dim=1, largest=False, sorted=True).indices
        used = torch.arange(most, device=candidates.device) < count.unsqueeze(1)
        return positions.masked_fill(~used, 0), used


class FieldMasker(TokenMasker):
    """Samples whole values of fields, each with probability ``mask_ratio``, and at least one per row.

    A missing word of a title is easy to predict from the rest of the title. With the whole title masked, the
    prompts have to help. ``forward`` needs ``fields``.
    """

    def _sample(self, candidates: Tensor, fields: Tensor | None) -> tuple[Tensor, Tensor]:
        if fields is None:
            raise ValueError("FieldMasker needs the fields of the tokens")
        # One random number per row and field, shared by the tokens of the field: (B, Z)
        drawn = torch.rand(len(fields), int(fields.max()) + 1, device=fields.device).gather(1, fields)
        drawn = drawn.masked_fill(~candidates, 2.0)
        sampled = candidates & ((drawn < self.mask_ratio) | (drawn == drawn.min(1, keepdim=True).values))
        return true_positions(sampled)


class NextTokens(nn.Module):
    """Causal language modeling: nothing is masked, and each token predicts the next one."""

    def forward(self, input_ids: Tensor, lengths: Tensor) -> MaskedTokens:
        """
        Args:
            input_ids: Tokens, ``(B, Z)`` int64.
            lengths: Tokens of each row, ``(B,)``.

        Returns:
            The text unchanged, all positions but the last one of each row, and the next token at each; P is Z - 1.
        """
        positions = torch.arange(input_ids.shape[1] - 1, device=input_ids.device).expand(len(input_ids), -1)
        inside = positions + 1 < lengths.unsqueeze(1)
        labels = input_ids[:, 1:].masked_fill(~inside, -100)  # (B, Z - 1)
        return MaskedTokens(input_ids, positions.masked_fill(~inside, 0), labels)


class MaskedText(nn.Module):
    """Text of rows, any token of which may be masked.

    Args:
        table: Tokens of the rows.
        masker: Samples the tokens to predict.
    """

    def __init__(self, table: TokenTable, masker: TokenMasker | NextTokens) -> None:
        super().__init__()
        self.table, self.masker = table, masker

    def forward(self, batch: Batch) -> tuple[MaskedTokens, Tensor]:
        """
        Args:
            batch: Columns of ids, each ``(B,)``.

        Returns:
            Corrupted text with the tokens to predict; and tokens of each row, ``(B,)`` int64.
        """
        input_ids, lengths = self.table(batch)
        return self.masker(input_ids, lengths), lengths


class MaskedValues(nn.Module):
    """Text of rows in which only values of fields are masked, not the words between them, which all rows share.

    Args:
        table: Tokens of the rows.
        masker: Samples the tokens to predict.
    """

    def __init__(self, table: TokenTable, masker: TokenMasker) -> None:
        super().__init__()
        self.table, self.masker = table, masker

    def forward(self, batch: Batch) -> tuple[MaskedTokens, Tensor]:
        """Arguments and return values as for ``MaskedText``."""
        input_ids, lengths = self.table(batch)
        return self.masker(input_ids, lengths, self.table.fields(batch)), lengths
