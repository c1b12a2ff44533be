"""Token masking of masked language modelling (ClickPrompt, section 3.5.1; BERT, section 3.1)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

__all__ = ["MaskedTokens", "NextTokens", "TokenMasker"]


@dataclass(frozen=True)
class MaskedTokens:
    """Corrupted text with what has to be recovered.

    Attributes:
        input_ids: Corrupted tokens, ``(B, Z)``.
        positions: Where tokens were sampled, ``(B, M)``; 0 beyond a row's own.
        labels: The original tokens there, ``(B, M)``; -100 beyond a row's own.
    """

    input_ids: Tensor
    positions: Tensor
    labels: Tensor


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

    def forward(self, input_ids: Tensor, lengths: Tensor) -> MaskedTokens:
        """
        Args:
            input_ids: Tokens, ``(B, Z)``; padding is one of the special tokens.
            lengths: Of the rows, ``(B,)``.
        """
        candidates = ~self.special[input_ids]  # (B, Z)
        available = candidates.sum(1)
        count = (available * self.mask_ratio).round().long().clamp(min=1).minimum(available)  # (B,)
        order = torch.rand(input_ids.shape, device=input_ids.device).masked_fill(~candidates, 2.0)
        most = int(count.max())
        positions = order.topk(most, dim=1, largest=False, sorted=True).indices  # (B, M)
        taken = torch.arange(most, device=input_ids.device) < count.unsqueeze(1)
        positions = positions.masked_fill(~taken, 0)
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
