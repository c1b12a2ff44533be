"""Token masking of masked language modelling (ClickPrompt, section 3.5.1; BERT, section 3.1)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

__all__ = ["FieldMasker", "MaskedTokens", "NextTokens", "TokenMasker", "true_positions"]


@dataclass(frozen=True)
class MaskedTokens:
    """Corrupted text with what has to be recovered.

    Attributes:
        text: Corrupted tokens, ``(B, Z)``; or states that a PLM's lower layers made of them, ``(B, Z, W)``.
        positions: Where tokens were sampled, ``(B, M)``; 0 beyond a row's own.
        labels: The original tokens there, ``(B, M)``; -100 beyond a row's own.
    """

    text: Tensor
    positions: Tensor
    labels: Tensor


def true_positions(sampled: Tensor) -> tuple[Tensor, Tensor]:
    """Where rows of ``sampled``, ``(B, Z)``, are True: positions, 0 beyond a row's own, and True at its own.

    Both are ``(B, M)``, M the most that a row has.
    """
    count = sampled.sum(1, keepdim=True)
    most = int(count.max())
    positions = sampled.int().argsort(dim=1, descending=True, stable=True)[:, :most]
    taken = torch.arange(most, device=sampled.device) < count
    return positions.masked_fill(~taken, 0), taken


class TokenMasker(nn.Module):
    """Samples tokens of each row: 80 % become the mask token, 10 % a random one, 10 % stay.

    Args:
        mask_ratio: Share of a row's tokens that are sampled, rounded, and one at least.
        mask_id: The mask token.
        special_ids: Tokens that are never sampled and never a random replacement.
        vocab_size: Tokens of the tokenizer.
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
            input_ids: Tokens, ``(B, Z)``; padding is one of the special tokens.
            lengths: Of the rows, ``(B,)``.
            fields: The field whose value a token is part of, from 1, ``(B, Z)``; 0 for the words between values,
                which are then never sampled. None samples from all tokens.
        """
        candidates = ~self.special[input_ids]  # (B, Z)
        if fields is not None:
            candidates = candidates & (fields > 0)
        positions, taken = self._sample(candidates, fields)  # (B, M)
        original = input_ids.gather(1, positions)

        draw = torch.rand(positions.shape, device=input_ids.device)
        random_ids = self.ordinary_ids[
            torch.randint(len(self.ordinary_ids), positions.shape, device=input_ids.device)
        ]
        replacement = torch.where(draw < 0.8, self.mask_id, torch.where(draw < 0.9, random_ids, original))
        row, slot = torch.nonzero(taken, as_tuple=True)
        corrupted = input_ids.clone()
        corrupted[row, positions[row, slot]] = replacement[row, slot]
        return MaskedTokens(corrupted, positions, original.masked_fill(~taken, -100))

    def _sample(self, candidates: Tensor, fields: Tensor | None) -> tuple[Tensor, Tensor]:
        """Positions, 0 beyond a row's own, and True at its own, each ``(B, M)``."""
        available = candidates.sum(1)
        count = (available * self.mask_ratio).round().long().clamp(min=1).minimum(available)  # (B,)
        order = torch.rand(candidates.shape, device=candidates.device).masked_fill(~candidates, 2.0)
        most = int(count.max())
        positions = order.topk(most, dim=1, largest=False, sorted=True).indices
        taken = torch.arange(most, device=candidates.device) < count.unsqueeze(1)
        return positions.masked_fill(~taken, 0), taken


class FieldMasker(TokenMasker):
    """Samples values of fields with all their tokens, each with probability ``mask_ratio``, and one at least.

    The rest of a title, which tells much about a missing word of it, is missing too then; prompts have to tell.
    """

    def _sample(self, candidates: Tensor, fields: Tensor | None) -> tuple[Tensor, Tensor]:
        if fields is None:
            raise ValueError("FieldMasker needs the fields of the tokens")
        drawn = torch.rand(len(fields), int(fields.max()) + 1, device=fields.device).gather(1, fields)
        drawn = drawn.masked_fill(~candidates, 2.0)
        sampled = candidates & ((drawn < self.mask_ratio) | (drawn == drawn.min(1, keepdim=True).values))
        return true_positions(sampled)


class NextTokens(nn.Module):
    """Causal language modelling instead: nothing is masked, each token has to tell the next one."""

    def forward(self, input_ids: Tensor, lengths: Tensor) -> MaskedTokens:
        """
        Args:
            input_ids: Tokens, ``(B, Z)``.
            lengths: Of the rows, ``(B,)``.
        """
        positions = torch.arange(input_ids.shape[1] - 1, device=input_ids.device).expand(len(input_ids), -1)
        inside = positions + 1 < lengths.unsqueeze(1)
        labels = input_ids[:, 1:].masked_fill(~inside, -100)
        return MaskedTokens(input_ids, positions.masked_fill(~inside, 0), labels)
